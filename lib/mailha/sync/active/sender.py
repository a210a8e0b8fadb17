# SPDX-License-Identifier: GPL-2.0-or-later
"""Whether a sender lives on this node, by the one thing that ends with it: its lock.

The kernel tells who holds the lock, so it needs neither systemd nor a pid file to find the process,
and a process that has ended, however it did, holds nothing.

A recurring monitor loads this module.
"""

from __future__ import annotations

from mailha import errors
from mailha.sync.places import Places
from mailha.system import locks

TYPE_CHECKING = False
if TYPE_CHECKING:
    from mailha.system.machine import Machine


def holder(machine: Machine, resource: str) -> int:
    """Return the pid of the sender of a resource, 0 if none lives.

    Raises errors.Failed if that cannot be told.
    """
    path = Places(resource).sender_lock
    try:
        return locks.holder(machine.root + path) or 0
    except OSError as error:
        raise errors.Failed(f"cannot ask who holds {path}: {error.strerror}") from None
