# SPDX-License-Identifier: GPL-2.0-or-later
"""From what lies in the selected directories to entries, each read so that it is of one piece.

A file that changes while it is read is read again. Its content is always read: two writes of the
same length within a second leave a time and a size that tell nothing (rsync loses the second one).
Sockets, FIFOs and devices are left out, and so is what is mounted below: a mounted directory is not
this node's configuration, and may be a dead server's.
"""

from __future__ import annotations

import errno
import hashlib
import os
import stat
from typing import Callable, Collection, Iterable, Mapping, Union

from mailha import errors
from mailha.sync.files import attributes
from mailha.sync.files.beneath import Beneath, NoParent, NotADirectory
from mailha.sync.files.entry import DIRECTORY, FILE, LARGEST_FILE, LONGEST_PATH, SYMLINK, Entry
from mailha.sync.files.identity import Identity
from mailha.sync.files.links import Links
from mailha.sync.files.mounts import MOUNTED, mount_points
from mailha.sync.files.owners import Owners
from mailha.sync.files.selection import NOT_SELECTED, Selection
from mailha.system.machine import Machine

ATTEMPTS = 3
"""How often a file that changes is read before it is left for the next time."""

_PIECE = 1 << 20
_OPEN = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY
_KINDS = {stat.S_IFSOCK: "a socket", stat.S_IFIFO: "a FIFO", stat.S_IFBLK: "a device",
          stat.S_IFCHR: "a device"}


class Absent:
    """A path of which there is no entry, and why."""

    def __init__(self, path: str, reason: str) -> None:
        self.path = path
        self.reason = reason

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.path}: {self.reason}>"


class Gone(Absent):
    """Nothing is there."""


class LeftOut(Absent):
    """Something is there that is not replicated."""


class Withheld(Absent):
    """A file is there that holds this node's own name or address."""


class Unstable(Absent):
    """Something is there that cannot be read, or not in one piece; nothing is known about it."""


Found = Union[Entry, Absent]


class Scan:
    """What a scan found.

    entries, withheld, left_out, unstable: by path; the last three with the reason. roots: of each
    root its device, its inode and the number of entries in it; a root that is not there is missing.
    """

    def __init__(self) -> None:
        self.entries: dict[str, Entry] = {}
        self.withheld: dict[str, str] = {}
        self.left_out: dict[str, str] = {}
        self.unstable: dict[str, str] = {}
        self.roots: dict[str, tuple[int, int, int]] = {}

    def unknown(self, path: str) -> bool:
        """Tell whether it is unknown what is at a path: it, or what it lies in, is unstable."""
        while path:
            if path in self.unstable:
                return True
            path = path.rpartition("/")[0]
        return False

    def add(self, found: Found) -> None:
        """Take in what is known of a path, in the place of what was known before."""
        for known in (self.entries, self.withheld, self.left_out, self.unstable):
            known.pop(found.path, None)         # type: ignore[attr-defined]
        if isinstance(found, Entry):
            self.entries[found.path] = found
        elif isinstance(found, Withheld):
            self.withheld[found.path] = found.reason
        elif isinstance(found, Unstable):
            self.unstable[found.path] = found.reason
        elif isinstance(found, LeftOut):
            self.left_out[found.path] = found.reason

    def digest(self, without: Collection[str] = ()) -> str:
        """Return one digest of all entries; equal on both sides means identical."""
        return digest({path: entry.fingerprint for path, entry in self.entries.items()}, without)


def digest(fingerprints: Mapping[str, str], without: Collection[str] = ()) -> str:
    """Return one digest of many fingerprints by path."""
    whole = hashlib.sha256()
    left_out = frozenset(without)
    for path in sorted(fingerprints):
        if path not in left_out:
            whole.update(f"{path}\0{fingerprints[path]}\0".encode("utf-8", "surrogateescape"))
    return whole.hexdigest()


class Scanner:
    """Reads what is selected.

    identity: withhold files that hold it; None on the receiver, whose files are only compared.
    written: tells of a path whether somebody has it open for writing; such a file is unstable.
    links: is told of files with several names.
    """

    def __init__(self, machine: Machine, selection: Selection, identity: Identity | None = None,
                 written: Callable[[str], bool] | None = None, links: Links | None = None) -> None:
        self._machine = machine
        self._selection = selection
        self._identity = identity
        self._written = written
        self._links = links
        self._owners = Owners(machine)

    def scan(self) -> Scan:
        """Return everything. Raises errors.Failed if the machine itself cannot be looked at."""
        scan = Scan()
        mounted = mount_points(self._machine)
        with self.beneath() as beneath:
            for root in self._selection.roots:
                try:
                    parent, name = beneath.parent(root)
                    self._walk(scan, parent, name, root, mounted - {root})
                    found = os.lstat(name, dir_fd=parent)
                except (NoParent, FileNotFoundError):
                    continue
                except NotADirectory as error:
                    scan.add(Unstable(root, str(error)))
                    continue
                except OSError as error:
                    scan.add(Unstable(root, error.strerror or "it cannot be read"))
                    continue
                inside = root + "/"
                scan.roots[root] = (found.st_dev, found.st_ino,
                                    sum(1 for path in scan.entries if path.startswith(inside)))
            for path in self._selection.files:
                if path not in scan.entries:
                    scan.add(self.look_beneath(beneath, path))
        return scan

    def look(self, path: str) -> Found:
        """Return what is at one path now. Raises errors.Failed as scan() does."""
        with self.beneath() as beneath:
            return self.look_beneath(beneath, path)

    def read(self, path: str) -> tuple[Found, bytes]:
        """Return what is at one path now, and the content that its digest is of.

        Raises errors.Failed as scan() does.
        """
        with self.beneath() as beneath:
            return self.read_beneath(beneath, path)

    def beneath(self) -> Beneath:
        """Return what opens directories for many looks, and see whose the files are from now on.

        It is the caller's to close. Raises errors.Failed as scan() does.
        """
        self._owners.refresh()
        return Beneath(self._machine.root)

    def read_beneath(self, beneath: Beneath, path: str) -> tuple[Found, bytes]:
        """Do what read() does, with directories that are open already."""
        content: list[bytes] = []
        found = self.look_beneath(beneath, path, content)
        return found, b"".join(content)

    def missing(self, paths: Iterable[str]) -> list[str]:
        """Return those paths at which there seems to be nothing; a look at each tells for sure."""
        return [path for path in paths if not os.path.lexists(self._machine.root + path)]

    def walk(self, path: str) -> Scan:
        """Return everything at and below one path, such as a directory that has just been made."""
        scan = Scan()
        with self.beneath() as beneath:
            try:
                parent, name = beneath.parent(path)
                self._walk(scan, parent, name, path, mount_points(self._machine))
            except (NoParent, NotADirectory):
                pass
        return scan

    def look_beneath(self, beneath: Beneath, path: str, content: list[bytes] | None = None
                     ) -> Found:
        """Do what look() does, with directories that are open already. content: it is added."""
        try:
            parent, name = beneath.parent(path)
        except NoParent as error:
            return Gone(path, error.reason)
        except NotADirectory as error:
            # Where the link is replicated, what was in the directory before is gone. But a link
            # above all that is (/var/lib moved to a larger disk) says nothing about what is below.
            reason = self._selection.why_not(error.path, link=True)
            if reason == NOT_SELECTED:
                return Unstable(path, error.reason)
            return LeftOut(path, reason) if reason else Gone(path, error.reason)
        except errors.Failed as error:
            return Unstable(path, error.reason)
        return self._entry(parent, name, path, content)

    def _walk(self, scan: Scan, parent: int, name: str, path: str, mounted: frozenset[str]
              ) -> None:
        """Take in a path and all below it."""
        if path in mounted:
            scan.add(LeftOut(path, MOUNTED))
            return
        found = self._entry(parent, name, path, None)
        scan.add(found)
        if isinstance(found, Entry):
            if found.kind != DIRECTORY:
                return
        elif not (isinstance(found, LeftOut) and self._selection.leads_on(path)):
            return
        try:
            descriptor = os.open(name, _OPEN | os.O_DIRECTORY, dir_fd=parent)
        except OSError as error:
            if error.errno not in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP):
                scan.add(Unstable(path, error.strerror or "it cannot be opened"))
            return
        try:
            for below in _names(descriptor):
                self._walk(scan, descriptor, below, f"{path}/{below}", mounted)
        except OSError as error:
            scan.add(Unstable(path, error.strerror or "it cannot be listed"))
        finally:
            os.close(descriptor)

    def _entry(self, parent: int, name: str, path: str, content: list[bytes] | None) -> Found:
        """Return what is at a path, by the directory that holds it."""
        try:
            found = os.lstat(name, dir_fd=parent)
            kind = stat.S_IFMT(found.st_mode)
            reason = self._selection.why_not(path, link=kind == stat.S_IFLNK)
            if reason:
                return LeftOut(path, reason)
            if kind in _KINDS:
                return LeftOut(path, f"it is {_KINDS[kind]}")
            if len(os.fsencode(path)) > LONGEST_PATH:
                return LeftOut(path, "its path is too long")
            if kind == stat.S_IFREG:
                return self._file(parent, name, path, content)
            if kind == stat.S_IFLNK:
                return self._link(parent, name, path, found)
            if kind == stat.S_IFDIR:
                return self._directory(parent, name, path)
            return LeftOut(path, "it is of a kind that is not replicated")
        except (FileNotFoundError, NotADirectoryError):
            return Gone(path, "there is nothing")
        except OSError as error:
            if error.errno in (errno.ELOOP, errno.ENXIO):
                return Unstable(path, "it is being replaced")
            return Unstable(path, error.strerror or "it cannot be read")

    def _file(self, parent: int, name: str, path: str, content: list[bytes] | None) -> Found:
        for _ in range(ATTEMPTS):
            descriptor = os.open(name, _OPEN, dir_fd=parent)
            try:
                before = os.fstat(descriptor)
                if not stat.S_ISREG(before.st_mode):
                    break
                if self._links is not None:
                    self._links.note(before, path)
                if before.st_size > LARGEST_FILE:
                    return LeftOut(path, f"it has more than {LARGEST_FILE >> 20} MiB")
                whole = _content(descriptor, before.st_size)
                carried = attributes.read(descriptor, self._owners)
                if self._written is not None and self._written(self._machine.root + path):
                    return Unstable(path, "somebody is writing it")
                if len(whole) == before.st_size and _identical(before, os.fstat(descriptor)):
                    entry = self._made(path, FILE, before)
                    entry.attributes = carried
                    return self._judged(entry, whole, content)
            finally:
                os.close(descriptor)
        return Unstable(path, "it changes while it is read")

    def _judged(self, entry: Entry, whole: bytes, content: list[bytes] | None) -> Found:
        """Return the entry of a file with its digest, or why it is withheld."""
        if self._identity is not None and not self._selection.named(entry.path):
            word = self._identity.found_in(whole)
            if word:
                return Withheld(entry.path, f"it holds '{word}', which is this node's own")
        entry.size = len(whole)
        entry.digest = hashlib.sha256(whole).hexdigest()
        if content is not None:
            content.append(whole)
        return entry

    def _link(self, parent: int, name: str, path: str, found: os.stat_result) -> Found:
        target = os.readlink(name, dir_fd=parent)
        entry = self._made(path, SYMLINK, found)
        entry.mode, entry.target = 0o777, target
        if self._identity is not None and not self._selection.named(path):
            word = self._identity.found_in(os.fsencode(target))
            if word:
                return Withheld(path, f"it leads to '{word}', which is this node's own")
        return entry

    def _directory(self, parent: int, name: str, path: str) -> Found:
        descriptor = os.open(name, _OPEN | os.O_DIRECTORY, dir_fd=parent)
        try:
            entry = self._made(path, DIRECTORY, os.fstat(descriptor))
            entry.attributes = attributes.read(descriptor, self._owners)
        finally:
            os.close(descriptor)
        return entry

    def _made(self, path: str, kind: str, found: os.stat_result) -> Entry:
        return Entry(path, kind, mode=stat.S_IMODE(found.st_mode),
                     owner=self._owners.user_name(found.st_uid), uid=found.st_uid,
                     group=self._owners.group_name(found.st_gid), gid=found.st_gid,
                     mtime=found.st_mtime_ns)


def _names(descriptor: int) -> list[str]:
    with os.scandir(descriptor) as listing:
        return sorted(item.name for item in listing)


def _content(descriptor: int, size: int) -> bytes:
    """Return the content of an open file, not more than may be carried and one piece.

    size: bytes that it should have. A file that was as long as that is read by one call.
    """
    pieces: list[bytes] = []
    total = 0
    while total <= LARGEST_FILE:
        asked = min(max(size - total, 0) + 1, _PIECE)
        piece = os.read(descriptor, asked)
        pieces.append(piece)
        total += len(piece)
        if len(piece) < asked:
            break               # a file gives less than it has been asked for only at its end
    return b"".join(pieces)


def _identical(before: os.stat_result, after: os.stat_result) -> bool:
    """Tell whether a file stayed what it was while it was read."""
    return (before.st_size == after.st_size and before.st_mtime_ns == after.st_mtime_ns
            and before.st_ctime_ns == after.st_ctime_ns)
