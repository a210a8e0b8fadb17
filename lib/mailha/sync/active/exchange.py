# SPDX-License-Identifier: GPL-2.0-or-later
"""What a sender says to one receiver: batches of changes, and the comparison of both sides.

Nothing here waits for anything but the receiver, and nothing here knows when something has to be
sent; see mailha.sync.active.replica.
"""

from __future__ import annotations

import time
from collections import deque
from typing import Any, Callable, Iterable, Iterator, Mapping

from mailha.sync.active.comparison import (DIFFERS, ONLY_HERE, ONLY_THERE, Difference,
                                           Inventory)
from mailha.sync.active.emptied import Guard
from mailha.sync.active.peerside import PeerSide
from mailha.sync.connection import channel
from mailha.sync.connection.wire import MOST_CHANGES, Stream
from mailha.sync.files.beneath import Beneath
from mailha.sync.files.entry import DIRECTORY, FILE, Entry
from mailha.sync.files.scanning import Gone, Scan, Scanner, Unstable
from mailha.sync.passive.judging import AGREED, EMPTIED, FOREIGN
from mailha.sync.trouble import ProtocolError

ANSWER = 30.0
"""Seconds in which the receiver has to answer what costs it no work on the disk."""

APPLYING = 180.0
"""Seconds in which a batch has to be durable; the disk may be a busy one."""

LARGEST_BATCH = 64 << 20
"""Bytes of content that are read into memory at a time."""

AT_A_TIME = 128
"""Changes in a batch: enough to share the waiting for the disk, few enough to begin early."""

UNDER_WAY = 3
"""Batches that are sent before the first of them has been answered."""


class Outcome:
    """What became of changes.

    done: fingerprint by path, None for what was deleted; durable on the other side. problems:
    (code, reason) by path. unstable: paths that were being written, with the reason. passed: paths
    about which there was nothing to be said. parents: directories that the receiver turned out not
    to have. answered: when the receiver had answered for the last of them, on the monotonic clock;
    0.0 if it was not asked. under_way: how many batches of them it has not answered yet; all else
    is complete when there is none.
    """

    def __init__(self) -> None:
        self.done: dict[str, str | None] = {}
        self.problems: dict[str, tuple[str, str]] = {}
        self.unstable: dict[str, str] = {}
        self.passed: set[str] = set()
        self.parents: set[str] = set()
        self.answered = 0.0
        self.under_way = 0


class _Batch:
    """What was sent in one piece. changes: fingerprint by path, None for what is to be deleted."""

    def __init__(self, number: int, outcome: Outcome) -> None:
        self.number = number
        self.outcome = outcome
        self.changes: dict[str, str | None] = {}


class Exchange:
    """A conversation with one receiver that has bidden us welcome.

    Nothing may be asked as long as changes are under way: the receiver answers in order.

    conflicts, set_aside: how many copies the receiver keeps of what was changed on that side, and
    of what an active node before us had not sent. guard: tells what must not be deleted over there,
    None for who only looks. deleting: is told what is about to be deleted there. failed_hooks: what
    it could not do after changes had been applied, by name, with the reason. crowded: that it keeps
    too many copies, or "".
    """

    def __init__(self, stream: Stream, scanner: Scanner, welcome: Mapping[str, Any],
                 guard: Guard | None = None,
                 deleting: Callable[[list[str]], None] = lambda paths: None) -> None:
        self._stream = stream
        self._guard = guard
        self._deleting = deleting
        self._scanner = scanner
        self._there = PeerSide()
        self._aside: set[str] = set()
        self._number = 0
        self._under_way: deque[_Batch] = deque()
        self._awaited_since = 0.0
        self.conflicts = 0
        self.set_aside = 0
        self.failed_hooks: dict[str, str] = {}
        self.crowded = ""
        self._count(welcome)

    def fileno(self) -> int:
        """Return the descriptor that becomes readable when the receiver says something unasked."""
        return self._stream.fileno()

    def ping(self) -> None:
        """Ask whether the receiver is there."""
        answer = self._ask({"type": "ping"}, "pong")
        failed = answer.get("hooks")
        if isinstance(failed, dict):
            self.failed_hooks = {str(name): str(reason) for name, reason in failed.items()}
        self.crowded = str(answer.get("kept", ""))

    def unasked(self) -> None:
        """Take what the receiver says unasked: that it ends. Raises errors.Failed."""
        message = self._stream.message(ANSWER)
        if message.get("type") == "refused":
            raise channel.refusal(message)
        raise ProtocolError(f"the receiver says {message.get('type')!r} unasked")

    def inventory(self) -> Inventory:
        """Return what the receiver has, and remember it."""
        found = Inventory()
        self._stream.send({"type": "inventory"})
        self._stream.flush(ANSWER)
        while True:
            message = self._answer("inventory", APPLYING)
            for each in message.get("entries", ()):
                entry = Entry.from_message(each)
                found.entries[entry.path] = entry
                found.known[entry.path] = str(each.get("known", FOREIGN))
            if not message.get("more"):
                break
        left_out = message.get("left_out")
        if isinstance(left_out, dict):
            found.left_out = {str(path): str(reason) for path, reason in left_out.items()}
        self._count(message)
        self._there = PeerSide({path: entry.fingerprint for path, entry in found.entries.items()
                                if found.known[path] != FOREIGN})
        return found

    def send(self, paths: Iterable[str]) -> Outcome:
        """Send what is at some paths now, and do not wait until it is durable over there.

        What changes meanwhile can follow at once: while the other disk works on the one, the next
        is read here. Who sends much waits all the same, see UNDER_WAY. take_in() completes the
        outcome.
        """
        outcome = Outcome()
        self._carry(paths, outcome, False)
        return outcome

    @property
    def under_way(self) -> int:
        """How many batches have been sent and not been answered."""
        return len(self._under_way)

    @property
    def left(self) -> float:
        """Seconds that the receiver has left for its next answer."""
        return max(0.0, self._awaited_since + APPLYING - time.monotonic())

    @property
    def is_answered(self) -> bool:
        """Whether an answer is here already, so that the descriptor may not tell of it."""
        return self._stream.waiting

    def take_in(self) -> None:
        """Take in what became of the batch that was sent first of those under way.

        Raises errors.Failed when its answer does not come.
        """
        batch = self._under_way.popleft()
        answer = self._answer("applied", self.left)
        batch.outcome.answered = self._awaited_since = time.monotonic()
        batch.outcome.under_way -= 1
        if answer.get("id") != batch.number:
            raise ProtocolError(f"the receiver answers batch {answer.get('id')!r} in place of "
                                f"{batch.number}")
        self._note(answer, batch)

    def settle(self) -> None:
        """Wait until nothing is under way any more."""
        while self._under_way:
            self.take_in()

    def reconcile(self, scan: Scan, *, force: bool = False,
                  progress: Callable[[int, int], None] = lambda done, of: None) -> Outcome:
        """Bring the receiver to what a scan has found, whatever it has.

        progress: called with how many of how many changes have been made.
        """
        outcome = Outcome()
        there = self.inventory()
        gone = [path for path in sorted(there.entries, reverse=True)
                if path not in scan.entries and there.known[path] != FOREIGN
                and not _hidden(scan, path)]
        # What is equal and not agreed on is sent once, too: from then on the receiver knows that it
        # is the sender's, and that it may be deleted. It may never have been replicated, or the
        # record of it was lost with the power.
        # What the receiver leaves out is sent as well: it answers why it does not take it.
        changed = [path for path, entry in sorted(scan.entries.items())
                   if path not in there.entries or there.known[path] != AGREED
                   or there.entries[path].fingerprint != entry.fingerprint]
        everything = len(gone) + len(changed)
        for part in _parts([*gone, *changed], MOST_CHANGES // 2):
            self._carry(part, outcome, force)
            self.settle()
            progress(len(outcome.done), everything)
        outcome.unstable.update(scan.unstable)
        if self._guard is not None:
            self._guard.take(scan, [path for path, problem in outcome.problems.items()
                                    if problem[0] == EMPTIED])
        if not outcome.problems:
            self._ask({"type": "reconciled"}, "reconciled")
        return outcome

    def differences(self, scan: Scan) -> list[Difference]:
        """Return what is not the same on both sides, by a digest of all content on both."""
        # What is aside is so only as long as it is not replicated from here: forgotten there, a
        # change of it on the other side would never be seen again.
        self._aside = {path for path in self._aside
                       if path not in scan.entries and _hidden(scan, path)}
        without = {*scan.withheld, *scan.left_out, *scan.unstable, *self._aside}
        answer = self._ask({"type": "digest", "without": sorted(without)}, "digest", APPLYING)
        self._count(answer)
        if answer.get("digest") == scan.digest(without):
            return []
        there = self.inventory()
        found = []
        for path in sorted(scan.entries.keys() | there.entries.keys()):
            here, other = scan.entries.get(path), there.entries.get(path)
            if here is not None and other is not None:
                if here.fingerprint != other.fingerprint:
                    found.append(Difference(path, DIFFERS, there.known[path]))
            elif here is not None:
                # Be it that something else is there, such as a FIFO: it is not what is here.
                found.append(Difference(path, DIFFERS if path in there.left_out else ONLY_HERE))
            elif _hidden(scan, path):
                self._aside.add(path)
            else:
                found.append(Difference(path, ONLY_THERE, there.known[path]))
        return found

    def _changes(self, beneath: Beneath, paths: Iterable[str], outcome: Outcome, force: bool
                 ) -> Iterator[tuple[str, Entry | None, bytes]]:
        """Yield what has to be told of some paths: the path, and what is there if anything is.

        What the guard holds up is a problem, and nothing is told of it.
        """
        for path in paths:
            found, content = self._scanner.read_beneath(beneath, path)
            if isinstance(found, Unstable):
                outcome.unstable[path] = found.reason
                continue
            if isinstance(found, Entry):
                if found.kind != FILE or not self._there.has_file(path):
                    self._settle_before(outcome)
                if found.kind != DIRECTORY:
                    for below in self._may_go(self._there.below(path), outcome, force):
                        yield below, None, b""
                yield path, found, content
                if found.kind == DIRECTORY:
                    # It may be another one than before, and of what lay in that no event tells.
                    missing = self._scanner.missing(self._there.names_in(path))
                    yield from self._changes(beneath, missing, outcome, force)
            elif isinstance(found, Gone):
                self._settle_before(outcome)
                gone = self._there.below(path)
                if path in self._there:
                    gone.append(path)
                else:
                    outcome.passed.add(path)
                for each in self._may_go(gone, outcome, force):
                    yield each, None, b""
            else:
                # What is not replicated any more stays there as it is: it may be what the other
                # node is.
                outcome.passed.add(path)

    def _settle_before(self, outcome: Outcome) -> None:
        """Wait for all that was sent earlier: only then it is known what the other side has."""
        while self._under_way and self._under_way[0].outcome is not outcome:
            self.take_in()

    def _may_go(self, gone: list[str], outcome: Outcome, force: bool) -> list[str]:
        """Return what of that which is gone here may be deleted there; the rest is a problem."""
        if self._guard is None or force or not gone:
            return gone
        held_up = self._guard.held_up(gone)
        outcome.problems.update((path, (EMPTIED, reason)) for path, reason in held_up.items())
        return [path for path in gone if path not in held_up]

    def _carry(self, paths: Iterable[str], outcome: Outcome, force: bool) -> None:
        """Send what is at some paths in batches.

        Several are under way at a time: the next one is read here while the one before becomes
        durable over there. What is deleted stays together in one batch, because its receiver has
        to see how much it is.
        """
        batch: _Batch | None = None
        size, most = 0, AT_A_TIME
        with self._scanner.beneath() as beneath:
            for path, entry, content in self._changes(beneath, paths, outcome, force):
                if batch is None:
                    self._number += 1
                    batch = _Batch(self._number, outcome)
                    self._stream.send({"type": "batch", "id": batch.number, "force": force})
                if entry is None:
                    self._stream.send({"type": "delete", "path": path})
                    batch.changes[path] = None
                    most = MOST_CHANGES
                else:
                    self._stream.send({"type": "put", "entry": entry.to_message(),
                                       "length": len(content)})
                    self._stream.send_data(content)
                    batch.changes[path] = entry.fingerprint
                    size += len(content)
                if len(batch.changes) >= most or size >= LARGEST_BATCH:
                    self._commit(batch)
                    # That may have taken long, and what was opened may have been replaced.
                    beneath.forget()
                    batch, size, most = None, 0, AT_A_TIME
        if batch is not None:
            self._commit(batch)

    def _commit(self, batch: _Batch) -> None:
        """End a batch; if enough are under way, wait for the answer to the first."""
        gone = [path for path, fingerprint in batch.changes.items() if fingerprint is None]
        if gone:
            self._deleting(gone)
        self._stream.send({"type": "commit"})
        self._stream.flush(APPLYING)
        if not self._under_way:
            self._awaited_since = time.monotonic()
        self._under_way.append(batch)
        batch.outcome.under_way += 1
        if len(self._under_way) > UNDER_WAY:
            self.take_in()

    def _note(self, answer: Mapping[str, Any], batch: _Batch) -> None:
        """Note what became of a batch, as its answer says."""
        outcome = batch.outcome
        failed = set()
        for problem in answer.get("problems", ()):
            path, code = str(problem["path"]), str(problem["code"])
            failed.add(path)
            if code == "no-parent":
                parent = path.rpartition("/")[0]
                while parent:
                    outcome.parents.add(parent)
                    parent = parent.rpartition("/")[0]
            outcome.problems[path] = (code, str(problem.get("reason", "")))
        for path, fingerprint in batch.changes.items():
            if path in failed:
                continue
            outcome.done[path] = fingerprint
            if fingerprint is None:
                self._there.drop(path)
            else:
                self._there.put(path, fingerprint)
        self.conflicts += len(answer.get("conflicts", ()))
        self.set_aside += len(answer.get("unsent", ()))

    def _ask(self, message: Mapping[str, Any], wanted: str, timeout: float = ANSWER
             ) -> dict[str, Any]:
        self._stream.send(message)
        self._stream.flush(ANSWER)
        return self._answer(wanted, timeout)

    def _answer(self, wanted: str, timeout: float) -> dict[str, Any]:
        """Return the next message, which has to be of the type. Raises Refused and others."""
        message = self._stream.message(timeout)
        kind = message.get("type")
        if kind == "refused":
            raise channel.refusal(message)
        if kind != wanted:
            raise ProtocolError(f"the receiver answers {kind!r} where {wanted!r} was due")
        return message

    def _count(self, message: Mapping[str, Any]) -> None:
        """Take in how many copies the receiver keeps."""
        for name, key in (("conflicts", "conflicts"), ("set_aside", "unsent")):
            if isinstance(message.get(key), int):
                setattr(self, name, message[key])


def _hidden(scan: Scan, path: str) -> bool:
    """Tell whether a path is not replicated from here, or nobody knows what is there."""
    while path:
        if path in scan.withheld or path in scan.left_out or path in scan.unstable:
            return True
        path = path.rpartition("/")[0]
    return False


def _parts(paths: list[str], size: int) -> Iterator[list[str]]:
    for start in range(0, len(paths), size):
        yield paths[start:start + size]
