# SPDX-License-Identifier: GPL-2.0-or-later
"""``mailha sync diff``: what is not the same on a peer, and what is not sent, with the reason."""

from __future__ import annotations

import argparse
import difflib
import os
from typing import TYPE_CHECKING, Iterator

from mailha import errors
from mailha.cli import sync_copies as copies
from mailha.cli import sync_preview, sync_resource
from mailha.cli.sync_copies import There
from mailha.cli.sync_status import printable
from mailha.cli.terminal import Terminal
from mailha.sync.active.comparison import Difference
from mailha.sync.active.exchange import Exchange
from mailha.sync.connection import peers
from mailha.sync.connection.peers import Peer
from mailha.sync.files import identity, replicated, settings
from mailha.sync.files.entry import DIRECTORY, Entry
from mailha.sync.files.scanning import Absent, Scan, Scanner
from mailha.sync.files.selection import NOT_SELECTED, Selection
from mailha.sync.files.settings import Settings
from mailha.system.machine import Machine

if TYPE_CHECKING:
    from argparse import _SubParsersAction

    Verbs = _SubParsersAction[argparse.ArgumentParser]

LARGEST_TEXT = 1 << 20
"""Bytes of a file that is compared line by line."""

DESCRIPTION = """\
On the active node: compare all that is replicated with every peer, by its content, and show what
differs. With PATH, show whether that path is replicated, why not if it is not, and how it differs,
line by line. With --profile, show before the first start what it would send."""

KNOWN = {"foreign": "only there, and never replicated: remove it there, or 'exclude' it",
         "changed": "changed there", "unsent": "not sent by that node when it was active"}


def declare(verbs: Verbs) -> None:
    """Add the verb."""
    parser = verbs.add_parser("diff", help="show what differs from a peer, and why something is "
                              "not sent", description=DESCRIPTION)
    parser.add_argument("path", metavar="PATH", nargs="?", default="",
                        help="a file or directory; without it, all that is replicated")
    parser.add_argument("--peer", metavar="NODE", help="only from this one")
    sync_resource.option(parser)
    sync_preview.declare(parser)
    parser.set_defaults(act=_act, usage=parser)


def _act(machine: Machine, terminal: Terminal, options: argparse.Namespace) -> None:
    """Compare. Raises errors.Failed if something differs, so that a script can ask."""
    preview = options.profile is not None
    if not preview and (options.include or options.exclude):
        options.usage.error("--include and --exclude go with --profile; 'none' names nothing")
    told = sync_preview.settings(machine, terminal, options) if preview else settings.read(
        machine, sync_resource.chosen(machine, options).resource)
    selection = replicated.select(machine, told)
    scanner = Scanner(machine, selection, identity.gather(machine, told.floating))
    chosen = [peer for peer in _peers(machine, told)
              if options.peer in (None, peer.node)]
    if not chosen and (options.peer or not preview):
        raise errors.Failed(f"{told.resource} is not sent to {options.peer}" if options.peer else
                            f"{told.resource} is sent to nobody",
                            remedy="'mailha sync pair NODE' pairs this node with another")
    if not chosen:
        terminal.warn("this node is paired with no other, so it is not known what differs there; "
                      "'mailha sync pair NODE'")
    if options.path:
        differing = _one(terminal, scanner, selection, told, chosen, options.path)
    else:
        differing = _all(terminal, scanner, selection, told, chosen, preview=preview)
    if differing:
        raise errors.Failed(f"{', '.join(differing)} is not as this node", remedy=(
            "the first start sends what is named above; 'exclude' what it must not" if preview else
            "'mailha sync push' sends what can be sent; what is only there is for somebody to "
            "look at"))


def _peers(machine: Machine, told: Settings) -> list[Peer]:
    if told.peers:
        return [peers.find(machine, name) for name in told.peers if name != told.node]
    return peers.peers(machine)


def _all(terminal: Terminal, scanner: Scanner, selection: Selection, told: Settings,
         chosen: list[Peer], *, preview: bool) -> list[str]:
    """Show all differences; return the names of the peers that have any."""
    scan = scanner.scan()
    differing = []
    if preview:
        terminal.say(f"{len(scan.entries)} paths would be replicated from here.")
    for peer in chosen:
        with copies.reading(peer, told.resource, told.node, selection) as channel:
            exchange = Exchange(channel.stream, scanner, {})
            found = exchange.differences(scan)
        if not found:
            terminal.say(f"{peer.node}: {len(scan.entries)} paths are the same.")
            continue
        differing.append(peer.node)
        terminal.say(sync_preview.summary(peer.node, found) if preview else
                     f"{peer.node}: {len(found)} paths differ:")
        for each in found:
            why = sync_preview.would(each) if preview else _why(each)
            terminal.say(f"{printable(each.path)}: {why}", indent=4)
    _list_not_sent(terminal, scan)
    return differing


def _why(difference: Difference) -> str:
    known = KNOWN.get(difference.known, "")
    return known if difference.known == "foreign" else ", ".join(filter(None, (
        difference.why, known)))


def _list_not_sent(terminal: Terminal, scan: Scan) -> None:
    for heading, found in (("withheld, because it says who this node is", scan.withheld),
                           ("not sent", scan.left_out), ("could not be read", scan.unstable)):
        if found:
            terminal.say(f"{heading}:")
            for path, reason in sorted(found.items()):
                terminal.say(f"{printable(path)}: {reason}", indent=4)


def _one(terminal: Terminal, scanner: Scanner, selection: Selection, told: Settings,
         chosen: list[Peer], text: str) -> list[str]:
    """Show all that is to be said of one path; return the names of the peers that differ."""
    path = os.path.abspath(text)
    reason = selection.why_not(path, link=os.path.islink(path))
    here, content = scanner.read(path)
    if reason or (isinstance(here, Absent) and type(here).__name__ in ("Withheld", "LeftOut")):
        assert reason or isinstance(here, Absent)
        terminal.say(f"{printable(path)} is not sent: "
                     f"{reason or getattr(here, 'reason', '')}.")
        if reason != NOT_SELECTED:
            terminal.say("Name it in the parameter 'include' to have it sent all the same, if it "
                         "may be.")
        return []
    differing = []
    for peer in chosen:
        with copies.reading(peer, told.resource, told.node, selection) as channel:
            try:
                there, other = There(channel).fetch(path)
            except errors.Failed as error:
                if isinstance(here, Entry):
                    terminal.say(f"{peer.node}: {error.reason}")
                    differing.append(peer.node)
                else:
                    terminal.say(f"{peer.node}: it is on neither node.")
                continue
        if isinstance(here, Entry) and here.fingerprint == there.fingerprint:
            terminal.say(f"{peer.node}: {printable(path)} is the same.")
            continue
        differing.append(peer.node)
        for line in _lines(here, content, there, other, told.node, peer.node):
            terminal.line(line)
    return differing


def _lines(here: object, content: bytes, there: Entry, other: bytes, own: str, node: str,
           ) -> Iterator[str]:
    """Yield how a path differs: first what it is, then its text."""
    if not isinstance(here, Entry):
        yield f"{node}: {there.path} is only there"
        return
    for name, ours, theirs in (
            ("kind", here.kind, there.kind), ("mode", f"{here.mode:04o}", f"{there.mode:04o}"),
            ("owner", here.owner or str(here.uid), there.owner or str(there.uid)),
            ("group", here.group or str(here.gid), there.group or str(there.gid)),
            ("target", here.target, there.target),
            ("attributes", ", ".join(sorted(here.attributes)),
             ", ".join(sorted(there.attributes)))):
        if ours != theirs:
            yield f"{there.path}: {name} {printable(theirs)!r} on {node}, {printable(ours)!r} here"
    if content == other or DIRECTORY in (here.kind, there.kind):
        return
    if max(len(content), len(other)) > LARGEST_TEXT or b"\0" in content + other:
        yield f"{there.path}: {len(other)} bytes on {node}, {len(content)} bytes here; no text"
        return
    yield from (printable(line) for line in difflib.unified_diff(
        other.decode("utf-8", "surrogateescape").splitlines(),
        content.decode("utf-8", "surrogateescape").splitlines(),
        f"{there.path} on {node}", f"{there.path} on {own}", lineterm=""))
