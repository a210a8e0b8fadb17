# SPDX-License-Identifier: GPL-2.0-or-later
"""What happened after a fault, as a table: seconds after the fault, and what it was."""

from __future__ import annotations

from typing import List, NamedTuple, Optional, Sequence

from failover.faults import Fault
from failover.mail import Receipt

NOTICEABLE = 1.0
"""Seconds without an acknowledged mail, from which on mail is said to have stopped."""

ROLES = {"missed": "detected", "lost": "detected", "found": "detected", "fenced": "fenced",
         "started": "restart"}
"""Kind of a happening -> what the column before it calls it; only the first of each is marked."""


class Pause(NamedTuple):
    """A time in which no mail was acknowledged."""

    begin: float        # the last acknowledgement before it, or the fault where that is later
    end: float          # the first one after it

    def length(self) -> float:
        """Return how long it took, in seconds."""
        return self.end - self.begin


def longest_pause(receipts: Sequence[Receipt], begin: float, end: float) -> Optional[Pause]:
    """Return the longest pause between two moments, with its end allowed to lie after them.

    None if no mail was acknowledged after `begin` at all.
    """
    times = [receipt.when for receipt in receipts if receipt.when >= begin]
    pauses = [Pause(earlier, later) for earlier, later in zip([begin, *times], times)
              if earlier <= end]
    return max(pauses, key=Pause.length) if pauses else None


def render(fault: Fault, deliveries: Sequence[Sequence[Receipt]]) -> List[str]:
    """Return the timeline of a fault as lines of text.

    deliveries: the receipts of each postman; the one who waited longest counts.
    """
    rows = [(0.0, "fault", fault.what)]
    marked = set()
    for each in fault.happenings:
        role = ROLES.get(each.kind, "")
        rows.append((each.when - fault.when, "" if role in marked else role, each.text))
        marked.add(role)
    pauses = [longest_pause(receipts, fault.when, fault.ended) for receipts in deliveries]
    pause = max((each for each in pauses if each), key=Pause.length, default=None)
    if pause is None or None in pauses:
        rows.append((fault.ended - fault.when, "mail", "no mail was accepted any more"))
    elif pause.length() < NOTICEABLE:
        rows.append((fault.ended - fault.when, "mail", "mail never stopped"))
    else:
        rows.append((pause.end - fault.when, "mail",
                     f"first mail accepted again, after {pause.length():.1f} s without"))
    return [fault.title, *(f"  {seconds:7.1f} s  {role:<8}  {text}"
                           for seconds, role, text in sorted(rows, key=lambda row: row[0]))]
