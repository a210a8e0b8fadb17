# SPDX-License-Identifier: GPL-2.0-or-later
"""Try what Cyrus relies on, once on each disk: the check that goes deeper than the verdict.

Only what must be on a block device is tried. NFS, where it is allowed, fails by its nature.
"""

from __future__ import annotations

from mailha import errors
from mailha.storage import probe_file
from mailha.storage.rules import BLOCK

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from mailha.products.cyrus.paths import Target
    from mailha.storage.verdict import Verdict
    from mailha.system.machine import Machine

LONGEST = 15.0
"""Seconds that one disk may take. It takes 3 ms; one that takes longer than this serves nobody."""

SHARE = 0.5
"""Of what is left of the budget, for one disk: there must be time to say that it is dead."""


def run(machine: Machine, targets: Sequence[Target], verdicts: Sequence[Verdict],
        left: Callable[[], float], failure: type[errors.MailhaError]) -> list[str]:
    """Try the paths that have been found fit, and return warnings: a full disk is no failure.

    left: returns the seconds that are left of the budget.

    Raises failure if a disk does not do what Cyrus needs, patience.DiskSilent if it does not answer
    in time, and errors.Failed if no child can be made.
    """
    warnings: list[str] = []
    tried = set()
    for target, verdict in zip(targets, verdicts):
        disk = (verdict.mount_point, verdict.source)
        if target.rule.name != BLOCK.name or disk in tried:
            continue
        tried.add(disk)
        outcome = probe_file.try_out(machine, verdict.real, mount_point=verdict.mount_point,
                                     timeout=min(LONGEST, left() * SHARE))
        if outcome.fault:
            raise failure(outcome.fault, remedy=outcome.remedy)
        if outcome.warning and outcome.warning not in warnings:
            warnings.append(outcome.warning)
    return warnings
