# SPDX-License-Identifier: GPL-2.0-or-later
"""Two resources that carry the same path: each node undoes what the other one sends.

Buddies may send different sets to each other; where the sets overlap, a change would go back and
forth. A receiver therefore takes nothing of what a sender on its own node sends, whatever the
resource of that one is called.
"""

from __future__ import annotations

import os

from mailha import errors
from mailha.sync.files import replicated, settings
from mailha.sync.files.selection import Selection
from mailha.sync.places import RUN_DIRECTORY, Places
from mailha.system import locks
from mailha.system.machine import Machine


class SentHere:
    """What the other senders on this node send. Only for a process that is no sender: to ask for a
    lock that is its own would be to lose it (fcntl(2)).
    """

    def __init__(self, machine: Machine, resource: str) -> None:
        self._machine = machine
        self._resource = resource
        self._known: dict[str, tuple[tuple[int, ...], Selection]] = {}

    def refresh(self) -> None:
        """Look who sends now. Costs microseconds where there is nobody else."""
        found = {}
        for name in self._names():
            try:
                if name != self._resource and locks.holder(
                        self._machine.root + Places(name).sender_lock) is not None:
                    found[name] = self._selection(name)
            except (OSError, errors.MailhaError):
                continue            # it has just ended, or it is no sender of ours
        self._known = found

    def why_not(self, path: str) -> str:
        """Return why a path is not taken from elsewhere, "" if it may be."""
        for name, (_, selection) in self._known.items():
            if not selection.why_not(path):
                return (f"this node sends it itself, as '{name}', and two that carry the same path "
                        "undo each other's work; 'exclude' it in one of them")
        return ""

    def _names(self) -> list[str]:
        try:
            return os.listdir(self._machine.root + RUN_DIRECTORY)
        except OSError:
            return []

    def _selection(self, name: str) -> tuple[tuple[int, ...], Selection]:
        found = os.stat(self._machine.root + settings.path(name))
        signature = (found.st_ino, found.st_size, found.st_mtime_ns)
        known = self._known.get(name)
        if known is not None and known[0] == signature:
            return known
        return signature, replicated.select(self._machine, settings.read(self._machine, name))


def common(one: Selection, other: Selection) -> list[str]:
    """Return paths that two selections have in common: those at which one begins in the other."""
    return sorted(root for root in {*one.roots, *other.roots}
                  if not one.why_not(root) and not other.why_not(root))
