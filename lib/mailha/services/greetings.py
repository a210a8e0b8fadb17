# SPDX-License-Identifier: GPL-2.0-or-later
"""Whether a service answers with the greeting that is its own.

A port that is open proves little: Kopano's ports are open and mute while its server upgrades the
database or waits for it. So each protocol is asked for the first thing that only a working service
says, and nothing is asked that would leave a failed login in a log. Addresses that speak TLS from
the first byte are not connected to: a handshake that is broken off is an error in their log. ("tls"
and "tcp" name such, and those of which no greeting is known.)
"""

from __future__ import annotations

from mailha import errors
from mailha.system.addresses import ANYWHERE, canonical, listens
from mailha.system.connection import ConnectionFailed

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Callable, Collection

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
    # Of BlueMind's web server: 502 and 503 mean that its core is not there.
    "ping": (b"OPTIONS /ping HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n", b"HTTP/1."),
    # Nothing is known that it would answer: that it takes connections has to do.
    "connect": (b"", b""),
    "postgresql": (b"", b""),
    "milter": (b"", b""),
}
# Whose answer has a status that means "not now" from here on.
_LEAST_BAD_STATUS = {"ping": 500}
# Said before leaving, so that no service logs a connection that was lost.
_FAREWELLS = {"lmtp": b"QUIT\r\n", "smtp": b"QUIT\r\n", "imap": b"a LOGOUT\r\n",
              "pop3": b"QUIT\r\n", "sieve": b"LOGOUT\r\n"}


class Unfit(errors.Failed):
    """A service does not greet as a working one does.

    said: the line that it said instead; "" when it said none. cause: as of ConnectionFailed
    ("timeout", "refused"...), "answer" when it did answer, "starting" when it did and is about to
    serve (PostgreSQL in its recovery).
    """

    def __init__(self, reason: str, *, said: str = "", cause: str = "answer") -> None:
        super().__init__(reason)
        self.said = said
        self.cause = cause


def greets(service: Service) -> bool:
    """Tell whether the service has an address that can be asked for a greeting."""
    return any(each.protocol in _DIALOGUES for each in (*service.listens, *service.asked))


def check(machine: Machine, service: Service, timeout: float,
          without: Collection[str] = ()) -> None:
    """Read the greeting at every address of the service.

    timeout: seconds for all of them together. without: protocols that are not asked. Raises Unfit
    at the first that is not as it should be; its reason names service, address and what was said.
    """
    deadline = machine.clock.monotonic() + timeout
    asked = set()
    for listening in (*service.listens, *service.asked):
        # "*:236 127.0.0.1:236" is asked once.
        host = reachable(machine, listening.host, listening.port)
        key = (listening.protocol, host, listening.port)
        if listening.protocol in _DIALOGUES and listening.protocol not in without \
                and key not in asked:
            asked.add(key)
            _ask(machine, service, listening, host,
                 max(0.1, deadline - machine.clock.monotonic()))


def reachable(machine: Machine, host: str, port: int) -> str:
    """Return an address by which a listener can be reached from this node.

    Of one that may listen anywhere: loopback if it can be reached there, since a firewall may stand
    before every other address (bm-iptables), else the one address that it has chosen.
    """
    if host != ANYWHERE:
        return {"*": "127.0.0.1", "": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}.get(
            host, host)
    listeners = [each for each in machine.sockets.listeners() if each.port == port]
    for loopback in ("127.0.0.1", "::1"):
        if any(listens(each, loopback, port) for each in listeners):
            return loopback
    return (canonical(listeners[0].address) or "127.0.0.1") if listeners else "127.0.0.1"


def _ask(machine: Machine, service: Service, listening: Listening, host: str,
         timeout: float) -> None:
    name = f"{service.name} at " + (f"{host}:{listening.port}" if listening.host == ANYWHERE
                                    else str(listening))
    deadline = machine.clock.monotonic() + timeout

    def left() -> float:
        return max(0.1, deadline - machine.clock.monotonic())

    try:
        with machine.sockets.connect((host, listening.port), timeout) as connection:
            if listening.protocol in ("postgresql", "milter"):
                from mailha.services import binary
                complaint = binary.postgresql(connection, left) \
                    if listening.protocol == "postgresql" else binary.milter(connection, left)
                if complaint:
                    raise Unfit(f"{name} {complaint}", said=complaint,
                                cause="starting" if complaint.startswith("says") else "answer")
            elif listening.protocol != "connect":
                _talk(connection, listening.protocol, name, left)
    except ConnectionFailed as error:
        if error.cause == "timeout":
            raise Unfit(f"{name} takes connections and says nothing within {timeout:.3g} s",
                        cause=error.cause) from None
        raise Unfit(f"{name} does not answer: {error.reason}", cause=error.cause) from None


def _talk(connection: Connection, protocol: str, name: str, left: Callable[[], float]) -> None:
    """Ask for the first line of a protocol. Raises Unfit and ConnectionFailed."""
    question, expected = _DIALOGUES[protocol]
    if question:
        connection.send(question, left())
    line = connection.receive_line(left())
    said = _printable(line)
    if not line.startswith(expected):
        raise Unfit(f"{name} says '{said}' where a working one says '{expected.decode()}'",
                    said=said)
    worst = _LEAST_BAD_STATUS.get(protocol)
    status = line.split(b" ")[1:2]
    if worst is not None and not (status and status[0].isdigit() and int(status[0]) < worst):
        raise Unfit(f"{name} says '{said}', which means that it does not serve", said=said)
    if protocol in _FAREWELLS:
        _take_leave(connection, _FAREWELLS[protocol])


def _take_leave(connection: Connection, farewell: bytes) -> None:
    """Say goodbye. The greeting was right, so whatever happens now is of no interest."""
    try:
        connection.send(farewell, 1.0)
    except ConnectionFailed:
        pass


def _printable(line: bytes) -> str:
    text = line[:160].decode("utf-8", "replace")
    return "".join(char if char.isprintable() else "?" for char in text)
