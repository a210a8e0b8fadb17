# SPDX-License-Identifier: GPL-2.0-or-later
"""What the rounds of a contestant come to: medians, quartiles, and a verdict on ours.

All times are in milliseconds here; the meter's seconds end at this module's door.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Dict, List

from sidebyside.spread import spread

ALLOWED_EXCESS = 5.0
"""Milliseconds of CPU that the monitor of Kopano's six services may cost beyond an empty Python
program."""

ALLOWED_CHILDREN = 1
"""Child processes that our monitor may start."""


@dataclass
class Measured:
    """What one contestant cost, round by round, and what it started.

    cpu: user and system time of its own processes and of their children, ms.
    elsewhere: the time that it caused in systemd, dbus-daemon and pacemaker-execd, ms.
    wall: from its start to its end, ms; empty where only Pacemaker could tell and did not.
    forks, execs: of one monitor; the fork by which an agent itself is started does not count.
    """

    name: str
    cpu: List[float] = field(default_factory=list)
    elsewhere: List[Dict[str, float]] = field(default_factory=list)
    wall: List[float] = field(default_factory=list)
    forks: int = 0
    execs: int = 0

    @property
    def total(self) -> List[float]:
        """All CPU of each round, ms."""
        return [own + sum(caused.values()) for own, caused in zip(self.cpu, self.elsewhere)]

    @property
    def caused(self) -> List[float]:
        """The CPU that each round caused elsewhere, ms."""
        return [sum(caused.values()) for caused in self.elsewhere]


@dataclass(frozen=True)
class Verdict:
    """Whether one of our monitors keeps the promise, and the sentence that says so."""

    met: bool
    text: str


def judge(ours: Measured, bare: Measured, allowed: float = ALLOWED_EXCESS) -> Verdict:
    """Compare our monitor with the empty Python program of the same rounds.

    allowed: milliseconds that it may cost more.

    The difference is the median of the differences of each round: what slowed the machine down for
    a while slowed both.
    """
    excess = spread([mine - its for mine, its in zip(ours.total, bare.total)])
    cheap = excess.median <= allowed
    alone = ours.forks <= ALLOWED_CHILDREN
    return Verdict(cheap and alone, (
        f"{ours.name} costs {excess} ms CPU more than {bare.name} ({allowed:.1f} allowed) "
        f"and starts {ours.forks} child processes ({ALLOWED_CHILDREN} allowed)"))
