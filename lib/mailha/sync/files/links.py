# SPDX-License-Identifier: GPL-2.0-or-later
"""Files with several names (hard links): the kernel tells of a change under one of them alone.

What is written through one name is in the file that the others name as well, and of these no event
tells. So it is remembered which paths are names of one file; each is sent as a file of its own.
"""

from __future__ import annotations

import os
import stat
import threading
from typing import Iterable


class Links:
    """The names of files that have several. To be used from several threads."""

    def __init__(self, prefix: str = "") -> None:
        self._prefix = prefix
        self._names: dict[tuple[int, int], set[str]] = {}
        self._searched: dict[tuple[int, int], int] = {}
        self._lock = threading.Lock()

    def note(self, found: os.stat_result, path: str) -> None:
        """Note what a file was when it was read."""
        if found.st_nlink > 1:
            with self._lock:
                self._names.setdefault((found.st_dev, found.st_ino), set()).add(path)

    def others(self, paths: Iterable[str]) -> tuple[set[str], bool]:
        """Return the other names of what was changed, and whether there may be more of them.

        There may be where the file has more names than are known, and it was not looked for them:
        once is enough, since a name may lie outside of what is replicated.
        """
        names: set[str] = set()
        more = False
        for path in paths:
            try:
                found = os.lstat(self._prefix + path)
            except OSError:
                continue
            if found.st_nlink < 2 or stat.S_ISDIR(found.st_mode):
                continue
            file = found.st_dev, found.st_ino
            with self._lock:
                known = self._names.setdefault(file, set())
                known.add(path)
                names |= known
                if len(known) < found.st_nlink and self._searched.get(file) != found.st_nlink:
                    self._searched[file] = found.st_nlink
                    more = True
        return names, more
