# SPDX-License-Identifier: GPL-2.0-or-later
"""The way to a controller: datagrams to every address that its name has, until one of them answers.

Each address has a connected socket, for two reasons. The kernel then reports that nobody listens
there or that no road leads there (pyghmi's own unconnected socket never hears of it, and waits),
and it drops what anybody else sends to our port.
"""

from __future__ import annotations

import errno
import os
import select
import socket
import threading
import time

from mailha.fencing.failures import NameUnknown, Unreachable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any
    from mailha.bmc.ipmi_login import Login
    from mailha.fencing.deadline import Deadline

LARGEST = 3000
"""Bytes of the largest datagram that is taken; what pyghmi takes."""

REFUSALS = 2
"""Refusals in a row after which nobody listens: a single one may be a controller that restarts."""

_REASONS = {errno.ECONNREFUSED: "nobody listens there (the port is closed)",
            errno.EHOSTUNREACH: "no host answers at that address",
            errno.ENETUNREACH: "this node has no route to it",
            errno.EACCES: "this node's firewall forbids it",
            errno.EPERM: "this node's firewall forbids it"}


def resolve(login: Login, deadline: Deadline) -> list[Any]:
    """Return getaddrinfo's answer for the controller.

    A name is looked up in a thread, because a dead name server holds getaddrinfo for as long as
    resolv.conf says, whatever our deadline is. Raises NameUnknown.
    """
    try:
        return socket.getaddrinfo(login.host.encode(), login.port, type=socket.SOCK_DGRAM,
                                  flags=socket.AI_NUMERICHOST)
    except (OSError, ValueError):
        pass
    found: list[Any] = []
    failed: list[str] = []

    def look_up() -> None:
        try:
            found.extend(socket.getaddrinfo(login.host, login.port, type=socket.SOCK_DGRAM))
        except OSError as error:
            failed.append(error.strerror or str(error))
        except ValueError:              # UnicodeError: no name at all, such as one with two dots
            failed.append("it is no host name")

    thread = threading.Thread(target=look_up, daemon=True)
    thread.start()
    thread.join(min(max(1.0, deadline.contact()), deadline.left()))
    if found:
        return found
    raise NameUnknown(
        f"{login.host} has no address: {failed[0] if failed else 'no name server answers'}",
        remedy="put the controller's address into ip, or its name into /etc/hosts: fencing has to "
               "work without a name server")


class Line:
    """The open sockets to one controller. Close it after use."""

    def __init__(self, login: Login, addresses: list[Any]) -> None:
        """Open a socket to each address; raises Unreachable if there is a road to none."""
        self._name = login.name
        self._sockets: dict[int, socket.socket] = {}
        self._refused: dict[int, int] = {}
        self._why = errno.EHOSTUNREACH
        for family, kind, protocol, _, address in addresses:
            try:
                opened = socket.socket(family, kind, protocol)
            except OSError as error:    # no IPv6 on this node
                self._why = error.errno or self._why
                continue
            try:
                opened.setblocking(False)
                opened.connect(address)
            except OSError as error:
                self._why = error.errno or self._why
                opened.close()
                continue
            self._sockets[opened.fileno()] = opened
        self._check()

    def send(self, datagram: bytes) -> None:
        """Send to the address that answered, or to all of them as long as none has."""
        for number, way in list(self._sockets.items()):
            try:
                way.send(datagram)
            except BlockingIOError:
                pass                    # as good as lost; it is sent again
            except OSError as error:
                self._note(number, error)
        self._check()

    def receive(self, until: float) -> bytes | None:
        """Return the next datagram, or None if none came.

        until: seconds on the monotonic clock.
        Raises Unreachable when every address has refused what was sent there.
        """
        while True:
            ready, _, _ = select.select(list(self._sockets), [], [],
                                        max(0.0, until - time.monotonic()))
            if not ready:
                return None
            for number in ready:
                try:
                    datagram = self._sockets[number].recv(LARGEST)
                except BlockingIOError:
                    continue            # a wrong checksum; the kernel dropped it
                except OSError as error:
                    self._note(number, error)
                    continue
                self._refused.clear()
                self._only(number)
                return datagram
            self._check()

    def close(self) -> None:
        """Close every socket."""
        for way in self._sockets.values():
            way.close()
        self._sockets = {}

    def _only(self, number: int) -> None:
        """Forget the addresses that were slower than the one that answered."""
        for other in [other for other in self._sockets if other != number]:
            self._sockets.pop(other).close()

    def _note(self, number: int, error: OSError) -> None:
        self._why = error.errno or self._why
        self._refused[number] = self._refused.get(number, 0) + 1

    def _check(self) -> None:
        if all(self._refused.get(number, 0) >= REFUSALS for number in self._sockets):
            raise Unreachable(
                f"{self._name} cannot be reached: "
                f"{_REASONS.get(self._why) or os.strerror(self._why)}",
                remedy="check ip, ipport and that IPMI over LAN is enabled on the controller")
