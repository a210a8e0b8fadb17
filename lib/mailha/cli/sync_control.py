# SPDX-License-Identifier: GPL-2.0-or-later
"""``mailha sync push``, ``pause``, ``resume`` and ``accept-generation``: what changes something."""

from __future__ import annotations

import argparse
import time
from typing import TYPE_CHECKING, Any, Mapping

from mailha import errors
from mailha.cli import sync_resource
from mailha.cli.sync_status import printable
from mailha.cli.terminal import Terminal
from mailha.sync.active import control
from mailha.sync.active.control import NoSender
from mailha.sync.active.pause import Pause
from mailha.sync.places import Places
from mailha.sync.state import State, StateDamaged
from mailha.system.machine import Machine

if TYPE_CHECKING:
    from argparse import _SubParsersAction

    Verbs = _SubParsersAction[argparse.ArgumentParser]

PATIENCE = 10.0
USUAL_TIMEOUT = 600.0

PROGRESS = 1.0
"""Seconds between two lines that tell how far it is."""

SHOWN = 20


def declare(verbs: Verbs) -> None:
    """Add the verbs."""
    push = verbs.add_parser(
        "push", help="compare everything with every peer now, and send what differs",
        description="Compare everything with every peer now, and send what differs. Done when all "
        "of it is on the peers' disks.")
    push.add_argument("--force", action="store_true", help="delete on the peers, too, where the "
                      "limit for deletions holds it up, or a directory that was emptied here")
    push.add_argument("--timeout", type=float, default=USUAL_TIMEOUT, metavar="SECONDS",
                      help="give up after so long (default %(default).0f)")
    push.set_defaults(act=_push)
    pause = verbs.add_parser(
        "pause", help="send nothing from this node until 'resume'",
        description="Send nothing from this node until 'mailha sync resume', for example while "
        "software is updated. It outlasts restarts and reboots; the resource's monitor and "
        "crm_mon show it.")
    pause.add_argument("--reason", metavar="TEXT", default="", help="for the others to read")
    pause.set_defaults(act=_pause)
    resume = verbs.add_parser("resume", help="send again", description="Send from this node "
                              "again; everything is compared.")
    resume.set_defaults(act=_resume)
    accept = verbs.add_parser(
        "accept-generation", help="let a sender with an older generation in again",
        description="Let this node take what the sender with GENERATION sends, although it has "
        "seen a newer one. That is right after the shared disk was restored from a backup, and "
        "only then: the newer one may come from the node that is active.")
    accept.add_argument("generation", metavar="GENERATION", type=int, nargs="?",
                        help="that of the sender, as 'mailha sync status' shows it there; without "
                             "it only what this node has seen is shown")
    accept.set_defaults(act=_accept_generation)
    for parser in (push, pause, resume):
        sync_resource.argument(parser)
    sync_resource.option(accept)


def _push(machine: Machine, terminal: Terminal, options: argparse.Namespace) -> None:
    """Push, tell how far it is, and fail if something could not be brought over."""
    if not options.timeout > 0:
        raise errors.Failed("the timeout has to be more than 0 seconds", remedy="give more")
    places = sync_resource.chosen(machine, options)
    progress = _Progress(terminal)
    answer = control.ask(machine, places.resource, {
        "do": "push", "force": options.force, "timeout": options.timeout},
        options.timeout + PATIENCE, progress)
    left = []
    for peer in answer["peers"]:
        problems = peer["problems"] + [{"path": each["path"], "reason": each["why"]}
                                       for each in peer["differing"]]
        state = peer["state"] if not problems else f"{len(problems)} paths are not as here"
        terminal.say(f"{peer['node']}: {state}")
        for each in problems[:SHOWN]:
            terminal.say(f"{printable(each['path'])}: {each['reason']}", indent=4)
        if problems or peer["unsent"] or peer["reason"]:
            left.append(peer)
    if left:
        raise errors.Failed("not everything is on " + ", ".join(
            f"{peer['node']}{': ' + peer['reason'] if peer['reason'] else ''}" for peer in left),
            remedy=left[0]["remedy"] or "'mailha sync status --all' shows what is not, and why")


class _Progress:
    """Tells how far each peer is, not more often than people read."""

    def __init__(self, terminal: Terminal) -> None:
        self._terminal = terminal
        self._told: dict[str, float] = {}

    def __call__(self, message: Mapping[str, Any]) -> None:
        peer, done, of = message.get("peer", ""), message.get("done", 0), message.get("of", 0)
        now = time.monotonic()
        if of and (done >= of or now - self._told.get(peer, 0.0) > PROGRESS):
            self._told[peer] = now
            self._terminal.say(f"{peer}: {done} of {of}")


def _pause(machine: Machine, terminal: Terminal, options: argparse.Namespace) -> None:
    places = sync_resource.chosen(machine, options)
    try:
        control.ask(machine, places.resource, {"do": "pause", "reason": options.reason}, PATIENCE)
        terminal.say(f"{places.resource} is paused: nothing is sent from this node until 'mailha "
                     "sync resume'. What changes until then is sent at that moment.")
    except NoSender:
        Pause(machine, places).begin(options.reason)
        terminal.say(f"No sender of {places.resource} runs here. When one starts on this node it "
                     "will send nothing until 'mailha sync resume'. The node where it runs now is "
                     "not paused by this.")


def _resume(machine: Machine, terminal: Terminal, options: argparse.Namespace) -> None:
    places = sync_resource.chosen(machine, options)
    try:
        control.ask(machine, places.resource, {"do": "resume"}, PATIENCE)
        terminal.say(f"{places.resource} sends from this node again.")
    except NoSender:
        Pause(machine, places).end()
        terminal.say(f"{places.resource} will send when it is started on this node.")


def _accept_generation(machine: Machine, terminal: Terminal, options: argparse.Namespace) -> None:
    places = sync_resource.chosen(machine, options)
    try:
        state = State.load(machine, places)
        seen = f"generation {state.generation} of {state.node or 'no node'}"
    except StateDamaged as error:
        state, seen = State(machine, places), error.reason
    if options.generation is None:
        terminal.say(f"{places.resource}: this node has seen {seen}.")
        return
    if options.generation < 0:
        raise errors.Failed(f"{options.generation} is no generation", remedy="see 'mailha sync "
                            "status' on the node that sends")
    if options.generation > state.generation > 0:
        raise errors.Failed(f"{options.generation} is newer than {seen}, so nothing holds it up",
                            remedy="see 'mailha sync status' on the node that sends for what does")
    _refuse_sender(machine, places)
    state.accept_generation(options.generation)
    terminal.say(f"{places.resource}: this node takes what a sender with generation "
                 f"{options.generation} or a newer one sends; before, it had seen {seen}.")


def _refuse_sender(machine: Machine, places: Places) -> None:
    """Refuse on the node that sends: there nothing is taken from anybody."""
    try:
        control.ask(machine, places.resource, {"do": "status"}, PATIENCE)
    except NoSender:
        return
    raise errors.Failed(f"this node is the one that sends {places.resource}",
                        remedy="call it on the node that refuses")
