# SPDX-License-Identifier: GPL-2.0-or-later
"""What is mounted below the directories that are replicated, and therefore is not.

It is not this node's configuration, and may be a dead server's, on which whoever touches it hangs.
"""

from __future__ import annotations

import os
import select

from mailha.storage import mountinfo
from mailha.sync.files.selection import Selection
from mailha.system.machine import Machine

MOUNTED = "another file system is mounted there"


def mount_points(machine: Machine) -> frozenset[str]:
    """Return where file systems are mounted, without touching any of them.

    Raises mountinfo.MountTableDamaged if that cannot be told.
    """
    return mountinfo.mounts(machine).points()


class MountTable:
    """The same, read again only when the kernel says that something was mounted or unmounted.

    A node with containers has hundreds of mounts, and to format their table takes the kernel longer
    than it takes to write a file.
    """

    def __init__(self, machine: Machine) -> None:
        self._machine = machine
        self._descriptor = -1
        self._poll = select.poll()
        self._points: frozenset[str] | None = None

    def points(self) -> frozenset[str]:
        """Return what mount_points() does; the same object as long as nothing has changed."""
        if self._machine.root:
            # A table of the kernel's tells of its changes; a copy elsewhere does not.
            return mount_points(self._machine)
        try:
            if self._descriptor < 0:
                self._descriptor = os.open(mountinfo.TABLE, os.O_RDONLY | os.O_CLOEXEC)
                self._poll.register(self._descriptor, select.POLLERR | select.POLLPRI)
            # Asked before it is read: what changes meanwhile is told the next time.
            if self._poll.poll(0) or self._points is None:
                self._points = mountinfo.Table(self._read()).points()
        except OSError as error:
            raise mountinfo.unreadable(mountinfo.TABLE, error) from None
        return self._points

    def close(self) -> None:
        """Let go of the table; points() opens it again."""
        self._points = None
        if self._descriptor >= 0:
            self._poll.unregister(self._descriptor)
            os.close(self._descriptor)
            self._descriptor = -1

    def _read(self) -> bytes:
        os.lseek(self._descriptor, 0, os.SEEK_SET)
        pieces: list[bytes] = []
        while True:
            piece = os.read(self._descriptor, 1 << 17)
            if not piece:
                return b"".join(pieces)
            pieces.append(piece)


class MountsBelow:
    """The mounts below what is replicated, as they were at the last refresh()."""

    def __init__(self, machine: Machine, selection: Selection) -> None:
        self._table = MountTable(machine)
        self._seen: frozenset[str] = frozenset()
        self._own = selection.roots
        self._roots = sorted(selection.directories, key=len, reverse=True)
        self._below = tuple(root + "/" for root in self._roots)
        self._points: list[str] = []

    def refresh(self) -> None:
        """See what is mounted now. Raises errors.Failed."""
        points = self._table.points()
        if points is not self._seen:
            self._seen = points
            self._points = [point for point in points.difference(self._own)
                            if point.startswith(self._below)]

    def close(self) -> None:
        """Let go of what is open."""
        self._table.close()

    def hold(self, path: str) -> bool:
        """Tell whether a path is one of them or lies in one.

        A directory that is itself named may lie on a mount; what is mounted above it does not
        count.
        """
        if not self._points:
            return False
        root = next((root for root in self._roots if path.startswith(root + "/")), path)
        return any(path == point or path.startswith(point + "/") for point in self._points
                   if point.startswith(root + "/"))
