# SPDX-License-Identifier: GPL-2.0-or-later
"""One connection to a D-Bus server, with a deadline on everything.

The login is SASL EXTERNAL: the kernel tells the server who we are. All calls are written in one go
and their answers read after, so that asking six things wakes PID 1 once, not six times.
"""

from __future__ import annotations

import os
import time
from _socket import AF_UNIX, SOCK_CLOEXEC, SOCK_STREAM, socket

from mailha.system import dbus

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Sequence


class Call:
    """A method call that is to be made; signature and values are those of its arguments."""

    __slots__ = ("path", "interface", "member", "signature", "values")

    def __init__(self, path: str, interface: str, member: str, signature: str = "",
                 values: Sequence[Any] = ()) -> None:
        self.path = path
        self.interface = interface
        self.member = member
        self.signature = signature
        self.values = values


class Broken(Exception):
    """The connection failed. delivered: the calls may have reached the other side."""

    def __init__(self, reason: str, delivered: bool) -> None:
        super().__init__(reason)
        self.delivered = delivered


class Bus:
    """A connection: to a server that takes calls at once, or (hello) to a message bus.

    path: its socket. destination: whom calls are for, "" where there is only one. Connecting
    happens at the first call.
    """

    def __init__(self, path: str, destination: str = "", hello: bool = False) -> None:
        self._path = path
        self._destination = destination
        self._hello = hello
        self._socket: socket | None = None
        self._buffer = b""
        self._serial = 0

    @property
    def connected(self) -> bool:
        """True after a call that went well: the next one does not have to log in."""
        return self._socket is not None

    def close(self) -> None:
        """Close the connection; the next call opens a new one."""
        if self._socket is not None:
            self._socket.close()
        self._socket, self._buffer = None, b""

    def ask(self, calls: Sequence[Call], deadline: float) -> list[dbus.Message]:
        """Make the calls and return their answers in the same order; errors are answers too.

        deadline: time.monotonic() at which to give up. Raises Broken when not every answer came;
        the connection is closed then.
        """
        delivered = False
        try:
            data = b""
            if self._socket is None:
                self._open(deadline)
                if self._hello:
                    data = self._encode(Call("/org/freedesktop/DBus", "org.freedesktop.DBus",
                                             "Hello"), "org.freedesktop.DBus")
            connection = self._socket
            assert connection is not None
            first = self._serial + 1
            data += b"".join([self._encode(call) for call in calls])
            connection.settimeout(_left(deadline))
            sent = connection.send(data)
            delivered = True
            if sent < len(data):
                connection.sendall(data[sent:])
            return self._answers(first, len(calls), deadline)
        except (OSError, dbus.ProtocolError) as error:
            self.close()
            raise Broken(f"{self._path}: {_text(error)}", delivered) from None

    def _open(self, deadline: float) -> None:
        """Connect and log in.

        The calls must not go out in one write with BEGIN, though the specification would let
        them: systemd 252 leaves what it read behind BEGIN in its buffer and answers never.
        """
        self._socket = connection = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)
        connection.settimeout(_left(deadline))
        while True:
            try:
                connection.connect(self._path)
                break
            except BlockingIOError:
                # The server's queue of new connections is full: PID 1 is busy.
                time.sleep(min(0.02, _left(deadline)))
        user = str(os.geteuid()).encode().hex().encode()
        connection.sendall(b"\0AUTH EXTERNAL " + user + b"\r\nBEGIN\r\n")
        while b"\r\n" not in self._buffer:
            if len(self._buffer) > 4096:
                raise dbus.ProtocolError("no end of the login's answer")
            self._receive(deadline)
        line, _, self._buffer = self._buffer.partition(b"\r\n")
        if not line.startswith(b"OK "):
            raise dbus.ProtocolError(f"login refused: {line[:80]!r}")

    def _encode(self, call: Call, destination: str = "") -> bytes:
        self._serial += 1
        return dbus.method_call(self._serial, call.path, call.interface, call.member,
                                call.signature, call.values, destination or self._destination)

    def _answers(self, first: int, count: int, deadline: float) -> list[dbus.Message]:
        """Read until each of our calls has its answer; signals and others' answers are dropped."""
        found: dict[int, dbus.Message] = {}
        while len(found) < count:
            size = dbus.size_of(self._buffer)
            if not size or len(self._buffer) < size:
                self._receive(deadline)
                continue
            message = dbus.decode(self._buffer[:size])
            self._buffer = self._buffer[size:]
            if message.kind in (dbus.METHOD_RETURN, dbus.ERROR) \
                    and first <= message.reply_to < first + count:
                found[message.reply_to] = message
        return [found[serial] for serial in range(first, first + count)]

    def _receive(self, deadline: float) -> None:
        assert self._socket is not None
        self._socket.settimeout(_left(deadline))
        piece = self._socket.recv(65536)
        if not piece:
            raise ConnectionResetError("closed by the other side")
        self._buffer += piece


def _left(deadline: float) -> float:
    """Return the seconds until the deadline; raise TimeoutError when there are none."""
    left = deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError("no answer in time")
    return left


def _text(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error)
