# SPDX-License-Identifier: GPL-2.0-or-later
"""The other end of a connection: the command that the sender's SSH key starts, and nothing else.

It lives as long as the connection. Whatever comes in may be wrong: the sender may be broken, cut
off for an hour, of another release, or not be the active node any more. So everything is checked
here again, nothing is written before a batch is complete, and under the lock it is asked once more
whether the sender may still write. It may be killed at any moment.
"""

from __future__ import annotations

from typing import Any, Callable, Iterable, TypeVar

from mailha import errors
from mailha.ocf import defect
from mailha.sync.connection import wire
from mailha.sync.files.entry import FILE, Entry, check_path
from mailha.sync.files.selection import Selection
from mailha.sync.manifest import Manifest
from mailha.sync.passive import admission, thinning
from mailha.sync.passive.admission import SENDER, Admission, Hello
from mailha.sync.passive.answering import Answers
from mailha.sync.passive.applying import Applier
from mailha.sync.passive.changes import Change
from mailha.sync.passive.crossing import SentHere
from mailha.sync.passive.debouncing import Debounced
from mailha.sync.passive.hooks import Hooks
from mailha.sync.passive.kept import Kept
from mailha.sync.passive.spool import Spool
from mailha.sync.places import Places
from mailha.sync.state import State, locked
from mailha.sync.trouble import ConnectionLost, ProtocolError, Refused, Silent
from mailha.system.machine import Machine

LOCK_TIMEOUT = 15.0
"""Seconds to wait for another connection of the same resource to end its batch."""
SEND_TIMEOUT = 60.0
FIRST_TIMEOUT = 30.0
"""Seconds in which a sender has to say who it is."""
HOOKS_AT_END = 120.0

Outcome = TypeVar("Outcome")


def serve(machine: Machine, reader: int, writer: int) -> None:
    """Serve one connection until it ends. reader, writer: descriptors, usually 0 and 1.

    What goes wrong is told to the other end. Raises nothing that it could have told; errors.Failed
    if it could not.
    """
    stream = wire.Stream(reader, writer)
    try:
        stream.send(admission.greeting(machine))
        stream.flush(FIRST_TIMEOUT)
        hello = Hello(stream.message(FIRST_TIMEOUT))
        _Session(machine, stream, hello).run()
    except ConnectionLost:
        pass                    # the usual end
    except Refused as refused:
        _tell(stream, refusal(refused))
    except ProtocolError as error:
        _tell(stream, {"type": "refused", "code": "protocol", "reason": error.reason,
                       "remedy": error.remedy or "use the same release of mailha on both nodes"})
    except Silent:
        pass                    # nobody is there to be told
    except errors.MailhaError as error:
        _tell(stream, {"type": "refused", "code": "failed", "reason": error.reason,
                       "remedy": error.remedy})
    # The one place that may catch everything: who reads a traceback on another node?
    except Exception as error:
        _tell(stream, {"type": "refused", "code": "failed", "remedy": "report it to the authors "
                       "of mailha", "reason": f"defect of mailha in the receiver: "
                       f"{type(error).__name__} at {defect.place_of(error)}: {error}"})


def finish_hooks(machine: Machine, resource: str, selection: Selection, services: list[str], *,
                 sysctl: bool, timeout: float | None = None) -> dict[str, str]:
    """Do what is still due after what was received: the receiver may have been killed before.

    For a node that becomes the active one. timeout: seconds for all of it; what there is no time
    for stays due. Returns failures by name. Raises errors.Failed.
    """
    places = Places(resource)
    places.make(machine)
    manifest = Manifest.load(machine, places)
    due = set(manifest.hooks)
    if not due:
        return {}
    failures = Hooks(machine, selection, manifest, services, sysctl=sysctl).run(due, timeout)
    with locked(machine, places, LOCK_TIMEOUT):
        manifest.refresh()
        manifest.done(due - failures.keys())
        manifest.close()
    return failures


def refusal(refused: Refused) -> dict[str, Any]:
    """Return the message that says so."""
    return {"type": "refused", "code": refused.refusal, "reason": refused.reason,
            "remedy": refused.remedy, **refused.details}


def _tell(stream: wire.Stream, message: dict[str, Any]) -> None:
    """Say a last word, if somebody listens."""
    try:
        stream.send(message)
        stream.flush(5.0)
    except errors.Failed:
        pass


class _Session:
    """One connection after its hello."""

    def __init__(self, machine: Machine, stream: wire.Stream, hello: Hello) -> None:
        self._machine = machine
        self._stream = stream
        self._hello = hello
        self._places = Places(hello.resource)
        if hello.role == SENDER:
            # Who only looks leaves no trace; the resource may never come to be.
            self._places.make(machine)
        self._state = State.load(machine, self._places)
        self._manifest = Manifest.load(machine, self._places)
        self._kept = Kept(machine, self._places)
        self._answers = Answers(machine, self._places, hello.selection, self._state,
                                self._manifest, self._kept)
        self._applier = Applier(machine, hello.selection, self._state, self._manifest, self._kept,
                                SentHere(machine, hello.resource))
        self._admission = Admission(machine, self._places, hello)
        self._session = 0
        self._hooks = Hooks(machine, hello.selection, self._manifest, hello.services,
                            sysctl=hello.sysctl)
        self._due = Debounced(machine, self._hooks.run)
        self._next_thinning = machine.clock.monotonic() + thinning.FIRST
        self._crowded = ""

    def run(self) -> None:
        """Serve until the connection ends. Raises what ends it."""
        if self._hello.role == SENDER:
            self._admission.at_hello()
            with locked(self._machine, self._places, LOCK_TIMEOUT):
                self._session = self._state.admit(self._hello.generation, self._hello.node)
                self._manifest.refresh()
            # Those of a connection that was killed before it did them.
            self._due.add(self._manifest.hooks)
        self._send({"type": "welcome", "version": self._hello.version,
                    "node": admission.own_name(), "generation": self._state.generation,
                    **self._kept_counts()})
        try:
            self._listen()
        finally:
            if self._hello.role == SENDER:
                self._hooks_done(self._due.finish(HOOKS_AT_END))
            self._applier.close()
            self._manifest.close()

    def _listen(self) -> None:
        quiet_since = self._machine.clock.monotonic()
        while True:
            self._hooks_done(self._due.poll())
            try:
                message = self._stream.message(self._due.wait(wire.IDLE))
            except Silent:
                if self._machine.clock.monotonic() - quiet_since < wire.IDLE:
                    continue
                raise
            self._answer(message)
            quiet_since = self._machine.clock.monotonic()

    def _answer(self, message: dict[str, Any]) -> None:
        kind = message["type"]
        if kind == "ping":
            if self._crowded:
                self._thin_out()
            self._send({"type": "pong", "hooks": self._due.failures, "kept": self._crowded})
            return
        answer = self._answers.kinds.get(kind)
        if answer is not None:
            self._manifest.refresh()
            self._state.refresh()
            for part in answer(message, self._hello.role == SENDER):
                if isinstance(part, bytes):
                    self._stream.send_data(part)
                    self._stream.flush(SEND_TIMEOUT)
                else:
                    self._send(part)
            return
        if self._hello.role != SENDER:
            raise ProtocolError(f"a reader may not ask for {kind[:40]!r}")
        if kind == "batch":
            self._batch(message)
        elif kind == "reconciled":
            self._send(self._unless_busy(self._reconciled))
        else:
            raise ProtocolError(f"there is no message {kind[:40]!r}")

    def _batch(self, message: dict[str, Any]) -> None:
        """Take in a whole batch, then apply it."""
        number = message.get("id")
        if not isinstance(number, int):
            raise ProtocolError("a batch has no number")
        force = message.get("force") is True
        spool = Spool(self._machine.root + self._places.state_directory)
        try:
            changes = self._changes(spool)
            answer = self._unless_busy(lambda: self._apply(changes, force))
            self._send({**answer, "id": number})
        finally:
            spool.close()
        with locked(self._machine, self._places, LOCK_TIMEOUT):
            self._kept.tidy()
        self._thin_out()

    def _thin_out(self) -> None:
        """Remove kept copies of which there are too many; now and then, since it looks at all."""
        now = self._machine.clock.monotonic()
        if now < self._next_thinning:
            return
        self._next_thinning = now + (thinning.FIRST if self._crowded else thinning.INTERVAL)
        found = thinning.surplus(self._kept.listing(), self._machine.clock.wall())
        self._crowded = found.complaint
        if found.gone:
            with locked(self._machine, self._places, LOCK_TIMEOUT):
                self._kept.remove(found.gone)

    def _changes(self, spool: Spool) -> list[Change]:
        changes: list[Change] = []
        size = 0
        while True:
            message = self._stream.message(wire.IDLE)
            kind = message["type"]
            if kind == "commit":
                return changes
            if len(changes) >= wire.MOST_CHANGES:
                raise ProtocolError(f"a batch has more than {wire.MOST_CHANGES} changes")
            if kind == "delete":
                changes.append(Change(check_path(message.get("path"))))
            elif kind == "put":
                entry = Entry.from_message(message.get("entry"))
                length = message.get("length", 0)
                if length != (entry.size if entry.kind == FILE else 0):
                    raise ProtocolError(f"the length of {entry.path} is not its size")
                size += entry.size
                if size > wire.LARGEST_BATCH:
                    raise ProtocolError(f"a batch has more than {wire.LARGEST_BATCH} bytes")
                content = None
                if entry.kind == FILE:
                    content = spool.take(self._stream.pieces(length, wire.IDLE), length,
                                         entry.digest, entry.path)
                changes.append(Change(entry.path, entry, content))
            else:
                raise ProtocolError(f"there is no {kind[:40]!r} in a batch")

    def _apply(self, changes: list[Change], force: bool) -> dict[str, Any]:
        """Apply a batch and return what became of it. The lock is held."""
        due: set[str] = set()

        def hooks(paths: Iterable[str]) -> set[str]:
            due.update(self._hooks.due(paths))
            return due

        result = self._applier.apply(changes, force=force, hooks=hooks)
        self._due.add(due)
        return {"type": "applied",
                "problems": [problem.to_message() for problem in result.problems],
                "conflicts": _copies(result.conflicts), "unsent": _copies(result.unsent)}

    def _reconciled(self) -> dict[str, Any]:
        self._state.reconciled()
        return {"type": "reconciled"}

    def _unless_busy(self, work: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        """Return the answer that the work gives, or that packages are just being changed.

        That passes, and the connection goes on. Raises Refused for anything else.
        """
        try:
            return self._guarded(work)
        except Refused as refused:
            if refused.refusal != "busy":
                raise
            return refusal(refused)

    def _guarded(self, work: Callable[[], Outcome]) -> Outcome:
        """Do what changes something: under the lock, if the sender may still. Raises Refused."""
        with locked(self._machine, self._places, LOCK_TIMEOUT):
            self._state.check(self._hello.generation, self._session)
            self._admission.at_batch()
            self._manifest.refresh()
            return work()

    def _hooks_done(self, names: set[str]) -> None:
        if names:
            with locked(self._machine, self._places, LOCK_TIMEOUT):
                self._manifest.refresh()
                self._manifest.done(names)

    def _kept_counts(self) -> dict[str, int]:
        counts = self._kept.counts()
        return {"conflicts": counts["conflict"], "unsent": counts["unsent"]}

    def _send(self, message: dict[str, Any]) -> None:
        self._stream.send(message)
        self._stream.flush(SEND_TIMEOUT)


def _copies(places: dict[str, str]) -> list[dict[str, str]]:
    return [{"path": path, "copy": copy} for path, copy in places.items()]
