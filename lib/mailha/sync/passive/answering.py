# SPDX-License-Identifier: GPL-2.0-or-later
"""What a receiver tells about its node: digests, the inventory, kept copies and their contents."""

from __future__ import annotations

import os
import stat
from typing import Any, Callable, Iterator, Union

from mailha import errors
from mailha.sync.connection import wire
from mailha.sync.files.beneath import Beneath
from mailha.sync.files.entry import LARGEST_FILE, Entry, check_path
from mailha.sync.files.scanning import Absent, Scan, Scanner
from mailha.sync.files.selection import Selection
from mailha.sync.manifest import Manifest
from mailha.sync.passive import judging, placing
from mailha.sync.passive.kept import Copy, Kept
from mailha.sync.places import Places
from mailha.sync.state import State, locked
from mailha.sync.trouble import ProtocolError
from mailha.system.machine import Machine

MOST_COPIES = 10000
"""Kept copies in one answer, the newest."""

Part = Union["dict[str, Any]", bytes]
Answer = Callable[["dict[str, Any]", bool], Iterator[Part]]


class Answers:
    """Answers questions that change nothing. kinds: the answer by the question's type.

    An answer is called with the question and whether a sender asks, and gives messages and data.
    """

    def __init__(self, machine: Machine, places: Places, selection: Selection, state: State,
                 manifest: Manifest, copies: Kept) -> None:
        self._machine = machine
        self._places = places
        self._state = state
        self._manifest = manifest
        self._kept = copies
        self._selection = selection
        self._scanner = Scanner(machine, selection)
        self.kinds: dict[str, Answer] = {"digest": self._digest, "inventory": self._inventory,
                                         "kept": self._copies, "fetch": self._fetch}

    def _digest(self, question: dict[str, Any], sender: bool) -> Iterator[Part]:
        """Give one digest of everything that is not in "without"."""
        without = _paths(question.get("without", []))
        scan = self._scanner.scan()
        yield {"type": "digest", "digest": scan.digest(without),
               "count": len(scan.entries.keys() - without), "unstable": len(scan.unstable),
               **self._counts()}

    def _inventory(self, question: dict[str, Any], sender: bool) -> Iterator[Part]:
        """Give every entry and how it stands to what was agreed on."""
        scan = self._scanner.scan()
        if sender:
            self._sweep(scan)
        entries = sorted(scan.entries.values(), key=lambda entry: entry.path)
        parts = [entries[start:start + wire.INVENTORY_PART]
                 for start in range(0, len(entries), wire.INVENTORY_PART)] or [[]]
        for number, part in enumerate(parts, 1):
            message: dict[str, Any] = {
                "type": "inventory", "entries": [self._described(entry) for entry in part],
                "more": number < len(parts)}
            if number == len(parts):
                message.update(left_out=scan.left_out, unstable=scan.unstable, **self._counts())
            yield message

    def _described(self, entry: Entry) -> dict[str, Any]:
        return {**entry.to_message(), "known": judging.standing(
            self._manifest, self._state, entry.path, entry.fingerprint)}

    def _sweep(self, scan: Scan) -> None:
        """Remove what a receiver that was killed has left.

        Such files are made and renamed under the lock, so whoever holds it finds only leftovers.
        """
        found = [path for path in scan.left_out if placing.is_temporary(os.path.basename(path))]
        if not found:
            return
        with locked(self._machine, self._places, 5.0), Beneath(self._machine.root) as beneath:
            for path in found:
                try:
                    parent, name = beneath.parent(path)
                    if not stat.S_ISDIR(os.lstat(name, dir_fd=parent).st_mode):
                        os.unlink(name, dir_fd=parent)
                    del scan.left_out[path]
                except (OSError, errors.Failed):
                    continue            # the inventory names it

    def _copies(self, question: dict[str, Any], sender: bool) -> Iterator[Part]:
        """Give the kept copies of a path, or all."""
        path = question.get("path", "")
        copies = self._kept.listing(check_path(path) if path else "")
        for start in range(0, max(1, min(len(copies), MOST_COPIES)), wire.INVENTORY_PART):
            part = copies[start:start + wire.INVENTORY_PART]
            yield {"type": "kept", "copies": [copy._asdict() for copy in part],
                   "more": start + len(part) < min(len(copies), MOST_COPIES)}

    def _fetch(self, question: dict[str, Any], sender: bool) -> Iterator[Part]:
        """Give a path as it is, or a kept copy of it with its content."""
        path = check_path(question.get("path"))
        place = question.get("copy", "")
        if not place:
            found, content = self._scanner.read(path)
        else:
            copies = [copy for copy in self._kept.listing(path) if copy.place == place]
            if not copies:
                raise ProtocolError(f"there is no such copy of {path}")
            found, content = self._kept_copy(copies[0])
        if isinstance(found, Absent):
            yield {"type": "content", "path": path, "entry": None, "reason": found.reason,
                   "length": 0}
            return
        yield {"type": "content", "path": path, "entry": found.to_message(),
               "length": len(content)}
        yield content

    def _kept_copy(self, copy: Copy) -> tuple[Entry | Absent, bytes]:
        """Return a copy as an entry of the path that it is of, and its content."""
        if copy.size > LARGEST_FILE:
            return Absent(copy.path, "it is too large"), b""
        scanner = Scanner(self._machine, Selection([], [copy.place], anywhere=True))
        found, content = scanner.read(copy.place)
        if isinstance(found, Entry):
            found.path = copy.path
        return found, content

    def _counts(self) -> dict[str, int]:
        counts = self._kept.counts()
        return {"conflicts": counts["conflict"], "unsent": counts["unsent"]}


def _paths(value: Any) -> frozenset[str]:
    if not isinstance(value, list) or not all(isinstance(path, str) for path in value):
        raise ProtocolError("what is to be left out is no list of paths")
    return frozenset(value)
