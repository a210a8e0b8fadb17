# SPDX-License-Identifier: GPL-2.0-or-later
"""``mailha sync status``: who sends, who has everything, and what needs somebody's attention."""

from __future__ import annotations

import argparse
import json
import time
from typing import TYPE_CHECKING, Any

from mailha import errors
from mailha.cli import sync_resource
from mailha.cli.terminal import Terminal
from mailha.sync.active import control, rivals
from mailha.sync.active.control import NoSender
from mailha.sync.active.pause import Pause
from mailha.sync.connection import peers
from mailha.sync.files import settings
from mailha.sync.files.replicated import select
from mailha.sync.passive.kept import OPEN, Kept
from mailha.sync.places import Places
from mailha.sync.state import State
from mailha.system.machine import Machine

if TYPE_CHECKING:
    from argparse import _SubParsersAction

    Verbs = _SubParsersAction[argparse.ArgumentParser]

FORMAT = 1
"""Of the JSON document."""

PATIENCE = 10.0
SHOWN = 10
"""Paths of a kind that are listed; --all lists them all."""

DESCRIPTION = """\
Show every resource of config-sync on this node: on the active node its peers and how far they are,
on the others which generation they follow. What is not replicated, what differs and which copies
wait for somebody to look at them is listed, and any other tool that carries the same files."""


def declare(verbs: Verbs) -> None:
    """Add the verb."""
    parser = verbs.add_parser("status", help="show how far every peer is, and what is withheld",
                              description=DESCRIPTION)
    sync_resource.argument(parser)
    parser.add_argument("--all", action="store_true", help="list every path")
    parser.add_argument("--json", action="store_true", help="print a JSON document")
    parser.set_defaults(act=_act)


def _act(machine: Machine, terminal: Terminal, options: argparse.Namespace) -> None:
    names = [sync_resource.chosen(machine, options).resource] if options.resource \
        else sync_resource.known(machine)
    found = [_look(machine, Places(name)) for name in names]
    paired = [peer.node for peer in peers.peers(machine)]
    if options.json:
        terminal.line(json.dumps({"format": FORMAT, "paired": paired, "resources": found},
                                 indent=2))
        return
    terminal.say(f"Paired with {', '.join(paired)}." if paired else
                 "This node is paired with no other: 'mailha sync pair NODE'.")
    if not found:
        terminal.say("No resource of config-sync has run on this node or sent to it yet.")
    for each in found:
        terminal.say()
        _tell(terminal, each, None if options.all else SHOWN)


def _look(machine: Machine, places: Places) -> dict[str, Any]:
    """Return all that is known of a resource on this node."""
    found: dict[str, Any] = {"resource": places.resource, "sender": None}
    try:
        found["sender"] = control.ask(machine, places.resource, {"do": "status"}, PATIENCE)
    except NoSender:
        pass
    except errors.MailhaError as error:
        found["trouble"] = str(error)
    try:
        state = State.load(machine, places)
        found["received"] = {"generation": state.generation, "node": state.node}
    except errors.MailhaError as error:
        found["received"] = {"error": str(error)}
    # The sender may see more of it than we are told, but a pause of this node is a file.
    found["paused"] = (found["sender"] or {}).get("paused") or Pause(machine, places).reason()
    copies = Kept(machine, places).listing()
    found["kept"] = len(copies)
    found["open"] = [{"path": copy.path, "when": copy.when, "why": copy.why, "place": copy.place}
                     for copy in copies if copy.why in OPEN]
    found["rivals"] = _rivals(machine, places)
    return found


def _rivals(machine: Machine, places: Places) -> list[str]:
    """Return who else carries the same files; known only where the resource is started."""
    try:
        selection = select(machine, settings.read(machine, places.resource))
    except errors.MailhaError:
        return []
    return [str(rival) for rival in rivals.find(machine, selection.roots)]


def _tell(terminal: Terminal, found: dict[str, Any], most: int | None) -> None:
    """Print what is known of a resource."""
    sender, name = found["sender"], found["resource"]
    if found.get("trouble"):
        terminal.warn(found["trouble"])
    if found["paused"]:
        terminal.warn(f"{name}: {found['paused']}; 'mailha sync resume' ends it" if "administrator"
                      in found["paused"] else f"{name}: {found['paused']}")
    if sender is None:
        _tell_receiver(terminal, name, found["received"])
    else:
        _tell_sender(terminal, name, sender, most)
    _list(terminal, "waiting for somebody to look at it, as a copy that is kept here",
          [(each["path"], f"{_REASONS[each['why']]}, {moment(each['when'])}")
           for each in found["open"]], most)
    if found["open"]:
        terminal.say("'mailha sync kept' shows them; 'mailha sync kept --seen PATH' takes one off "
                     "this list.", indent=2)
    for rival in found["rivals"]:
        terminal.warn(f"{rival}; two that carry the same file undo each other's work: take it out "
                      "of one of them")


_REASONS = {"conflict": "was changed on this node", "unsent": "was not sent while this was active",
            "undeleted": "was deleted while this was active, not sent, and is back"}


def _tell_receiver(terminal: Terminal, name: str, received: dict[str, Any]) -> None:
    if "error" in received:
        terminal.warn(received["error"])
    elif received["node"]:
        terminal.say(f"{name}: this node receives; generation {received['generation']} of "
                     f"{received['node']} is the newest that it has seen.")
    else:
        terminal.say(f"{name}: nobody has sent to this node yet.")


def _tell_sender(terminal: Terminal, name: str, sender: dict[str, Any], most: int | None) -> None:
    since = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(sender["since"]))
    terminal.say(f"{name}: {sender['node']} sends {sender['files']} paths, generation "
                 f"{sender['generation']}, since {since}.")
    if sender["trouble"]:
        terminal.warn(sender["trouble"])
    if sender.get("due"):
        terminal.warn(f"{name}: what {sender['node']} was sent before it was active is not in "
                      f"force, since this failed: {', '.join(sender['due'])}")
    if sender["peers"]:
        rows: list[tuple[str, ...]] = [
            ("peer", "state", "unsent", "oldest", "differing", "conflicts", "set aside", "equal")]
        notes = [""]
        for peer in sender["peers"]:
            rows.append((peer["node"], peer["state"], str(peer["unsent"]),
                         f"{peer['oldest']:.0f} s" if peer["unsent"] else "-",
                         str(len(peer["differing"])), str(peer["conflicts"]),
                         str(peer["set_aside"]), _ago(peer["verified"])))
            notes.append("; ".join(filter(None, (peer["reason"], peer["remedy"]))))
        terminal.table(rows, notes)
    for peer in sender["peers"]:
        _list(terminal, f"not as it should be on {peer['node']}",
              [(each["path"], each["reason"]) for each in peer["problems"]] +
              [(each["path"], _why(each)) for each in peer["differing"]], most)
        _list(terminal, f"could not be done on {peer['node']} after files had changed",
              sorted(peer.get("hooks", {}).items()), most)
        if peer.get("crowded"):
            terminal.warn(f"{peer['node']}: {peer['crowded']}")
        if peer["conflicts"] or peer["set_aside"]:
            terminal.say(f"{peer['node']} keeps copies that wait for somebody to look at them: "
                         "'mailha sync kept' there.", indent=2)
    _list(terminal, "withheld, because it says who this node is",
          sorted(sender["withheld"].items()), most)


def _why(difference: dict[str, Any]) -> str:
    known = {"foreign": ", and never replicated", "changed": ", changed there",
             "unsent": ", not sent before"}
    return f"{difference['why']}{known.get(difference.get('known', ''), '')}"


def _list(terminal: Terminal, heading: str, items: list[tuple[str, str]], most: int | None) -> None:
    """Print some paths with what is to be said of each."""
    if not items:
        return
    terminal.say(f"{heading}:", indent=2)
    for path, text in items[:most]:
        terminal.say(f"{printable(path)}: {text}", indent=4)
    if most is not None and len(items) > most:
        terminal.say(f"and {len(items) - most} more; --all shows them", indent=4)


def printable(path: str) -> str:
    """Return a path so that it can be shown: what is no printable character is escaped."""
    return "".join(letter if letter.isprintable() else letter.encode(
        "unicode_escape", "surrogatepass").decode("ascii") for letter in path)


def _ago(moment: float) -> str:
    """Return how long ago both sides were last found equal."""
    return "never" if not moment else f"{max(0.0, time.time() - moment):.0f} s ago"


def moment(when: str) -> str:
    """Return the moment of a copy's name (UTC) as people read it."""
    return f"{when[:4]}-{when[4:6]}-{when[6:8]} {when[9:11]}:{when[11:13]}:{when[13:15]} UTC"
