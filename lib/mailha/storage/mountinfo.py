# SPDX-License-Identifier: GPL-2.0-or-later
"""Which file system a path is on, from the kernel's table alone.

Not one call here touches the path. stat, statfs, realpath, df, findmnt and mountpoint all hang,
some of them unkillably, when the path or one of its parents is on a dead server; reading
/proc/self/mountinfo does not.

The table is walked, not searched for the longest prefix: a mount on /srv hides an older one on
/srv/mail, which stays in the table and which findmnt -T still names. So each mount is found from
the one that it is mounted on (the parent id), beginning at the root, as the kernel does it.

Paths are taken as they are written. A symbolic link in one of the parents leads elsewhere, and
following it would touch the file system; who has to know resolves the path first with
:func:`mailha.storage.symlinks.resolve`, which only ever follows links on file systems that have
been accepted.

A recurring monitor loads this module.
"""

from __future__ import annotations

import os

from mailha import errors

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from mailha.system.machine import Machine

TABLE = "/proc/self/mountinfo"

LARGEST = 32 * 1024 * 1024
"""Bytes; 20,000 mounts make 2 MB."""

DELETED = "//deleted"
"""What the kernel appends to a path that has been removed."""


class MountTableDamaged(errors.Failed):
    """The kernel's table of mounts cannot be read or understood."""


class Mount:
    """One line of /proc/self/mountinfo (proc_pid_mountinfo(5)).

    identifier and parent: ids of this mount and of the one that it is mounted on. device: "8:1".
    root: the directory of the file system that is visible here, "/" unless it is a bind mount or a
    subvolume. mount_point: where it is visible. fstype: "ext4", "nfs4", "fuse.sshfs". source: the
    device or server. Texts that are not UTF-8 are kept with surrogates, as os.fsdecode does.
    """

    __slots__ = ("identifier", "parent", "device", "root", "mount_point", "options", "fstype",
                 "source", "super_options")

    def __init__(self, line: bytes) -> None:
        # Split at single spaces: an empty source leaves an empty field.
        fields = line.split(b" ")
        try:
            dash = fields.index(b"-", 6)
            self.identifier = int(fields[0])
            self.parent = int(fields[1])
            self.device = fields[2].decode("ascii")
            self.root = _text(fields[3])
            self.mount_point = _text(fields[4])
            self.options = _text(fields[5])
            self.fstype = _text(fields[dash + 1])
            self.source = _text(fields[dash + 2])
            self.super_options = _text(fields[dash + 3])
        except (ValueError, IndexError):
            raise MountTableDamaged(f"{TABLE} has a line that is no mount: {line[:200]!r}",
                                    remedy="mount /proc") from None

    @property
    def read_only(self) -> bool:
        """Whether nothing can be written here: this mount or the whole file system is read-only.

        An image such as squashfs is mounted "rw" and is read-only in its own options alone.
        """
        return "ro" in self.options.split(",") or "ro" in self.super_options.split(",")

    @property
    def deleted(self) -> bool:
        """Whether the directory that is mounted here, or the mount point itself, was removed."""
        return self.root.endswith(DELETED) or self.mount_point.endswith(DELETED)

    def __repr__(self) -> str:
        return f"<Mount {self.mount_point!r} {self.fstype} {self.source!r}>"


def _text(field: bytes) -> str:
    """Undo the kernel's octal escapes (space, tab, line feed, backslash, hash)."""
    if b"\\" in field:
        parts = field.split(b"\\")
        plain = [parts[0]]
        for part in parts[1:]:
            digits = part[:3]
            if len(digits) == 3 and digits.isdigit() and int(digits, 8) < 256:
                plain.append(bytes((int(digits, 8),)) + part[3:])
            else:
                plain.append(b"\\" + part)
        field = b"".join(plain)
    return field.decode("utf-8", "surrogateescape")


class Table:
    """The mounts of one mount namespace at one moment.

    text: that of a mountinfo file. The lines of the mount points on the way to a path are searched
    for in it, and only these are read: with 20,000 mounts, to read all of them would cost as much
    as the kernel's own work. Whoever asks about several paths of one moment keeps the table.
    """

    __slots__ = ("_text", "_mounts", "_ways")

    def __init__(self, text: bytes) -> None:
        self._text = text
        # What has been asked for once: paths of one machine have much of their way in common.
        self._mounts: dict[str, list[Mount]] = {}
        self._ways: dict[str, list[Mount]] = {}

    def __iter__(self) -> Iterator[Mount]:
        """Yield all mounts in the kernel's order. Raises MountTableDamaged."""
        for line in self._text.split(b"\n"):
            if line:
                yield Mount(line)

    def points(self) -> frozenset[str]:
        """Return all mount points, without reading the rest of their lines."""
        fields = (line.split(b" ", 5) for line in self._text.split(b"\n"))
        return frozenset(_text(each[4]) for each in fields if len(each) > 5)

    def at(self, path: str) -> list[Mount]:
        """Return all that is mounted at exactly this path, whether a path leads there or not.

        Raises MountTableDamaged.
        """
        found = self._mounts.get(path)
        if found is None:
            # Behind the mount point stand its options, which begin with "rw" or "ro".
            found = [mount for mount in self._search(path, b" r") if mount.mount_point == path]
            self._mounts[path] = found
        return found

    def _search(self, beginning: str, end: bytes) -> list[Mount]:
        """Return the mounts whose line has a field that begins so, and other ones perhaps."""
        text = self._text
        wanted = b" " + _escaped(os.fsencode(beginning)) + end
        found = []
        place = text.find(wanted)
        while place >= 0:
            start, stop = text.rfind(b"\n", 0, place) + 1, text.find(b"\n", place)
            stop = len(text) if stop < 0 else stop
            found.append(Mount(text[start:stop]))
            place = text.find(wanted, stop)
        return found

    def find(self, path: str) -> Mount:
        """Return the mount that is visible at a path, the path being taken as it is written.

        Raises MountTableDamaged, and errors.Failed for a path that is not absolute or has "..".
        """
        return self.way(path)[-1]

    def way(self, path: str) -> list[Mount]:
        """Return the mounts that the kernel passes on its way to a path, from that of / on.

        Of mounts stacked on one directory, all are passed. Raises as :meth:`find`.
        """
        way = self._ways.get(path)
        if way is None:
            way = self._way_to_root()
            prefix = ""
            for part in lexical(path).split("/")[1:]:
                if not part:
                    break
                prefix += "/" + part
                known = self._ways.get(prefix)
                if known is None:
                    known = self._ways[prefix] = self._onward(way, self.at(prefix))
                way = known
        return way

    def passed(self, path: str) -> list[Mount]:
        """Return those mounts on the way to a path that are visible, so that a look passes them.

        Raises as :meth:`find`.
        """
        way = self.way(path)
        return [mount for mount, covering in zip(way, way[1:])
                if mount.mount_point != covering.mount_point] + way[-1:]

    def _way_to_root(self) -> list[Mount]:
        """Return the mounts at /, of which the last one is seen."""
        way = self._ways.get("/")
        if way is None:
            here = self.at("/")
            identifiers = {mount.identifier for mount in here}
            # The root's own parent is outside of our view, or the root itself.
            way = [mount for mount in here
                   if mount.parent == mount.identifier or mount.parent not in identifiers][-1:]
            if not way:
                raise MountTableDamaged(f"{TABLE} has no mount at '/'",
                                        remedy="do not run in a chroot that is no mount point")
            way = self._ways["/"] = self._onward(way, here)
        return way

    @staticmethod
    def _onward(way: list[Mount], here: list[Mount]) -> list[Mount]:
        """Return the way with what is mounted where it ends, each mount covered by the next."""
        while here:
            current = way[-1].identifier
            children = [mount for mount in here if mount.parent == current != mount.identifier]
            if not children:
                break
            here = [mount for mount in here if mount not in children]
            way = [*way, children[-1]]
        return way

    def below(self, path: str) -> list[Mount]:
        """Return the mounts that are visible somewhere below a path, without the one at the path.

        A hidden one, on which no path leads any more, is not among them. Raises as :meth:`find`.
        """
        start = lexical(path).rstrip("/") + "/"
        points = {mount.mount_point for mount in self._search(start, b"")}
        visible = []
        for point in sorted(point for point in points
                            if point.startswith(start) and point != start):
            mount = self.find(point)
            if mount.mount_point == point:
                visible.append(mount)
        return visible


def _escaped(path: bytes) -> bytes:
    """Write a path as the kernel does in the field of the mount point (show_mountinfo)."""
    for character in (b"\\", b" ", b"\t", b"\n"):
        if character in path:
            path = path.replace(character, b"\\%03o" % ord(character))
    return path


def mounts(machine: Machine, process: str = "self") -> Table:
    """Return the mounts of our mount namespace, or of that in which another process lives.

    process: its number. Raises MountTableDamaged.
    """
    path = TABLE if process == "self" else f"/proc/{process}/mountinfo"
    try:
        return Table(machine.files.read(path, LARGEST))
    except OSError as error:
        raise unreadable(path, error) from None


def unreadable(path: str, error: OSError) -> MountTableDamaged:
    """Return why the table of mounts in a file of /proc cannot be read, as an error to raise."""
    return MountTableDamaged(f"cannot read {path}: {error.strerror}",
                             remedy="mount /proc" if path == TABLE else
                             "see whether the process still lives")


def lexical(path: str) -> str:
    """Return an absolute path without empty and "." parts.

    Raises errors.Failed for a relative path and for "..": what ".." means depends on whether the
    part before it is a symbolic link, and looking would touch the path.
    """
    parts = path.split("/")
    if not path.startswith("/") or "\0" in path:
        raise errors.Failed(f"'{path}' is no absolute path", remedy="write it from / on")
    if ".." in parts:
        raise errors.Failed(f"'{path}' has '..' in it", remedy="write it without '..'")
    return "/" + "/".join(part for part in parts if part not in ("", "."))


def mount_of(machine: Machine, path: str) -> Mount:
    """Return the mount on which a path lies, see :meth:`Table.find`. Raises the same."""
    return mounts(machine).find(path)


def is_mountpoint(machine: Machine, path: str) -> bool:
    """Say whether something is visibly mounted at exactly this path.

    Raises as :meth:`Table.find`.
    """
    return mount_of(machine, path).mount_point == lexical(path)
