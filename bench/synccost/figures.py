# SPDX-License-Identifier: GPL-2.0-or-later
"""What the rounds of a contestant come to. Times are seconds."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Dict, List, Optional, Sequence, Tuple

from sidebyside.spread import Spread, spread


@dataclass
class Measured:
    """What was measured of one contestant.

    latency: by kind of change, None for one that never arrived. burst, contended: of a thousand
    changes, alone and with another writer on the target's disk. after: of burst, what is left when
    the last of them has been written. lost: by case, how often of how often. disk, disk_burst,
    disk_contended: the disk alone, at the same time; of the last two only where it was asked for.
    writing: of a thousand changes that nobody replicates, where it was asked for. cpu: seconds a
    round. changes: how many changes a round had. memory: mebibytes, by node.
    """

    name: str
    latency: Dict[str, List[Optional[float]]] = field(default_factory=dict)
    burst: List[Optional[float]] = field(default_factory=list)
    contended: List[Optional[float]] = field(default_factory=list)
    lost: Dict[str, Tuple[int, int]] = field(default_factory=dict)
    disk: List[float] = field(default_factory=list)
    disk_burst: List[float] = field(default_factory=list)
    disk_contended: List[float] = field(default_factory=list)
    cpu: List[float] = field(default_factory=list)
    changes: int = 0
    memory: List[Dict[str, float]] = field(default_factory=list)
    after: List[Optional[float]] = field(default_factory=list)
    writing: List[float] = field(default_factory=list)

    def arrivals(self) -> List[Optional[float]]:
        """Return all times of single changes, of whatever kind."""
        return [each for values in self.latency.values() for each in values]

    def median(self) -> Optional[float]:
        """Return the median over the changes of all kinds; None if half of them never arrived."""
        return middle(self.arrivals())

    def summary(self) -> str:
        """Return one line for whoever waits: medians in milliseconds."""
        shown = [f"{value * 1e3:.1f} ms" if value is not None else "never"
                 for value in (self.median(), middle(self.burst), middle(self.contended))]
        return (f"{self.name}: a change after {shown[0]}, a thousand after {shown[1]}, with a "
                f"writer {shown[2]}; loses in {self.losses()} of {len(self.lost)} cases")

    def losses(self) -> int:
        """Return in how many cases something was lost."""
        return sum(1 for lost, _ in self.lost.values() if lost)


def middle(values: Sequence[Optional[float]]) -> Optional[float]:
    """Return the median; what never arrived is later than all else."""
    ordered = sorted(values, key=lambda value: float("inf") if value is None else value)
    arrived = [value for value in values if value is not None]
    if len(arrived) == len(ordered):
        return spread(arrived).median if arrived else None
    return ordered[len(ordered) // 2]


def milliseconds(values: Sequence[Optional[float]]) -> Optional[Spread]:
    """Return median and quartiles in milliseconds of what arrived; None if nothing did."""
    arrived = [value * 1e3 for value in values if value is not None]
    return spread(arrived) if arrived else None
