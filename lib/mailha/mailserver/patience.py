# SPDX-License-Identifier: GPL-2.0-or-later
"""How long one question about this node may take."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from mailha.ocf import Call

# Seconds that a disk or a package database may take for one answer, and which part of the budget.
LONGEST = 20.0
SHARE = 0.15


def share(call: Call) -> float:
    """Return how many seconds one question may take."""
    return max(1.0, min(LONGEST, call.left() * SHARE))
