# SPDX-License-Identifier: GPL-2.0-or-later
"""``mailha sync kept`` and ``restore``: what was overwritten or deleted, and how to get it back."""

from __future__ import annotations

import argparse
import os
from contextlib import contextmanager
from typing import TYPE_CHECKING, Iterator

from mailha import errors
from mailha.cli import sync_copies as copies
from mailha.cli import sync_resource
from mailha.cli.sync_copies import Here, Source, There
from mailha.cli.sync_status import moment, printable
from mailha.cli.terminal import Terminal
from mailha.sync.active import sender
from mailha.sync.connection import pairing, peers
from mailha.sync.files import settings
from mailha.sync.files.selection import Selection
from mailha.sync.passive import thinning
from mailha.sync.passive.kept import OPEN, UNDELETED, Copy
from mailha.sync.places import Places
from mailha.sync.state import State
from mailha.system.machine import Machine

if TYPE_CHECKING:
    from argparse import _SubParsersAction

    Verbs = _SubParsersAction[argparse.ArgumentParser]

WHY = {"replaced": "replaced", "deleted": "deleted",
       "conflict": "changed on that node, then replaced",
       "unsent": "never sent while that node was active",
       "undeleted": "deleted while that node was active, and never sent: it is back"}


def declare(verbs: Verbs) -> None:
    """Add the verbs."""
    kept = verbs.add_parser(
        "kept", help="list what was overwritten or deleted, and kept",
        description="List the copies that are kept of what was overwritten or deleted on this "
        "node: of PATH, or of everything.")
    kept.add_argument("path", metavar="PATH", nargs="?", default="",
                      help="whose copies; without it, all")
    kept.add_argument("--on", metavar="NODE", help="those on another node")
    kept.add_argument("--open", action="store_true",
                      help="only those that wait for somebody to look at them")
    seen = kept.add_mutually_exclusive_group()
    seen.add_argument("--seen", action="store_true",
                      help="somebody has looked at the copies of PATH: they stay, and the monitor "
                           "tells of them no more")
    seen.add_argument("--all-seen", action="store_true", help="the same for all")
    kept.set_defaults(act=_kept, usage=kept)
    restore = verbs.add_parser(
        "restore", help="bring a kept copy back",
        description="Put the newest kept copy of PATH back into its place on this node. What is "
        "there now is kept in turn. On the active node the peers get it as any other change.")
    restore.add_argument("path", metavar="PATH", help="what to put back")
    restore.add_argument("--on", metavar="NODE",
                         help="bring the copy from another node, to this one")
    restore.add_argument("--copy", metavar="COPY", help="another than the newest: the moment or "
                         "the place, as 'mailha sync kept' shows it")
    restore.add_argument("--to", metavar="FILE", help="write it there, and change nothing else")
    restore.set_defaults(act=_restore)
    for parser in (kept, restore):
        sync_resource.option(parser)


def _kept(machine: Machine, terminal: Terminal, options: argparse.Namespace) -> None:
    places = sync_resource.chosen(machine, options)
    path = _absolute(options.path) if options.path else ""
    if options.seen or options.all_seen:
        if options.on or (options.seen and not path):
            options.usage.error("--seen needs a PATH, and is said on the node that keeps the copy")
        _seen(machine, terminal, places, "" if options.all_seen else path)
        return
    with _source(machine, places, options.on) as source:
        found = [copy for copy in source.listing(path)
                 if copy.why in OPEN or not options.open]
    if not found:
        terminal.say(f"No copy is kept{' of ' + printable(path) if path else ''}.")
        return
    terminal.table([("moment (UTC)", "bytes", "why", "path"), *(
        (moment(copy.when), str(copy.size), WHY.get(copy.why, copy.why), printable(copy.path))
        for copy in found)], ["", *(printable(copy.place) if path else "" for copy in found)])
    if not path:
        terminal.say(f"{len(found)} copies of {sum(copy.size for copy in found)} bytes. "
                     + thinning.RULE)


def _seen(machine: Machine, terminal: Terminal, places: Places, path: str) -> None:
    here = Here(machine, places)
    waiting = [copy for copy in here.listing(path) if copy.why in OPEN]
    if not waiting:
        raise errors.Failed(f"no copy{' of ' + path if path else ''} waits for somebody to look "
                            "at it on this node", remedy="'mailha sync kept --open' lists them")
    here.seen(waiting)
    terminal.say(f"{len(waiting)} copies are seen. They stay where they are, as long as others do.")


def _restore(machine: Machine, terminal: Terminal, options: argparse.Namespace) -> None:
    places = sync_resource.chosen(machine, options)
    path = _absolute(options.path)
    if options.to is None:
        _refuse_receiver(machine, places)
    with _source(machine, places, options.on) as source:
        copy = _choose(source.listing(path), options.copy, path, options.on)
        entry, content = source.read(copy)
    if options.to is not None:
        copies.write_to(os.path.abspath(options.to), content)
        terminal.say(f"The copy of {printable(path)} of {moment(copy.when)} is in {options.to}.")
        return
    now = copies.bring_back(machine, places, entry, content)
    terminal.say(f"{printable(path)} is as it was before {moment(copy.when)}."
                 + (f" What was there is kept as {printable(now)}." if now else ""))


def _refuse_receiver(machine: Machine, places: Places) -> None:
    """Refuse where what is restored would be replaced again by the node that sends."""
    if sender.holder(machine, places.resource):
        return
    state = State.load(machine, places)
    if state.node and not state.was_sender:
        raise errors.Failed(
            f"this node follows {state.node}, which would replace what is restored here",
            remedy=f"on {state.node}: 'mailha sync restore PATH --on "
                   f"{pairing.node_name(machine)}'; or '--to FILE' to only look at it")


def _choose(found: list[Copy], wanted: str | None, path: str, node: str | None) -> Copy:
    """Return the copy that is meant. Raises errors.Failed."""
    where = f"on {node}" if node else "on this node"
    noted = [copy for copy in found if copy.why == UNDELETED]
    found = [copy for copy in found if copy.why != UNDELETED]
    if not found and noted:
        raise errors.Failed(f"{path} was deleted {where}, and there is no copy of that",
                            remedy=f"if it is to go: rm '{path}' on the node that is active")
    if not found:
        raise errors.Failed(f"no copy of {path} is kept {where}",
                            remedy="the other node may have one: '--on NODE'")
    if wanted is None:
        return found[0]
    chosen = [copy for copy in found
              if wanted in (copy.place, copy.when, moment(copy.when), moment(copy.when)[:-4])]
    if len(chosen) != 1:
        raise errors.Failed(f"{len(chosen)} copies of {path} {where} are of '{wanted}'",
                            remedy="give the place as 'mailha sync kept PATH' shows it")
    return chosen[0]


@contextmanager
def _source(machine: Machine, places: Places, node: str | None) -> Iterator[Source]:
    """Give the copies of a peer, or of this node without one."""
    if node is None:
        yield Here(machine, places)
        return
    # What is selected does not matter for copies; the other end only has to be told something.
    try:
        own = settings.read(machine, places.resource).node
    except errors.MailhaError:
        own = pairing.node_name(machine)
    with copies.reading(peers.find(machine, node), places.resource, own,
                        Selection([])) as channel:
        yield There(channel)


def _absolute(path: str) -> str:
    """Return the path as the copies know it. Raises errors.Failed."""
    if not path.startswith("/"):
        raise errors.Failed(f"{path!r} is no absolute path", remedy="give it from / on")
    return os.path.normpath(path)
