# SPDX-License-Identifier: GPL-2.0-or-later
"""What a service tells systemd about itself: sd_notify(3), in a few lines."""

from __future__ import annotations

import os
import socket


def notify(*assignments: str) -> bool:
    """Tell systemd, as in "READY=1"; tell whether there is one that wants to know.

    Raises nothing: whether a service serves does not depend on who listens.
    """
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address:
        return False
    if address[0] == "@":
        address = "\0" + address[1:]
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC
                           | socket.SOCK_NONBLOCK) as channel:
            channel.sendto("\n".join(assignments).encode(), address)
    except OSError:
        return False
    return True


def watchdog_interval() -> float | None:
    """Return the seconds in which "WATCHDOG=1" is due at the latest; None if nobody waits."""
    text = os.environ.get("WATCHDOG_USEC", "")
    if not text.isdigit() or os.environ.get("WATCHDOG_PID", str(os.getpid())) != str(os.getpid()):
        return None
    return int(text) / 1e6 / 2
