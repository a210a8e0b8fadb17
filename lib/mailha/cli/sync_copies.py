# SPDX-License-Identifier: GPL-2.0-or-later
"""Kept copies for the administrator: those of this node and of a peer, and bringing one back."""

from __future__ import annotations

import hashlib
import os
from contextlib import contextmanager
from typing import Any, Iterator, Protocol

from mailha import errors
from mailha.sync.active.exchange import ANSWER, APPLYING
from mailha.sync.connection.channel import Channel
from mailha.sync.connection.peers import Peer
from mailha.sync.files.beneath import Beneath
from mailha.sync.files.entry import FILE, SYMLINK, Entry
from mailha.sync.files.owners import Owners
from mailha.sync.files.scanning import Absent, Scanner
from mailha.sync.files.selection import Selection
from mailha.sync.passive import placing
from mailha.sync.passive.kept import REPLACED, Copy, Kept
from mailha.sync.passive.spool import Content
from mailha.sync.places import Places
from mailha.sync.state import locked
from mailha.sync.trouble import ProtocolError
from mailha.system.files import failure
from mailha.system.machine import Machine

LOCK_TIMEOUT = 15.0


class Source(Protocol):
    """Where kept copies are."""

    def listing(self, path: str) -> list[Copy]:
        """Return the copies of a path, of everything without one, the newest first."""

    def read(self, copy: Copy) -> tuple[Entry, bytes]:
        """Return a copy as an entry of the path that it is of, and its content."""


class Here:
    """The copies of a resource on this node. All methods raise errors.Failed."""

    def __init__(self, machine: Machine, places: Places) -> None:
        self._machine = machine
        self._places = places
        self._kept = Kept(machine, places)

    def listing(self, path: str) -> list[Copy]:
        """Return the copies of a path, of everything without one, the newest first."""
        return self._kept.listing(path)

    def read(self, copy: Copy) -> tuple[Entry, bytes]:
        """Return a copy as an entry of the path that it is of, and its content."""
        scanner = Scanner(self._machine, Selection([], [copy.place], anywhere=True))
        found, content = scanner.read(copy.place)
        if isinstance(found, Absent):
            raise errors.Failed(f"cannot read {copy.place}: {found.reason}")
        found.path = copy.path
        return found, content

    def seen(self, copies: list[Copy]) -> None:
        """Note that somebody has looked at copies that wait for it."""
        with locked(self._machine, self._places, LOCK_TIMEOUT):
            for copy in copies:
                self._kept.seen(copy)


class There:
    """The copies of a resource on a peer, over a connection of its own."""

    def __init__(self, channel: Channel) -> None:
        self._stream = channel.stream

    def listing(self, path: str) -> list[Copy]:
        """Return the copies of a path, of everything without one, the newest first."""
        self._stream.send({"type": "kept", "path": path})
        self._stream.flush(ANSWER)
        found: list[Copy] = []
        while True:
            message = self._answer("kept")
            for each in message.get("copies", ()):
                found.append(Copy(str(each["path"]), str(each["when"]), str(each["why"]),
                                  str(each["place"]), int(each["size"])))
            if not message.get("more"):
                return found

    def read(self, copy: Copy) -> tuple[Entry, bytes]:
        """Return a copy as an entry of the path that it is of, and its content."""
        return self.fetch(copy.path, copy.place)

    def fetch(self, path: str, place: str = "") -> tuple[Entry, bytes]:
        """Return the same of a copy, or of the path itself without one."""
        self._stream.send({"type": "fetch", "path": path, "copy": place})
        self._stream.flush(ANSWER)
        message = self._answer("content")
        if message.get("entry") is None:
            raise errors.Failed(f"the other node has no {path}: {message.get('reason')}")
        entry = Entry.from_message(message["entry"])
        length = message.get("length")
        # It is going to be written by root: the peer says what was in the file, and not in which.
        if entry.path != path or length != (entry.size if entry.kind == FILE else 0):
            raise ProtocolError(f"the other node answers with {entry.path} where {path} was due")
        content = self._stream.content(length, APPLYING)
        if entry.kind == FILE and hashlib.sha256(content).hexdigest() != entry.digest:
            raise ProtocolError(f"the content of {path} is not the one that was announced")
        return entry, content

    def _answer(self, wanted: str) -> dict[str, Any]:
        message = self._stream.message(APPLYING)
        if message["type"] != wanted:
            raise ProtocolError(str(message.get("reason") or
                                    f"the other node answers {message['type']!r}"))
        return message


@contextmanager
def reading(peer: Peer, resource: str, node: str, selection: Selection) -> Iterator[Channel]:
    """Have a connection that only reads. node: this one's name. Raises errors.Failed."""
    channel = Channel(peer)
    try:
        channel.open({"resource": resource, "role": "reader", "generation": 0, "node": node,
                      "selection": selection.to_message(), "patterns": [], "packages": {}})
        yield channel
    finally:
        channel.close()


def bring_back(machine: Machine, places: Places, entry: Entry, content: bytes) -> str:
    """Put a file or link into its place, durably; keep what is there now and return the copy.

    The copy is "" if nothing was there. Raises errors.Failed.
    """
    owners = Owners(machine)
    owners.refresh()
    with locked(machine, places, LOCK_TIMEOUT), Beneath(machine.root) as beneath:
        parent, name = beneath.parent(entry.path)
        kept = ""
        if _is_there(parent, name):
            kept = Kept(machine, places).keep(parent, name, entry.path, REPLACED)
        temporary = placing.temporary_name()
        try:
            _make(parent, temporary, entry, content, owners)
            os.rename(temporary, name, src_dir_fd=parent, dst_dir_fd=parent)
            os.fsync(parent)
        except OSError as error:
            raise failure("restore", entry.path, error) from None
    return kept


def write_to(path: str, content: bytes) -> None:
    """Write a copy somewhere else, for root alone. Raises errors.Failed."""
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
    except OSError as error:
        raise failure("write", path, error) from None


def _make(parent: int, name: str, entry: Entry, content: bytes, owners: Owners) -> None:
    if entry.kind == FILE:
        descriptor = placing.make_file(parent, name, entry, Content([content]), owners)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    elif entry.kind == SYMLINK:
        placing.make_link(parent, name, entry, owners)
    else:
        raise errors.Failed(f"{entry.path} is no file and no link")


def _is_there(parent: int, name: str) -> bool:
    try:
        os.lstat(name, dir_fd=parent)
    except FileNotFoundError:
        return False
    return True
