# SPDX-License-Identifier: GPL-2.0-or-later
"""Whether a sender lives on this node, by the one thing that ends with it: its lock.

The kernel tells who holds the lock, so it needs neither systemd nor a pid file to find the process,
and a process that has ended, however it did, holds nothing.

A recurring monitor loads this module.
"""

from __future__ import annotations

import fcntl
import os
import struct

from mailha import errors
from mailha.sync.places import Places

TYPE_CHECKING = False
if TYPE_CHECKING:
    from mailha.system.machine import Machine

_FLOCK = struct.Struct("hhqqi")     # struct flock where files may be larger than 2 GiB
_QUESTION = _FLOCK.pack(fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0)


def holder(machine: Machine, resource: str) -> int:
    """Return the pid of the sender of a resource, 0 if none lives.

    Raises errors.Failed if that cannot be told.
    """
    path = Places(resource).sender_lock
    try:
        descriptor = os.open(machine.root + path, os.O_RDONLY | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError):
        return 0
    except OSError as error:
        raise errors.Failed(f"cannot look at {path}: {error.strerror}") from None
    try:
        answer = fcntl.fcntl(descriptor, fcntl.F_GETLK, _QUESTION)
    except OSError as error:
        raise errors.Failed(f"cannot ask who holds {path}: {error.strerror}") from None
    finally:
        os.close(descriptor)
    kind, _, _, _, pid = _FLOCK.unpack(answer)
    return 0 if kind == fcntl.F_UNLCK else int(pid)
