# SPDX-License-Identifier: GPL-2.0-or-later
"""The way from the other services to kopano-server."""

from __future__ import annotations

import base64
import socket
import urllib.parse
from typing import List, NamedTuple

from . import http, soap

DEFAULT_SOCKET = "/var/run/kopano/server.sock"
SYSTEM = "SYSTEM"


class ServerUnreachable(Exception):
    """The server cannot be connected to, or hung up."""


class ServerRefused(Exception):
    """The server answered with an error number.

    code: one of those in ``soap``.
    """

    def __init__(self, call: str, code: int) -> None:
        super().__init__(f"{call}: 0x{code:08x}")
        self.code = code


class Item(NamedTuple):
    """One message in a mailbox: its number and its size in bytes."""

    number: int
    size: int


def _connect(location: str) -> socket.socket:
    """Connect to what a ``server_socket`` says: ``default:``, ``file://PATH`` or ``http://…``.

    There is no timeout, as in the real ones: a hung server hangs its clients (measured).
    """
    if location == "default:" or location.startswith("file://"):
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        path = DEFAULT_SOCKET if location == "default:" else location[len("file://"):]
        try:
            connection.connect(path)
        except OSError:
            connection.close()
            raise
        return connection
    url = urllib.parse.urlsplit(location)
    return socket.create_connection((url.hostname or "localhost", url.port or 236))


class Session:
    """One session on the server, from logon to ``close``."""

    def __init__(self, location: str, program: str, user: str = SYSTEM, password: str = "") -> None:
        """Log on; ServerUnreachable or ServerRefused if that does not work.

        location: the value of ``server_socket``; program: the name that the server lists.
        """
        try:
            self._connection = _connect(location)
        except OSError as error:
            raise ServerUnreachable(f"{location}: {error}") from error
        self._reader = http.Reader(self._connection)
        self._number = ""
        try:
            answer = self.call("logon", [
                ("szUsername", user), ("szPassword", password), ("szImpersonateUser", ""),
                ("szVersion", "8,7,25,0"), ("ulCapabilities", "0"), ("ulFlags", "0"),
                ("sLicenseReq", ""), ("ullSessionGroup", "0"), ("szClientApp", program),
                ("szClientAppVersion", ""), ("szClientAppMisc", "")])
        except (ServerUnreachable, ServerRefused):
            self._connection.close()
            raise
        self._number = answer.elements["ulSessionId"]

    def call(self, name: str, elements: soap.Elements) -> soap.Call:
        """Make one call in this session and return its answer."""
        if self._number:
            elements = [("ulSessionId", self._number), *elements]
        document = soap.envelope(name, elements)
        head = ("POST / HTTP/1.1\r\nHost: localhost\r\nContent-Type: text/xml; charset=utf-8\r\n"
                f'SOAPAction: ""\r\nContent-Length: {len(document)}\r\n\r\n')
        try:
            self._connection.sendall(head.encode("ascii") + document)
            body = self._reader.response()
        except OSError as error:
            raise ServerUnreachable(str(error)) from error
        answer = None if body is None else soap.parse(body)
        if answer is None or not answer.elements.get("er", "").isdigit():
            raise ServerUnreachable("Remote side closed connection.")
        if int(answer.elements["er"]) != soap.OK:
            raise ServerRefused(name, int(answer.elements["er"]))
        return answer

    def open_store(self) -> None:
        """Open the user's store, which needs the database (the logon does not)."""
        self.call("getStore", [])

    def resolve(self, address: str) -> str:
        """Return the login name for a mail address; ServerRefused with NOT_FOUND if nobody's."""
        return self.call("standinResolve", [("szAddress", address)]).elements["szUsername"]

    def deliver(self, user: str, message: bytes) -> int:
        """Return the number of ``message`` in ``user``'s mailbox once it is durable."""
        answer = self.call("standinDeliver", [
            ("szUsername", user), ("sMessage", base64.b64encode(message).decode("ascii"))])
        return int(answer.elements["ulMessageId"])

    def items(self) -> List[Item]:
        """Return what is in the mailbox of the session's user."""
        words = self.call("standinList", []).elements["sItems"].split()
        return [Item(int(number), int(size)) for number, size in zip(words[::2], words[1::2])]

    def fetch(self, number: int) -> bytes:
        """Return one message of the session's user, from its attachment file."""
        answer = self.call("standinFetch", [("ulMessageId", str(number))])
        return base64.b64decode(answer.elements["sMessage"])

    def users(self) -> List[str]:
        """Return all login names."""
        return self.call("standinUsers", []).elements["sUsers"].split()

    def close(self) -> None:
        """Log off as well as that still goes."""
        try:
            self.call("logoff", [])
        except (ServerUnreachable, ServerRefused):
            pass
        self._connection.close()
