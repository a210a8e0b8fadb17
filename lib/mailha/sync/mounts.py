# SPDX-License-Identifier: GPL-2.0-or-later
"""What is mounted below the directories that are replicated, and therefore is not.

It is not this node's configuration, and may be a dead server's, on which whoever touches it hangs.
"""

from __future__ import annotations

import os

from mailha import errors
from mailha.sync.selection import Selection
from mailha.system.machine import Machine

MOUNTED = "another file system is mounted there"


def mount_points(machine: Machine) -> frozenset[str]:
    """Return where file systems are mounted, without touching any of them.

    Raises errors.Failed if that cannot be told.
    """
    try:
        table = machine.files.read("/proc/self/mountinfo", 64 << 20)
    except OSError as error:
        raise errors.Failed(f"cannot tell what is mounted: {error}",
                            remedy="mount /proc") from None
    found = set()
    for line in table.split(b"\n"):
        fields = line.split(b" ", 5)
        if len(fields) > 5:
            point = fields[4]
            if b"\\" in point:
                for octal, byte in ((b"\\040", b" "), (b"\\011", b"\t"), (b"\\012", b"\n"),
                                    (b"\\134", b"\\")):
                    point = point.replace(octal, byte)
            found.add(os.fsdecode(point))
    return frozenset(found)


class MountsBelow:
    """The mounts below what is replicated, as they are now. Raises errors.Failed."""

    def __init__(self, machine: Machine, selection: Selection) -> None:
        self._roots = sorted(selection.directories, key=len, reverse=True)
        below = tuple(root + "/" for root in self._roots)
        self._points = [point for point in mount_points(machine).difference(selection.roots)
                        if point.startswith(below)]

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
