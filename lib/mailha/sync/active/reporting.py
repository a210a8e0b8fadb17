# SPDX-License-Identifier: GPL-2.0-or-later
"""What a sender says of itself: to the monitor, to the administrator's tool, to crm_mon.

The verdict names the gravest finding first, because Pacemaker shows 128 characters of it.
"""

from __future__ import annotations

import functools
import os
import time
from typing import TYPE_CHECKING, Any, Mapping

from mailha import errors
from mailha.sync.active.comparison import Difference
from mailha.sync.active.control import Handler, Tell
from mailha.sync.active.questions import Question
from mailha.sync.active.replica import IN_STEP, PAUSED, Replica
from mailha.sync.passive.judging import AGREED, FOREIGN

if TYPE_CHECKING:
    from mailha.sync.active.sending import Sender

SUCCESS, DEGRADED = errors.SUCCESS, errors.DEGRADED

LAG = 5.0
"""Seconds after which a change that has not been acknowledged is something to be told."""

CONNECTED = 5.0
"""Seconds that a comparison waits for a connection that is just being made for the first time."""

LONGEST_VERIFY = 120.0
LONGEST_FLUSH = 3600.0
SHOWN = 3
MOST_LISTED = 1000


class Report:
    """What there is to be said of a sender."""

    def __init__(self, sender: Sender) -> None:
        self._sender = sender

    def handlers(self) -> dict[str, Handler]:
        """Return what can be asked for over the control socket."""
        return {"monitor": self._monitor, "status": lambda request, tell: self.status(),
                "verify": self._verify, "flush": self._flush, "push": self._push,
                "pause": self._pause, "resume": self._resume, "reload": self._reload}

    def status(self) -> dict[str, Any]:
        """Return everything, for the administrator's tool."""
        sender = self._sender
        return {
            "resource": sender.settings.resource, "node": sender.settings.node,
            "pid": os.getpid(), "since": sender.since, "generation": sender.settings.generation,
            "paused": sender.pause.reason(), "trouble": str(sender.trouble or ""),
            "files": sender.files, "due": sender.due, "withheld": dict(sender.withheld),
            "peers": [self._peer(replica) for replica in sender.replicas] + [
                {"node": name, "state": "not paired", "reason": error.reason,
                 "remedy": error.remedy, "unsent": 0, "oldest": 0.0, "conflicts": 0,
                 "set_aside": 0, "differing": [], "problems": [], "verified": 0.0}
                for name, error in sender.unpaired.items()]}

    def verdict(self, found: Mapping[str, list[Difference]] | None = None) -> tuple[int, str]:
        """Return what a monitor answers, and why.

        found: what differed, by peer, when both sides were compared just now; what could be was
        put right meanwhile, and is told all the same.
        """
        sender = self._sender
        said: list[str] = []
        if not sender.replicas and not sender.unpaired:
            said.append("nothing is replicated: this node is paired with no other; 'mailha sync "
                        "pair NODE'")
        for replica in sender.replicas:
            said += self._said_of(replica, (found or {}).get(replica.node, []))
        said += [f"{error.reason}; {error.remedy}" for error in sender.unpaired.values()]
        if sender.trouble is not None:
            said.append(str(sender.trouble))
        if sender.due:
            said.append(f"what {sender.settings.node} was sent before is not in force there, since "
                        f"this failed: {', '.join(sender.due)}; mend it, then 'crm_resource "
                        f"--restart -r {sender.settings.resource}'")
        return (DEGRADED, "; ".join(dict.fromkeys(said))) if said else (SUCCESS, "")

    def attributes(self) -> dict[str, str]:
        """Return what crm_mon -A shows: a word or two, and numbers."""
        replicas = self._sender.replicas
        states = [f"{replica.node} {replica.state}" for replica in replicas]
        states += [f"{name} not paired" for name in self._sender.unpaired]
        return {"state": ", ".join(states) or "no peer",
                "lag": str(_step(max([replica.backlog.age() for replica in replicas] or [0.0]))),
                "differing": str(sum(len(replica.differing) for replica in replicas)),
                "conflicts": str(sum(replica.conflicts + replica.set_aside
                                     for replica in replicas))}

    def _said_of(self, replica: Replica, found: list[Difference]) -> list[str]:
        """Return what is to be told of a peer."""
        node, said = replica.node, []
        unsent, age = replica.backlog.size(), replica.backlog.age()
        waiting = f", {unsent} unsent for {age:.0f} s" if unsent else ""
        trouble = replica.trouble
        if not replica.connected:
            reason = trouble.reason if trouble else f"{node} is being connected to"
            remedy = f"; {trouble.remedy}" if trouble and trouble.remedy else ""
            said.append(f"{reason}{waiting}{remedy}")
        elif age > LAG:
            said.append(f"{node} has not taken {unsent} for {age:.0f} s, such as "
                        f"{', '.join(replica.backlog.paths(1))}")
        left = {each.path for each in replica.differing}
        here = [each for each in replica.differing if each.known != FOREIGN]
        foreign = [each for each in replica.differing if each.known == FOREIGN]
        mended = [each for each in found if each.path not in left]
        problems = list(replica.problems.items())
        if problems:
            path, (_, reason) = problems[0]
            more = f" and {len(problems) - 1} more" if len(problems) > 1 else ""
            said.append(f"{node} cannot take {path}{more}: {reason}")
        if here:
            said.append(f"{node} differs in {_some(here)}")
        if foreign:
            said.append(f"only on {node}: {_some(foreign)}; remove or 'exclude' it")
        unseen = [each for each in mended if each.known == AGREED]
        mended = [each for each in mended if each.known != AGREED]
        if mended:
            said.append(f"{node} had been changed and was put right: {_some(mended)}")
        if unseen:
            said.append(f"{node} was behind, since the kernel had not told of a change here, and "
                        f"was put right: {_some(unseen)}")
        said += [f"{node}: {name}: {reason}" for name, reason in replica.failed_hooks.items()]
        if replica.crowded:
            said.append(f"{node}: {replica.crowded}")
        for number, what in ((replica.conflicts, "that were changed there"),
                             (replica.set_aside, "that it had not sent when it was active")):
            if number:
                said.append(f"{node} keeps {number} copies of files {what}; 'mailha sync kept' "
                            "there lists them, --seen settles it")
        return said

    def _peer(self, replica: Replica) -> dict[str, Any]:
        trouble = replica.trouble
        return {"node": replica.node, "state": replica.state,
                "reason": trouble.reason if trouble else "",
                "remedy": trouble.remedy if trouble else "",
                "unsent": replica.backlog.size(), "oldest": replica.backlog.age(),
                "waiting": replica.backlog.paths(MOST_LISTED),
                "conflicts": replica.conflicts, "set_aside": replica.set_aside,
                "differing": [{"path": each.path, "why": each.why, "known": each.known}
                              for each in replica.differing[:MOST_LISTED]],
                "problems": [{"path": path, "code": code, "reason": reason}
                             for path, (code, reason) in list(replica.problems.items())],
                "hooks": dict(replica.failed_hooks), "crowded": replica.crowded,
                "verified": replica.verified}

    def _ask_all(self, timeout: float, tell: Tell, *, push: bool = False, force: bool = False
                 ) -> dict[str, list[Difference]]:
        """Put a question to every peer that is connected; return what differed, by peer."""
        self._sender.drain()
        end = time.monotonic() + timeout
        asked = []
        for replica in self._sender.replicas:
            # One that has just begun is about to be there, which is no trouble.
            replica.wait_begun(min(CONNECTED, timeout / 2))
            if replica.connected or (push and replica.state != PAUSED):
                question = Question(push=push, force=force,
                                    progress=functools.partial(_progress, tell, replica.node))
                replica.ask(question)
                if push:
                    replica.retry()
                asked.append((replica, question))
        found: dict[str, list[Difference]] = {}
        for replica, question in asked:
            if question.wait(max(0.0, end - time.monotonic())):
                found[replica.node] = question.found
                if push and question.failure is not None:
                    raise question.failure
            elif replica.connected:
                raise errors.Failed(f"{replica.node} could not be compared within {timeout:.0f} s")
        return found

    def _monitor(self, request: Mapping[str, Any], tell: Tell) -> str:
        timeout = min(float(request.get("timeout", 10)), LONGEST_VERIFY)
        try:
            code, reason = self.verdict(self._ask_all(timeout, tell))
        except errors.MailhaError as error:
            code, reason = DEGRADED, "; ".join(filter(None, [str(error), self.verdict()[1]]))
        return f"{code} {' '.join(reason.split())}\n"

    def _verify(self, request: Mapping[str, Any], tell: Tell) -> Mapping[str, Any]:
        found = self._ask_all(min(float(request.get("timeout", 60)), LONGEST_FLUSH), tell)
        code, reason = self.verdict(found)
        return {"equal": code == SUCCESS and all(
            replica.state == IN_STEP for replica in self._sender.replicas), "reason": reason,
            "found": {node: [{"path": each.path, "why": each.why, "known": each.known}
                             for each in differences] for node, differences in found.items()}}

    def _flush(self, request: Mapping[str, Any], tell: Tell) -> Mapping[str, Any]:
        sender = self._sender
        sender.drain()
        end = time.monotonic() + min(float(request.get("timeout", 60)), LONGEST_FLUSH)
        for replica in sender.replicas:
            if not replica.backlog.wait_done(max(0.0, end - time.monotonic())):
                paths = ", ".join(replica.backlog.paths(SHOWN))
                raise errors.Failed(
                    f"{replica.node} has not acknowledged {replica.backlog.size()} changes"
                    f"{f', such as {paths}' if paths else ''}"
                    f"{f': {replica.trouble}' if replica.trouble else ''}")
        return {"acknowledged": max([replica.backlog.acknowledged for replica in sender.replicas],
                                    default=0.0)}

    def _push(self, request: Mapping[str, Any], tell: Tell) -> Mapping[str, Any]:
        if self._sender.pause.reason():
            raise errors.Failed(self._sender.pause.reason(), remedy="'mailha sync resume' ends a "
                                "pause of the administrator's")
        self._ask_all(min(float(request.get("timeout", 600)), LONGEST_FLUSH), tell, push=True,
                      force=bool(request.get("force")))
        return self.status()

    def _pause(self, request: Mapping[str, Any], tell: Tell) -> Mapping[str, Any]:
        self._sender.pause.begin(str(request.get("reason", "")))
        self._sender.unpaused()
        return {}

    def _resume(self, request: Mapping[str, Any], tell: Tell) -> Mapping[str, Any]:
        self._sender.pause.end()
        self._sender.unpaused()
        return {}

    def _reload(self, request: Mapping[str, Any], tell: Tell) -> Mapping[str, Any]:
        self._sender.reload()
        return {"since": self._sender.since}


def _progress(tell: Tell, node: str, done: int, of: int) -> None:
    """Tell how far a peer is."""
    tell({"peer": node, "done": done, "of": of})


def _some(differences: list[Difference]) -> str:
    """Return the first paths, and how many more there are."""
    shown = ", ".join(each.path for each in differences[:SHOWN])
    return shown + (f" and {len(differences) - SHOWN} more" if len(differences) > SHOWN else "")


def _step(seconds: float) -> int:
    """Return the seconds in steps that grow, since each new value is work for the cluster."""
    steps = (0, 5, 15, 30, 60, 120, 300, 600, 1800, 3600, 7200, 14400, 43200, 86400)
    return max(step for step in steps if step <= seconds)
