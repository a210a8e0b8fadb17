# SPDX-License-Identifier: GPL-2.0-or-later
"""What the nodes' own logs say happened, and when.

Corosync and Pacemaker write to the journal of their node, which knows microseconds. All nodes have
the clock of the one machine that they run on, so their entries, and the moment of a fault that was
noted outside, can be put in one order.
"""

from __future__ import annotations

import json
import re
import subprocess
from dataclasses import dataclass
from typing import Callable, Dict, Iterator, List, Match, Pattern, Sequence, Tuple
from xml.etree import ElementTree

from twonode.lab import Lab, LabError

UNITS = ("corosync", "pacemaker")

DEGRADED = "degraded"
"""What a monitor's result is called that says: it runs, but somebody should look."""

_190 = ("OCF_DEGRADED", "Service is active but might fail soon")
"""The same in the words of Pacemaker 2.1 and 3.0."""

MEMBERSHIP = ("missed", "lost", "back", "fenced")
"""Kinds of happenings that every member of the cluster tells of."""


@dataclass(frozen=True, order=True)
class Happening:
    """One thing that a log says."""

    when: float         # seconds since the epoch
    kind: str           # missed, lost, fenced, back; found, stopped, started, failed
    subject: str        # the resource or the node that it happened to
    node: str           # where it happened, or who says so
    text: str           # the same as words for people


What = Tuple[str, str, str, str]
"""Kind, subject, node and text of a happening."""

Reader = Callable[[Match[str], str], What]
"""Makes that of a line that matched, and of the name of the node whose log it is in."""


def _operation(match: Match[str], teller: str) -> What:
    """Read the result of an operation."""
    action, resource, node, result = match.group("action", "resource", "node", "result")
    reason = f", {match['reason']}" if match["reason"] else ""
    if action == "monitor":
        said = DEGRADED if result.strip() in _190 else result.strip()
        return "found", resource, node, f"{resource} on {node}: {said}{reason}"
    if result.strip().lower() == "ok":
        verb = {"start": "started", "stop": "stopped"}[action]
        return verb, resource, node, f"{resource} {verb} on {node}"
    return "failed", resource, node, f"{resource}: {action} on {node}: {result.strip()}{reason}"


def _about_node(kind: str, words: str) -> Reader:
    """Return a reader of a line in which one node speaks of another."""
    def read(match: Match[str], teller: str) -> What:
        subject = match.group(1)
        return kind, subject, teller, words.format(teller=teller, subject=subject)
    return read


# Pacemaker 2.0 writes "0 (ok)", later ones "ok"; then comes the agent's reason, in brackets.
RESULT = (r"Result of (?P<action>{actions}) operation for (?P<resource>\S+) on (?P<node>\S+): "
          r"{but_not}(?:\d+ \()?(?P<result>[\w ]+)\)?(?: ?\((?P<reason>.*)\))?")

RULES: Sequence[Tuple[str, Pattern[str], Reader]] = (
    ("pacemaker-controld", re.compile(RESULT.format(actions="start|stop", but_not="")), _operation),
    # A monitor that is well is not news.
    ("pacemaker-controld", re.compile(RESULT.format(
        actions="monitor", but_not=r"(?!(?:\d+ \()?(?:ok|OK)\b)")), _operation),
    ("pacemaker-controld", re.compile(r"Node (\S+) state is now lost"),
     _about_node("lost", "{teller}: {subject} is lost")),
    ("pacemaker-controld", re.compile(r"Node (\S+) state is now member"),
     _about_node("back", "{teller}: {subject} is back in the cluster")),
    ("pacemaker-controld", re.compile(r"Peer (\S+) was terminated \(\w+\) by \S+ .*: OK"),
     _about_node("fenced", "{subject} fenced by {teller}")),
    ("corosync", re.compile(r"(A processor) failed, forming new configuration"),
     _about_node("missed", "{teller}: the other node is silent")),
)


def happenings(entries: Iterator[Dict[str, str]], node: str) -> Iterator[Happening]:
    """Yield what the entries of a node's journal say, of journalctl's JSON."""
    for entry in entries:
        program, message = entry.get("SYSLOG_IDENTIFIER", ""), entry.get("MESSAGE", "")
        stamp = entry.get("_SOURCE_REALTIME_TIMESTAMP") or entry["__REALTIME_TIMESTAMP"]
        if not isinstance(message, str):
            continue        # bytes that are no text come as a list of numbers
        for wanted, pattern, read in RULES:
            match = pattern.search(message) if program == wanted else None
            if match:
                yield Happening(int(stamp) / 1e6, *read(match, node))
                break


def since(lab: Lab, nodes: Sequence[str], when: float, witness: str) -> List[Happening]:
    """Return what the logs of the nodes say of the time after a moment, in order.

    witness: the node whose word counts on who is in the cluster; the other one, when it comes back,
        finds everybody new.
    A node that cannot be asked, because it has no power, says nothing now and everything later.
    """
    found: List[Happening] = []
    for node in nodes:
        argv = ["journalctl", "--output=json", "--no-pager", f"--since=@{int(when)}",
                "--output-fields=MESSAGE,SYSLOG_IDENTIFIER,_SOURCE_REALTIME_TIMESTAMP",
                *[f"--unit={unit}" for unit in UNITS]]
        try:
            said = lab.execute(node, argv, timeout=30, check=False).stdout
        except (LabError, subprocess.TimeoutExpired):
            continue
        entries = (json.loads(line) for line in said.splitlines() if line.startswith("{"))
        found += [each for each in happenings(entries, node)
                  if each.when >= when and (node == witness or each.kind not in MEMBERSHIP)]
    return sorted(found)


def fencings(lab: Lab, asked: str, target: str) -> List[str]:
    """Return how each fencing of a node that the cluster remembers ended: "success" or not."""
    said = lab.execute(asked, ["stonith_admin", "--history", target, "--output-as=xml"],
                       timeout=30).stdout
    return [event.get("status", "") for event in ElementTree.fromstring(said).iter("fence_event")]
