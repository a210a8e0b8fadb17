# SPDX-License-Identifier: GPL-2.0-or-later
"""What came of each test.

Only a test that ran to its end and found nothing has passed. One that was skipped, that was
expected to fail, that was begun and never ended, or that could not even be collected has failed:
otherwise a machine on which nothing can be tested would pass everything.
"""

from __future__ import annotations

import sys
import threading
import time
from dataclasses import dataclass
from typing import Dict, List, TextIO

PASSED = "passed"
FAILED = "failed"
SKIPPED = "skipped"

SLOW = 1.0
"""Seconds from which on a file is worth a line at the end."""

SLOWEST = 25
"""How many such lines there are at most."""


@dataclass(frozen=True)
class Outcome:
    """What came of one test."""

    name: str
    result: str         # PASSED, FAILED or SKIPPED
    seconds: float
    text: str = ""      # why it is not passed, with all that was said
    why: str = ""       # the same in one line

    @property
    def passed(self) -> bool:
        """Whether it counts as passed."""
        return self.result == PASSED


class Tally:
    """All outcomes of a run, told to people as they come. Jobs in several threads may add."""

    def __init__(self, output: TextIO = sys.stdout) -> None:
        """Begin a run."""
        self.outcomes: List[Outcome] = []
        self._output = output
        self._started = time.monotonic()
        self._lock = threading.Lock()

    def say(self, text: str) -> None:
        """Print a line with the time since the beginning of the run."""
        with self._lock:
            self._print(f"{time.monotonic() - self._started:7.1f} s  {text}")

    def add(self, outcome: Outcome, *, tell: bool) -> None:
        """Count an outcome; say so if it is not passed, or if told to."""
        with self._lock:
            self.outcomes.append(outcome)
            if tell or not outcome.passed:
                self._print(f"{time.monotonic() - self._started:7.1f} s  {outcome.result:<7} "
                            f"{outcome.seconds:6.1f} s  {outcome.name}")
            if not outcome.passed:
                self._print(outcome.text.rstrip())

    def conclude(self) -> bool:
        """Say what took long, what did not pass and the last line; return whether all is well."""
        self._tell_what_took_long()
        bad = [outcome for outcome in self.outcomes if not outcome.passed]
        if bad:
            self._print("\nNot passed:")
        for outcome in bad:
            self._print(f"  {outcome.result:<7} {outcome.name}"
                        + (f": {outcome.why}" if outcome.why else ""))
        self._print(f"{len(self.outcomes) - len(bad)} passed, {len(bad)} failed")
        return bool(self.outcomes) and not bad

    def _tell_what_took_long(self) -> None:
        """Print what the files took whose tests took longest, so that somebody sees it grow."""
        files: Dict[str, List[float]] = {}
        for outcome in self.outcomes:
            files.setdefault(outcome.name.partition("::")[0], []).append(outcome.seconds)
        slow = [(sum(seconds), name, len(seconds)) for name, seconds in files.items()
                if sum(seconds) >= SLOW]
        if slow:
            self._print("\nWhat took longest:")
        for seconds, name, number in sorted(slow, reverse=True)[:SLOWEST]:
            self._print(f"{seconds:7.1f} s  {number:4} tests  {name}")

    def _print(self, text: str) -> None:
        print(text, file=self._output, flush=True)
