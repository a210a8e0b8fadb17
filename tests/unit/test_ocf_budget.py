# SPDX-License-Identifier: GPL-2.0-or-later
"""The watchdog: code that forgets the time is ended, and nothing else is disturbed."""

from __future__ import annotations

import os
import select
import signal
import time

import pytest

from mailha import errors
from mailha.ocf import budget
from mailha.ocf.budget import Watchdog

LONG = 30.0
"""Seconds after which a test has failed; none waits for them if all is well."""


def test_a_wait_that_forgets_the_time_is_ended_before_pacemaker_would_kill() -> None:
    reader, writer = os.pipe()
    begun = time.monotonic()
    watchdog = Watchdog("start", 0.2)
    try:
        with pytest.raises(errors.BudgetSpent) as caught:
            select.select([reader], [], [], LONG)
        assert time.monotonic() - begun < LONG
    finally:
        watchdog.disarm()
        os.close(reader)
        os.close(writer)
    assert watchdog.fired and "start was not done" in caught.value.reason


def test_who_takes_the_alarm_for_an_ordinary_failure_gets_another_one(
        monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(budget, "_AGAIN", 0.01)
    deadline = time.monotonic() + LONG
    swallowed = 0
    watchdog = Watchdog("start", 0.02)
    try:
        while swallowed < 3 and time.monotonic() < deadline:
            try:
                time.sleep(LONG)
            except errors.MailhaError:
                swallowed += 1
    finally:
        watchdog.disarm()
    assert swallowed == 3 and watchdog.fired


def test_the_place_is_the_code_of_the_library_that_was_waiting() -> None:
    from mailha.system.clock import Clock
    watchdog = Watchdog("start", 0.05)
    try:
        with pytest.raises(errors.BudgetSpent):
            Clock().sleep(LONG)
    finally:
        watchdog.disarm()
    assert watchdog.place.startswith("mailha/system/clock.py:")
    assert watchdog.place in watchdog.verdict().reason


def test_a_watchdog_that_is_disarmed_stays_silent() -> None:
    watchdog = Watchdog("start", LONG)
    watchdog.disarm()
    assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)
    os.kill(os.getpid(), signal.SIGALRM)        # one that was on its way
    assert not watchdog.fired


def test_a_forked_child_that_sets_an_alarm_for_itself_is_killed_by_it() -> None:
    watchdog = Watchdog("start", LONG)
    child = os.fork()
    if child == 0:
        try:
            signal.setitimer(signal.ITIMER_REAL, 0.01)
            time.sleep(LONG)
        finally:
            os._exit(0)
    try:
        _, status = os.waitpid(child, 0)
    finally:
        watchdog.disarm()
    assert os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGALRM


def test_a_child_inherits_no_alarm() -> None:
    watchdog = Watchdog("start", 0.2)
    child = os.fork()
    if child == 0:
        os._exit(0 if signal.getitimer(signal.ITIMER_REAL)[0] == 0.0 else 1)
    _, status = os.waitpid(child, 0)
    watchdog.disarm()
    assert status == 0


@pytest.mark.parametrize("seconds", [0.5, 3.0, 20.0, 60.0, 600.0])
def test_the_alarm_comes_after_the_budget_and_before_the_kill(seconds: float) -> None:
    watchdog = Watchdog("start", seconds)
    due = signal.getitimer(signal.ITIMER_REAL)[0]
    watchdog.disarm()
    assert seconds - budget.reserve(seconds) < due < seconds
