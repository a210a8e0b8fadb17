# SPDX-License-Identifier: GPL-2.0-or-later
"""The deep check of kopano-server: log on, open a store, log off, over its unix socket.

The logon alone proves little: with the database dead it still succeeds from the cache. Opening the
store asks the database (measured: 0x80000007 without it). It needs no client library and no
password: the server asks the kernel who is at the other end, and root is a local administrator
unless server.cfg says otherwise. It takes 5 to 12 ms.
"""

from __future__ import annotations

import re
from typing import NamedTuple, Sequence

from mailha import errors
from mailha.products.kopano.configuration import Database
from mailha.products.kopano.database import DatabaseUnreachable, name_of
from mailha.storage.version import Version
from mailha.system.connection import Connection, ConnectionFailed
from mailha.system.machine import Machine

# Kopano's error numbers (kcore.hpp).
NO_ERROR = 0
DATABASE_ERROR = 0x80000007
LOGON_FAILED = 0x80000009

_LARGEST = 1 << 18
"""Bytes of an answer; the longest of the three has about 1,200."""
_MOST_HEADERS = 100
_FAREWELL = 2.0

_ENVELOPE = (
    '<?xml version="1.0" encoding="UTF-8"?>\n'
    '<SOAP-ENV:Envelope xmlns:SOAP-ENV="http://schemas.xmlsoap.org/soap/envelope/"'
    ' xmlns:SOAP-ENC="http://schemas.xmlsoap.org/soap/encoding/" xmlns:ns="urn:zarafa">'
    '<SOAP-ENV:Body SOAP-ENV:encodingStyle="http://schemas.xmlsoap.org/soap/encoding/">'
    "<ns:{call}>{elements}</ns:{call}></SOAP-ENV:Body></SOAP-ENV:Envelope>")


class ServerDead(errors.Failed):
    """Nobody listens at the server's socket."""


class ServerMute(errors.Failed):
    """The server takes connections and does not answer: it hangs, waits, or upgrades."""


class LogonRefused(errors.Failed):
    """The server does not take root for an administrator."""


class Answer(NamedTuple):
    """What the server says of itself: its GUID in hexadecimal digits, and its version."""

    guid: str
    version: str


def log_on(machine: Machine, pipe_path: str, version: Version, timeout: float, *,
           database: Database | None = None) -> Answer:
    """Prove that the server serves, database included, and return who it is.

    pipe_path: server_pipe_name. version: of the server, as what the client introduces itself.
    timeout: seconds for all three calls. database: for the reason. Raises ServerDead, ServerMute,
    LogonRefused, DatabaseUnreachable, and errors.Failed for every other answer.
    """
    server = _Server(machine, pipe_path, machine.clock.monotonic() + timeout, timeout)
    # All of them must be there and in this order (measured: without szImpersonateUser the answer
    # is 0x80000009).
    body = server.call("logon", (
        ("szUsername", "SYSTEM"), ("szPassword", ""), ("szImpersonateUser", ""),
        ("szVersion", _wire_version(version)), ("ulCapabilities", "0"), ("ulFlags", "0"),
        ("sLicenseReq", ""), ("ullSessionGroup", "0"), ("szClientApp", "mailha"),
        ("szClientAppVersion", "1"), ("szClientAppMisc", "")))
    _check(pipe_path, "logon", body, database)
    session = element(body, "ulSessionId")
    if not session.isdigit():
        raise errors.Failed(f"kopano-server at {pipe_path} gave no session at logon")
    try:
        _check(pipe_path, "getStore", server.call("getStore", (("ulSessionId", session),)),
               database)
    finally:
        _log_off(server, machine, session)
    return Answer(_guid(element(body, "sServerGuid")), _plain_version(element(body, "lpszVersion")))


def element(body: bytes, name: str) -> str:
    """Return the text of the first element of that name, "" if there is none.

    Four plain values are wanted of the whole document, so it goes through no XML parser, and
    nothing in it can make one work.
    """
    match = re.search(rb"<(?:[\w.-]+:)?" + name.encode() + rb"(?:\s[^<>]*)?>([^<>]{0,4096})</",
                      body)
    return match.group(1).decode("utf-8", "replace").strip() if match else ""


def _check(pipe_path: str, call: str, body: bytes, database: Database | None) -> None:
    """Raise what the answer to a call says."""
    text = element(body, "er")
    number = int(text) if text.isascii() and text.isdigit() and len(text) < 11 else None
    if number == NO_ERROR:
        return
    if number == DATABASE_ERROR:
        which = name_of(database) if database else "its database"
        raise DatabaseUnreachable(f"kopano-server answers, but cannot reach {which}",
                                  remedy="bring it back; Kopano then goes on by itself")
    if number == LOGON_FAILED:
        raise LogonRefused(f"kopano-server at {pipe_path} refuses root (0x{number:08x} at {call})",
                           remedy="add root to local_admin_users in server.cfg")
    if number is not None:
        raise errors.Failed(f"kopano-server at {pipe_path} answers {call} with error "
                            f"0x{number:08x}", remedy="see its log")
    fault = element(body, "faultstring") or "something that is not understood"
    readable = "".join(char if char.isprintable() else "?" for char in fault[:200])
    raise errors.Failed(f"kopano-server at {pipe_path} answers {call} with '{readable}'",
                        remedy="see its log")


def _log_off(server: _Server, machine: Machine, session: str) -> None:
    """End the session. Whether that succeeds says nothing about the server: it times out."""
    server.deadline = min(server.deadline, machine.clock.monotonic() + _FAREWELL)
    try:
        server.call("logoff", (("ulSessionId", session),))
    except errors.MailhaError:
        pass


def _wire_version(version: Version) -> str:
    numbers = re.findall(r"[0-9]+", version.software)[:4]
    return ",".join((numbers + ["0", "0", "0"])[:4])


def _plain_version(text: str) -> str:
    """Return "8.7.25" for "0,8,7,25", as the server spells it."""
    numbers = text.split(",")
    if not all(number.isdigit() for number in numbers):
        return ""
    return ".".join(numbers[1:] if len(numbers) == 4 and numbers[0] == "0" else numbers)


def _guid(text: str) -> str:
    import base64
    try:
        return base64.b64decode(text, validate=True).hex()
    except ValueError:
        return ""


class _Server:
    """The server's unix socket. Each call is a connection of its own, which is cheap there."""

    def __init__(self, machine: Machine, path: str, deadline: float, timeout: float) -> None:
        self._machine = machine
        self._path = path
        self._timeout = timeout
        self.deadline = deadline

    def call(self, name: str, elements: Sequence[tuple[str, str]]) -> bytes:
        """Make a call and return the body of the answer."""
        content = _ENVELOPE.format(
            call=name, elements="".join(f"<{tag}>{text}</{tag}>" for tag, text in elements))
        body = content.encode("ascii")
        head = ("POST / HTTP/1.1\r\nHost: localhost\r\nContent-Type: text/xml; charset=utf-8\r\n"
                f'SOAPAction: ""\r\nConnection: close\r\nContent-Length: {len(body)}\r\n\r\n')
        try:
            with self._machine.sockets.connect(self._path, self._left()) as connection:
                connection.send(head.encode("ascii") + body, self._left())
                return self._answer(connection)
        except ConnectionFailed as error:
            raise self._failure(name, error) from None

    def _answer(self, connection: Connection) -> bytes:
        status = connection.receive_line(self._left())
        if not status.startswith(b"HTTP/1."):
            raise errors.Failed(f"what listens at {self._path} is not kopano-server: it says "
                                f"{status[:60]!r}")
        headers = self._headers(connection)
        if status.split(b" ", 2)[1:2] == [b"100"]:
            return self._answer(connection)
        if headers.get(b"transfer-encoding", b"").lower() == b"chunked":
            return self._chunks(connection)
        length = headers.get(b"content-length", b"")
        if length.isdigit():
            return self._bytes(connection, int(length) if len(length) < 8 else _LARGEST + 1)
        return self._bytes(connection, None)

    def _headers(self, connection: Connection) -> dict[bytes, bytes]:
        headers: dict[bytes, bytes] = {}
        for _ in range(_MOST_HEADERS):
            line = connection.receive_line(self._left())
            if not line:
                return headers
            name, _, value = line.partition(b":")
            headers[name.strip().lower()] = value.strip()
        raise self._too_long()

    def _chunks(self, connection: Connection) -> bytes:
        body = b""
        while True:
            size = connection.receive_line(self._left()).partition(b";")[0].strip()
            try:
                count = int(size, 16)
            except ValueError:
                count = -1
            if not 0 <= count <= _LARGEST - len(body):
                raise self._too_long()
            if count == 0:
                return body
            body += self._bytes(connection, count)
            connection.receive_line(self._left())

    def _bytes(self, connection: Connection, count: int | None) -> bytes:
        """Return so many bytes, or all up to the end if count is None."""
        if count is not None and count > _LARGEST:
            raise self._too_long()
        body = b""
        while count is None or len(body) < count:
            wanted = 16384 if count is None else count - len(body)
            piece = connection.receive(wanted, self._left())
            if not piece:
                if count is None:
                    break
                raise ConnectionFailed("the answer ended before it was complete", "closed")
            body += piece
            if len(body) > _LARGEST:
                raise self._too_long()
        return body

    def _too_long(self) -> errors.Failed:
        return errors.Failed(f"what listens at {self._path} gives an answer that kopano-server "
                             "would not give: it is too long or damaged")

    def _failure(self, call: str, error: ConnectionFailed) -> errors.Failed:
        if error.cause in ("refused", "missing"):
            return ServerDead(f"kopano-server does not listen at {self._path}: {error.reason}")
        if error.cause == "timeout":
            return ServerMute(f"kopano-server does not answer {call} at {self._path} within "
                              f"{self._timeout:.3g} s: it hangs, waits for its database, or "
                              "upgrades it")
        return errors.Failed(f"kopano-server breaks off at {call}: {error.reason}",
                             remedy="see its log")

    def _left(self) -> float:
        return max(0.05, self.deadline - self._machine.clock.monotonic())
