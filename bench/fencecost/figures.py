# SPDX-License-Identifier: GPL-2.0-or-later
"""What the runs of one contestant come to. All times are in milliseconds here."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import List, Optional, Tuple

from fencecost.contestants import Contest

ON, OFF = "1", "0"

# What the power has to be after an action, and what must have been ordered for it, at least once
# and in this order. A controller that was asked twice, because an answer was lost, does no harm.
OUTCOMES = {"off": (OFF, (OFF,)), "reboot": (ON, (OFF, ON)), "status": (ON, ())}


@dataclass(frozen=True)
class Run:
    """What one program did, once.

    code: its exit code; None if it was killed at the limit.
    chassis: what the power was before, and each order that came, "1" for on and "0" for off.
    cpu: user and system time of it and of all that it started, ms. wall: from start to end, ms.
    datagrams: sent both ways; None where nobody counted. lost: how many of them.
    said: the last of what it wrote to stderr. logged: what it wrote to the system's log, by lines.
    """

    code: Optional[int]
    chassis: Tuple[str, ...]
    cpu: float
    wall: float
    datagrams: Optional[int] = None
    lost: int = 0
    said: str = ""
    logged: Tuple[str, ...] = ()

    def did(self, action: str) -> bool:
        """Return whether the chassis has been through what the action is."""
        if action not in OUTCOMES:
            return True
        power, wanted = OUTCOMES[action]
        orders = [order for order in self.chassis[1:]]
        compact = [order for place, order in enumerate(orders)
                   if place == 0 or orders[place - 1] != order]
        return self.chassis[-1] == power and compact == list(wanted)

    def succeeded(self, action: str) -> bool:
        """Return whether it says that it did the action, and did."""
        return self.code == 0 and self.did(action)

    def lied(self, action: str) -> bool:
        """Return whether it says that it did the action, and did not."""
        return self.code == 0 and not self.did(action)


@dataclass
class Measured:
    """All runs of one contestant."""

    contest: Contest
    runs: List[Run] = field(default_factory=list)

    @property
    def good(self) -> List[Run]:
        """The runs that succeeded; only of these are the times worth anything."""
        return [run for run in self.runs if run.succeeded(self.contest.action)]

    @property
    def lies(self) -> int:
        """How many runs said success without one."""
        return sum(run.lied(self.contest.action) for run in self.runs)

    @property
    def wall(self) -> List[float]:
        """Of each good run, ms."""
        return [run.wall for run in self.good]

    @property
    def cpu(self) -> List[float]:
        """Of each good run, ms."""
        return [run.cpu for run in self.good]

    @property
    def datagrams(self) -> List[int]:
        """Of each good run that was counted, both ways."""
        return [run.datagrams for run in self.good if run.datagrams is not None]

    @property
    def complaint(self) -> str:
        """What the first run that failed said; "" if none failed."""
        for run in self.runs:
            if not run.succeeded(self.contest.action):
                code = "was killed" if run.code is None else f"ended with {run.code}"
                return f"{code}, chassis {' '.join(run.chassis)}: {run.said or '(silent)'}"
        return ""
