# SPDX-License-Identifier: GPL-2.0-or-later
"""Addresses: how they are written, and what a listener on one of them serves.

A recurring monitor loads this module.
"""

from __future__ import annotations

from _socket import AF_INET, AF_INET6, inet_ntop, inet_pton

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Union

    from mailha.system.netlink import Listener

    Endpoint = Union[tuple[str, int], str]

ANYWHERE = "any"
"""Some address, whichever: where only the port of a service is fixed."""

_MAPPED = bytes(10) + b"\xff\xff"


def canonical(address: str) -> str:
    """Return the address in the one way that the kernel writes it; "" when it is not numeric.

    An IPv4-mapped IPv6 address becomes the IPv4 address, because that is whom it serves. The
    scope of a link-local address ("%eth0") is dropped.
    """
    text = address.partition("%")[0].strip("[]")
    for family in (AF_INET, AF_INET6):
        try:
            data = inet_pton(family, text)
        except (OSError, ValueError):
            continue
        if data[:12] == _MAPPED and len(data) == 16:
            return inet_ntop(AF_INET, data[12:])
        return inet_ntop(family, data)
    return ""


def listens(listener: Listener, host: str, port: int) -> bool:
    """Tell whether the listener takes connections to host and port.

    host: a numeric address, "localhost" (either family will do: a machine may have no IPv6),
    ANYWHERE, or a wildcard as it stands in configurations: "*", "" or "0.0.0.0" (all IPv4), "::"
    (all IPv6).
    A listener on "::" takes IPv4 too unless it is for IPv6 only; one on "::ffff:192.0.2.1" takes
    IPv4 alone.
    """
    if listener.port != port:
        return False
    if host == ANYWHERE:
        return True
    if host == "localhost":
        return listens(listener, "127.0.0.1", port) or listens(listener, "::1", port)
    wanted = canonical("0.0.0.0" if host in ("*", "") else host)
    if not wanted:
        return False
    own = canonical(listener.address)
    if own == wanted:
        return True
    if ":" in wanted:
        return own == "::"
    return own == "0.0.0.0" or (own == "::" and not listener.only6)


def is_local(address: str, local: set[str]) -> bool:
    """Tell whether a service here can bind the address; local: what local_addresses() returned.

    Wildcards always; of 127.0.0.0/8 every address as soon as one is here.
    """
    if address in ("*", "", ANYWHERE):
        return True
    wanted = canonical("127.0.0.1" if address == "localhost" else address)
    if wanted in ("0.0.0.0", "::") or wanted in local:
        return True
    return wanted.startswith("127.") and "127.0.0.1" in local
