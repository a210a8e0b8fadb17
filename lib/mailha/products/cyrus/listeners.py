# SPDX-License-Identifier: GPL-2.0-or-later
"""Where the services of a cyrus.conf listen, and what each speaks there.

Cyrus's master says nothing when it cannot listen: it writes one line to the log, leaves out the
service, and serves the others. So what it would stumble over has to be found before it starts.
"""

from __future__ import annotations

from mailha.products.cyrus.cyrusconf import SERVICES, Entry
from mailha.products.cyrus.syntax import ConfigurationUnusable, together
from mailha.system.addresses import canonical

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Iterable, Mapping

# By program. What is not here is not asked for a greeting.
_PROTOCOLS = {"imapd": "imap", "proxyd": "imap", "pop3d": "pop3", "pop3proxyd": "pop3",
              "lmtpd": "lmtp", "lmtpproxyd": "lmtp", "timsieved": "sieve", "httpd": "http"}
# Whose option -s means TLS from the first byte.
_WITH_TLS = ("imapd", "proxyd", "pop3d", "pop3proxyd", "httpd", "nntpd")
TLS = "tls"
UNASKED = "cyrus"
"""What is no protocol that a greeting is known of."""

# What Cyrus's documents write and many an /etc/services does not have, Debian's among them.
PORT_OF_LMTP = "24"


class Place:
    """Where one service listens.

    entry: its entry. speaks: "imap", "pop3", "lmtp", "sieve", "http", TLS or UNASKED. host: as it
    stands there, "" for none. port: its number. path: of a unix socket, then host and port mean
    nothing. stream: whether it takes connections (tcp).
    """

    __slots__ = ("entry", "speaks", "host", "port", "path", "stream")

    def __init__(self, entry: Entry, speaks: str, host: str, port: int, path: str) -> None:
        self.entry = entry
        self.speaks = speaks
        self.host = host
        self.port = port
        self.path = path
        self.stream = entry.protocol.startswith("tcp")


def places(entries: Iterable[Entry], ports: Mapping[str, int]) -> list[Place]:
    """Return where each service listens.

    ports: the ports by name, of /etc/services. Raises ConfigurationUnusable for ports that nobody
    knows, with which the master would leave out the services.
    """
    found: list[Place] = []
    faults: list[ConfigurationUnusable] = []
    for entry in entries:
        if entry.section == SERVICES:
            try:
                found.append(_place(entry, ports))
            except ConfigurationUnusable as error:
                faults.append(error)
    if faults:
        raise together(faults)
    return found


def speaks(entry: Entry) -> str:
    """Return what a service speaks to those who connect."""
    program = entry.program
    words = entry.words[1:]
    if program in _WITH_TLS and any(word.startswith("-") and word[1:2] != "-"
                                    and "s" in word.partition("C")[0] for word in words):
        return TLS
    return _PROTOCOLS.get(program, UNASKED)


def split(listen: str) -> tuple[str, str]:
    """Return host and port of "host:port", "[address]:port" or "port", as the master splits it."""
    head, bracket, tail = listen.rpartition("]")
    if bracket:
        return head.lstrip("["), tail[1:] if tail.startswith(":") else ""
    host, colon, port = listen.rpartition(":")
    return (host, port) if colon else ("", listen)


def parse_services(content: bytes) -> dict[str, int]:
    """Return the TCP ports by name, of an /etc/services."""
    found: dict[str, int] = {}
    for line in content.decode("utf-8", "replace").split("\n"):
        words = line.partition("#")[0].split()
        if len(words) < 2:
            continue
        number, _, protocol = words[1].partition("/")
        if number.isascii() and number.isdigit() and len(number) < 6 and protocol == "tcp":
            for name in (words[0], *words[2:]):
                found.setdefault(name, int(number))
    return found


def _place(entry: Entry, ports: Mapping[str, int]) -> Place:
    """Return where one service listens."""
    listen = entry.listen
    if listen.startswith("/"):
        return Place(entry, speaks(entry), "", 0, listen)
    host, port = split(listen)
    if port.isascii() and port.isdigit():
        number = int(port) if len(port) < 6 else 0
    else:
        number = ports.get(port, 0)
        if not number:
            number_of_lmtp = f" (LMTP's is {PORT_OF_LMTP})" if port == "lmtp" else ""
            raise entry.wrong(
                f"listen=\"{listen}\": /etc/services of this node has no port '{port}', so Cyrus "
                "would leave out the service without a word",
                f"write the number of the port{number_of_lmtp}")
    if not 0 < number < 65536:
        raise entry.wrong(f"listen=\"{listen}\" names no port", "write ADDRESS:PORT")
    return Place(entry, speaks(entry), host, number, "")


def at(place: Place) -> tuple[str, int, str]:
    """Return what two services cannot both have: address, port and transport, or the path."""
    if place.path:
        return place.path, 0, ""
    return canonical(place.host) or place.host, place.port, place.entry.protocol[:3]
