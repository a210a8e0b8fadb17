# SPDX-License-Identifier: GPL-2.0-or-later
"""The command line of bench/sync."""

from __future__ import annotations

import argparse
import os
import subprocess
from pathlib import Path
from typing import Optional, Sequence

from sidebyside import command
from twonode import aptsources, boot, image
from twonode.enter import CommandFailed
from twonode.layer import LayerFailed

from synccost import contestants, promises, report, rounds, stage

FEWEST_ROUNDS = 1
USUAL_ROUNDS = 5

KNOWN_ERRORS = (stage.BenchFailed, LayerFailed, image.ImageFailed, aptsources.NoSources,
                boot.BootFailed, CommandFailed, subprocess.SubprocessError, OSError)


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    top = argparse.ArgumentParser(
        prog="sync", description="Measure how long a changed file takes to the other node, and "
        "what gets lost, beside the tools that are used today.")
    top.add_argument("--rounds", type=command.at_least(FEWEST_ROUNDS), default=USUAL_ROUNDS,
                     metavar="N", help=f"how often each is measured (default {USUAL_ROUNDS})")
    top.add_argument("--json", type=Path, metavar="FILE", help="write all raw figures there")
    top.add_argument("--only", action="append", choices=[each.name for each in contestants.ALL],
                     metavar="NAME", help="measure only this; there is no verdict then: "
                     "%(choices)s")
    return top


def main(argv: Optional[Sequence[str]] = None) -> int:
    """Measure, print, and return the exit code: 0 targets met, 1 not met, 2 not measured."""
    return command.perform(parser(), argv, "two sandboxes", KNOWN_ERRORS, _run)


def _run(options: argparse.Namespace) -> int:
    chosen = [each for each in contestants.ALL
              if not options.only or each.name in options.only]
    with stage.running(command.say) as place:
        before = os.getloadavg()[0]
        results = rounds.run(place, chosen, options.rounds, command.say)
        load = [before, os.getloadavg()[0]]
        facts = place.facts
    judged = promises.judge(results) if not options.only else []
    if options.json:
        options.json.write_text(report.as_json(results, judged, facts, load))
    print("\n".join([
        *facts, f"{options.rounds} rounds, load {load[0]:.1f} before and {load[1]:.1f} after; "
        "medians", "", report.tables(results)]))
    if not judged:
        return 0
    print("\n" + report.verdicts(judged))
    return 0 if all(verdict.met for verdict in judged) else 1
