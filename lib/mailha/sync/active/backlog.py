# SPDX-License-Identifier: GPL-2.0-or-later
"""What one peer has not been given yet: changed paths, each with the time since when it waits."""

from __future__ import annotations

import threading
import time
from typing import Callable, Iterable


class Backlog:
    """The changes that wait for one peer. To be used from several threads.

    wake: called, without the lock, after something was added. acknowledged: when the peer last
    had taken something, on the monotonic clock; 0.0 for never.
    """

    def __init__(self, wake: Callable[[], None] = lambda: None,
                 monotonic: Callable[[], float] = time.monotonic) -> None:
        self.acknowledged = 0.0
        self._wake = wake
        self._monotonic = monotonic
        self._changed = threading.Condition()
        self._number = 0
        # path -> (number of its first change, since when it waits, number of its last change):
        # waiting, and under way.
        self._waiting: dict[str, tuple[int, float, int]] = {}
        self._sent: dict[str, tuple[int, float, int]] = {}
        self._later: dict[str, float] = {}
        self._everything = ""
        # The first and the last time that it was said.
        self._everything_since = 0
        self._everything_number = 0

    def add(self, paths: Iterable[str], everything: str = "") -> None:
        """Add changed paths. everything: why all has to be compared, "" if not."""
        now = self._monotonic()
        with self._changed:
            self._number += 1
            for path in paths:
                # The oldest change says how long it waits; the last one, what has seen it.
                first, since, _ = self._waiting.get(path, (self._number, now, 0))
                self._waiting[path] = first, since, self._number
                self._later.pop(path, None)
            if everything:
                if not self._everything:
                    self._everything, self._everything_since = everything, self._number
                self._everything_number = self._number
            self._changed.notify_all()
        self._wake()

    def take(self, most: int, least: int = 1) -> list[str]:
        """Return paths to be sent now, the oldest first; they count as waiting until done().

        least: none where there are fewer.
        """
        now = self._monotonic()
        with self._changed:
            ready = [path for path in self._waiting
                     if path not in self._sent and self._later.get(path, 0.0) <= now][:most]
            if len(ready) < least:
                return []
            for path in ready:
                self._sent[path] = self._waiting.pop(path)
                self._later.pop(path, None)
        return ready

    def everything(self) -> tuple[str, int]:
        """Return why all has to be compared, "" if not, and the number to be given back."""
        with self._changed:
            return self._everything, self._number

    def compared(self, number: int, left: Iterable[str] = (), pause: float = 0.0) -> None:
        """Note that all has been compared and sent that had changed by then, except what is left.

        left: paths that wait on, with their age, and are not to be taken for so many seconds.
        """
        now = self._monotonic()
        with self._changed:
            self.acknowledged = now
            if self._everything_number <= number:
                self._everything = ""
            waiting = dict.fromkeys(left, (number, now, number))
            for path, entry in self._waiting.items():
                # Changed once more since then, it was compared as it was before.
                if entry[2] > number or path in waiting:
                    waiting[path] = entry
            self._waiting = waiting
            self._later = {path: self._later.get(path, 0.0) for path in waiting}
            self._later.update(dict.fromkeys(left, now + pause))
            self._changed.notify_all()

    def done(self, paths: Iterable[str], moment: float = 0.0) -> None:
        """Note that the peer has what was taken. moment: since when that is known, 0.0 for now."""
        with self._changed:
            self.acknowledged = moment or self._monotonic()
            for path in paths:
                self._sent.pop(path, None)
            self._changed.notify_all()

    def put_back(self, paths: Iterable[str], pause: float = 0.0) -> None:
        """Let what was taken wait on, with its age; and not be taken for so many seconds."""
        when = self._monotonic() + pause
        with self._changed:
            for path in paths:
                entry = self._sent.pop(path, None)
                if entry is None:
                    continue
                later = self._waiting.get(path, entry)
                self._waiting[path] = entry[0], entry[1], later[2]
                if pause:
                    self._later[path] = when
            self._changed.notify_all()

    def put_all_back(self) -> None:
        """Let all that was taken wait on: the connection is gone."""
        with self._changed:
            paths = list(self._sent)
        self.put_back(paths)

    def due(self) -> float | None:
        """Return in how many seconds there is something to take, None for never."""
        now = self._monotonic()
        with self._changed:
            if self._everything:
                return 0.0
            times = [self._later.get(path, now) for path in self._waiting
                     if path not in self._sent]
        return max(0.0, min(times) - now) if times else None

    def size(self) -> int:
        """Return how many paths the peer does not have yet; one more where all has to be seen."""
        with self._changed:
            return len(self._waiting.keys() | self._sent.keys())

    def paths(self, most: int) -> list[str]:
        """Return some of the paths that the peer does not have yet."""
        with self._changed:
            return [*self._sent, *self._waiting][:most]

    def age(self) -> float:
        """Return for how many seconds the oldest of them waits, 0.0 if there is none."""
        with self._changed:
            since = [when for _, when, _ in (*self._sent.values(), *self._waiting.values())]
        return max(0.0, self._monotonic() - min(since)) if since else 0.0

    def wait_done(self, timeout: float, over: Callable[[], bool] = lambda: False) -> bool:
        """Wait until the peer has all that was added before; tell whether it has.

        over: asked now and then whether there is no more sense in waiting.
        """
        end = self._monotonic() + timeout
        with self._changed:
            number = self._number
            while self._outstanding(number):
                left = end - self._monotonic()
                if left <= 0 or over():
                    return False
                self._changed.wait(min(left, 0.25))
        return True

    def _outstanding(self, number: int) -> bool:
        if self._everything and self._everything_since <= number:
            return True
        return any(first <= number
                   for first, _, _ in (*self._sent.values(), *self._waiting.values()))
