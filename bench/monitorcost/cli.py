# SPDX-License-Identifier: GPL-2.0-or-later
"""The command line of bench/monitor."""

from __future__ import annotations

import argparse
import os
import subprocess
from pathlib import Path
from typing import Optional, Sequence

from kopano.provision import ProvisionFailed
from sidebyside import command, ending
from twonode import aptsources, boot, image, launcher
from twonode.lab import LabError
from twonode.layer import LayerFailed

from monitorcost import cluster, contestants, figures, node, report, rounds

FEWEST_ROUNDS = 3
USUAL_ROUNDS = 25

KNOWN_ERRORS = (node.BenchFailed, LayerFailed, LabError, image.ImageFailed, aptsources.NoSources,
                boot.BootFailed, launcher.StillThere, ProvisionFailed, subprocess.SubprocessError,
                OSError)


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    top = argparse.ArgumentParser(
        prog="monitor", description="Measure what one monitor of the whole Kopano group costs, "
        "beside the ways that it replaces.")
    top.add_argument("--rounds", type=command.at_least(FEWEST_ROUNDS), default=USUAL_ROUNDS,
                     metavar="N",
                     help=f"how often each is measured (default {USUAL_ROUNDS})")
    top.add_argument("--json", type=Path, metavar="FILE", help="write all raw figures there")
    return top


def main(argv: Optional[Sequence[str]] = None) -> int:
    """Measure, print, and return the exit code: 0 target met, 1 not met, 2 not measured."""
    return command.perform(parser(), argv, "a lab", KNOWN_ERRORS, _run)


def _run(options: argparse.Namespace) -> int:
    with node.running(command.say) as lab:
        cluster.configure(lab)
        machine = node.describe(lab)
        before = os.getloadavg()[0]
        with node.meter(lab) as meter:
            results = rounds.run(lab, meter, contestants.ALL, options.rounds, command.say)
        load = [before, os.getloadavg()[0]]
        ending.ignore_signals()     # from here on there is only tidying up to be interrupted
    bare = results[contestants.BARE.name]
    judged, compared = ([figures.judge(results[each.name], bare) for each in some]
                        for some in (contestants.PROMISED, contestants.COMPARED))
    if options.json:
        options.json.write_text(report.as_json(list(results.values()), judged, machine, load))
    print("\n".join([
        *machine, f"{options.rounds} rounds, load {load[0]:.1f} before and {load[1]:.1f} after", "",
        report.table(list(results.values()), bare), "", *report.verdicts(judged, compared)]))
    return 0 if all(verdict.met for verdict in judged) else 1
