# SPDX-License-Identifier: GPL-2.0-or-later
"""A line for the system's log, sent without ever waiting: for agents of either kind.

Not by syslog(3), which waits for room: a journald that is stopped would then keep a stop from
ending, and the power of a node from being switched off.

A recurring monitor loads this module.
"""

from __future__ import annotations

import os
import time

SOCKET = "/dev/log"

DAEMON = 3
"""The facility of what is no program of a user (<syslog.h>)."""

PRIORITIES = {"ERROR": 3, "WARNING": 4, "INFO": 6, "DEBUG": 7}


def send(tag: str, level: str, text: str, *, facility: int = DAEMON, path: str = "") -> None:
    """Send a line, unless there is no system log, or no room in it.

    tag: who says it. level: one of PRIORITIES. text: one printable line; what is no UTF-8 in it is
    shown as an escape. facility: its number. path: another socket than SOCKET.
    """
    import _socket
    record = (f"<{facility * 8 + PRIORITIES[level]}>{time.strftime('%b %e %H:%M:%S')} "
              f"{tag}[{os.getpid()}]: {text}")
    try:
        channel = _socket.socket(_socket.AF_UNIX, _socket.SOCK_DGRAM | _socket.SOCK_NONBLOCK
                                 | _socket.SOCK_CLOEXEC)
        try:
            channel.connect(path or SOCKET)
            channel.send(record.encode("utf-8", "backslashreplace"))
        finally:
            channel.close()
    except OSError:
        pass
