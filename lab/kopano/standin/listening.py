# SPDX-License-Identifier: GPL-2.0-or-later
"""Open the sockets that a configuration asks for."""

from __future__ import annotations

import os
import shutil
import socket
from typing import List, Tuple

from .configuration import Settings

_BACKLOG = 64


class BindFailed(Exception):
    """An address or a socket path could not be bound; the text says which and why."""


def parse(specification: str, default_port: int) -> Tuple[str, int]:
    """Split ``address:port``, ``[address]:port`` or ``*:port``; an empty address means any.

    BindFailed is raised for what is none of these, as for an address that is not here.
    """
    host, separator, port = specification.rpartition(":")
    if not separator or specification.endswith("]"):
        host, port = specification, str(default_port)
    host = host.strip("[]")
    if not port.isdigit() or int(port) > 65535:
        raise BindFailed(f'"{specification}" is not a valid address and port')
    return ("" if host == "*" else host), int(port)


def wanted(settings: Settings, listen_key: str, bind_port_key: str,
           enable_key: str = "") -> List[str]:
    """Return the ``address:port`` list of one protocol, from the new key or from the old ones.

    Releases that know both prefer an explicit old address, which a commented-out new key gives.
    """
    old_address = settings["server_bind"] if "server_bind" in settings else ""
    if listen_key in settings and not old_address:
        return settings.words(listen_key)
    if enable_key and not settings.flag(enable_key):
        return []
    return [f"{old_address or '*'}:{settings[bind_port_key]}"]


def tcp(specifications: List[str], default_port: int) -> List[socket.socket]:
    """Return listening sockets for all ``specifications``; BindFailed where one cannot be had."""
    sockets: List[socket.socket] = []
    for specification in specifications:
        host, port = parse(specification, default_port)
        try:
            sockets += [_listen(family, host, port) for family in _families(host)]
        except OSError as error:
            raise BindFailed(f"Unable to bind to {specification}: {error.strerror}") from error
    return sockets


def _families(host: str) -> List[socket.AddressFamily]:
    if host:
        return [socket.AF_INET6 if ":" in host else socket.AF_INET]
    families = [socket.AF_INET]
    if os.path.exists("/proc/net/if_inet6"):
        with open("/proc/net/if_inet6", encoding="ascii") as file:
            # IPv6 without a single address is switched off, as in a lab's namespace.
            if file.read(1):
                families.append(socket.AF_INET6)
    return families


def _listen(family: socket.AddressFamily, host: str, port: int) -> socket.socket:
    listener = socket.socket(family, socket.SOCK_STREAM)
    # A restart binds at once although clients of the killed predecessor are still attached
    # (measured for all services).
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if family == socket.AF_INET6:
        listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    listener.bind((host, port))
    listener.listen(_BACKLOG)
    return listener


def unix(path: str, mode: int, owner: str = "") -> socket.socket:
    """Return a listening socket at ``path``, in place of any that was left there.

    owner: the user who gets the socket, if this is root.
    """
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        if os.path.lexists(path):
            os.unlink(path)
        listener.bind(path)
        os.chmod(path, mode)
        if owner and os.geteuid() == 0:
            shutil.chown(path, owner)
        listener.listen(_BACKLOG)
    except OSError as error:
        raise BindFailed(f"Unable to bind to unix socket {path}: {error.strerror}") from error
    return listener
