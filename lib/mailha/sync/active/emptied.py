# SPDX-License-Identifier: GPL-2.0-or-later
"""Directories from which the sender lets nothing be deleted elsewhere, since they are not whole.

A file system that is not mounted looks like a directory from which everything was deleted. The
receiver has a guard of its own (mailha.sync.passive.judging), but sees only what it is told: so
nothing of such a directory is asked for to begin with, however often it is tried again, until
something is in it again or an administrator says that it is meant.
"""

from __future__ import annotations

import os
import stat
import threading
from typing import Collection, Iterable

from mailha.sync.files.scanning import Scan
from mailha.sync.files.selection import Selection
from mailha.sync.passive.judging import FORCE
from mailha.system.machine import Machine


class Guard:
    """Knows which roots of the selection are whole. To be used from several threads."""

    def __init__(self, machine: Machine, selection: Selection) -> None:
        self._root = machine.root
        self._selection = selection
        self._devices: dict[str, int] = {}
        self._lock = threading.Lock()

    def held_up(self, gone: Iterable[str]) -> dict[str, str]:
        """Return which paths that are gone here must not be deleted elsewhere, and why.

        Looks at the roots that hold them as they are now.
        """
        found: dict[str, str] = {}
        reasons: dict[str, str] = {}
        for path in gone:
            if self._selection.named(path):
                reason = self._directory_of(path)
                if reason:
                    found[path] = reason
            for root in self._selection.directories:
                if path == root or path.startswith(root + "/"):
                    if root not in reasons:
                        reasons[root] = self._look(root)
                    if reasons[root]:
                        found[path] = reasons[root]
        return found

    def take(self, scan: Scan, held_up: Collection[str]) -> None:
        """Take the roots as they are in a scan for whole, now that all of it has been sent.

        held_up: paths that were not deleted elsewhere; their roots stay what they were.
        """
        with self._lock:
            for root, (device, _, _) in scan.roots.items():
                if not any(path == root or path.startswith(root + "/") for path in held_up):
                    self._devices[root] = device

    def _directory_of(self, path: str) -> str:
        """Return why a named file may only seem to be deleted: there is not even its directory.

        Somebody moves it to a larger disk and is about to leave a link, or it is not mounted.
        """
        above = os.path.dirname(path)
        if os.path.isdir(self._root + above):
            return ""
        return f"{above} is gone; if that is meant, and nothing has to be mounted: {FORCE}"

    def _look(self, root: str) -> str:
        """Return why a root is not whole, "" if it is. What cannot be told is not whole either."""
        place = self._root + root
        try:
            found = os.lstat(place)
            if not stat.S_ISDIR(found.st_mode):
                return f"{root} is no directory any more; if that is meant: {FORCE}"
            with self._lock:
                device = self._devices.get(root, found.st_dev)
            if found.st_dev != device:
                return f"{root} is on another file system than before; if that is meant: {FORCE}"
            with os.scandir(place) as names:
                if any(not self._selection.why_not(f"{root}/{item.name}", link=item.is_symlink())
                       for item in names):
                    return ""
        except FileNotFoundError:
            return f"{root} is gone; if that is meant, and nothing has to be mounted: {FORCE}"
        except OSError as error:
            return f"{root} cannot be read: {error.strerror}"
        return f"{root} was emptied; if that is meant, and nothing has to be mounted: {FORCE}"
