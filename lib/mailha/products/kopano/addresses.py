# SPDX-License-Identifier: GPL-2.0-or-later
"""The addresses in Kopano's listen keys (ECChannel.cpp).

``address:port``, ``[IPv6 address]:port``, ``*:port`` or ``unix:PATH``, several separated by blanks,
each with an optional ``%interface`` before the port.
"""

from __future__ import annotations

import os
from typing import NamedTuple

from mailha.system.addresses import canonical


class Wrong(ValueError):
    """What stands there is no address that can be used; the text says why and what to write."""


class Listener(NamedTuple):
    """One address. path: of a unix socket, else "". host: "*", a numeric address or "localhost"."""

    host: str
    port: int
    path: str


def parse_list(text: str, usual_port: int) -> list[Listener]:
    """Return the addresses of a listen key; usual_port: where none is given, 0 if one must be.

    Raises Wrong.
    """
    return [parse(word, usual_port) for word in text.split()]


def parse(word: str, usual_port: int) -> Listener:
    """Return one address. Raises Wrong."""
    if word.startswith("unix:"):
        path = word[len("unix:"):]
        if not path.startswith("/"):
            raise Wrong(f"'{word}' has no absolute path; write unix:/PATH")
        return Listener("", 0, os.path.normpath(path))
    if word.startswith("["):
        host, bracket, rest = word[1:].partition("]")
        if not bracket:
            raise Wrong(f"'{word}' has no closing bracket; write [IPV6-ADDRESS]:PORT")
    else:
        if word.count(":") > 1:
            raise Wrong(f"'{word}' is an IPv6 address without brackets; write [IPV6-ADDRESS]:PORT")
        host, colon, port = word.partition(":")
        host, percent, interface = host.partition("%")
        rest = percent + interface + colon + port
    return Listener(_host(host, word), _port(_after_interface(rest, word), word, usual_port), "")


def address(text: str) -> str:
    """Return the one address of server_bind; "*" if it is empty. Raises Wrong."""
    if not text:
        return "*"
    if len(text.split()) > 1:
        raise Wrong(f"'{text}' is more than one address; write one address, or nothing for all")
    return _host(text.strip("[]"), text)


def port(text: str) -> int:
    """Return the port of an old key. Raises Wrong."""
    return _port(f":{text}", text, 0)


def _host(host: str, word: str) -> str:
    if host in ("", "*"):
        return "*"
    if host == "localhost" or canonical(host):
        return host
    # A name is looked up by asking servers that may be dead; Kopano itself refuses one since 8.x
    # (AI_NUMERICHOST).
    raise Wrong(f"'{word}' is no numeric address; write the address instead of the name")


def _after_interface(rest: str, word: str) -> str:
    """Return what follows the interface."""
    if not rest.startswith("%"):
        return rest
    interface, colon, port_text = rest[1:].partition(":")
    if interface != "lo":
        # Connections from this node to itself arrive on lo, so the kernel would refuse them.
        raise Wrong(f"'{word}' listens on interface {interface} only, where this node cannot reach "
                    "it to see whether it serves; write the floating address without interface")
    return colon + port_text


def _port(rest: str, word: str, usual_port: int) -> int:
    if not rest and usual_port:
        return usual_port
    text = rest[1:]
    if rest[:1] != ":" or not text.isascii() or not text.isdigit() or len(text) > 5 \
            or not 0 < int(text) < 65536:
        raise Wrong(f"'{word}' has no port between 1 and 65535; write ADDRESS:PORT")
    return int(text)
