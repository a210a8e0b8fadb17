# SPDX-License-Identifier: GPL-2.0-or-later
"""The command line of bench/storage."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
from pathlib import Path
from typing import Optional, Sequence

from sidebyside import command, ending
from twonode import aptsources, boot, image
from twonode.enter import CommandFailed
from twonode.layer import LayerFailed

from storagecost import figures, place, report

FEWEST_ROUNDS = 3
USUAL_ROUNDS = 30

KNOWN_ERRORS = (place.BenchFailed, LayerFailed, image.ImageFailed, aptsources.NoSources,
                boot.BootFailed, CommandFailed, subprocess.SubprocessError, OSError)


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    top = argparse.ArgumentParser(
        prog="storage", description="Measure what it costs to know what a path stands on, on "
        "machines with few and with many mounts.")
    top.add_argument("--rounds", type=command.at_least(FEWEST_ROUNDS), default=USUAL_ROUNDS,
                     metavar="N",
                     help=f"how often each is measured (default {USUAL_ROUNDS}; a third of that "
                     "with 20,000 mounts)")
    top.add_argument("--json", type=Path, metavar="FILE", help="write all raw figures there")
    return top


def main(argv: Optional[Sequence[str]] = None) -> int:
    """Measure, print, and return the exit code: 0 targets met, 1 not met, 2 not measured."""
    return command.perform(parser(), argv, "a sandbox of the lab", KNOWN_ERRORS, _run)


def _run(options: argparse.Namespace) -> int:
    with place.running(command.say) as door:
        machine = place.describe(door)
        before = os.getloadavg()[0]
        answer = json.loads(place.measure(door, options.rounds))
        load = [before, os.getloadavg()[0]]
        ending.ignore_signals()     # from here on there is only tidying up to be interrupted
    results = figures.Results(answer)
    judged = figures.judge(results)
    if options.json:
        document = {"machine": machine, "load": load, **answer,
                    "targets_met": all(verdict.met for verdict in judged),
                    "verdicts": [verdict.text for verdict in judged]}
        options.json.write_text(json.dumps(document, indent=1, ensure_ascii=False) + "\n")
    print("\n".join([
        *machine, f"{options.rounds} rounds, load {load[0]:.1f} before and {load[1]:.1f} after; "
        "medians, milliseconds", "", report.table(results), "", report.verdicts(judged)]))
    return 0 if all(verdict.met for verdict in judged) else 1
