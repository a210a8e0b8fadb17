# SPDX-License-Identifier: GPL-2.0-or-later
"""A conversation in lines, as LMTP, IMAP and POP3 have it."""

from __future__ import annotations

import socket
from typing import List, Optional

_LINE_LIMIT = 64 << 10


class Conversation:
    """One client that sends and gets lines. OSError is raised as the socket raises it."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._file = connection.makefile("rb")

    def say(self, *lines: str) -> None:
        """Send lines."""
        text = "".join(f"{line}\r\n" for line in lines)
        self._connection.sendall(text.encode("utf-8", "surrogateescape"))

    def send(self, data: bytes) -> None:
        """Send bytes as they are."""
        self._connection.sendall(data)

    def hear(self) -> Optional[str]:
        """Return the next line without its end, or None when the client has gone."""
        line = self._file.readline(_LINE_LIMIT)
        if not line.endswith(b"\n"):
            return None
        return line.rstrip(b"\r\n").decode("utf-8", "surrogateescape")

    def hear_message(self) -> Optional[bytes]:
        """Return a message up to the line with a single dot, None when the client has gone."""
        parts: List[bytes] = []
        while True:
            line = self._file.readline()
            if not line.endswith(b"\n"):
                return None
            if line in (b".\r\n", b".\n"):
                return b"".join(parts)
            parts.append(line[1:] if line.startswith(b".") else line)


def quote_dots(message: bytes) -> bytes:
    """Return ``message`` ready to be sent, with its closing dot."""
    lines = message.split(b"\n")
    if lines[-1] == b"":
        lines.pop()
    quoted = [b"." + line if line.startswith(b".") else line for line in lines]
    return b"".join(line.rstrip(b"\r") + b"\r\n" for line in quoted) + b".\r\n"
