# SPDX-License-Identifier: GPL-2.0-or-later
"""Whether a service answers with the greeting that is its own.

A port that is open proves little: Kopano's ports are open and mute while its server upgrades the
database or waits for it. So each protocol is asked for the first thing that only a working service
says, and nothing is asked that would leave a failed login in a log. Addresses that speak TLS from
the first byte are not connected to: a handshake that is broken off is an error in their log.
"""

from __future__ import annotations

from mailha import errors
from mailha.system.connection import ConnectionFailed

TYPE_CHECKING = False
if TYPE_CHECKING:
    from mailha.services.service import Listening, Service
    from mailha.system.connection import Connection
    from mailha.system.machine import Machine

# What is sent first, and how the answer of a working service begins.
_DIALOGUES = {
    "http": (b"HEAD / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n", b"HTTP/1."),
    "caldav": (b"OPTIONS / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n", b"HTTP/1."),
    "lmtp": (b"", b"220"),
    "smtp": (b"", b"220"),
    "imap": (b"", b"* OK"),
    "pop3": (b"", b"+OK"),
    "sieve": (b"", b'"IMPLEMENTATION"'),
}
# Said before leaving, so that no service logs a connection that was lost.
_FAREWELLS = {"lmtp": b"QUIT\r\n", "smtp": b"QUIT\r\n", "imap": b"a LOGOUT\r\n",
              "pop3": b"QUIT\r\n", "sieve": b"LOGOUT\r\n"}


class Unfit(errors.Failed):
    """A service does not greet as a working one does.

    said: the line that it said instead; "" when it said none. cause: as of ConnectionFailed
    ("timeout", "refused"...), "answer" when it did answer.
    """

    def __init__(self, reason: str, *, said: str = "", cause: str = "answer") -> None:
        super().__init__(reason)
        self.said = said
        self.cause = cause


def greets(service: Service) -> bool:
    """Tell whether the service has an address that can be asked for a greeting."""
    return any(each.protocol in _DIALOGUES for each in service.listens)


def check(machine: Machine, service: Service, timeout: float) -> None:
    """Read the greeting at every address of the service.

    timeout: seconds for all of them together. Raises Unfit at the first that is not as it should
    be; its reason names service, address and what was said.
    """
    deadline = machine.clock.monotonic() + timeout
    asked = set()
    for listening in service.listens:
        # "*:236 127.0.0.1:236" is asked once.
        key = (listening.protocol, _reachable(listening.host), listening.port)
        if listening.protocol in _DIALOGUES and key not in asked:
            asked.add(key)
            _ask(machine, service, listening, max(0.1, deadline - machine.clock.monotonic()))


def _reachable(host: str) -> str:
    """Return an address by which a listener can be reached from this node."""
    return {"*": "127.0.0.1", "": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)


def _ask(machine: Machine, service: Service, listening: Listening, timeout: float) -> None:
    question, expected = _DIALOGUES[listening.protocol]
    name = f"{service.name} at {listening}"
    deadline = machine.clock.monotonic() + timeout
    try:
        endpoint = (_reachable(listening.host), listening.port)
        with machine.sockets.connect(endpoint, timeout) as connection:
            if question:
                connection.send(question, max(0.1, deadline - machine.clock.monotonic()))
            line = connection.receive_line(max(0.1, deadline - machine.clock.monotonic()))
            if not line.startswith(expected):
                said = _printable(line)
                raise Unfit(f"{name} says '{said}' where a working one says "
                            f"'{expected.decode()}'", said=said)
            if listening.protocol in _FAREWELLS:
                _take_leave(connection, _FAREWELLS[listening.protocol])
    except ConnectionFailed as error:
        if error.cause == "timeout":
            raise Unfit(f"{name} takes connections and says nothing within {timeout:.3g} s",
                        cause=error.cause) from None
        raise Unfit(f"{name} does not answer: {error.reason}", cause=error.cause) from None


def _take_leave(connection: Connection, farewell: bytes) -> None:
    """Say goodbye. The greeting was right, so whatever happens now is of no interest."""
    try:
        connection.send(farewell, 1.0)
    except ConnectionFailed:
        pass


def _printable(line: bytes) -> str:
    text = line[:160].decode("utf-8", "replace")
    return "".join(char if char.isprintable() else "?" for char in text)
