# SPDX-License-Identifier: GPL-2.0-or-later
"""The sender: watches what is selected and brings every peer up to date, as long as it lives.

It is a service of systemd (mailha-sync@.service), which the resource starts and stops. It sets its
watches before it looks at anything, so no change falls between; after a start, an overflow of the
kernel's queue or a lost connection both sides are compared whole. Nothing that a peer does, or is,
ever ends it.
"""

from __future__ import annotations

import functools
import os
import select
import signal
import sys
import threading
import time
from typing import Any, Iterable

from mailha import errors
from mailha.sync.active import control, ending
from mailha.sync.active.emptied import Guard
from mailha.sync.active.notice import Notice
from mailha.sync.active.pause import Pause
from mailha.sync.active.replica import Replica
from mailha.sync.active.reporting import Report
from mailha.sync.active.surroundings import Surroundings
from mailha.sync.active.watching import FOLLOWS, Changes, Watching, is_written
from mailha.sync.connection import peers
from mailha.sync.files import identity, replicated, settings
from mailha.sync.files.links import Links
from mailha.sync.files.scanning import Scan, Scanner
from mailha.sync.files.settings import Settings
from mailha.sync.manifest import Manifest
from mailha.sync.packages import Packages
from mailha.sync.places import Places
from mailha.sync.state import State, locked
from mailha.system.files import FileLock
from mailha.system.machine import Machine
from mailha.system.notify import notify, watchdog_interval

FLUSH = 5.0
"""Seconds that a stop waits for what has not been acknowledged. Mail waits for this."""

UNWATCHED_INTERVAL = 10.0
"""Seconds between two comparisons where the kernel does not let us watch everything."""

FAREWELL = 10.0
"""Seconds in which the connections end when the sender begins anew."""

GATHER = 0.003
"""Seconds after a change in which others gather: the first of them is on its way, which takes as
long, and to look at each of a thousand by itself takes the CPU from the one that sends."""

SWITCH_INTERVAL = 0.0005
"""Seconds after which a thread lets others run: whoever asks how things stand must not hold up the
one that sends, for Python's usual 5 ms."""

LOCK = 10.0
IDLE = 1.0


def main(machine: Machine, resource: str) -> int:
    """Send until SIGTERM comes, and return the exit code. Raises errors.MailhaError."""
    sys.setswitchinterval(SWITCH_INTERVAL)
    try:
        send(machine, resource, Stopping())
        return 0
    except errors.MailhaError as error:
        ending.tell(machine, resource, str(error))
        raise


def send(machine: Machine, resource: str, stopping: Stopping) -> None:
    """Send until it is told to stop, and begin anew when it is told so. Raises errors.MailhaError.
    """
    wanted = settings.read(machine, resource)
    before: Sender | None = None
    while True:
        sender = Sender(machine, wanted, before)
        try:
            sender.run(stopping)
        finally:
            sender.close(handed_on=sender.begins_anew and not stopping)
        if stopping:
            return
        before = sender
        wanted = settings.read(machine, resource)       # it was told to read them again


class Stopping:
    """Whether SIGTERM or SIGINT has come. Wakes whoever waits on its descriptor."""

    def __init__(self) -> None:
        self.reader, self._writer = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._told = False
        # It tells that somebody opens the file that we just ask about; its usual effect is death.
        signal.signal(signal.SIGIO, signal.SIG_IGN)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._stop)

    def __bool__(self) -> bool:
        return self._told

    def _stop(self, *_: object) -> None:
        self._told = True
        os.write(self._writer, b"!")


class Sender:
    """The sender of one resource. Raises errors.MailhaError where it cannot begin.

    before: the one whose lock and socket it takes over, since it was told to begin anew: whoever
    looks in between must neither find nobody who sends, nor be turned away.

    settings: what it was told. replicas: a thread for each peer. withheld, left_out: what is not
    sent, with the reason, by path. files: how many paths are replicated. trouble: what is wrong on
    this side.
    """

    def __init__(self, machine: Machine, told: Settings, before: Sender | None = None) -> None:
        self.settings = told
        self.trouble: errors.MailhaError | None = None
        self.since = time.time()
        self.withheld: dict[str, str] = {}
        self.files = 0
        self._machine = machine
        self._places = Places(told.resource)
        self._lock: FileLock = self._take_lock() if before is None else before._lock
        try:
            self._state = State.load(machine, self._places)
            self._state.become_sender(told.generation, told.node)
            self._manifest = Manifest.load(machine, self._places)
            self._packages = Packages(machine)
            self._profile = replicated.profile(told)
            self.selection = replicated.select(machine, told)
            own = identity.gather(machine, told.floating)
            # Of a single path an event has told already that its writer is done.
            self._links = Links(machine.root)
            self._reader = Scanner(machine, self.selection, own, links=self._links)
            self._scanner = Scanner(machine, self.selection, own, is_written, self._links)
            self._watching = Watching(self.selection.roots, self._enters, prefix=machine.root)
        except BaseException:
            self._lock.release()
            raise
        self._reading = threading.Lock()
        self._recording = threading.Lock()
        self._agreed: dict[str, dict[str, str | None]] = {}
        self._in_step: set[str] = set()
        self._last_scan: Scan | None = None
        self.begins_anew = False
        self._wake_reader, self._wake_writer = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self.pause = Pause(machine, self._places)
        self.replicas = self._make_replicas()
        self.report = Report(self)
        self._notice = Notice(machine, told, self.report)
        self._server: control.Server | None = None if before is None else before._server

    def run(self, stopping: Stopping) -> None:
        """Send until it is told to stop, or to read its settings again."""
        self._watching.watch()
        if self._server is None:
            self._server = control.Server(self._machine.root
                                          + control.control_path(self.settings.resource))
            self._server.start()
        self._server.answer_by(self.report.handlers())
        for replica in self.replicas:
            replica.start()
        self._notice.start()
        notify("READY=1", f"STATUS=sends to {_names(self.replicas)}")
        interval = watchdog_interval() or IDLE
        next_word = 0.0
        next_whole_look = time.monotonic() + UNWATCHED_INTERVAL
        while not stopping and not self.begins_anew:
            # Not at each change: it wakes systemd, which takes as long as to send a file.
            if time.monotonic() >= next_word:
                notify("WATCHDOG=1")
                next_word = time.monotonic() + interval / 2
            due = self._watching.due()
            timeout = min(each for each in (due, interval, IDLE) if each is not None)
            ready = select.select([self._watching, stopping.reader, self._wake_reader], [], [],
                                  timeout)[0]
            if (self._watching in ready or due is not None) and self.drain():
                select.select([stopping.reader, self._wake_reader], [], [], GATHER)
            if self._watching.trouble and time.monotonic() > next_whole_look:
                next_whole_look = time.monotonic() + UNWATCHED_INTERVAL
                self._dispatch(Changes(), "not everything can be watched")
        if stopping:
            # Not where it only begins anew: systemd kills what said so and does not end.
            notify("STOPPING=1")
            self.drain(last=True)
            self._flush()

    def close(self, *, handed_on: bool = False) -> None:
        """End everything that was begun. handed_on: but for the lock and the socket."""
        if self._server is not None:
            if handed_on:
                self._server.answer_by(None)
            else:
                self._server.close()
        for replica in self.replicas:
            replica.stop()
        if handed_on:
            # They write the same records as those that follow, in the same process, whose locks
            # keep out other processes only.
            end = time.monotonic() + FAREWELL
            for replica in self.replicas:
                replica.join(max(0.0, end - time.monotonic()))
                if replica.is_alive():
                    raise errors.Failed(f"the connection to {replica.node} does not end",
                                        remedy="systemd starts the sender again")
        self._watching.close()
        with self._recording:
            self._manifest.close()
            if not handed_on:
                self._lock.release()

    def reload(self) -> None:
        """Begin anew with the settings as they are now."""
        self.begins_anew = True
        os.write(self._wake_writer, b"!")

    def drain(self, *, last: bool = False) -> bool:
        """Take in what the kernel has told, and tell whether it was anything.

        last: also of files that are still being written.
        """
        with self._reading:
            changes = self._watching.read(follows=FOLLOWS)
            if last:
                self._watching.take_all(changes)
            if changes.everything:
                self._watching.watch()
            # Who asks next has to find them in the backlogs: to be told that all is acknowledged
            # while somebody else has just read of a change would be a false answer.
            if changes:
                self._dispatch(changes, changes.everything)
        self.trouble = errors.Failed(self._watching.trouble) if self._watching.trouble else None
        return bool(changes)

    @property
    def due(self) -> list[str]:
        """What was still to be done on this node for what it was sent before it became active."""
        return sorted(self._manifest.hooks)

    def unpaused(self) -> None:
        """Let nobody wait any longer for what he waits for."""
        for replica in self.replicas:
            replica.retry()

    def _dispatch(self, changes: Changes, everything: str) -> None:
        names, more = self._links.others(changes.paths)
        if more:
            everything = everything or "a file has names that are not known"
        wanted = [path for path in sorted(changes.paths | names)
                  if not self.selection.why_not(path) or self.selection.leads_on(path)]
        if wanted or everything:
            for replica in self.replicas:
                replica.backlog.add(wanted, everything)

    def _flush(self) -> None:
        """Wait until every peer that can be reached has everything, but not for long."""
        end = time.monotonic() + FLUSH
        for replica in self.replicas:
            if replica.connected and not self.pause.reason():
                replica.backlog.wait_done(max(0.0, end - time.monotonic()),
                                          over=functools.partial(_is_lost, replica))
        for replica in self.replicas:
            if replica.backlog.size():
                print(f"WARNING: {replica.node} has not been sent {replica.backlog.size()} "
                      f"changes, such as {', '.join(replica.backlog.paths(5))}", file=sys.stderr)

    def _scan(self) -> Scan:
        """Return all that is here, except for files that are being written."""
        scan = self._scanner.scan()
        self.withheld, self.files = scan.withheld, len(scan.entries)
        return scan

    def _scanned(self, scan: Scan) -> None:
        self._last_scan = scan

    def _agree(self, node: str, done: dict[str, str | None]) -> None:
        """Record what every peer has now, so that what was never sent can be told from it."""
        everywhere: dict[str, str | None] = {}
        with self._recording:
            if len(self.replicas) == 1:
                everywhere = done
            else:
                for path, fingerprint in done.items():
                    has = self._agreed.setdefault(path, {})
                    has[node] = fingerprint
                    if len(has) == len(self.replicas) and len(set(has.values())) == 1:
                        everywhere[path] = fingerprint
                        del self._agreed[path]
            self._record(lambda: self._manifest.agree(everywhere))

    def _announce(self, gone: list[str]) -> None:
        """Record what a peer is about to be told to delete."""
        with self._recording:
            self._record(lambda: self._manifest.deleting(gone))

    def _peer_in_step(self, node: str) -> None:
        self._in_step.add(node)
        if len(self._in_step) == len(self.replicas):
            with self._recording:
                self._record(self._complete)

    def _complete(self) -> None:
        """Record that all is agreed on. The manifest first: without it the rest means nothing."""
        if self._last_scan is not None:
            known = {path: entry.fingerprint for path, entry in self._last_scan.entries.items()
                     if self._manifest.fingerprints(path) != (entry.fingerprint,)}
            self._manifest.agree(known)
        self._manifest.sync()

    def _record(self, change: Any) -> None:
        """Change the manifest. What cannot be recorded is no reason not to send."""
        try:
            with locked(self._machine, self._places, LOCK):
                self._manifest.refresh()
                change()
            if change == self._complete:
                self._state.sender_complete()
        except errors.MailhaError as error:
            self.trouble = error

    def _hello(self) -> dict[str, Any]:
        patterns = list(self._profile.packages) if self._profile else []
        return {"resource": self.settings.resource, "role": "sender",
                "generation": self.settings.generation, "node": self.settings.node,
                "selection": self.selection.to_message(), "patterns": patterns,
                "packages": self._packages.versions(patterns),
                "services": list(self._profile.services) if self._profile else [],
                "sysctl": self.settings.apply_sysctl}

    def _enters(self, directory: str) -> bool:
        return not self.selection.why_not(directory) or self.selection.leads_on(directory)

    def _make_replicas(self) -> list[Replica]:
        surroundings = Surroundings(
            self._reader, scan=self._scan, hello=self._hello, paused=self.pause.reason,
            guard=Guard(self._machine, self.selection), scanned=self._scanned, agreed=self._agree,
            deleting=self._announce, in_step=self._peer_in_step,
            changed=lambda: self._notice.wake())
        found = []
        self.unpaired: dict[str, errors.MailhaError] = {}
        for name in self.settings.peers or [peer.node for peer in peers.peers(self._machine)]:
            if name == self.settings.node:
                continue
            try:
                found.append(Replica(peers.find(self._machine, name), surroundings))
            except errors.MailhaError as error:
                self.unpaired[name] = error
        return found

    def _take_lock(self) -> FileLock:
        """Return the lock that tells receivers on this node that it sends."""
        self._machine.files.make_directory(self._places.run_directory, 0o700)
        lock = self._machine.files.lock(self._places.sender_lock)
        if lock is None:
            raise errors.Failed(f"another sender of {self.settings.resource} runs on this node",
                                remedy="stop it")
        return lock


def _is_lost(replica: Replica) -> bool:
    """Tell whether a peer cannot be sent to any more."""
    return not replica.connected


def _names(replicas: Iterable[Replica]) -> str:
    return ", ".join(replica.node for replica in replicas) or "nobody"
