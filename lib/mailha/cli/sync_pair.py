# SPDX-License-Identifier: GPL-2.0-or-later
"""``mailha sync pair``: make two nodes known to each other, so that either can send to the other.

Usually one call does it all over a login of the administrator's own. Where no login is possible,
each node's offer is carried to the other by hand: what counts is that nobody changes it on the way.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from typing import IO, TYPE_CHECKING, cast

import mailha
from mailha import errors
from mailha.cli.terminal import Terminal
from mailha.sync.connection import meeting, pairing, peers
from mailha.sync.connection.pairing import Offer
from mailha.system.machine import Machine

if TYPE_CHECKING:
    from argparse import _SubParsersAction

    Verbs = _SubParsersAction[argparse.ArgumentParser]

INSTALLED = "/usr/sbin/mailha"
"""Where the tool is on a node, unless it is called from elsewhere."""

NO_COMMAND = 127
"""What a shell ends with that cannot find a program."""

DESCRIPTION = """\
Pair this node with NODE: exchange the keys that replication uses, the host keys of both SSH
servers, and the permission to start 'mailha sync receive' and nothing else. It logs in to NODE once
as root with your own means (a password is asked for). Pair a node again after it was replaced."""


def declare(verbs: Verbs) -> None:
    """Add the verb."""
    parser = verbs.add_parser("pair", help="make this node and another known to each other",
                              description=DESCRIPTION)
    parser.add_argument("node", metavar="NODE", nargs="?",
                        help="name of the other node in the cluster")
    parser.add_argument("--address", metavar="HOST",
                        help="where its SSH server is, if not at its name; never an address that "
                             "moves with a service")
    parser.add_argument("--port", type=int, default=peers.SSH_PORT, metavar="N",
                        help="port of the SSH servers of both nodes (default %(default)s)")
    parser.add_argument("--own-address", default="", metavar="HOST",
                        help="where the other node reaches this one, if not at its name or where "
                             "the login comes from")
    parser.add_argument("--ssh-option", action="append", default=[], metavar="NAME=VALUE",
                        help="an option of ssh for the login, as in ssh_config(5)")
    way = parser.add_mutually_exclusive_group()
    way.add_argument("--list", action="store_true", help="show with whom this node is paired")
    way.add_argument("--offer", action="store_true",
                     help="only print this node's offer, a line to be carried to the other node")
    way.add_argument("--accept", metavar="FILE",
                     help="take the other node's offer from FILE, '-' for standard input")
    way.add_argument("--remove", action="store_true", help="unpair this node from NODE")
    way.add_argument("--answer", action="store_true", help=argparse.SUPPRESS)
    parser.set_defaults(act=_act, usage=parser)


def _act(machine: Machine, terminal: Terminal, options: argparse.Namespace) -> None:
    if options.answer:
        _answer(machine)
        return
    if options.list:
        _list(machine, terminal)
        return
    if options.offer:
        terminal.line(_own_offer(machine).to_line())
        return
    if not options.node:
        options.usage.error("name the other NODE, or say --list or --offer")
    peers.check_node(options.node)
    if options.remove:
        _remove(machine, terminal, options.node)
    elif options.accept:
        _accept(machine, terminal, options)
    else:
        _pair(machine, terminal, options)


def _pair(machine: Machine, terminal: Terminal, options: argparse.Namespace) -> None:
    """Pair over a login, and say what came of it."""
    own = _own_offer(machine)
    address = options.address or options.node
    known = options.node in [peer.node for peer in peers.peers(machine)]
    terminal.say(f"Logging in to {address} as root, once, to pair {own.node} with it.")
    argv = ["ssh", "-T", "-l", "root", "-p", str(options.port),
            *(f"-o{option}" for option in options.ssh_option), "--", address,
            f"{_program()} sync pair --answer"]
    # Not through mailha.system: this one has the administrator's terminal, where ssh asks for a
    # password and whether the host is to be trusted, and no deadline but his patience.
    try:
        login = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    except OSError as error:
        raise errors.Failed(f"ssh cannot be started: {error.strerror}",
                            remedy="install OpenSSH's client") from None
    with login:
        try:
            result = meeting.ask(machine, cast("IO[bytes]", login.stdout),
                                 cast("IO[bytes]", login.stdin), own, wanted=options.node,
                                 address=address, port=options.port,
                                 own_address=options.own_address, program=_program())
        except errors.MailhaError as error:
            _close(login)
            raise _of_login(login.wait(), address, options.node, known) or error from None
        _close(login)
    _tell(terminal, own, result)


def _tell(terminal: Terminal, own: Offer, result: meeting.Result) -> None:
    """Say what came of a pairing. Raises errors.Failed if it does not work both ways."""
    node = result.offer.node
    terminal.items([(f"{offer.node}:", f"key {pairing.fingerprint(offer.key)}, mailha "
                     f"{offer.release or 'of unknown release'}") for offer in (own, result.offer)])
    failures = [(f"{own.node} to {node}", result.here), (f"{node} to {own.node}", result.there)]
    broken = [f"{way}: {failure.reason}" for way, failure in failures if failure is not None]
    if broken:
        remedy = next(failure.remedy for _, failure in failures if failure is not None)
        raise errors.Failed(f"the keys are exchanged, but the trial failed, from "
                            f"{'; from '.join(broken)}", remedy=remedy)
    terminal.say(f"{own.node} and {node} are paired{' anew' if result.again else ''}; either can "
                 "send to the other.")


def _of_login(code: int, address: str, node: str, known: bool) -> errors.Failed | None:
    """Return the failure of a login that ended before the other end said a word."""
    if code == NO_COMMAND:
        return errors.Failed(f"there is no {_program()} on {address}",
                             remedy="install mailha there, the same release as here")
    if code == 255:
        text = "; a replaced node has a new host key, see above" if known else ""
        return errors.Failed(f"the login to {address} as root failed; ssh says above why{text}",
                             remedy=f"make 'ssh root@{address}' work, or carry the offers by hand: "
                                    "'mailha sync pair --offer' on each node and 'mailha sync pair "
                                    "NODE --accept FILE' on the other")
    return None


def _close(login: subprocess.Popen[bytes]) -> None:
    """Let the other end know that it is over."""
    try:
        cast("IO[bytes]", login.stdin).close()
    except OSError:
        pass            # it has ended already


def _answer(machine: Machine) -> None:
    """Be the other end, on the standard input and output of a login."""
    meeting.answer(machine, sys.stdin.buffer, sys.stdout.buffer, _own_offer(machine),
                   program=_program(), environment=os.environ)


def _accept(machine: Machine, terminal: Terminal, options: argparse.Namespace) -> None:
    """Take an offer that was carried by hand."""
    try:
        if options.accept == "-":
            text = sys.stdin.read(meeting.LONGEST_LINE)
        else:
            with open(options.accept, encoding="utf-8") as file:
                text = file.read(meeting.LONGEST_LINE)
        found = Offer.of(pairing.document(text))
    except (OSError, UnicodeDecodeError) as error:
        raise errors.Failed(f"cannot read {options.accept}: {error}",
                            remedy="name the file with the other node's offer") from None
    if found.node != options.node:
        raise errors.Failed(f"the offer is that of {found.node} and not of {options.node}",
                            remedy=f"'mailha sync pair {found.node} --accept …' if it is right")
    own = pairing.node_name(machine)
    pairing.accept(machine, own, found, options.address or options.node, options.port, _program())
    terminal.say(f"{own} takes {found.node} for its peer, with the key "
                 f"{pairing.fingerprint(found.key)}. When {found.node} has taken the offer of "
                 f"{own}, 'mailha sync pair --list' tries both.")


def _remove(machine: Machine, terminal: Terminal, node: str) -> None:
    if not pairing.forget(machine, node):
        raise errors.Failed(f"this node is not paired with {node}",
                            remedy="'mailha sync pair --list' shows with whom it is")
    terminal.say(f"{node} is no peer of this node any more and cannot send to it. On {node} the "
                 "same is to be done: 'mailha sync pair "
                 f"{pairing.node_name(machine)} --remove'.")


def _list(machine: Machine, terminal: Terminal) -> None:
    """Show every peer and whether it can be reached."""
    known = peers.peers(machine)
    if not known:
        terminal.say("This node is not paired with any other: 'mailha sync pair NODE'.")
        return
    rows, notes = [("node", "address", "port", "state")], [""]
    for peer in known:
        failure = meeting.try_out(machine, peer)
        rows.append((peer.node, peer.address, str(peer.port), "works" if failure is None else
                     "FAILS"))
        notes.append("" if failure is None else str(failure))
    terminal.table(rows, notes)


def _own_offer(machine: Machine) -> Offer:
    return pairing.offer(machine, pairing.node_name(machine), mailha.__version__)


def _program() -> str:
    """Return the path of this tool, as the other node is to find it as well."""
    path = os.path.realpath(sys.argv[0])
    return path if os.path.basename(path) == "mailha" and os.access(path, os.X_OK) else INSTALLED
