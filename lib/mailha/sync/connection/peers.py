# SPDX-License-Identifier: GPL-2.0-or-later
"""The nodes that this one is paired with: their names, and where their SSH servers are.

One small file a peer in /etc/mailha/sync/peers, written by `mailha sync pair`. They belong to this
node, as its key and the host keys that it knows do, and are never replicated.
"""

from __future__ import annotations

import json

from mailha import errors
from mailha.validation import Invalid
from mailha.validation.network import Host

TYPE_CHECKING = False
if TYPE_CHECKING:
    from mailha.system.machine import Machine

DIRECTORY = "/etc/mailha/sync"
PEERS = f"{DIRECTORY}/peers"
KEY = f"{DIRECTORY}/key"
KNOWN_HOSTS = f"{DIRECTORY}/known_hosts"

FORMAT = 1
SSH_PORT = 22
LARGEST = 4096

_LETTERS = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-_")


class Peer:
    """A node that takes what this one sends.

    node: its name in the cluster. address: the name or address of its SSH server, never one that
    moves with the service. port: of the SSH server.
    """

    __slots__ = ("node", "address", "port")

    def __init__(self, node: str, address: str, port: int = SSH_PORT) -> None:
        self.node = check_node(node)
        self.address = _host(address)
        if not 0 < port < 65536:
            raise errors.Failed(f"{port} is no port", remedy="give one from 1 to 65535")
        self.port = port

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Peer) and (self.node, self.address, self.port) == (
            other.node, other.address, other.port)

    def __hash__(self) -> int:
        return hash((self.node, self.address, self.port))

    def __repr__(self) -> str:
        return f"Peer({self.node!r}, {self.address!r}, {self.port})"


def peers(machine: Machine) -> list[Peer]:
    """Return all peers, by name. Raises errors.Failed for a file that nobody can read."""
    return [find(machine, name) for name in machine.files.names(PEERS)
            if not name.startswith(".")]


def find(machine: Machine, node: str) -> Peer:
    """Return the peer of this name. Raises errors.Failed."""
    path = _path(node)
    again = f"'mailha sync pair {node}' on this node pairs them"
    try:
        data = machine.files.read(path, LARGEST)
    except FileNotFoundError:
        raise errors.Failed(f"this node is not paired with {node}", remedy=again) from None
    except OSError as error:
        raise errors.Failed(f"cannot read {path}: {error.strerror}", remedy=again) from None
    try:
        found = json.loads(data)
        if found["format"] != FORMAT:
            raise errors.Failed(f"{path} has the format {found['format']!r}, and this release of "
                                f"mailha knows {FORMAT}", remedy=again)
        return Peer(found["node"], found["address"], int(found["port"]))
    except (ValueError, KeyError, TypeError, AttributeError):
        raise errors.Failed(f"{path} does not say where {node} is", remedy=again) from None


def write(machine: Machine, peer: Peer) -> None:
    """Remember a peer. Raises errors.Failed."""
    machine.files.make_directory(PEERS, 0o700)
    machine.files.write_atomic(_path(peer.node), json.dumps({
        "format": FORMAT, "node": peer.node, "address": peer.address, "port": peer.port,
    }).encode() + b"\n", 0o600)


def forget(machine: Machine, node: str) -> bool:
    """Forget a peer; False if it was not known. Raises errors.Failed."""
    return machine.files.remove(_path(node))


def check_node(name: str) -> str:
    """Return the name of a node if it can be one. Raises errors.Failed.

    It becomes the name of a file and a word in authorized_keys and known_hosts.
    """
    if not 0 < len(name) < 254 or not _LETTERS.issuperset(name) or name[0] in ".-":
        raise errors.Failed(f"{name!r} cannot be the name of a node",
                            remedy="'crm_node --list' shows those of the cluster")
    return name


def _path(node: str) -> str:
    return f"{PEERS}/{check_node(node)}"


def _host(address: str) -> str:
    try:
        return str(Host().parse(address))
    except Invalid as error:
        raise errors.Failed(str(error), remedy="give the name or the address of its SSH server") \
            from None
