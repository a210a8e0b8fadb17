# SPDX-License-Identifier: GPL-2.0-or-later
"""On which device the file of a loop device lies, by the kernel's own word.

/sys names the file by a path, and a path says little: a later mount may hide the place, and in a
container it may be a path of the host. The loop device knows the file itself. It asks the file
system for that, which waits for ever if it is on a dead server, so it is asked in a child.
"""

from __future__ import annotations

import errno

from mailha.system.child_failures import ChildFailed, ChildTimedOut

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from mailha.system.machine import Machine

LOOP_GET_STATUS64 = 0x4C05
"""As in <linux/loop.h>."""

_LENGTH = 232
"""Bytes of struct loop_info64, which begins with the number of the device."""

NOT_TOLD = ""
SILENT = "silent"


def device_of_file(machine: Machine, number: str, places: Sequence[str], timeout: float) -> str:
    """Return the number ("8:1", "0:45") of the device on which the file of a loop device lies.

    number: that of the loop device. places: paths in /dev under which it may be found. timeout:
    seconds. NOT_TOLD if this process may not ask, SILENT if the file's own file system does not
    answer in time. Raises system.children.ChildFailed if no child can be made.
    """
    import fcntl
    import os
    import struct

    def ask() -> bytes:
        for place in places:
            try:
                descriptor = os.open(machine.root + place,
                                     os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
            except OSError:
                continue
            device = os.fstat(descriptor).st_rdev
            if f"{os.major(device)}:{os.minor(device)}" == number:
                # The kernel packs a number (huge_encode_dev) as makedev(3) does.
                data = fcntl.ioctl(descriptor, LOOP_GET_STATUS64, bytes(_LENGTH))
                found = struct.unpack_from("=Q", data)[0]
                return b"%d:%d" % (os.major(found), os.minor(found))
            os.close(descriptor)
        return b""

    try:
        return machine.children.bounded(ask, timeout=timeout).decode("ascii")
    except ChildTimedOut:
        return SILENT
    except ChildFailed as error:
        if error.errno in (errno.EAGAIN, errno.ENOMEM, errno.EMFILE, errno.ENFILE):
            raise
        return NOT_TOLD
