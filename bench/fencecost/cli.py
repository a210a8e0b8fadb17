# SPDX-License-Identifier: GPL-2.0-or-later
"""The command line of bench/fence."""

from __future__ import annotations

import argparse
import os
import subprocess
from pathlib import Path
from typing import Optional, Sequence

from sidebyside import command, machine
from twonode import aptsources, boot, image
from twonode.enter import CommandFailed
from twonode.layer import LayerFailed

from fencecost import contestants, promises, report, rounds, stage

FEWEST_ROUNDS = 3
USUAL_ROUNDS = 20

KNOWN_ERRORS = (stage.BenchFailed, LayerFailed, image.ImageFailed, aptsources.NoSources,
                boot.BootFailed, CommandFailed, subprocess.SubprocessError, OSError)


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    top = argparse.ArgumentParser(
        prog="fence", description="Measure how long it takes to fence a node for certain, beside "
        "the agent that is used today.")
    top.add_argument("--rounds", type=command.at_least(FEWEST_ROUNDS), default=USUAL_ROUNDS,
                     metavar="N",
                     help=f"how often each is measured (default {USUAL_ROUNDS})")
    top.add_argument("--json", type=Path, metavar="FILE", help="write all raw figures there")
    return top


def main(argv: Optional[Sequence[str]] = None) -> int:
    """Measure, print, and return the exit code: 0 targets met, 1 not met, 2 not measured."""
    return command.perform(parser(), argv, "a sandbox", KNOWN_ERRORS, _run)


def _run(options: argparse.Namespace) -> int:
    with stage.running(command.say) as (place, facts):
        before = os.getloadavg()[0]
        results = rounds.run(place, contestants.ALL, options.rounds, command.say)
        load = [before, os.getloadavg()[0]]
    measured, described = list(results.values()), [machine.describe(), *facts]
    verdicts = promises.judge(results)
    if options.json:
        options.json.write_text(report.as_json(measured, verdicts, described, load))
    print("\n".join([
        *described, f"{options.rounds} rounds, load {load[0]:.1f} before and {load[1]:.1f} after",
        "", report.table(measured), "", *report.verdict_lines(verdicts)]))
    return 0 if all(verdict.met for verdict in verdicts) else 1
