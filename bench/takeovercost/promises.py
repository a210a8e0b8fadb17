# SPDX-License-Identifier: GPL-2.0-or-later
"""What our agent has to keep in a run, and whether it does."""

from __future__ import annotations

from dataclasses import dataclass
from typing import List, Mapping

from sidebyside.spread import spread

from takeovercost.contestants import OURS, TUNED, USUAL, Contestant
from takeovercost.figures import MOUNTED, Measured

BEHIND_TUNED = 0.6
"""Seconds that ours may take longer than fence_ipmilan with power_wait=0, which believes a single
reading: half a second lies between the two that ours wants."""

AHEAD_OF_USUAL = 2.0
"""Seconds that ours must be faster than fence_ipmilan at its defaults."""


@dataclass(frozen=True)
class Verdict:
    """Whether a promise is kept, and the sentence that says so."""

    met: bool
    text: str


def judge(results: Mapping[Contestant, Measured]) -> List[Verdict]:
    """Return the verdicts on both promises, from the medians until the disk is mounted."""
    ours, tuned, usual = (spread(results[each].seconds(MOUNTED)).median
                          for each in (OURS, TUNED, USUAL))
    return [
        Verdict(ours - tuned <= BEHIND_TUNED,
                f"disk mounted after {ours:.2f} s with {OURS.name}, {ours - tuned:+.2f} s to the "
                f"{tuned:.2f} s with {TUNED.name} ({BEHIND_TUNED:+.1f} allowed)"),
        Verdict(usual - ours >= AHEAD_OF_USUAL,
                f"disk mounted after {ours:.2f} s with {OURS.name}, {ours - usual:+.2f} s to the "
                f"{usual:.2f} s with {USUAL.name} ({-AHEAD_OF_USUAL:+.1f} allowed)")]
