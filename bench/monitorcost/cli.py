# SPDX-License-Identifier: GPL-2.0-or-later
"""The command line of bench/monitor."""

from __future__ import annotations

import argparse
import os
import subprocess
from contextlib import contextmanager
from pathlib import Path
from typing import Iterator, Optional, Sequence, Tuple

from kopano.provision import ProvisionFailed
from sidebyside import command, ending
from twonode import aptsources, boot, image, launcher
from twonode.lab import Lab, LabError
from twonode.layer import LayerFailed

from bluemind.provision import ProvisionFailed as BlueMindFailed
from monitorcost import (bluemindnode, cluster, contestants, cyrusnode, figures, node, report,
                         rounds)

FEWEST_ROUNDS = 3
USUAL_ROUNDS = 25

KNOWN_ERRORS = (node.BenchFailed, LayerFailed, LabError, image.ImageFailed, aptsources.NoSources,
                boot.BootFailed, launcher.StillThere, ProvisionFailed, BlueMindFailed,
                subprocess.SubprocessError, OSError)


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    top = argparse.ArgumentParser(
        prog="monitor", description="Measure what one monitor of the whole group costs, beside the "
        "ways that it replaces.")
    top.add_argument("product", nargs="?", choices=("kopano", "bluemind", "cyrus"),
                     default="kopano", help="whose group (default kopano)")
    top.add_argument("--rounds", type=command.at_least(FEWEST_ROUNDS), default=USUAL_ROUNDS,
                     metavar="N",
                     help=f"how often each is measured (default {USUAL_ROUNDS})")
    top.add_argument("--json", type=Path, metavar="FILE", help="write all raw figures there")
    return top


def main(argv: Optional[Sequence[str]] = None) -> int:
    """Measure, print, and return the exit code: 0 target met, 1 not met, 2 not measured."""
    return command.perform(parser(), argv, "a lab", KNOWN_ERRORS, _run)


@contextmanager
def _stage(product: str) -> "Iterator[Tuple[Lab, contestants.Field]]":
    """Bring up a lab with a product, and tell who is measured there."""
    if product == "bluemind":
        with bluemindnode.running(command.say) as (lab, units):
            yield lab, contestants.bluemind_field(units)
        return
    if product == "cyrus":
        with cyrusnode.running(command.say) as (lab, units):
            yield lab, contestants.cyrus_field(units)
        return
    with node.running(command.say) as lab:
        cluster.configure(lab)
        yield lab, contestants.KOPANO_FIELD


def _run(options: argparse.Namespace) -> int:
    with _stage(options.product) as (lab, field):
        machine = node.describe(lab)
        before = os.getloadavg()[0]
        with node.meter(lab) as meter:
            results = rounds.run(lab, meter, field.everybody, options.rounds, command.say)
        load = [before, os.getloadavg()[0]]
        ending.ignore_signals()     # from here on there is only tidying up to be interrupted
    bare = results[contestants.BARE.name]
    judged, compared = ([figures.judge(results[each.name], bare, field.allowed) for each in some]
                        for some in (field.promised, field.compared))
    if options.json:
        options.json.write_text(report.as_json(list(results.values()), judged, machine, load))
    print("\n".join([
        *machine, f"{options.rounds} rounds, load {load[0]:.1f} before and {load[1]:.1f} after", "",
        report.table(list(results.values()), bare), "", *report.verdicts(judged, compared)]))
    return 0 if all(verdict.met for verdict in judged) else 1
