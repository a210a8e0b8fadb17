# SPDX-License-Identifier: GPL-2.0-or-later
"""What a comparison of both sides finds: what the receiver has, and in what it differs."""

from __future__ import annotations

from mailha.sync.files.entry import Entry

DIFFERS, ONLY_HERE, ONLY_THERE = "differs", "only here", "only there"


class Difference:
    """A path that is not the same on both sides.

    why: DIFFERS, ONLY_HERE or ONLY_THERE. known: what the receiver says of it: "agreed", "changed"
    (on that side, since it was agreed on), "unsent", "foreign" (never replicated), "" for nothing.
    """

    __slots__ = ("path", "why", "known")

    def __init__(self, path: str, why: str, known: str = "") -> None:
        self.path = path
        self.why = why
        self.known = known


class Inventory:
    """What the receiver has. known: by path, see Difference. left_out: what it does not take."""

    def __init__(self) -> None:
        self.entries: dict[str, Entry] = {}
        self.known: dict[str, str] = {}
        self.left_out: dict[str, str] = {}
