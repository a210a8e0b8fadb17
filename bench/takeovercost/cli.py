# SPDX-License-Identifier: GPL-2.0-or-later
"""The command line of bench/takeover."""

from __future__ import annotations

import argparse
import os
import subprocess
from pathlib import Path
from typing import Optional, Sequence

from sidebyside import command, ending, machine
from twonode import aptsources, boot, image, launcher
from twonode.lab import LabError
from twonode.layer import LayerFailed

from takeovercost import figures, promises, report, rounds, stage

USUAL_RUNS = 5

KNOWN_ERRORS = (stage.BenchFailed, figures.Incomplete, LabError, image.ImageFailed,
                LayerFailed, aptsources.NoSources, boot.BootFailed, launcher.StillThere,
                subprocess.SubprocessError, OSError)


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    top = argparse.ArgumentParser(
        prog="takeover", description="Measure how long the survivor waits for the disk of a dead "
        "node, with ours and today's fence agent.")
    top.add_argument("--runs", type=command.at_least(1), default=USUAL_RUNS, metavar="N",
                     help=f"takeovers with each agent (default {USUAL_RUNS})")
    top.add_argument("--json", type=Path, metavar="FILE", help="write all raw figures there")
    return top


def main(argv: Optional[Sequence[str]] = None) -> int:
    """Measure, print, and return the exit code: 0 targets met, 1 not met, 2 not measured."""
    return command.perform(parser(), argv, "a lab", KNOWN_ERRORS, _run)


def _run(options: argparse.Namespace) -> int:
    with stage.running(command.say) as cluster:
        facts = cluster.facts()
        before = os.getloadavg()[0]
        results = rounds.run(cluster, options.runs, command.say)
        load = [before, os.getloadavg()[0]]
        ending.ignore_signals()     # from here on there is only tidying up to be interrupted
    measured, described = list(results.values()), [machine.describe(), *facts]
    verdicts = promises.judge(results)
    if options.json:
        options.json.write_text(report.as_json(measured, verdicts, described, load))
    print("\n".join([
        *described, f"{options.runs} runs each, load {load[0]:.1f} before and {load[1]:.1f} after",
        "", report.table(measured), "", *report.verdict_lines(verdicts)]))
    return 0 if all(verdict.met for verdict in verdicts) else 1
