# SPDX-License-Identifier: GPL-2.0-or-later
"""Two questions to the kernel over netlink: who listens, and which addresses are here.

Layouts and numbers as in the kernel's include/uapi/linux/{netlink,inet_diag,sock_diag,rtnetlink,
if_addr}.h. Both questions open no connection and look up no name, so they cannot disturb a
service and cannot hang on one.
"""

from __future__ import annotations

import errno
import os
from _socket import AF_INET, AF_INET6, AF_NETLINK, SOCK_CLOEXEC, SOCK_RAW, inet_ntop, socket
from _struct import pack, unpack_from  # type: ignore[import]  # no file to load

from mailha import errors

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Iterator

NETLINK_ROUTE, NETLINK_SOCK_DIAG = 0, 4
NLMSG_ERROR, NLMSG_DONE = 2, 3
NLM_F_REQUEST, NLM_F_DUMP, NLM_F_DUMP_INTR = 0x1, 0x300, 0x10
SOCK_DIAG_BY_FAMILY = 20
RTM_GETADDR, RTM_NEWADDR = 22, 20
IPPROTO_TCP, TCP_LISTEN = 6, 10
INET_DIAG_SKV6ONLY, INET_DIAG_CGROUP_ID = 11, 21
IFA_ADDRESS, IFA_LOCAL, IFA_FLAGS = 1, 2, 8
IFA_F_OPTIMISTIC, IFA_F_DADFAILED, IFA_F_TENTATIVE = 0x04, 0x08, 0x40

_HEADER = 16
_LONGEST_WAIT = 2.0


class Listener:
    """A TCP socket in LISTEN: family 4 or 6, address as text, port, the socket's inode.

    only6: a family 6 socket that does not also take IPv4 connections (IPV6_V6ONLY). group: the
    number of the control group in which it was made, which is the inode of its directory; 0 where
    the kernel does not say (before 5.8).
    """

    __slots__ = ("family", "address", "port", "inode", "only6", "group")

    def __init__(self, family: int, address: str, port: int, inode: int,
                 only6: bool = False, group: int = 0) -> None:
        self.family = family
        self.address = address
        self.port = port
        self.inode = inode
        self.only6 = only6
        self.group = group

    def __repr__(self) -> str:
        host = f"[{self.address}]" if self.family == 6 else self.address
        return f"<listener {host}:{self.port} inode {self.inode}>"


def attributes(data: bytes, start: int, end: int) -> Iterator[tuple[int, bytes]]:
    """Give (type, value) of each attribute (struct rtattr) between start and end."""
    while start + 4 <= end:
        length, kind = unpack_from("=HH", data, start)
        if length < 4 or start + length > end:
            raise errors.Failed("damaged attribute from netlink")
        yield kind & 0x3fff, data[start + 4:start + length]
        start += length + -length % 4


def messages(data: bytes) -> Iterator[tuple[int, int, bytes]]:
    """Give (type, flags, payload) of each message in one datagram. Raises errors.Failed."""
    start = 0
    while start < len(data):
        if start + _HEADER > len(data):
            raise errors.Failed("damaged message from netlink")
        length, kind, flags = unpack_from("=IHH", data, start)
        if length < _HEADER or start + length > len(data):
            raise errors.Failed("damaged message from netlink")
        yield kind, flags, data[start + _HEADER:start + length]
        start += length + -length % 4


def parse_listener(payload: bytes) -> Listener:
    """Return the listener in a struct inet_diag_msg. Raises errors.Failed when it is damaged."""
    if len(payload) < 72:
        raise errors.Failed("damaged socket from netlink")
    family = payload[0]
    port = unpack_from(">H", payload, 4)[0]
    inode = unpack_from("=I", payload, 68)[0]
    only6, group = False, 0
    for kind, value in attributes(payload, 72, len(payload)):
        if kind == INET_DIAG_SKV6ONLY:
            only6 = value[:1] == b"\1"
        elif kind == INET_DIAG_CGROUP_ID and len(value) == 8:
            group = unpack_from("=Q", value)[0]
    if family == AF_INET:
        return Listener(4, inet_ntop(AF_INET, payload[8:12]), port, inode, False, group)
    return Listener(6, inet_ntop(AF_INET6, payload[8:24]), port, inode, only6, group)


def parse_address(payload: bytes) -> str:
    """Return the address in a struct ifaddrmsg, "" when no service can bind it (yet).

    An IPv6 address that duplicate address detection has not cleared cannot be bound; a
    server that tries dies of it.
    """
    if len(payload) < 8:
        raise errors.Failed("damaged address from netlink")
    family, flags = payload[0], payload[2]
    address = local = b""
    for kind, value in attributes(payload, 8, len(payload)):
        if kind == IFA_ADDRESS:
            address = value
        elif kind == IFA_LOCAL:
            local = value
        elif kind == IFA_FLAGS and len(value) == 4:
            flags = unpack_from("=I", value)[0]
    if flags & IFA_F_DADFAILED or (flags & IFA_F_TENTATIVE and not flags & IFA_F_OPTIMISTIC):
        return ""
    # On a point-to-point link IFA_ADDRESS is the other end.
    value = local or address
    if family == AF_INET and len(value) == 4:
        return inet_ntop(AF_INET, value)
    if family == AF_INET6 and len(value) == 16:
        return inet_ntop(AF_INET6, value)
    return ""


def listeners() -> list[Listener]:
    """Return all TCP listeners of this network namespace, IPv4 and IPv6.

    Raises OSError where the kernel has no sock_diag or forbids it.
    """
    found = []
    with socket_for(NETLINK_SOCK_DIAG) as connection:
        for family in (AF_INET, AF_INET6):
            request = pack("=BBBBI48x", family, IPPROTO_TCP, 0, 0, 1 << TCP_LISTEN)
            for kind, payload in dump(connection, SOCK_DIAG_BY_FAMILY, request):
                if kind == SOCK_DIAG_BY_FAMILY:
                    found.append(parse_listener(payload))
    return found


def addresses() -> set[str]:
    """Return all usable addresses of this network namespace. Raises OSError without rtnetlink."""
    with socket_for(NETLINK_ROUTE) as connection:
        found = {parse_address(payload)
                 for kind, payload in dump(connection, RTM_GETADDR, pack("=B7x", 0))
                 if kind == RTM_NEWADDR}
    return found - {""}


class socket_for:
    """A netlink socket that is closed at the end of the with block."""

    def __init__(self, protocol: int) -> None:
        self._socket = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, protocol)

    def __enter__(self) -> socket:
        self._socket.settimeout(_LONGEST_WAIT)
        return self._socket

    def __exit__(self, *exception: object) -> None:
        self._socket.close()


def dump(connection: socket, kind: int, request: bytes) -> list[tuple[int, bytes]]:
    """Ask for a whole table; return (type, payload) of its rows.

    A table that changed while it was read (NLM_F_DUMP_INTR) may lack rows, so it is read again.
    Raises OSError with the kernel's error number.
    """
    for serial in range(1, 6):
        header = pack("=IHHII", _HEADER + len(request), kind, NLM_F_REQUEST | NLM_F_DUMP,
                      serial, 0)
        connection.send(header + request)
        rows, consistent = _rows(connection)
        if consistent:
            return rows
    raise OSError(errno.EAGAIN, "the table changes faster than it can be read")


def _rows(connection: socket) -> tuple[list[tuple[int, bytes]], bool]:
    rows: list[tuple[int, bytes]] = []
    consistent = True
    while True:
        for kind, flags, payload in messages(connection.recv(1 << 17)):
            consistent = consistent and not flags & NLM_F_DUMP_INTR
            if kind == NLMSG_DONE:
                return rows, consistent
            if kind == NLMSG_ERROR:
                number = -unpack_from("=i", payload)[0] if len(payload) >= 4 else errno.EIO
                raise OSError(number, os.strerror(number))
            rows.append((kind, payload))
