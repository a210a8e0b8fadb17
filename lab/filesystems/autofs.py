# SPDX-License-Identifier: GPL-2.0-or-later
"""A trigger of the automounter, whose daemon lives and never answers.

    autofs.py MOUNT_POINT

It says "ready" on stdout. Whoever walks into the mount point waits, and cannot be killed before
this program has ended: an automounter that asks a dead server looks just so.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys

PROTOCOL = 5        # AUTOFS_PROTO_VERSION in <linux/auto_fs.h>


def main() -> None:
    """Mount the trigger, then wait for nothing."""
    target = sys.argv[1]
    libc = ctypes.CDLL(None, use_errno=True)
    os.setpgid(0, 0)        # the members of the daemon's process group pass without a trigger
    _, requests = os.pipe()
    options = (f"fd={requests},pgrp={os.getpgrp()},minproto={PROTOCOL},maxproto={PROTOCOL},"
               "direct")
    if libc.mount(b"/etc/auto.direct", os.fsencode(target), b"autofs", ctypes.c_ulong(0),
                  options.encode()) == -1:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), target)
    print("ready", flush=True)
    while True:
        signal.pause()


if __name__ == "__main__":
    main()
