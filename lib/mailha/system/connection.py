# SPDX-License-Identifier: GPL-2.0-or-later
"""A connection to a service, with a deadline on everything."""

from __future__ import annotations

import errno
import time
from _socket import AF_INET, AF_INET6, AF_UNIX, SOCK_CLOEXEC, SOCK_STREAM, socket
from _socket import timeout as SocketTimeout

from mailha import errors

TYPE_CHECKING = False
if TYPE_CHECKING:
    from mailha.system.addresses import Endpoint

_CAUSES = {errno.ECONNREFUSED: "refused", errno.ECONNRESET: "reset", errno.EPIPE: "reset",
           errno.ENOENT: "missing", errno.ETIMEDOUT: "timeout", errno.EHOSTUNREACH: "unreachable",
           errno.ENETUNREACH: "unreachable", errno.EADDRNOTAVAIL: "unreachable"}


class ConnectionFailed(errors.Failed):
    """A service did not answer as a service does.

    cause: "refused" (nobody listens), "missing" (no such unix socket), "timeout" (it is mute),
    "reset" (cut), "closed" (ended before the answer was complete), "unreachable", "flood" (more
    than the limit without a line end), "other".
    """

    def __init__(self, reason: str, cause: str) -> None:
        super().__init__(reason)
        self.cause = cause


def describe(endpoint: Endpoint) -> str:
    """Return the endpoint as people write it: 192.0.2.1:143, [::1]:143, /run/x.sock."""
    if isinstance(endpoint, str):
        return endpoint
    host, port = endpoint
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def connect(endpoint: Endpoint, timeout: float) -> Connection:
    """Connect; "localhost" means 127.0.0.1 and, when that is refused, ::1."""
    if not isinstance(endpoint, str) and endpoint[0] == "localhost":
        deadline = time.monotonic() + timeout
        try:
            return _connect(("127.0.0.1", endpoint[1]), timeout)
        except ConnectionFailed as error:
            if error.cause not in ("refused", "unreachable"):
                raise
            first = error
        try:
            return _connect(("::1", endpoint[1]), max(0.001, deadline - time.monotonic()))
        except ConnectionFailed as error:
            # Without IPv6 the second failure says nothing; the first one does.
            raise (error if error.cause in ("timeout", "reset") else first) from None
    return _connect(endpoint, timeout)


def _connect(endpoint: Endpoint, timeout: float) -> Connection:
    from mailha.system.addresses import canonical
    address: str | tuple[str, int]
    if isinstance(endpoint, str):
        family, address = AF_UNIX, endpoint
    else:
        # A scope ("fe80::1%eth0") is the kernel's to read, so the text goes on as it is.
        if not canonical(endpoint[0]):
            raise ConnectionFailed(f"cannot connect to {describe(endpoint)}: not a numeric "
                                   "address", "other")
        family, address = (AF_INET6 if ":" in endpoint[0] else AF_INET), endpoint
    deadline = time.monotonic() + timeout
    connection = None
    try:
        connection = socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0)
        while True:
            connection.settimeout(_left(deadline))
            try:
                connection.connect(address)
                return Connection(connection, describe(endpoint))
            except BlockingIOError:
                # The queue of a unix socket is full: the service takes no connections now.
                time.sleep(min(0.02, _left(deadline)))
    except (OSError, OverflowError, ValueError) as error:
        if connection is not None:
            connection.close()
        raise _failure(f"cannot connect to {describe(endpoint)}", error) from None


class Connection:
    """A stream to a service. Use it in a with block: it is closed at the end.

    Every failure is a ConnectionFailed; its cause says what happened.
    """

    def __init__(self, connected: socket, name: str) -> None:
        self._socket = connected
        self._name = name
        self._buffer = b""

    def send(self, data: bytes, timeout: float = 5.0) -> None:
        """Send all of it; the service may be slow to take it, but not slower than the timeout."""
        deadline = time.monotonic() + timeout
        view = memoryview(data)
        try:
            while view:
                self._socket.settimeout(_left(deadline))
                view = view[self._socket.send(view):]
        except OSError as error:
            raise _failure(f"cannot send to {self._name}", error) from None

    def receive(self, limit: int, timeout: float) -> bytes:
        """Return what comes next, at most limit bytes; b"" when the service has closed."""
        if self._buffer:
            data, self._buffer = self._buffer[:limit], self._buffer[limit:]
            return data
        try:
            self._socket.settimeout(_left(time.monotonic() + timeout))
            return self._socket.recv(limit)
        except OSError as error:
            raise _failure(f"no answer from {self._name} within {timeout:g} s", error) from None

    def receive_line(self, timeout: float, limit: int = 65536) -> bytes:
        """Return the next line without its end (LF or CRLF).

        timeout: for the whole line, however slowly it trickles in.
        """
        deadline = time.monotonic() + timeout
        while b"\n" not in self._buffer:
            if len(self._buffer) > limit:
                raise ConnectionFailed(f"{self._name} sent {len(self._buffer)} bytes without a "
                                       "line end", "flood")
            try:
                self._socket.settimeout(_left(deadline))
                piece = self._socket.recv(16384)
            except OSError as error:
                raise _failure(f"no line from {self._name} within {timeout:g} s", error) from None
            if not piece:
                raise ConnectionFailed(f"{self._name} closed the connection after "
                                       f"{self._buffer[:80]!r}", "closed")
            self._buffer += piece
        line, _, self._buffer = self._buffer.partition(b"\n")
        return line[:-1] if line.endswith(b"\r") else line

    def close(self) -> None:
        """Close the connection; a second time does nothing."""
        self._socket.close()

    def __enter__(self) -> Connection:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()


def _left(deadline: float) -> float:
    left = deadline - time.monotonic()
    if left <= 0:
        raise SocketTimeout("timed out")
    return left


def _failure(subject: str, error: Exception) -> ConnectionFailed:
    if isinstance(error, SocketTimeout):
        return ConnectionFailed(f"{subject}: no answer in time", "timeout")
    number = getattr(error, "errno", None)
    text = getattr(error, "strerror", None) or str(error)
    return ConnectionFailed(f"{subject}: {text}", _CAUSES.get(number or 0, "other"))
