# SPDX-License-Identifier: GPL-2.0-or-later
"""Making many files survive a power cut, at the price of about one.

fsync(2) of a thousand files one after the other waits a thousand times for the disk. syncfs(2)
waits once, but for everything that anybody has written on that file system, and a backup may just
be writing gigabytes. So the kernel is asked how much waits to be written: where that is little,
syncfs does it all at once; where it is much, all contents are set in motion first, and then many
threads wait at once, for what is ours alone: the kernel joins what they ask of the disk.
"""

from __future__ import annotations

import ctypes
import os
import re
from concurrent.futures import ThreadPoolExecutor
from typing import Callable, Sequence

FEW = 3
"""Up to so many files, anything but one fsync() after the other costs more than it saves."""
AT_ONCE = 16

LITTLE = 64 << 10
"""KiB that wait to be written to the disks of this machine, of which nobody minds to wait."""

SYNCFS_TELLS = (5, 8)
"""The kernel since which syncfs() tells of contents that could not be written."""

_START_WRITING = 2          # SYNC_FILE_RANGE_WRITE

_LIBC = ctypes.CDLL(None, use_errno=True)
_LIBC.sync_file_range.argtypes = (ctypes.c_int, ctypes.c_int64, ctypes.c_int64, ctypes.c_uint)


class Syncer:
    """Waits for the disk. Its threads are made when there is enough to wait for.

    waiting: returns the KiB that wait to be written. release: of the kernel.
    """

    def __init__(self, waiting: Callable[[], int] | None = None, release: str = "") -> None:
        self._threads: ThreadPoolExecutor | None = None
        self._waiting = waiting or _waiting
        self._syncfs_tells = _version(release or os.uname().release) >= SYNCFS_TELLS

    def sync(self, descriptors: Sequence[int]) -> None:
        """Let open files or directories survive a power cut from here on. Raises OSError."""
        if len(descriptors) <= FEW:
            self._one_by_one(descriptors)
        elif self._syncfs_tells and self._waiting() <= LITTLE:
            # Mostly one file system; another one only where a directory of the profile lies there.
            for descriptor in {os.fstat(each).st_dev: each for each in descriptors}.values():
                if _LIBC.syncfs(descriptor) != 0:
                    number = ctypes.get_errno()
                    raise OSError(number, os.strerror(number))
        else:
            self._at_once(descriptors)

    def close(self) -> None:
        """End the threads."""
        if self._threads is not None:
            self._threads.shutdown()
            self._threads = None

    def _one_by_one(self, descriptors: Sequence[int]) -> None:
        if len(descriptors) > 1:
            _start(descriptors)
        for descriptor in descriptors:
            os.fsync(descriptor)

    def _at_once(self, descriptors: Sequence[int]) -> None:
        _start(descriptors)
        if self._threads is None:
            self._threads = ThreadPoolExecutor(AT_ONCE, "sync")
        for _ in self._threads.map(os.fsync, descriptors):
            pass


def _start(descriptors: Sequence[int]) -> None:
    """Let the kernel begin to write: a hint; what it cannot do, fsync() does or complains about."""
    for descriptor in descriptors:
        _LIBC.sync_file_range(descriptor, 0, 0, _START_WRITING)


def _waiting() -> int:
    """Return how many KiB wait to be written to any disk; much where that cannot be told."""
    try:
        with open("/proc/meminfo", "rb", buffering=0) as file:
            text = file.read(4096)
    except OSError:
        return LITTLE + 1
    found = re.findall(rb"^(?:Dirty|Writeback): *([0-9]+) kB", text, re.MULTILINE)
    return sum(map(int, found)) if found else LITTLE + 1


def _version(release: str) -> tuple[int, ...]:
    """Return the first two numbers of a kernel's release; (0, 0) for one that has none."""
    found = re.match(r"([0-9]+)\.([0-9]+)", release)
    return (int(found[1]), int(found[2])) if found else (0, 0)
