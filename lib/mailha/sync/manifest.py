# SPDX-License-Identifier: GPL-2.0-or-later
"""What two nodes have agreed on: of each path that was ever replicated, its fingerprint.

It answers three questions. May this be deleted: only what was once replicated. Was this changed
here behind the sender's back: it is neither what was agreed on nor what was about to be. And, on
a node that comes back, what had it not sent.

It is a log to which each batch adds a line before it changes anything ("pending") and one after it
("agreed"), so a kill or a power cut at any moment leaves either the old or the new as known. Each
line has a checksum; a line that is torn is left out, which can only make the answers more careful.
"""

from __future__ import annotations

import json
import os
import zlib
from typing import Any, Iterable, Mapping

from mailha import errors
from mailha.sync.places import Places
from mailha.system.files import failure
from mailha.system.machine import Machine

FORMAT = 1
LARGEST = 1 << 30
RECENT = 60.0
"""Seconds for which deletions are remembered, to count them."""

_MOST_PENDING = 4
_NOTHING = "-"
"""Stands for a fingerprint that nothing has."""
_WORTH_COMPACTING = 1 << 20


class Manifest:
    """The paths that were replicated, with every fingerprint that each of them may rightly have.

    hooks: commands that are due after what was applied and have not been run.
    """

    def __init__(self, machine: Machine, places: Places) -> None:
        self._machine = machine
        self._path = places.manifest
        self._known: dict[str, tuple[str, ...]] = {}
        self._deleted: list[float] = []
        self._file = -1
        self._seen = (0, 0)
        self.hooks: set[str] = set()

    @classmethod
    def load(cls, machine: Machine, places: Places) -> Manifest:
        """Return the manifest, an empty one if there is none. Raises errors.Failed."""
        manifest = cls(machine, places)
        manifest.refresh()
        return manifest

    def __len__(self) -> int:
        return len(self._known)

    def __contains__(self, path: str) -> bool:
        """Tell whether the path was replicated and, as far as is known, not deleted since."""
        return path in self._known

    def fingerprints(self, path: str) -> tuple[str, ...]:
        """Return the fingerprints that a path may rightly have; none if it was not replicated."""
        return self._known.get(path, ())

    def paths(self) -> Iterable[str]:
        """Return all paths that were replicated."""
        return self._known.keys()

    def recently_deleted(self) -> int:
        """Return how many paths were deleted within the last RECENT seconds."""
        now = self._machine.clock.wall()
        self._deleted = [moment for moment in self._deleted
                         if now - RECENT < moment < now + RECENT]      # the clock may be set back
        return len(self._deleted)

    def refresh(self) -> None:
        """Read it again if another process has written to it. Raises errors.Failed."""
        try:
            found = os.stat(self._machine.root + self._path)
        except FileNotFoundError:
            if self._seen != (0, 0):
                self._forget()
            return
        except OSError as error:
            raise failure("read", self._path, error) from None
        if (found.st_ino, found.st_size) == self._seen:
            return
        try:
            content = self._machine.files.read(self._path, LARGEST)
        except OSError as error:
            raise failure("read", self._path, error) from None
        self._forget()
        for line in content.split(b"\n"):
            record = _parse(line)
            if record is not None:
                self._take(record)
        self._seen = (found.st_ino, len(content))

    def pending(self, coming: Mapping[str, str | None], hooks: Iterable[str] = (),
                before: Mapping[str, str] | None = None) -> None:
        """Note what is about to be applied, None for what is about to be deleted.

        hooks: commands that are due then. before: what is still there and was never replicated;
        after a kill it must not look like a change to what comes now. The lock has to be held.
        Raises errors.Failed; nothing may be changed then.
        """
        self._append({"before": dict(before or {}), "pending": dict(coming),
                      "hooks": sorted(set(hooks))})

    def agree(self, agreed: Mapping[str, str | None], *, counted: bool = True) -> None:
        """Note what is now equal on both nodes, None for what is gone from both.

        counted: whether deletions count among the recent ones. The lock has to be held. Raises
        errors.Failed.
        """
        if agreed:
            moment = self._machine.clock.wall() if counted else 0.0
            self._append({"agreed": dict(agreed), "time": moment})
            self.compact()

    def deleting(self, paths: Iterable[str]) -> None:
        """Note, on the sender, what a peer is about to be told to delete.

        Whether it has done so may never be known here. What is at such a path after that came
        after it, be it the same as before: it was moved away and back, and never sent. The lock has
        to be held. Raises errors.Failed.
        """
        known = sorted(path for path in paths if path in self._known)
        if known:
            self._append({"deleting": known})

    def done(self, hooks: Iterable[str]) -> None:
        """Note that commands were run. The lock has to be held. Raises errors.Failed."""
        self._append({"done": sorted(set(hooks))})

    def descriptors(self) -> list[int]:
        """Return what has to be synchronised for what was noted to survive a power cut."""
        return [self._file] if self._file >= 0 else []

    def sync(self) -> None:
        """Let what was noted survive a power cut from here on. Raises errors.Failed."""
        for descriptor in self.descriptors():
            try:
                os.fsync(descriptor)
            except OSError as error:
                raise failure("write", self._path, error) from None

    def close(self) -> None:
        """Close the file; what is noted afterwards opens it again."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1

    def compact(self) -> None:
        """Write it anew if it is mostly history. The lock has to be held. Raises errors.Failed."""
        if self._seen[1] < _WORTH_COMPACTING or self._seen[1] < 1000 * len(self._known):
            return
        known = {path: fingerprints[-1] for path, fingerprints in self._known.items()
                 if len(fingerprints) == 1}
        uncertain = [{"pending": {path: fingerprint}} for path, fingerprints in self._known.items()
                     if len(fingerprints) > 1 for fingerprint in fingerprints]
        records: list[dict[str, Any]] = [{"format": FORMAT}, {"agreed": known}, *uncertain,
                                         {"hooks": sorted(self.hooks), "deleted": self._deleted}]
        self._machine.files.write_atomic(self._path, b"".join(map(_line, records)), 0o600)
        self.refresh()

    def _append(self, record: dict[str, Any]) -> None:
        path = self._machine.root + self._path
        try:
            if self._file < 0:
                self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW
                                     | os.O_CLOEXEC, 0o600)
            found = os.fstat(self._file)
            lines = _line(record)
            if found.st_size == 0:
                lines = _line({"format": FORMAT}) + lines
            elif os.pread(self._file, 1, found.st_size - 1) != b"\n":
                lines = b"\n" + lines           # a line that was torn ends here
            view = memoryview(lines)
            while view:
                view = view[os.write(self._file, view):]
        except OSError as error:
            raise failure("write", self._path, error) from None
        self._take(record)
        self._seen = (found.st_ino, found.st_size + len(lines))

    def _forget(self) -> None:
        self.close()
        self._known, self._deleted, self._seen = {}, [], (0, 0)
        self.hooks = set()

    def _take(self, record: dict[str, Any]) -> None:
        form = record.get("format", FORMAT)
        if form != FORMAT:
            raise errors.Failed(f"{self._path} has the format {form}, and this release writes "
                                f"{FORMAT}", remedy="upgrade mailha on this node")
        for path, fingerprint in (*record.get("before", {}).items(),
                                  *record.get("pending", {}).items()):
            # What is about to be deleted may still be there, so it keeps what it had.
            if fingerprint is not None:
                known = tuple(one for one in self._known.get(path, ()) if one != fingerprint)
                self._known[path] = (*known, fingerprint)[-_MOST_PENDING:]
        for path in record.get("deleting", ()):
            if path in self._known:
                self._known[path] = (_NOTHING,)
        self.hooks |= set(record.get("hooks", ()))
        self._deleted += record.get("deleted", ())
        for path, fingerprint in record.get("agreed", {}).items():
            if fingerprint is not None:
                self._known[path] = (fingerprint,)
            elif self._known.pop(path, None):
                self._deleted.append(record.get("time", 0.0))
        self.hooks -= set(record.get("done", ()))


def _line(record: Mapping[str, Any]) -> bytes:
    body = json.dumps(record, separators=(",", ":")).encode("ascii")
    return b"%08x %s\n" % (zlib.crc32(body), body)


def _parse(line: bytes) -> dict[str, Any] | None:
    """Return what a line says, None for a torn one."""
    if len(line) < 11 or line[8:9] != b" ":
        return None
    try:
        if int(line[:8], 16) != zlib.crc32(line[9:]):
            return None
        record = json.loads(line[9:])
    except ValueError:
        return None
    return record if isinstance(record, dict) else None
