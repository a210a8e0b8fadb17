# SPDX-License-Identifier: GPL-2.0-or-later
"""Pairing: two nodes learn each other's key and host keys, and let each other in for one purpose.

What a node says of itself is an offer: its name, the public half of its key for replication, and
the host keys of its SSH server. Taking an offer means three things here: root's authorized_keys
lets that key start `mailha sync receive` and nothing else; known_hosts of replication names those
host keys; and the peer is remembered. Taking the offer of a node that was paired before replaces
what was known of it, so a replaced node is paired like a new one.

An offer is worth as much as the way on which it came: `mailha sync pair` fetches it over a login
that the administrator has made.
"""

from __future__ import annotations

import base64
import binascii
import json
import os

from mailha import errors
from mailha.sync.connection import peers
from mailha.sync.connection.peers import DIRECTORY, KEY, KNOWN_HOSTS, Peer

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from mailha.system.machine import Machine

FORMAT = 1

AUTHORIZED_KEYS = "/root/.ssh/authorized_keys"
SSH_DIRECTORY = "/etc/ssh"

KEY_TYPES = (("ed25519",), ("ecdsa", "-b", "256"))
"""What ssh-keygen is asked for, in this order: in FIPS mode it makes no Ed25519 key."""

ALLOWED_TYPES = ("ssh-ed25519", "ecdsa-sha2-nistp256", "ecdsa-sha2-nistp384", "ecdsa-sha2-nistp521",
                 "ssh-rsa")
"""Kinds of keys that an offer may bring; ssh-rsa only stands for host keys of old servers."""

MOST_HOST_KEYS = 16
LARGEST_FILE = 1 << 20
KEYGEN_LIMIT = 30.0
"""Seconds; a node that has just booted may be short of randomness."""

NODE_NAME_LIMIT = 5.0


class Offer:
    """What a node says of itself.

    node: its name. key: the public half of its key, host_keys: those of its SSH server, each as
    "type base64". release: of mailha.
    """

    def __init__(self, node: str, key: str, host_keys: list[str], release: str = "") -> None:
        self.node = node
        self.key = key
        self.host_keys = host_keys
        self.release = release

    def to_line(self) -> str:
        """Return it as a line of text."""
        return json.dumps({"mailha-pair": FORMAT, "node": self.node, "key": self.key,
                           "host_keys": self.host_keys, "release": self.release})

    @classmethod
    def of(cls, found: Any) -> Offer:
        """Return the offer that a JSON document is.

        Every part of it is checked, because it goes into files that decide who may come in. Raises
        errors.Failed.
        """
        if not isinstance(found, dict) or found.get("mailha-pair") != FORMAT:
            raise errors.Failed("this is no offer of 'mailha sync pair' of this release",
                                remedy="install the same release of mailha on both nodes")
        host_keys = found.get("host_keys")
        if not isinstance(host_keys, list) or not 0 < len(host_keys) <= MOST_HOST_KEYS:
            raise errors.Failed("the offer brings no host key",
                                remedy="look for /etc/ssh/ssh_host_*_key.pub on that node")
        return cls(peers.check_node(str(found.get("node", ""))), _checked(found.get("key")),
                   [_checked(key) for key in host_keys], str(found.get("release", ""))[:40])


def document(text: str) -> Any:
    """Return what a text that was carried by hand says. Raises errors.Failed."""
    try:
        return json.loads(text.strip())
    except ValueError:
        raise errors.Failed("this is no offer of 'mailha sync pair'",
                            remedy="copy the whole line that '--offer' printed") from None


def node_name(machine: Machine) -> str:
    """Return this node's name: the cluster's, or the host's where no cluster can be asked."""
    try:
        said = machine.children.run(["crm_node", "--name"], timeout=NODE_NAME_LIMIT).stdout
        name = said.decode("utf-8", "replace").strip()
        if name:
            return peers.check_node(name)
    except errors.MailhaError:
        pass
    return peers.check_node(os.uname().nodename)


def offer(machine: Machine, node: str, release: str) -> Offer:
    """Return this node's offer; make its key first if it has none. Raises errors.Failed."""
    return Offer(node, _own_key(machine), _own_host_keys(machine), release)


def accept(machine: Machine, node: str, found: Offer, address: str, port: int, program: str,
           ) -> bool:
    """Take the offer of another node. Returns whether it was paired with this one before.

    node: this node's name. address, port: where this one reaches the SSH server of the other.
    program: the path of the administrator's tool on this node. Raises errors.Failed.
    """
    if found.node == node or found.key == _public_key(machine):
        raise errors.Failed(f"{address} leads to this node itself, {node}",
                            remedy="give the other node's own name or address, not one that moves "
                                   "with the service")
    peer = Peer(found.node, address, port)
    known = found.node in [each.node for each in peers.peers(machine)]
    machine.files.make_directory(DIRECTORY, 0o700)
    _replace(machine, KNOWN_HOSTS, lambda line: line.partition(" ")[0] == peer.node,
             [f"{peer.node} {key}" for key in found.host_keys])
    _let_in(machine, peer.node, found.key, program)
    peers.write(machine, peer)
    return known


def forget(machine: Machine, node: str) -> bool:
    """Undo accept(); False if there was nothing to undo. Raises errors.Failed."""
    peers.check_node(node)
    known = peers.forget(machine, node)
    _replace(machine, KNOWN_HOSTS, lambda line: line.partition(" ")[0] == node, [])
    return _let_in(machine, node, "", "") or known


def fingerprint(key: str) -> str:
    """Return the fingerprint of a key as ssh-keygen -l shows it."""
    import hashlib
    digest = hashlib.sha256(base64.b64decode(key.split()[1])).digest()
    return "SHA256:" + base64.b64encode(digest).decode().rstrip("=")


def _own_key(machine: Machine) -> str:
    """Return the public half of this node's key; make the key if there is none."""
    if not machine.files.exists(KEY):
        machine.files.make_directory(DIRECTORY, 0o700)
        failures = []
        for kind in KEY_TYPES:
            try:
                machine.children.run(["ssh-keygen", "-q", "-N", "", "-C", "mailha-sync",
                                      "-f", KEY, "-t", *kind], timeout=KEYGEN_LIMIT)
                break
            except errors.MailhaError as error:
                failures.append(error)
        else:
            raise errors.Failed(f"no key can be made: {failures[0].reason}",
                                remedy="install OpenSSH's client")
    key = _public_key(machine)
    if not key:
        raise errors.Failed(f"the key {KEY} is there without its public half {KEY}.pub",
                            remedy=f"'ssh-keygen -y -f {KEY} > {KEY}.pub', or remove the key and "
                                   "pair again")
    return key


def _public_key(machine: Machine) -> str:
    """Return the public half of this node's key as "type base64", "" if there is none."""
    try:
        words = machine.files.read(f"{KEY}.pub", peers.LARGEST).decode("ascii", "replace").split()
    except FileNotFoundError:
        return ""
    except OSError as error:
        raise errors.Failed(f"cannot read {KEY}.pub: {error.strerror}", remedy="use sudo") from None
    return _checked(" ".join(words[:2]))


def _own_host_keys(machine: Machine) -> list[str]:
    """Return the host keys of this node's SSH server."""
    found = []
    for name in machine.files.names(SSH_DIRECTORY):
        if name.startswith("ssh_host_") and name.endswith("_key.pub"):
            words = machine.files.read(f"{SSH_DIRECTORY}/{name}", LARGEST_FILE).decode(
                "ascii", "replace").split()
            if words and words[0] in ALLOWED_TYPES:
                found.append(_checked(" ".join(words[:2])))
    if not found:
        raise errors.Failed(f"this node has no host key in {SSH_DIRECTORY}",
                            remedy="install and start OpenSSH's server; 'ssh-keygen -A' makes them")
    return found


def _let_in(machine: Machine, node: str, key: str, program: str) -> bool:
    """Let the key of a node in instead of any earlier one of it; none at all if it is empty.

    Returns whether there was an earlier one. The other lines stay as they are.
    """
    comment = f"mailha-sync@{node}"
    lines = [] if not key else [f'restrict,command="{program} sync receive" {key} {comment}']
    # Some keep it elsewhere and leave a link, which must not become a file.
    path = os.path.join(os.path.dirname(AUTHORIZED_KEYS), machine.files.link(AUTHORIZED_KEYS)
                        or AUTHORIZED_KEYS)
    if lines:
        machine.files.make_directory(os.path.dirname(path), 0o700)
    return _replace(machine, path, lambda line: line.split()[-1:] == [comment], lines)


def _replace(machine: Machine, path: str, ours: Any, lines: list[str]) -> bool:
    """Put lines in the place of those of a file that are ours; tell whether there were any."""
    try:
        text = machine.files.read(path, LARGEST_FILE).decode("utf-8", "surrogateescape")
    except FileNotFoundError:
        text = ""
    except OSError as error:
        raise errors.Failed(f"cannot read {path}: {error.strerror}", remedy="use sudo") from None
    # Not splitlines(): a comment of somebody's may hold a character that it takes for an end.
    old = text.removesuffix("\n").split("\n") if text else []
    kept = [line for line in old if not ours(line)]
    if kept + lines != old:
        machine.files.write_atomic(path, "".join(f"{line}\n" for line in kept + lines).encode(
            "utf-8", "surrogateescape"), 0o600)
    return len(kept) != len(old)


def _checked(key: Any) -> str:
    """Return a public key if it is one, "type base64" and nothing else. Raises errors.Failed."""
    words = key.split(" ") if isinstance(key, str) else []
    if len(words) == 2 and words[0] in ALLOWED_TYPES and len(words[1]) < peers.LARGEST:
        try:
            blob = base64.b64decode(words[1], validate=True)
        except (binascii.Error, ValueError):
            blob = b""
        name = words[0].encode()
        # RFC 4253, 6.6: the key begins with the name of its kind.
        if blob.startswith(len(name).to_bytes(4, "big") + name):
            return " ".join(words)
    raise errors.Failed("the offer brings something that is no public key of SSH",
                        remedy="pair again; copy the offer as one whole line")
