# SPDX-License-Identifier: GPL-2.0-or-later
"""Which of the kept copies go, so that they never fill the disk of a node in years.

Ten of each path stay in any case of that path's own changes (mailha.sync.passive.kept); but a
script that makes files with new names each day makes paths without end. So there is a limit for all
copies together: the oldest go first. What somebody still has to look at never goes by itself, and
neither does what is younger than SAFE_DAYS: if there is too much of that, it is said.
"""

from __future__ import annotations

import time
from typing import Iterable, NamedTuple

from mailha.sync.passive.kept import OPEN, Copy

MOST_BYTES = 1 << 30
MOST_COPIES = 20000
LONGEST_DAYS = 366
SAFE_DAYS = 14

MOST_AT_ONCE = 1000
"""Copies that go at a time. A clock that is a year ahead for an hour must not cost all of them."""

INTERVAL = 3600.0
"""Seconds between two looks at all copies."""

FIRST = 60.0
"""Seconds after the begin of a connection until the first look: it has more urgent things to do."""

RULE = (f"Of each path the newest ten are kept; of all together {MOST_COPIES} copies or "
        f"{MOST_BYTES >> 20} MiB, for {LONGEST_DAYS} days. What is younger than {SAFE_DAYS} days, "
        "or waits for somebody to look at it, is never removed for that.")


class Surplus(NamedTuple):
    """gone: the copies that go, the oldest first. complaint: why that is not enough, or ""."""

    gone: list[Copy]
    complaint: str


def surplus(copies: Iterable[Copy], now: float) -> Surplus:
    """Return what is too much. now: seconds since 1970."""
    everything = sorted(copies, key=lambda copy: copy.when)
    number, size = len(everything), sum(copy.size for copy in everything)
    oldest, safe = _moment(now, LONGEST_DAYS), _moment(now, SAFE_DAYS)
    gone: list[Copy] = []
    for copy in everything:
        if copy.when >= safe or len(gone) >= MOST_AT_ONCE:
            break
        if copy.why not in OPEN and (copy.when < oldest or number > MOST_COPIES
                                     or size > MOST_BYTES):
            gone.append(copy)
            number, size = number - 1, size - copy.size
    complaint = ""
    if (number > MOST_COPIES or size > MOST_BYTES) and len(gone) < MOST_AT_ONCE:
        complaint = (f"{number} copies of {size >> 20} MiB are kept, more than {MOST_COPIES} or "
                     f"{MOST_BYTES >> 20} MiB, and all are younger than {SAFE_DAYS} days or not "
                     "seen yet; 'mailha sync kept' there lists them, --seen settles them")
    return Surplus(gone, complaint)


def _moment(now: float, days: int) -> str:
    return time.strftime("%Y%m%dT%H%M%S", time.gmtime(now - days * 86400))
