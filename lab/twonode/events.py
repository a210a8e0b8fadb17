# SPDX-License-Identifier: GPL-2.0-or-later
"""The supervisor's loop: it waits for what happens, and calls whom it concerns.

What can happen is that there is something to read, that a child ends, that a time comes. Children
are awaited here and not with subprocess, because process 1 of a pid namespace inherits every orphan
in it and has to take the status of all of them.
"""

from __future__ import annotations

import heapq
import itertools
import os
import selectors
import signal
import socket
import time
import traceback
from typing import Any, Callable, Dict, List, Tuple


class Events:
    """Waits for what happens, and calls whom it concerns."""

    def __init__(self) -> None:
        """Watch over nothing yet but the children."""
        self._selector = selectors.DefaultSelector()
        self._timers: List[Tuple[float, int, Callable[[], None]]] = []
        self._numbers = itertools.count()
        self._called_off: Dict[int, bool] = {}
        self._children: Dict[int, Callable[[int], None]] = {}
        self.after_each: Callable[[], None] = lambda: None
        woken, waker = socket.socketpair()
        for end in (woken, waker):
            end.setblocking(False)
        self._keep = waker
        signal.set_wakeup_fd(waker.fileno(), warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda number, frame: None)
        self.watch(woken, lambda: self._reap(woken))

    def watch(self, source: Any, action: Callable[[], None]) -> None:
        """Call `action` whenever there is something to read from `source`."""
        self._selector.register(source, selectors.EVENT_READ, action)

    def forget(self, source: Any) -> None:
        """Watch `source` no longer."""
        self._selector.unregister(source)

    def after(self, seconds: float, action: Callable[[], None]) -> Callable[[], None]:
        """Call `action` once after some seconds; return what calls that off."""
        number = next(self._numbers)
        heapq.heappush(self._timers, (time.monotonic() + seconds, number, action))
        return lambda: self._called_off.update({number: True})

    def when_ended(self, process: int, action: Callable[[int], None]) -> None:
        """Call `action` with the wait status of a child when it has ended."""
        self._children[process] = action

    def say(self, text: str) -> None:
        """Write a line to the log."""
        print(f"{time.strftime('%H:%M:%S')}.{int(time.time() * 1000) % 1000:03d} {text}",
              flush=True)

    def run(self) -> None:
        """Wait and call, for ever."""
        while True:
            self._guarded(self.after_each)
            wait = max(0.0, self._timers[0][0] - time.monotonic()) if self._timers else None
            for key, _ in self._selector.select(wait):
                self._guarded(key.data)
            while self._timers and self._timers[0][0] <= time.monotonic():
                _, number, action = heapq.heappop(self._timers)
                if not self._called_off.pop(number, False):
                    self._guarded(action)

    def _guarded(self, action: Callable[[], None]) -> None:
        """Do one thing; should it fail, the lab lives on and the log says why."""
        try:
            action()
        except Exception:
            self.say("failed: " + traceback.format_exc())

    def _reap(self, woken: socket.socket) -> None:
        """Take the status of every child that has ended, our own ones and the adopted orphans."""
        try:
            woken.recv(4096)
        except BlockingIOError:
            pass
        while True:
            try:
                process, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if process == 0:
                return
            self._children.pop(process, lambda status: None)(status)
