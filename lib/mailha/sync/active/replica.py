# SPDX-License-Identifier: GPL-2.0-or-later
"""One peer, from the sender's side: connect, bring it up to date, keep it so, and say how it is.

A thread for each peer, so that a peer that is down, or slow, holds up nobody else. It sends what
its backlog has; while one batch becomes durable over there, what changes meanwhile gathers for the
next one. After every new connection both sides are compared whole.
"""

from __future__ import annotations

import os
import select
import threading
import time
from collections import deque
from typing import Callable, Collection

from mailha import errors
from mailha.sync.active.backlog import Backlog
from mailha.sync.active.comparison import Difference
from mailha.sync.active.exchange import AT_A_TIME, UNDER_WAY, Exchange, Outcome
from mailha.sync.active.questions import Question, Questions
from mailha.sync.active.surroundings import Surroundings
from mailha.sync.connection.channel import Channel
from mailha.sync.connection.peers import Peer
from mailha.sync.files.scanning import Scan
from mailha.sync.passive.judging import FOREIGN
from mailha.sync.trouble import ConnectionLost, Refused, Silent

MOST_AT_ONCE = 1000
"""Paths in one go; what changes while they are carried waits for the next."""

PING = 10.0
"""Seconds of silence after which it is asked whether the peer is there."""

FIRST_PAUSE, LONGEST_PAUSE, LONGEST_PAUSE_OF_THE_UNREACHABLE = 0.25, 30.0, 2.0
"""Seconds until it is tried again. An SSH server that refuses us writes a line each time, and may
lock us out; one that is not there is asked often, since it comes back at any moment."""

UNSTABLE_PAUSE, PROBLEM_PAUSE, BUSY_PAUSE = 0.05, 5.0, 2.0
"""Seconds until a file that was being written, a change that failed, and a node with a package
manager at work are tried again."""

LONGEST_UNSTABLE = 10.0
"""Seconds for which a file that is always being written is no trouble."""

IN_STEP, BEHIND, CONNECTING = "in step", "behind", "connecting"
UNREACHABLE, REFUSED, PAUSED = "unreachable", "refused", "paused"


class Replica(threading.Thread):
    """A peer.

    backlog: what it has not been given yet. state: one of the words above. trouble: why it is not
    in step. differing: what differed when both sides were compared last, and could not be, or was
    not, put right. problems: what the receiver cannot do, (code, reason) by path. verified: when
    both sides were last found equal, in seconds since 1970; 0.0 for never. failed_hooks: what the
    receiver could not do after changes were applied, with the reason. crowded: that it keeps too
    many copies, or "".
    """

    def __init__(self, peer: Peer, surroundings: Surroundings) -> None:
        super().__init__(name=f"replica {peer.node}", daemon=True)
        self.peer = peer
        self.node = peer.node
        self._wake_reader, self._wake_writer = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self.backlog = Backlog(self._wake)
        self.backlog.add((), "it was never compared")
        self.state = CONNECTING
        self.trouble: errors.MailhaError | None = None
        self.differing: list[Difference] = []
        self.problems: dict[str, tuple[str, str]] = {}
        self.conflicts = 0
        self.set_aside = 0
        self.failed_hooks: dict[str, str] = {}
        self.crowded = ""
        self.verified = 0.0
        self._surroundings = surroundings
        self._channel = Channel(peer)
        self._questions = Questions()
        self._begun = threading.Event()
        self._stopping = False
        self._unstable: dict[str, float] = {}
        self._orphans: set[str] = set()
        # What was sent and has not been answered as a whole.
        self._sent: deque[tuple[list[str], Outcome]] = deque()
        self._retry_now = False

    def ask(self, question: Question) -> None:
        """Put a question to the peer; it is answered in any case, if only by why there is none."""
        self._questions.put(question)
        self._wake()

    def stop(self) -> None:
        """End the thread, and the connection whatever it waits for on it."""
        self._stopping = True
        self._channel.cut()
        self._wake()

    def retry(self) -> None:
        """Do not wait any longer for what is waited for."""
        self._retry_now = True
        self._wake()

    def wait_begun(self, seconds: float) -> None:
        """Wait until it is known whether the peer can be reached at all."""
        self._begun.wait(seconds)

    @property
    def connected(self) -> bool:
        """Whether the peer takes what is sent to it."""
        return self.state in (IN_STEP, BEHIND)

    def run(self) -> None:
        """The thread: connect and serve, again and again."""
        pause = FIRST_PAUSE
        while not self._stopping:
            try:
                self._pause_if_told()
                if self.state not in (UNREACHABLE, REFUSED):
                    self._show(CONNECTING)
                welcome = self._channel.open(self._surroundings.hello())
                pause = FIRST_PAUSE
                self.trouble = None
                self._show(BEHIND)
                self._serve(Exchange(self._channel.stream, self._surroundings.scanner, welcome,
                                     self._surroundings.guard, self._surroundings.deleting))
            except errors.MailhaError as error:
                unreachable = self._fail(error)
                longest = LONGEST_PAUSE_OF_THE_UNREACHABLE if unreachable else LONGEST_PAUSE
                self._wait(min(pause, longest), answering=error)
                pause *= 2
            # A thread that ended for a defect of ours would leave a peer that nobody serves.
            except Exception as error:
                from mailha.ocf import defect
                failure = errors.Failed(
                    f"defect of mailha: {type(error).__name__} at {defect.place_of(error)}: "
                    f"{error}", remedy="report it to the authors of mailha")
                self._fail(failure)
                self._wait(LONGEST_PAUSE, answering=failure)
        self._channel.close()
        self._questions.end()

    def _serve(self, exchange: Exchange) -> None:
        """Serve an open connection. Raises errors.MailhaError when it is over."""
        while not self._stopping:
            self._count(exchange)
            if self._surroundings.paused():
                # Said goodbye to: after a pause packages may be of another version, and all that
                # has changed meanwhile must be compared.
                self._settle(exchange)
                self._channel.close()
                self._pause_if_told()
                raise errors.Failed("the pause is over")
            if self.backlog.everything()[0]:
                self._settle(exchange)
                self._reconcile(exchange, force=False)
                continue
            paths = self._next(exchange)
            if paths:
                self._sent.append((paths, exchange.send(paths)))
                self._finish()
                # At once: as long as we compute here, ssh may have to wait for the same core.
                if exchange.under_way:
                    self._wait_for_answer(exchange)
                continue
            question = self._questions.next()
            if question is not None:
                self._settle(exchange)
                self._answer(exchange, question)
                continue
            if exchange.under_way:
                self._wait_for_answer(exchange)
                continue
            self._show(BEHIND if self.problems or self.differing or self.backlog.size()
                       else IN_STEP)
            due = self.backlog.due()
            if not self._wait_for(exchange, PING if due is None else min(due, PING)) \
                    and due is None:
                exchange.ping()

    def _next(self, exchange: Exchange) -> list[str]:
        """Return what is to be sent now.

        While something is under way, only what fills a batch: many small ones would each wait for
        the disk over there (so does TCP; Nagle, RFC 896).
        """
        if exchange.under_way >= UNDER_WAY:
            return []
        return self.backlog.take(MOST_AT_ONCE, AT_A_TIME if exchange.under_way else 1)

    def _wait_for_answer(self, exchange: Exchange) -> None:
        """Wait for an answer to what is under way, or for more to send."""
        if not exchange.is_answered:
            ready = select.select([self._wake_reader, exchange.fileno()], [], [],
                                  exchange.left)[0]
            if self._wake_reader in ready:
                self._clear()
                if exchange.fileno() not in ready:
                    return
        exchange.take_in()
        self._finish()

    def _settle(self, exchange: Exchange) -> None:
        """Wait until nothing is under way."""
        exchange.settle()
        self._finish()

    def _finish(self) -> None:
        """Note what became of what was sent, as far as all of it has been answered."""
        while self._sent and not self._sent[0][1].under_way:
            self._note(*self._sent.popleft())

    def _note(self, paths: list[str], outcome: Outcome) -> None:
        """Note what became of paths that were sent."""
        self._take_in(outcome)
        later = {path: PROBLEM_PAUSE for path in outcome.problems}
        for path in outcome.unstable:
            later[path] = self._unstable_pause(path, outcome.unstable[path])
        orphans = {path for path, problem in outcome.problems.items() if problem[0] == "no-parent"}
        # Once with the directories above it, at once; which may not be replicated themselves.
        new, self._orphans = orphans - self._orphans, self._orphans.difference(paths) | orphans
        for path, pause in later.items():
            self.backlog.put_back([path], 0.0 if path in new else pause)
        self.backlog.done([path for path in paths if path not in later], outcome.answered)
        if new:
            self.backlog.add(outcome.parents)

    def _reconcile(self, exchange: Exchange, *, force: bool,
                   progress: Callable[[int, int], None] = lambda done, of: None) -> None:
        """Compare everything and put it right."""
        number = self.backlog.everything()[1]
        scan = self._surroundings.scan()
        outcome = exchange.reconcile(scan, force=force, progress=progress)
        self.problems.clear()
        self._take_in(outcome)
        self._surroundings.scanned(scan)
        # Of what was being written an event tells when it is whole; unless there is none.
        self.backlog.compared(number, [*outcome.problems, *outcome.unstable], PROBLEM_PAUSE)
        self._compare(exchange, scan)
        self._count(exchange)
        if not self.differing and not self.problems:
            self._surroundings.in_step(self.node)

    def _compare(self, exchange: Exchange, scan: Scan | None = None) -> None:
        """Find out what differs, apart from what is waiting to be sent anyway."""
        scan = scan or self._surroundings.scan()
        found = exchange.differences(scan)
        waiting = set(self.backlog.paths(1 << 20))
        self._look_after_unstable(scan.unstable, waiting)
        self.differing = [each for each in found if each.path not in waiting]
        if not found:
            self.verified = time.time()

    def _answer(self, exchange: Exchange, question: Question) -> None:
        """Compare both sides, and put right what can be."""
        try:
            if question.push:
                self._reconcile(exchange, force=question.force, progress=question.progress)
            else:
                self._compare(exchange)
                exchange.ping()
            found = self.differing
            if any(each.known != FOREIGN for each in found):
                # Somebody changed the passive side, or something changed here without a word from
                # the kernel. It is said even though it is put right at once.
                self._reconcile(exchange, force=question.force)
            question.found = found
            self._count(exchange)
        except errors.MailhaError as error:
            question.answer(error)
            raise
        question.answer()

    def _take_in(self, outcome: Outcome) -> None:
        """Take in what became of changes."""
        for path in (*outcome.done, *outcome.passed):
            self.problems.pop(path, None)
            self._unstable.pop(path, None)
        self.problems.update({path: problem for path, problem in outcome.problems.items()})
        if outcome.done:
            self._surroundings.agreed(self.node, outcome.done)

    def _look_after_unstable(self, unstable: Collection[str], waiting: Collection[str]) -> None:
        """Send what has been written all the time as it is: no comparison tells of it.

        It may be written through a mapping, or be held open for months.
        """
        now = time.monotonic()
        for path in self._unstable.keys() - set(unstable) - set(waiting):
            del self._unstable[path]
        due = [path for path in unstable if path not in waiting
               and now - self._unstable.setdefault(path, now) > LONGEST_UNSTABLE]
        if due:
            self.backlog.add(due)

    def _unstable_pause(self, path: str, reason: str) -> float:
        """Return when a file that is being written is to be tried again, later and later."""
        now = time.monotonic()
        since = self._unstable.setdefault(path, now)
        if now - since > LONGEST_UNSTABLE:
            self.problems[path] = ("unstable", reason)
            return PROBLEM_PAUSE
        return max(UNSTABLE_PAUSE, min(1.0, (now - since) / 4))

    def _pause_if_told(self) -> None:
        """Wait as long as nothing is to be sent."""
        while not self._stopping:
            reason = self._surroundings.paused()
            if not reason:
                return
            error = errors.Failed(reason)
            self.trouble = error
            self._show(PAUSED)
            self._wait(BUSY_PAUSE, answering=error)

    def _fail(self, error: errors.MailhaError) -> bool:
        """Show why there is no connection; tell whether the peer is not even reached."""
        self._channel.close()
        self._sent.clear()
        self.backlog.put_all_back()
        self.backlog.add((), "the connection was lost")
        if isinstance(error, (ConnectionLost, Silent)):
            error = errors.Failed(f"the connection to {self.node} was lost: {error.reason}")
        self.trouble = error
        refused = isinstance(error, Refused)
        self._show(REFUSED if refused else UNREACHABLE)
        return not refused and "cannot be reached" in error.reason or \
            isinstance(error, Refused) and error.refusal == "busy"

    def _show(self, state: str) -> None:
        if state in (IN_STEP, CONNECTING):
            self.trouble = None
        if state != CONNECTING:
            self._begun.set()
        if state != self.state:
            self.state = state
            self._surroundings.changed()

    def _count(self, exchange: Exchange) -> None:
        self.failed_hooks, self.crowded = exchange.failed_hooks, exchange.crowded
        if (self.conflicts, self.set_aside) != (exchange.conflicts, exchange.set_aside):
            self.conflicts, self.set_aside = exchange.conflicts, exchange.set_aside
            self._surroundings.changed()

    def _wait_for(self, exchange: Exchange, seconds: float) -> bool:
        """Wait for something to do; tell whether there is. Raises when the receiver ends."""
        ready = select.select([self._wake_reader, exchange.fileno()], [], [], seconds)[0]
        if exchange.fileno() in ready:
            exchange.unasked()
        if self._wake_reader in ready:
            self._clear()
        return bool(ready)

    def _wait(self, seconds: float, answering: errors.MailhaError) -> None:
        """Wait without a connection; who asks meanwhile is told why there is none."""
        end = time.monotonic() + seconds
        while not self._stopping:
            self._questions.refuse(answering)
            left = end - time.monotonic()
            if left <= 0 or self._retry_now:
                break
            if select.select([self._wake_reader], [], [], left)[0]:
                self._clear()
        self._retry_now = False

    def _clear(self) -> None:
        try:
            while os.read(self._wake_reader, 4096):
                pass
        except BlockingIOError:
            pass

    def _wake(self) -> None:
        try:
            os.write(self._wake_writer, b"!")
        except BlockingIOError:
            pass            # it has been woken more often than it could look
