# SPDX-License-Identifier: GPL-2.0-or-later
"""How two nodes are paired over one login: each takes the other's offer, and each tries it out.

The node on which the administrator calls `mailha sync pair` starts the other end over ssh. They
exchange lines of JSON. What a login's own files print before is skipped. Nothing secret is said.
"""

from __future__ import annotations

import json

from mailha import errors
from mailha.sync.connection import pairing, peers, ssh
from mailha.sync.connection.pairing import Offer
from mailha.sync.connection.peers import Peer

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import IO, Any, Mapping

    from mailha.system.machine import Machine

PREAMBLE = b"\0mailha-sync\0"
"""What the receiver says first; see mailha.sync.connection.wire."""

LONGEST_LINE = 1 << 16
MOST_NOISE = 1000
"""Lines that a login may print before the other end says its first word."""

TRIAL_LIMIT = 30.0
LOOK_UP_LIMIT = 5.0


class Result:
    """What came of a pairing.

    offer: what the other node said of itself. again: whether it was paired with this one before.
    there, here: the failure of the other node to reach this one, and of this one to reach it; None
    for success.
    """

    def __init__(self, offer: Offer, again: bool, *, there: errors.Failed | None,
                 here: errors.Failed | None) -> None:
        self.offer = offer
        self.again = again
        self.there = there
        self.here = here


def ask(machine: Machine, reader: IO[bytes], writer: IO[bytes], own: Offer, *, wanted: str,
        address: str, port: int, own_address: str, program: str) -> Result:
    """Pair this node with the one at the other end. Raises errors.Failed.

    own: this node's offer. wanted: what the administrator calls the other. address, port: where its
    SSH server is. own_address: where the other shall reach this one, "" for what it finds itself.
    program: the path of the tool.
    """
    _say(writer, {**json.loads(own.to_line()), "address": own_address, "port": port})
    answer = _hear(reader)
    if "reason" in answer:
        raise _failure(answer, prefix=f"{address} says: ")
    found = Offer.of(answer)
    if found.node != own.node:      # else accept() says it better
        _same_node(wanted, found.node)
    again = pairing.accept(machine, own.node, found, address, port, program)
    _say(writer, {"mailha-pair": pairing.FORMAT, "do": "try"})
    tried = _hear(reader)
    return Result(found, again, there=_failure(tried) if "reason" in tried else None,
                  here=try_out(machine, peers.find(machine, found.node)))


def answer(machine: Machine, reader: IO[bytes], writer: IO[bytes], own: Offer, *, program: str,
           environment: Mapping[str, str]) -> None:
    """Be the other end of ask(). Failures are said to it; raises only for a lost connection.

    environment: of the login, which tells where it came from.
    """
    try:
        said = _hear(reader)
        found = Offer.of(said)
        address = said.get("address") or _address_of(machine, found.node, environment)
        pairing.accept(machine, own.node, found, str(address), int(said.get("port") or 22), program)
    except errors.MailhaError as error:
        _say(writer, _told(error))
        return
    _say(writer, json.loads(own.to_line()))
    _hear(reader)
    failure = try_out(machine, peers.find(machine, found.node))
    _say(writer, {"mailha-pair": pairing.FORMAT} if failure is None else _told(failure))


def try_out(machine: Machine, peer: Peer) -> errors.Failed | None:
    """Connect to a peer as replication does; return why that failed, None for success."""
    try:
        said = machine.children.run(ssh.command(peer), timeout=TRIAL_LIMIT,
                                    environment=ssh.environment(), accept=range(256))
    except errors.MailhaError as error:
        return errors.Failed(f"{peer.node}: {error.reason}", remedy=error.remedy)
    if PREAMBLE in said.stdout:
        return None
    words = said.stderr.decode("utf-8", "replace")
    return ssh.explain(peer, words + said.stdout.decode("utf-8", "replace"))


def _address_of(machine: Machine, node: str, environment: Mapping[str, str]) -> str:
    """Return where to reach the node that has logged in: by its name, if that leads there.

    A name outlives a new address; but one that leads elsewhere, or nowhere, is of no use.
    """
    came_from = environment.get("SSH_CONNECTION", "").partition(" ")[0].partition("%")[0]
    try:
        known = machine.children.run(["getent", "ahosts", node], timeout=LOOK_UP_LIMIT).stdout
        addresses = {line.split()[0] for line in known.decode("ascii", "replace").splitlines()
                     if line.strip()}
    except errors.MailhaError:
        addresses = set()
    return node if came_from in addresses or not came_from else came_from


def _same_node(wanted: str, name: str) -> None:
    """Refuse a node that is not the one that was asked for: names lead astray."""
    if wanted == name or wanted.partition(".")[0] == name.partition(".")[0] \
            or wanted.replace(".", "").isdigit() or ":" in wanted:
        return
    raise errors.Failed(f"{wanted} calls itself {name}",
                        remedy=f"if that is the right one: 'mailha sync pair {name} "
                               f"--address {wanted}'")


def _say(writer: IO[bytes], message: Mapping[str, Any]) -> None:
    try:
        writer.write(json.dumps(message).encode() + b"\n")
        writer.flush()
    except OSError:
        raise errors.Failed("the other node ended the pairing") from None


def _hear(reader: IO[bytes]) -> dict[str, Any]:
    """Return the next message. Raises errors.Failed."""
    for _ in range(MOST_NOISE):
        line = reader.readline(LONGEST_LINE)
        if not line:
            break
        try:
            found = json.loads(line)
        except ValueError:
            continue            # what a login prints
        if isinstance(found, dict) and "mailha-pair" in found:
            return found
    raise errors.Failed("the other node ended the pairing without an answer",
                        remedy="see whether mailha is installed there, the same release as here")


def _told(error: errors.MailhaError) -> dict[str, Any]:
    return {"mailha-pair": pairing.FORMAT, "reason": error.reason, "remedy": error.remedy}


def _failure(said: Mapping[str, Any], *, prefix: str = "") -> errors.Failed:
    return errors.Failed(prefix + str(said["reason"]), remedy=str(said.get("remedy", "")))
