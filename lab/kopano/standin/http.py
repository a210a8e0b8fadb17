# SPDX-License-Identifier: GPL-2.0-or-later
"""The little HTTP that kopano-server and kopano-ical speak."""

from __future__ import annotations

import socket
from typing import Dict, NamedTuple, Optional

_HEADER_LIMIT = 64 << 10
_BODY_LIMIT = 256 << 20


class Request(NamedTuple):
    """One request: method, path, headers with lower-case names, body."""

    method: str
    path: str
    headers: Dict[str, str]
    body: bytes


class Reader:
    """Read requests, or responses, off one connection."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._buffer = b""

    def request(self) -> Optional[Request]:
        """Return the next request, or None when the peer has gone or speaks no HTTP."""
        head = self._head()
        if head is None:
            return None
        words = head.first.split(" ")
        if len(words) != 3:
            return None
        return Request(words[0], words[1], head.headers, self._body(head.headers))

    def response(self) -> Optional[bytes]:
        """Return the body of the next response, or None when the peer has gone."""
        head = self._head()
        return None if head is None else self._body(head.headers)

    def _head(self) -> Optional[_Head]:
        while b"\r\n\r\n" not in self._buffer:
            data = self._connection.recv(65536)
            if not data or len(self._buffer) > _HEADER_LIMIT:
                return None
            self._buffer += data
        head, self._buffer = self._buffer.split(b"\r\n\r\n", 1)
        first, *lines = head.decode("latin-1").split("\r\n")
        headers = {}
        for line in lines:
            name, _, value = line.partition(":")
            headers[name.strip().lower()] = value.strip()
        return _Head(first, headers)

    def _body(self, headers: Dict[str, str]) -> bytes:
        length = headers.get("content-length", "0")
        wanted = min(int(length), _BODY_LIMIT) if length.isdigit() else 0
        parts = [self._buffer[:wanted]]
        self._buffer = self._buffer[wanted:]
        missing = wanted - len(parts[0])
        while missing > 0:
            data = self._connection.recv(min(missing, 1 << 20))
            if not data:
                break
            parts.append(data)
            missing -= len(data)
        return b"".join(parts)


class _Head(NamedTuple):
    first: str
    headers: Dict[str, str]


def response(status: str, headers: Dict[str, str], body: bytes = b"") -> bytes:
    """Return the bytes of one response; the length header is added."""
    lines = [f"HTTP/1.1 {status}"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    lines += [f"Content-Length: {len(body)}", "", ""]
    return "\r\n".join(lines).encode("latin-1") + body
