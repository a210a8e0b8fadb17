# SPDX-License-Identifier: GPL-2.0-or-later
"""Making many files survive a power cut, at the price of about one.

fsync(2) of a thousand files one after the other waits a thousand times for the disk. syncfs(2)
waits once, but for everything that anybody has written on that file system, and a backup may just
be writing gigabytes. So all contents are set in motion first, and then many threads wait at once:
the kernel joins what they ask of the disk.
"""

from __future__ import annotations

import ctypes
import os
from concurrent.futures import ThreadPoolExecutor
from typing import Sequence

FEW = 3
"""Up to so many files, threads cost more than they save."""
AT_ONCE = 16

_START_WRITING = 2          # SYNC_FILE_RANGE_WRITE

_LIBC = ctypes.CDLL(None)
_LIBC.sync_file_range.argtypes = (ctypes.c_int, ctypes.c_int64, ctypes.c_int64, ctypes.c_uint)


class Syncer:
    """Waits for the disk. Its threads are made when there is enough to wait for."""

    def __init__(self) -> None:
        self._threads: ThreadPoolExecutor | None = None

    def sync(self, descriptors: Sequence[int]) -> None:
        """Let open files or directories survive a power cut from here on. Raises OSError."""
        if len(descriptors) > 1:
            for descriptor in descriptors:
                # A hint: what it cannot do, fsync() does or complains about.
                _LIBC.sync_file_range(descriptor, 0, 0, _START_WRITING)
        if len(descriptors) <= FEW:
            for descriptor in descriptors:
                os.fsync(descriptor)
            return
        if self._threads is None:
            self._threads = ThreadPoolExecutor(AT_ONCE, "sync")
        for _ in self._threads.map(os.fsync, descriptors):
            pass

    def close(self) -> None:
        """End the threads."""
        if self._threads is not None:
            self._threads.shutdown()
            self._threads = None
