# SPDX-License-Identifier: GPL-2.0-or-later
"""What a node has to remember about who may send: the fencing token's side of the receiver.

Each start of a sender raises a generation. A receiver takes nothing from an older one than the
newest that it has seen, so the node that was active before, and comes back or was only cut off,
cannot overwrite anything. Within a generation the newest connection counts: what is still on its
way through an older one is stale.

Also remembered is whether this node itself was the sender last. Then what differs here is what it
had not sent.
"""

from __future__ import annotations

import json
import os
import time
from contextlib import contextmanager
from typing import Any, Iterator

from mailha import errors
from mailha.sync.places import Places
from mailha.sync.trouble import Refused
from mailha.system.machine import Machine

FORMAT = 1
LARGEST = 65536
_HIGHEST = 2 ** 62
_PAUSE = 0.005

PATIENCE = 3.0
"""Seconds that a stopped process may hold the lock while somebody waits for it."""


class StateDamaged(errors.Failed):
    """It is not known which generation was seen last."""


class Busy(errors.Failed):
    """Another process is changing what this one wants to change."""


@contextmanager
def locked(machine: Machine, places: Places, timeout: float, *, receivers_end: bool = False
           ) -> Iterator[None]:
    """Hold the lock of a resource's state, manifest and kept copies.

    The kernel's lock ends with its process, so it is never stale; a process of ours that was
    stopped with it is killed after PATIENCE seconds. receivers_end: one that works as well. Raises
    Busy if it is not free within timeout seconds, and errors.Failed.
    """
    begin = machine.clock.monotonic()
    evicting = begin + PATIENCE
    while True:
        lock = machine.files.lock(places.lock)
        if lock is not None:
            break
        now = machine.clock.monotonic()
        if now > begin + timeout:
            from mailha.sync import eviction
            raise Busy(f"{eviction.described(machine, places)} held {places.lock} for "
                       f"{timeout:g} s", remedy="see what it waits for, or kill it: that does no "
                       "harm")
        if now > evicting:
            from mailha.sync import eviction
            eviction.evict(machine, places, receivers=receivers_end)
            evicting = now + 1.0
        machine.clock.sleep(_PAUSE)
    try:
        yield
    finally:
        lock.release()


class State:
    """The record of a resource on this node.

    generation: the newest that was seen; 0 if none. node: whose it is. session: number of the
    newest connection. was_sender: whether this node was the last that sent. complete: whether,
    as the sender, it had once sent everything, so that what was never agreed on is its own.
    """

    def __init__(self, machine: Machine, places: Places) -> None:
        self._machine = machine
        self._places = places
        self._seen: object = None
        self.generation = 0
        self.node = ""
        self.session = 0
        self.was_sender = False
        self.complete = False

    @classmethod
    def load(cls, machine: Machine, places: Places) -> State:
        """Return the record; that of a node that has seen nothing if there is none.

        Raises StateDamaged, and errors.Failed if it cannot be read.
        """
        state = cls(machine, places)
        state.refresh()
        return state

    def refresh(self) -> None:
        """Read the record again if it has changed. Raises as load() does."""
        try:
            found = os.stat(self._machine.root + self._places.state)
            seen = (found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)
            if seen == self._seen:
                return
            content = self._machine.files.read(self._places.state, LARGEST)
        except FileNotFoundError:
            if self._seen is not None:
                raise self._damaged("it has vanished") from None
            return
        except OSError as error:
            raise errors.Failed(f"cannot read {self._places.state}: {error.strerror}") from None
        self._take(content)
        self._seen = seen

    def admit(self, generation: int, node: str) -> int:
        """Let a sender in and return the number of its session. The lock has to be held.

        Raises Refused for a generation that is older, or that another node has had.
        """
        self.refresh()
        if generation < self.generation:
            raise Refused(
                f"generation {generation} of {node} is older than {self.generation} of "
                f"{self.node or 'the last sender'}, which was here before", code="generation",
                remedy="if the shared disk was restored: 'mailha sync accept-generation'",
                seen=self.generation)
        if generation == self.generation and self.node not in ("", node):
            raise Refused(
                f"generation {generation} is that of {self.node}, and {node} claims it too",
                code="generation", seen=self.generation,
                remedy="two nodes have raised the same counter: see whether both have the right "
                       "disk, then restart the resource")
        self.generation, self.node = generation, node
        self.session += 1
        self.write()
        return self.session

    def check(self, generation: int, session: int) -> None:
        """See that a session may still change something. The lock has to be held. Raises Refused.
        """
        self.refresh()
        if self.generation != generation:
            raise Refused(f"generation {self.generation} of {self.node} has come since",
                          code="generation", seen=self.generation)
        if self.session != session:
            raise Refused("a newer connection of the same sender has come since",
                          code="superseded")

    def become_sender(self, generation: int, node: str) -> None:
        """Record that this node sends from now on; whoever sent before is refused from now on.

        Takes the lock for itself. Raises Refused if a newer generation was seen here, Busy, and
        errors.Failed.
        """
        self._places.make(self._machine)
        # What is still being received is of a node that is no longer the active one.
        with locked(self._machine, self._places, 10, receivers_end=True):
            self.refresh()
            if generation < self.generation or (generation == self.generation
                                                and self.node not in ("", node)):
                raise Refused(
                    f"the generation {generation} is not newer than {self.generation} of "
                    f"{self.node or 'another node'}, which this node has seen",
                    code="generation", seen=self.generation)
            # Sender before as well: what it had once agreed on still holds.
            self.complete = self.complete and self.was_sender
            self.generation, self.node, self.was_sender = generation, node, True
            self.session += 1
            self.write()

    def sender_complete(self) -> None:
        """Record that this node's sender has once sent everything. Takes the lock. Raises."""
        if self.was_sender and not self.complete:
            with locked(self._machine, self._places, 10):
                self.refresh()
                if self.was_sender:
                    self.complete = True
                    self.write()

    def reconciled(self) -> None:
        """Record that this node is equal to the sender. The lock has to be held."""
        if self.was_sender or self.complete:
            self.was_sender = self.complete = False
            self.write()

    def accept_generation(self, generation: int) -> None:
        """Take the generation as the newest that was seen, even if it is older. Takes the lock.

        For an administrator who has restored the shared disk from a backup. Raises errors.Failed.
        """
        self._places.make(self._machine)
        with locked(self._machine, self._places, 10):
            try:
                self.refresh()
            except StateDamaged:
                self.session = int(time.time())     # newer than any connection there was
            self.generation, self.node = generation, ""
            self.session += 1
            self.write()

    def write(self) -> None:
        """Write the record, so that it survives a power cut from here on. Raises errors.Failed."""
        record = {"format": FORMAT, "generation": self.generation, "node": self.node,
                  "session": self.session, "was_sender": self.was_sender,
                  "complete": self.complete}
        self._machine.files.write_atomic(self._places.state,
                                         (json.dumps(record) + "\n").encode("ascii"), 0o600)
        found = os.stat(self._machine.root + self._places.state)
        self._seen = (found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)

    def _take(self, content: bytes) -> None:
        try:
            record = json.loads(content)
        except ValueError:
            raise self._damaged("it is not JSON") from None
        if not isinstance(record, dict) or record.get("format") != FORMAT:
            raise self._damaged(f"it has not the format {FORMAT}")
        self.generation = self._number(record, "generation")
        self.session = self._number(record, "session")
        node = record.get("node")
        if not isinstance(node, str):
            raise self._damaged("it names no node")
        self.node = node
        self.was_sender = record.get("was_sender") is True
        self.complete = record.get("complete") is True

    def _number(self, record: dict[str, Any], name: str) -> int:
        value = record.get(name)
        if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < _HIGHEST:
            raise self._damaged(f"its {name} is no number")
        return value

    def _damaged(self, what: str) -> StateDamaged:
        return StateDamaged(f"the record {self._places.state} is damaged: {what}",
                            remedy="nothing is accepted until 'mailha sync accept-generation' "
                                   "says which generation holds")
