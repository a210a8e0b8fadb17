# SPDX-License-Identifier: GPL-2.0-or-later
"""What is promised of the sender of mailha, and whether it holds."""

from __future__ import annotations

from typing import List, Mapping, Sequence

from monitorcost.figures import Verdict

from synccost.contestants import LSYNCD, OURS
from synccost.figures import Measured, middle

PER_CHANGE = 0.003
"""Seconds, the median over the changes of each kind, durable."""

FASTER = 30.0
"""Times, than the best set-up of lsyncd."""

BURST = 0.3
"""Seconds for a thousand changes, durable, while nobody else writes."""


def judge(results: Mapping[str, Measured]) -> List[Verdict]:
    """Compare with what was promised; needs the results of ours and of lsyncd."""
    ours = results[OURS.name]
    slowest_kind, slowest = max(
        ((name, middle(values)) for name, values in ours.latency.items()),
        key=lambda each: float("inf") if each[1] is None else each[1])
    judged = [Verdict(slowest is not None and slowest <= PER_CHANGE, (
        f"the slowest kind of change, {slowest_kind}, is durable after {_shown(slowest)} ms "
        f"({PER_CHANGE * 1e3:g} allowed{_of_the_disk(ours.disk)})"))]
    median = ours.median()
    best = min((found for found in (results[each.name].median() for each in LSYNCD
                                    if each.name in results) if found is not None), default=None)
    if best is not None and median is not None:
        judged.append(Verdict(best / median >= FASTER, (
            f"it is {best / median:.0f} times as fast as the best lsyncd ({FASTER:g} promised)")))
    burst = middle(ours.burst)
    judged.append(Verdict(burst is not None and burst <= BURST, (
        f"a thousand changes are durable after {_shown(burst)} ms ({BURST * 1e3:g} allowed"
        f"{_of_the_disk(ours.disk_burst)}{_of_the_writing(ours)})")))
    judged.append(Verdict(ours.losses() == 0, (
        f"it loses something in {ours.losses()} of {len(ours.lost)} cases (0 allowed)")))
    return judged


def _shown(seconds: "float | None") -> str:
    return "∞" if seconds is None else f"{seconds * 1e3:.3g}"


def _of_the_writing(ours: Measured) -> str:
    """Return what it takes to make the changes, which nobody can be faster than."""
    if not ours.writing:
        return ""
    return (f"; the writing alone takes {_shown(middle(ours.writing))}, and "
            f"{_shown(middle(ours.after))} are left after the last")


def _of_the_disk(values: Sequence[float]) -> str:
    """Return what the disk alone takes, for the sake of fairness; it excuses nothing."""
    return f"; the disk alone takes {_shown(middle(values))}" if values else ""
