# SPDX-License-Identifier: GPL-2.0-or-later
"""Paths of unix sockets, of which the kernel takes 107 bytes and no more (unix(7), sun_path).

The name of a resource may be longer than what is left of them. Seen from its directory, every path
is short.

A recurring monitor loads this module.
"""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from _socket import socket
    from typing import Callable


def through_directory(path: str) -> tuple[str, int]:
    """Return another path of the same socket, and the descriptor that it is good for as long as.

    The descriptor is to be closed. Raises OSError if the directory is not there.
    """
    directory, _, name = path.rpartition("/")
    descriptor = os.open(directory or "/", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    return f"/proc/self/fd/{descriptor}/{name}", descriptor


def connect(connection: socket, path: str) -> None:
    """Connect to the socket at a path of any length; raises OSError as connect(2) does."""
    _use(path, connection.connect)


def bind(listener: socket, path: str) -> None:
    """Make the socket at a path of any length; raises OSError as bind(2) does."""
    _use(path, listener.bind)


def _use(path: str, call: Callable[[str], None]) -> None:
    short, directory = through_directory(path)
    try:
        call(short)
    finally:
        os.close(directory)
