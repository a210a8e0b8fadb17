# SPDX-License-Identifier: GPL-2.0-or-later
"""The time that an action has.

At the timeout Pacemaker kills the agent's whole process group with SIGKILL. No handler runs then,
and a reason that was already written is lost: the administrator reads "did not complete within
60s" and nothing about what it waited for. So an agent has to answer before.

The time is divided in three: the budget, which the action may use; a reserve, in which it can
answer; and in the middle of the reserve the alarm of the watchdog, for the case that some code of
ours waits without looking at the budget.

A recurring monitor loads this module.
"""

from __future__ import annotations

import os
import _signal  # type: ignore[import]  # typeshed lacks it; `signal` costs 5 ms

from mailha import errors

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import FrameType

SMALLEST_RESERVE = 2.0
"""Seconds; the reserve is a tenth of the timeout if that is more."""

_AGAIN = 0.2
"""Seconds. Where the exception of the first alarm was taken for an ordinary failure, by code that
tries again, the next one follows."""


def timeout(told: str, advertised: int) -> float:
    """Return the seconds after which Pacemaker kills.

    told: OCF_RESKEY_CRM_meta_timeout, milliseconds; anything but a positive number counts as not
    told, and then it is the advertised timeout.
    """
    if told.isascii() and told.isdigit() and 0 < len(told) < 16 and int(told):
        return int(told) / 1000
    return float(advertised)


def remaining(seconds: float, begun: str, now: float) -> float:
    """Return what is left of a timeout, at least one second of it.

    begun: when it began, as text; anything but a time before now counts as now. now: in seconds of
    the same monotonic clock.
    """
    try:
        spent = now - float(begun)
    except ValueError:
        return seconds
    return max(1.0, seconds - spent) if spent > 0 else seconds


def reserve(seconds: float) -> float:
    """Return the part of a timeout that is kept for the answer; never more than half of it."""
    return min(max(SMALLEST_RESERVE, seconds / 10), seconds / 2)


class Watchdog:
    """An alarm that ends an action which has forgotten the time.

    fired: whether it had to. place: the file and line that was being executed when it first did.
    """

    def __init__(self, action: str, seconds: float) -> None:
        """Arm it. seconds: the timeout of the action, which has just begun."""
        self.fired = False
        self.place = ""
        self._action = action
        self._seconds = seconds
        self._owner = os.getpid()
        self._armed = True
        _signal.signal(_signal.SIGALRM, self._alarm)
        _signal.setitimer(_signal.ITIMER_REAL, seconds - reserve(seconds) / 2, _AGAIN)

    def disarm(self) -> None:
        """Let no further alarm come; an alarm at this very moment only counts as fired."""
        while True:
            try:
                self._armed = False
                _signal.setitimer(_signal.ITIMER_REAL, 0)
                return
            except errors.BudgetSpent:
                continue

    def verdict(self) -> errors.BudgetSpent:
        """Return what became of an action in which the alarm went off."""
        return errors.BudgetSpent(
            f"{self._action} was not done when the {self._seconds:g} s that it has were nearly "
            f"over; it was at {self.place}",
            remedy="raise the timeout of the operation if this node is merely slow, else report it "
                   "as a defect of the agent")

    def _alarm(self, number: int, frame: FrameType | None) -> None:
        """The signal handler."""
        if os.getpid() != self._owner:
            # A forked child that has set an alarm for itself wants to be killed by it.
            _signal.signal(_signal.SIGALRM, _signal.SIG_DFL)
            os.kill(os.getpid(), _signal.SIGALRM)
            return
        if not self._armed:
            return
        self.fired = True
        if not self.place:
            from mailha.ocf import defect
            self.place = defect.place_of_frame(frame)
        raise self.verdict()
