# SPDX-License-Identifier: GPL-2.0-or-later
"""What the power of a laboratory's nodes remembers."""

from __future__ import annotations

from typing import Dict, List, Tuple

from twonode.lab import Lab


def orders(lab: Lab, node: str, since: float) -> List[Tuple[str, str]]:
    """Return who did what to a node's power since a moment, without the readings.

    An order that somebody gives again is told once: IPMI is datagrams, and who has no answer within
    a third of a second, as on a busy machine, sends his again.
    """
    found: List[Tuple[str, str]] = []
    latest: Dict[str, str] = {}
    for entry in lab.chassis_log(node, since):
        if not entry.what.startswith("read") and latest.get(entry.who) != entry.what:
            latest[entry.who] = entry.what
            found.append((entry.who, entry.what))
    return found
