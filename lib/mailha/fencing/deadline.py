# SPDX-License-Identifier: GPL-2.0-or-later
"""The time that an action has, and where it went.

Pacemaker tells an agent neither that it has a timeout nor which one, and fence_ipmilan waits for
ever under Pacemaker. So the agent has a deadline of its own, small enough that Pacemaker's second
try fits into its default of 60 s: it tries again only while less than 70 % of the time is used.
"""

from __future__ import annotations

import time

from mailha.fencing.failures import TimeUp

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import TracebackType
    from typing import Callable

    from mailha.fencing.failures import FencingFailed

WHOLE = 25.0
"""Seconds from the beginning of an action, after its delay, to the end of the process."""

LOOK = 15.0
"""The same for an action that only reads: Pacemaker gives a monitor 20 s by default."""

RESERVE = 1.0
"""Seconds of that for ending the session and giving the answer."""

CONTACT = 10.0
"""Seconds in which a controller must answer for the first time. Who is silent for so long is dead
or is being started; there may be a second way to the node (a fencing topology) that waits."""

_POWER_TIMEOUT = 20.0
"""Default of power_timeout in every fence agent; it stands for WHOLE."""


def seconds(action: str, power_timeout: float) -> float:
    """Return the seconds that an action has, from its beginning to the end of the process.

    power_timeout: as configured. One that is larger than usual means a slow device and makes the
    time longer; an old small one, or 0 for "for ever", does not change it.
    """
    if action not in ("on", "off", "reboot"):
        return LOOK
    return WHOLE + max(0.0, power_timeout - _POWER_TIMEOUT)


class Deadline:
    """The moment at which an action has to be done.

    seconds: how long it has had in all. end: on the clock. what: who has it, for the reason. clock,
    sleep: a test has its own.
    """

    what = "the action"

    def __init__(self, seconds: float, clock: Callable[[], float] = time.monotonic,
                 sleep: Callable[[float], None] = time.sleep) -> None:
        """Let it begin now."""
        self.seconds = seconds
        self.clock = clock
        self._sleep = sleep
        self._begun = clock()
        self.end = self._begun + seconds
        self._told: FencingFailed | None = None

    def stop(self, told: FencingFailed) -> None:
        """Let nothing more begin: whoever asks for the time from now on gets this failure.

        The one that a signal raises may be lost, where the end of a session forgives everything.
        """
        self._told = told

    def left(self) -> float:
        """Return the seconds that are left, more than 0.

        Raises TimeUp if there are none, and what stop() was given.
        """
        if self._told is not None:
            raise self._told
        left = self.end - self.clock()
        if left <= 0:
            raise TimeUp(f"{self.what} timed out: it was not done after {self.seconds:g} s")
        return left

    def share(self, part: float) -> float:
        """Return a part (0 to 1) of the seconds that are left. Raises TimeUp."""
        return self.left() * part

    def contact(self) -> float:
        """Return the seconds that are left for a first answer of the controller; 0 for none."""
        now = self.clock()
        return max(0.0, min(self._begun + CONTACT, self.end) - now)

    def shorten(self, seconds: float) -> None:
        """Let it end so many seconds from now, if that is sooner."""
        self.end = min(self.end, self.clock() + seconds)

    def pause(self, seconds: float) -> None:
        """Wait, but not beyond the end. Raises TimeUp if it is over before or after."""
        self._sleep(max(0.0, min(seconds, self.left())))
        self.left()


class Phases:
    """How long each part of an action took, and how often something was done.

        with phases("login"):
            ...
        phases.count("reads")
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """Let the whole action begin now."""
        self._clock = clock
        self._begun = clock()
        self._seconds: dict[str, float] = {}
        self._open: list[float] = []
        self._counts: dict[str, int] = {}

    def __call__(self, name: str) -> _Phase:
        """Return a context whose time is added to the phase of that name."""
        return _Phase(self._seconds, self._open, name, self._clock)

    def count(self, what: str) -> None:
        """Count one more of something."""
        self._counts[what] = self._counts.get(what, 0) + 1

    def counted(self, what: str) -> int:
        """Return how many there were."""
        return self._counts.get(what, 0)

    def fields(self) -> list[str]:
        """Return the words for the log: seconds of each phase and of all, and the counts."""
        return [*(f"{name}={spent:.3f}" for name, spent in self._seconds.items()),
                f"total={self._clock() - self._begun:.3f}",
                *(f"{what}={number}" for what, number in self._counts.items())]


class _Phase:
    """A part of an action while it lasts; the time of one inside another counts there alone."""

    def __init__(self, seconds: dict[str, float], open_phases: list[float], name: str,
                 clock: Callable[[], float]) -> None:
        """open_phases: for each phase that lasts, the seconds that belong to phases inside it."""
        self._seconds = seconds
        self._open = open_phases
        self._name = name
        self._clock = clock

    def __enter__(self) -> None:
        self._begun = self._clock()
        self._open.append(0.0)

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 trace: TracebackType | None) -> None:
        whole = self._clock() - self._begun
        own = whole - self._open.pop()
        if self._open:
            self._open[-1] += whole
        self._seconds[self._name] = self._seconds.get(self._name, 0.0) + own
