# SPDX-License-Identifier: GPL-2.0-or-later
"""One takeover as seconds after the fault, and what several of them come to."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Dict, List, Optional, Sequence

from failover.record import Happening
from twonode.chassislog import POWER, Entry

from takeovercost.contestants import Contestant

LOST = "lost"
OFF = "off"
FENCED = "fenced"
MOUNTED = "mounted"
ADDRESS = "address"

STEPS: Dict[str, str] = {
    LOST: "the other node is lost", OFF: "its power is off", FENCED: "fencing is done",
    MOUNTED: "disk mounted", ADDRESS: "address"}
"""What is measured -> what the table calls it. The first resource that starts is the disk."""


class Incomplete(Exception):
    """A takeover that did not go as it should; the text says what is missing or too much."""


@dataclass(frozen=True)
class Takeover:
    """One takeover.

    seconds: after the fault, by STEPS; "off" is what the power itself says, the others are of the
    survivor's log.
    """

    victim: str
    seconds: Dict[str, float]


@dataclass
class Measured:
    """All takeovers with one contestant."""

    contestant: Contestant
    takeovers: List[Takeover] = field(default_factory=list)

    def seconds(self, step: str) -> List[float]:
        """Return the seconds until one of STEPS, one figure a takeover."""
        return [each.seconds[step] for each in self.takeovers]


def takeover(victim: str, fault: float, happenings: Sequence[Happening],
             chassis: Sequence[Entry], disk: str, address: str) -> Optional[Takeover]:
    """Return what the survivor's log and the chassis log of the victim say; None until all is told.

    fault: when it was; seconds since the epoch.
    disk, address: the resources that move, in this order.
    Raises Incomplete where the victim was not switched off exactly once, by its controller, before
    the disk was mounted: a figure of such a run would be none of a takeover.
    """
    moments = {LOST: _first(happenings, "lost", victim),
               FENCED: _first(happenings, "fenced", victim),
               MOUNTED: _first(happenings, "started", disk),
               ADDRESS: _first(happenings, "started", address)}
    off = [entry.when for entry in chassis if (entry.who, entry.what) == (POWER, "off")]
    if None in moments.values() or not off:
        return None
    if len(off) != 1:
        raise Incomplete(f"{victim} was off {len(off)} times")
    told = {OFF: off[0], **{step: when for step, when in moments.items() if when is not None}}
    if not fault < told[OFF] < told[MOUNTED]:
        raise Incomplete(f"{victim} was off {told[OFF] - fault:.3f} s after the fault, and its "
                         f"disk mounted {told[MOUNTED] - fault:.3f} s after it")
    return Takeover(victim, {step: told[step] - fault for step in STEPS})


def _first(happenings: Sequence[Happening], kind: str, subject: str) -> Optional[float]:
    """Return when the first thing of a kind happened to a node or a resource."""
    return next((each.when for each in happenings
                 if (each.kind, each.subject) == (kind, subject)), None)
