# SPDX-License-Identifier: GPL-2.0-or-later
"""The end of the process at its deadline, whatever hangs.

Everything here looks at the deadline by itself. But libraries do the talking, and pyghmi can wait
for ever (a second login to the same controller in one process does), a name service too. So there
are two more, each for the case that the one before it cannot act:

* a thread that gives the answer in place of the main one and ends the process;
* an alarm of the kernel whose action is to kill the process, for code that never lets another
  thread of Python run.

If the result was already certain, a hang after it does not change it: a node whose power has been
read as off has been fenced, even when the controller does not let us log out.
"""

from __future__ import annotations

import _signal  # type: ignore[import]  # typeshed lacks it; `signal` costs 5 ms
import _thread
import os
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Callable

KERNEL = 0.5
"""Seconds after the thread's moment that the kernel's alarm goes off."""

_EARLY = 0.05
"""Seconds before the end of the process at which the thread begins to answer."""


class Watchdog:
    """Ends this process when its time is over.

    There is one in a process, and it cannot be disarmed: the process ends in one way or the other.
    """

    def __init__(self, seconds: float, give_up: Callable[[], None],
                 clock: Callable[[], float] = time.monotonic) -> None:
        """Arm it.

        give_up: says why the action failed; called in the thread, when the time is over and no
        result is certain.
        """
        self._clock = clock
        self._give_up = give_up
        self._code: int | None = None
        self._answering = _thread.allocate_lock()
        self._changed = _thread.allocate_lock()
        self._changed.acquire()
        self.end_in(seconds)
        try:
            _thread.start_new_thread(self._watch, ())
        except RuntimeError:
            pass        # no thread is to be had; the kernel's alarm stays

    def end_in(self, seconds: float) -> None:
        """Let the process end so many seconds from now at the latest."""
        self._end = self._clock() + seconds
        _signal.signal(_signal.SIGALRM, _signal.SIG_DFL)
        # Where it was blocked by whoever started us, it would never come.
        _signal.pthread_sigmask(_signal.SIG_UNBLOCK, (_signal.SIGALRM,))
        _signal.setitimer(_signal.ITIMER_REAL, max(0.0, seconds) + KERNEL)
        if self._changed.locked():
            try:
                self._changed.release()
            except RuntimeError:
                pass    # the thread was faster

    def end_sooner(self, seconds: float) -> None:
        """The same, but only if that is sooner than what was said before."""
        self.end_in(max(0.0, min(seconds, self._end - self._clock())))

    def settle(self, code: int) -> None:
        """Let the process end with this code, even if something hangs from here on."""
        self._code = code

    def may_answer(self) -> bool:
        """Tell whether the caller gives the answer. Only one ever does; the other one must wait."""
        return self._answering.acquire(False)

    def _watch(self) -> None:
        """The thread: wait, and end the process."""
        while True:
            left = self._end - _EARLY - self._clock()
            if left <= 0:
                break
            self._changed.acquire(True, left)
        if not self.may_answer():
            time.sleep(_EARLY)      # the main thread is answering, or hangs in a file for debugging
        elif self._code is None:
            try:
                self._give_up()
            except BaseException:
                pass        # what counts is that it ends
        os._exit(1 if self._code is None else self._code)
