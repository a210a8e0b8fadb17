# SPDX-License-Identifier: GPL-2.0-or-later
"""A batch as it is handed over: what is to change, and what became of it."""

from __future__ import annotations

from mailha.sync.files.entry import Entry
from mailha.sync.passive.judging import Problem
from mailha.sync.passive.spool import Content


class Change:
    """What is to become of a path: an entry, with a file's content; or, without, nothing."""

    __slots__ = ("path", "entry", "content")

    def __init__(self, path: str, entry: Entry | None = None, content: Content | None = None
                 ) -> None:
        self.path = path
        self.entry = entry
        self.content = content


class Result:
    """What became of a batch.

    applied: the fingerprint by path, None for what was deleted. problems: changes that were not
    made. conflicts, unsent: where copies lie of what was changed here, or never sent, by path.
    """

    def __init__(self) -> None:
        self.applied: dict[str, str | None] = {}
        self.problems: list[Problem] = []
        self.conflicts: dict[str, str] = {}
        self.unsent: dict[str, str] = {}
