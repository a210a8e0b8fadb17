# SPDX-License-Identifier: GPL-2.0-or-later
"""Who holds a lock on a file, asked without taking it.

The kernel knows, so it needs no pid file, and a process that has ended, however it did, holds
nothing.

A recurring monitor loads this module.
"""

from __future__ import annotations

import errno
import fcntl
import os
import struct

_LOCK = struct.Struct("hhqqi")      # struct flock where files may be larger than 2 GiB
_QUESTION = _LOCK.pack(fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0)
_NO_LOCKS = (errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP)


def holder(path: str) -> int | None:
    """Return the pid of the process that holds a lock (fcntl) on a file, None if nobody does.

    0 is a process of another pid namespace. A lock of our own process is not seen; a file that is
    not there, and one on a file system without locks, is locked by nobody. Raises OSError.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except (FileNotFoundError, NotADirectoryError):
        return None
    try:
        answer = fcntl.fcntl(descriptor, fcntl.F_GETLK, _QUESTION)
    except OSError as error:
        if error.errno in _NO_LOCKS:
            return None
        raise
    finally:
        os.close(descriptor)
    kind, _, _, _, pid = _LOCK.unpack(answer)
    return None if kind == fcntl.F_UNLCK else int(pid)
