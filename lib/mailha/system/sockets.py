# SPDX-License-Identifier: GPL-2.0-or-later
"""Listeners, local addresses and connections.

Who listens is asked from the kernel, not by connecting: a connection costs the service a process
or a log line, and a port that takes connections may still be another's.
"""

from __future__ import annotations

import errno
import os

from mailha import errors
from mailha.system import netlink
from mailha.system.netlink import Listener

TYPE_CHECKING = False
if TYPE_CHECKING:
    from mailha.system.addresses import Endpoint
    from mailha.system.connection import Connection

# The flags of a socket that takes connections (__SO_ACCEPTCON of linux/net.h, the only one shown).
_ACCEPTS = b"00010000"
_LISTENS = b" " + _ACCEPTS + b" "
# What a kernel without sock_diag, or one that forbids netlink, answers.
_NO_NETLINK = (errno.EPERM, errno.EACCES, errno.ENOENT, errno.EPROTONOSUPPORT, errno.EAFNOSUPPORT,
               errno.EINVAL, errno.EOPNOTSUPP)


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
            descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            try:
                table = piece = os.read(descriptor, 65536)
                while piece:
                    piece = os.read(descriptor, 65536)
                    table += piece
            finally:
                os.close(descriptor)
        except OSError as error:
            raise errors.Failed(f"cannot list unix sockets: {path}: {error.strerror}",
                                remedy="mount /proc") from None
        found: dict[str, list[int]] = {}
        for line in table.split(b"\n"):
            # Most sockets are connections, and taking a line apart is what costs.
            if _LISTENS in line:
                fields = line.split(None, 7)
                if len(fields) == 8 and fields[3] == _ACCEPTS:
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
