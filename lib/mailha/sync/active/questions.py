# SPDX-License-Identifier: GPL-2.0-or-later
"""What somebody wants to know of a peer, until the thread that talks to it has the time."""

from __future__ import annotations

import threading
from typing import Callable

from mailha import errors
from mailha.sync.active.comparison import Difference

ENDED = errors.Failed("the sender ends, or begins anew")


class Question:
    """Somebody waits for a comparison of both sides, or for a push.

    push: bring the peer to what is here first. force: without a limit for deletions. found: the
    differences that there were. failure: why it could not be done.
    """

    def __init__(self, *, push: bool = False, force: bool = False,
                 progress: Callable[[int, int], None] = lambda done, of: None) -> None:
        self.push = push
        self.force = force
        self.progress = progress
        self.found: list[Difference] = []
        self.failure: errors.MailhaError | None = None
        self._answered = threading.Event()

    def answer(self, failure: errors.MailhaError | None = None) -> None:
        """Let whoever waits go on."""
        self.failure = failure
        self._answered.set()

    def wait(self, timeout: float) -> bool:
        """Wait for the answer; tell whether it came."""
        return self._answered.wait(timeout)


class Questions:
    """Those that wait. To be used from several threads."""

    def __init__(self) -> None:
        self._waiting: list[Question] = []
        self._ended = False
        self._lock = threading.Lock()

    def put(self, question: Question) -> None:
        """Let one wait; it is answered in any case, if only by that nobody answers any more."""
        with self._lock:
            if not self._ended:
                self._waiting.append(question)
                return
        question.answer(ENDED)

    def next(self) -> Question | None:
        """Return the first of them, None if there is none."""
        with self._lock:
            return self._waiting.pop(0) if self._waiting else None

    def refuse(self, failure: errors.MailhaError) -> None:
        """Answer all of them with why there is no answer."""
        question = self.next()
        while question is not None:
            question.answer(failure)
            question = self.next()

    def end(self) -> None:
        """Answer none any more: a monitor that met a reload would wait for its whole time."""
        with self._lock:
            self._ended = True
        self.refuse(ENDED)
