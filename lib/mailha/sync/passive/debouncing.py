# SPDX-License-Identifier: GPL-2.0-or-later
"""Doing something once, a moment after many changes, while more of them come in.

An administrator who runs a script changes fifty maps in a second; a service is to be reloaded
once, after the last of them. What is done takes its time and is done in a thread: changes are
applied meanwhile.
"""

from __future__ import annotations

import threading
from typing import Callable, Iterable

from mailha import errors
from mailha.system.machine import Machine

QUIET = 0.5
"""Seconds without a change after which it is done."""
LONGEST = 5.0
"""Seconds after the first change after which it is done in any case."""

FIRST_PAUSE, LONGEST_PAUSE = 15.0, 600.0
"""Seconds until what has failed is tried again, longer and longer: a map that was sent with a
mistake is mended by another change, a disk that was full by nobody who would tell us."""

Work = Callable[[Iterable[str]], "dict[str, str]"]


class Debounced:
    """Collects names of what is due and lets `work` do it; work returns failures by name.

    What has failed is tried again. failures: of the last time, by name.
    """

    def __init__(self, machine: Machine, work: Work) -> None:
        self._machine = machine
        self._work = work
        self._due: set[str] = set()
        self._first = self._last = 0.0
        self._thread: threading.Thread | None = None
        self._running: set[str] = set()
        self._outcome: dict[str, str] = {}
        self.failures: dict[str, str] = {}
        # When what has failed is tried again, and after which pause.
        self._again: dict[str, tuple[float, float]] = {}

    def add(self, names: Iterable[str]) -> None:
        """Note what is due."""
        new = set(names)
        if not new:
            return
        self._last = self._machine.clock.monotonic()
        if not self._due:
            self._first = self._last
        self._due |= new

    def wait(self, longest: float) -> float:
        """Return in how many seconds poll() has something to do, longest if not before."""
        if self._thread is not None:
            return min(longest, 0.2)
        moments = [when for when, _ in self._again.values()]
        if self._due:
            moments.append(min(self._last + QUIET, self._first + LONGEST))
        return min([longest, *(max(0.0, moment - self._machine.clock.monotonic())
                               for moment in moments)])

    def poll(self) -> set[str]:
        """Begin what is due; return the names of what has been done well since the last call."""
        done: set[str] = set()
        if self._thread is not None and not self._thread.is_alive():
            done = self._collect()
        if self._thread is None and self.wait(1.0) <= 0.0:
            now = self._machine.clock.monotonic()
            self._due.update(name for name, (when, _) in self._again.items() if when <= now)
            self._begin()
        return done

    def finish(self, timeout: float) -> set[str]:
        """Do all that is due, now; return the names of what has been done well.

        timeout: seconds for what is being done already; what is due afterwards has its own.
        """
        done: set[str] = set()
        for _ in range(2):
            if self._thread is not None:
                self._thread.join(timeout)
                if self._thread.is_alive():
                    return done
                done |= self._collect()
            if self._due:
                self._begin()
        if self._thread is not None:
            self._thread.join(timeout)
            if not self._thread.is_alive():
                done |= self._collect()
        return done

    def _begin(self) -> None:
        self._running, self._due = self._due, set()
        names = sorted(self._running)

        def work() -> None:
            try:
                self._outcome = self._work(names)
            except errors.MailhaError as error:
                self._outcome = dict.fromkeys(names, str(error))

        self._thread = threading.Thread(target=work, name="hooks", daemon=True)
        self._thread.start()

    def _collect(self) -> set[str]:
        self._thread = None
        # What has become due again meanwhile is not done.
        done = self._running - self._outcome.keys() - self._due
        for name in done:
            self.failures.pop(name, None)
            self._again.pop(name, None)
        self.failures.update(self._outcome)
        for name in self._outcome:
            pause = min(2 * self._again[name][1], LONGEST_PAUSE) if name in self._again \
                else FIRST_PAUSE
            self._again[name] = self._machine.clock.monotonic() + pause, pause
        self._running, self._outcome = set(), {}
        return done
