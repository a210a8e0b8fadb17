# SPDX-License-Identifier: GPL-2.0-or-later
"""Listeners, local addresses and connections.

Who listens is asked from the kernel, not by connecting: a connection costs the service a process
or a log line, and a port that takes connections may still be another's.
"""

from __future__ import annotations

import errno
import os
from _socket import AF_INET, AF_INET6, inet_ntop, inet_pton

from mailha import errors
from mailha.system import netlink
from mailha.system.netlink import Listener

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Union

    from mailha.system.connection import Connection

    Endpoint = Union[tuple[str, int], str]

__all__ = ["Listener", "Sockets", "canonical", "is_local", "listens"]

_MAPPED = bytes(10) + b"\xff\xff"
_SO_ACCEPTCON = 0x10000
# What a kernel without sock_diag, or one that forbids netlink, answers.
_NO_NETLINK = (errno.EPERM, errno.EACCES, errno.ENOENT, errno.EPROTONOSUPPORT, errno.EAFNOSUPPORT,
               errno.EINVAL, errno.EOPNOTSUPP)


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

    host: a numeric address, "localhost" (either family will do: a machine may have no IPv6), or
    a wildcard as it stands in configurations: "*", "" or "0.0.0.0" (all IPv4), "::" (all IPv6).
    A listener on "::" takes IPv4 too unless it is for IPv6 only; one on "::ffff:192.0.2.1" takes
    IPv4 alone.
    """
    if listener.port != port:
        return False
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
    if address in ("*", ""):
        return True
    wanted = canonical("127.0.0.1" if address == "localhost" else address)
    if wanted in ("0.0.0.0", "::") or wanted in local:
        return True
    return wanted.startswith("127.") and "127.0.0.1" in local


class Sockets:
    """The sockets of our network namespace."""

    def __init__(self, root: str = "") -> None:
        self._proc = root + "/proc"

    def listeners(self) -> list[Listener]:
        """Return every TCP listener, IPv4 and IPv6, by sock_diag or, without it, /proc/net."""
        try:
            return netlink.listeners()
        except OSError as error:
            if error.errno not in _NO_NETLINK:
                raise errors.Failed(f"cannot list listening sockets: {error}") from None
        from mailha.system import proc_net
        return proc_net.listeners(self._proc)

    def unix_listeners(self) -> dict[str, list[int]]:
        """Return the inodes of listening unix sockets by path; abstract ones begin with "@".

        A path may have several: a socket whose file was replaced listens on, unreachable.
        """
        path = self._proc + "/net/unix"
        try:
            with open(path, "rb") as file:
                lines = file.read().split(b"\n")[1:]
        except OSError as error:
            raise errors.Failed(f"cannot list unix sockets: {path}: {error.strerror}",
                                remedy="mount /proc") from None
        found: dict[str, list[int]] = {}
        for line in lines:
            fields = line.split(None, 7)
            if len(fields) == 8 and int(fields[3], 16) & _SO_ACCEPTCON:
                found.setdefault(os.fsdecode(fields[7]), []).append(int(fields[6]))
        return found

    def owned_inodes(self, pid: int, wanted: set[int] | None = None) -> set[int]:
        """Return the inodes of the sockets that the process holds; empty when it is gone.

        wanted: look no further once all of these are found. Raises errors.Failed when the process
        may not be looked into, because "it owns none" would be a false answer.
        """
        directory = f"{self._proc}/{pid}/fd"
        found: set[int] = set()
        try:
            descriptors = os.listdir(directory)
            for descriptor in descriptors:
                try:
                    target = os.readlink(f"{directory}/{descriptor}")
                except FileNotFoundError:
                    continue
                if target.startswith("socket:["):
                    found.add(int(target[8:-1]))
                    if wanted is not None and wanted <= found:
                        break
        except OSError as error:
            if error.errno not in (errno.ENOENT, errno.ESRCH):
                raise errors.Failed(f"cannot see the sockets of process {pid}: {error.strerror}",
                                    remedy="run as root") from None
        return found

    def local_addresses(self) -> set[str]:
        """Return every address of this machine that can be bound now, as the kernel writes it.

        The kernel's table is asked and no bind() tried: with net.ipv4.ip_nonlocal_bind, usual on
        nodes with floating addresses, bind() takes addresses that are not here.
        """
        try:
            return netlink.addresses()
        except OSError as error:
            if error.errno not in _NO_NETLINK:
                raise errors.Failed(f"cannot list local addresses: {error}") from None
        from mailha.system import proc_net
        return proc_net.addresses(self._proc)

    def connect(self, endpoint: Endpoint, timeout: float) -> Connection:
        """Return a connection to ("192.0.2.1", 143) or to a unix socket's path.

        Numeric addresses only, "localhost" included: names ask servers that may be dead. Raises
        connection.ConnectionFailed, whose cause says what happened.
        """
        from mailha.system.connection import connect
        return connect(endpoint, timeout)
