# SPDX-License-Identifier: GPL-2.0-or-later
"""off, on and reboot: what is ordered, what is read, and what counts as success."""

from __future__ import annotations

from typing import Iterator, List

import pytest
from hypothesis import given
from hypothesis import strategies as some

from fencing_node import GOOD, Node, Said, call, off
from mailha.fencing import deadline, failures, transition
from mailha.fencing.failures import (LoginRefused, NameUnknown, NotUnderstood, OrderRefused,
                                     PrivilegeTooLow, SessionLost, SessionsExhausted, Silent,
                                     TimeUp, Unreachable)

LIMIT = deadline.WHOLE
"""Seconds in which an action has to have ended."""


def reboot(node: Node, **more: str) -> Said:
    return call(node, {**GOOD, "action": "reboot", **more})


def test_off_is_ordered_and_then_read_twice_half_a_second_apart_in_one_session() -> None:
    node = Node()
    said = off(node)
    assert (said.code, said.stdout, said.stderr) == (0, "Success: Powered OFF\n", "")
    assert node.names() == ["login", "off", "read", "read", "close"]
    first, second = node.times("read")
    assert second - first >= transition.SPACING
    assert not node.is_on


def test_off_is_ordered_although_the_node_is_off_already() -> None:
    node = Node(is_on=False)
    assert off(node).code == 0
    assert node.count("off") == 1 and node.count("read") == 2


def test_the_power_is_read_often_at_first_and_then_once_a_second() -> None:
    node = Node()
    node.readings = [True] * 8
    assert off(node).code == 0
    moments = node.times("read")
    gaps = [round(after - before, 2) for before, after in zip(moments, moments[1:])]
    assert gaps[:5] == [0.06, 0.11, 0.21, 0.41, 0.81]
    assert max(gaps) < 1.05


def test_the_order_is_repeated_at_growing_intervals_while_the_node_stays_on() -> None:
    node = Node()
    node.obeys = False
    said = off(node)
    assert said.code == 1
    moments = node.times("off")
    gaps = [after - before for before, after in zip(moments, moments[1:])]
    assert len(gaps) == 3 and gaps == sorted(gaps)
    assert 2 <= gaps[0] < 3.2 and 4 <= gaps[1] < 5.2 and 8 <= gaps[2] < 9.2


def test_a_controller_that_says_ok_and_keeps_the_node_on_is_a_failure_that_says_so() -> None:
    node = Node()
    node.obeys = False
    said = off(node)
    assert (said.code, said.stdout) == (1, "")
    assert "192.0.2.7" in said.stderr and "still on" in said.stderr
    assert "timeout" not in said.stderr and "timed out" not in said.stderr
    assert node.clock.now - 1000 <= LIMIT and node.open_sessions == 0


def test_a_node_that_obeys_the_second_order_is_off() -> None:
    node = Node()

    def obey_late() -> None:
        node.obeys = node.count("off") >= 1
    node.obeys = False
    node.after = obey_late
    assert off(node).code == 0
    assert node.count("off") == 2 and not node.is_on


def test_one_reading_as_off_between_readings_as_on_proves_nothing() -> None:
    node = Node()
    node.obeys = False
    node.readings = [False, True] * 500
    said = off(node)
    assert said.code == 1 and "on again" in said.stderr


def test_a_node_that_comes_back_is_ordered_off_again_at_once() -> None:
    node = Node()
    node.readings = [False, True, True, False, False]
    assert off(node).code == 0
    names = node.names()
    assert names[:5] == ["login", "off", "read", "read", "off"]


def test_a_new_session_begins_the_two_readings_anew() -> None:
    node = Node()
    node.read_failures = [None, SessionLost("the session at 192.0.2.7 is gone")]
    assert off(node).code == 0
    assert node.names() == ["login", "off", "read", "read failed", "close", "login",
                            "read", "read", "close"]
    first, second = node.times("read")[-2:]
    assert second - first >= transition.SPACING


@pytest.mark.parametrize("kind", [Silent, SessionLost, NotUnderstood, SessionsExhausted])
def test_an_order_that_may_have_been_lost_is_given_again_in_a_new_session(
        kind: type[failures.FencingFailed]) -> None:
    node = Node()
    node.order_failures = [kind("192.0.2.7 did not take it")]
    assert off(node).code == 0
    assert node.names() == ["login", "off failed", "close", "login", "off", "read", "read", "close"]


def test_a_refusal_in_the_present_state_is_a_reason_to_look_and_no_success() -> None:
    already = OrderRefused("192.0.2.7 refuses: 0xd5", look=True)
    node = Node(is_on=False)
    node.order_failures = [already]
    assert off(node).code == 0 and node.count("read") == 2
    node = Node(is_on=True)
    node.obeys = False
    node.order_failures = [already] * 9
    said = off(node)
    assert said.code == 1 and "still on" in said.stderr and "0xd5" in said.stderr


@pytest.mark.parametrize("failure", [
    OrderRefused("192.0.2.7 refuses to power off"), PrivilegeTooLow("192.0.2.7: not allowed")])
def test_a_refusal_of_the_order_fails_at_once(failure: failures.FencingFailed) -> None:
    node = Node()
    node.order_failures = [failure]
    said = off(node)
    assert said.code == 1 and failure.reason in said.stderr
    assert node.clock.now - 1000 < 1 and node.open_sessions == 0


@pytest.mark.parametrize("kind", [
    failures.LoginRefused, failures.PrivilegeTooLow, failures.NoCommonCipher, failures.WrongKey,
    failures.MissingLibrary])
def test_what_no_second_try_can_change_is_not_tried_again(
        kind: type[failures.FencingFailed]) -> None:
    node = Node()
    node.login_failures = [kind("192.0.2.7 says no")]
    said = off(node)
    assert said.code == 1 and "192.0.2.7 says no" in said.stderr
    assert node.names() == ["login failed"]


@pytest.mark.parametrize("kind", [NameUnknown, Unreachable, SessionsExhausted, NotUnderstood])
def test_who_does_not_answer_at_first_is_tried_again(kind: type[failures.FencingFailed]) -> None:
    node = Node()
    node.login_failures = [kind("192.0.2.7 did not answer")] * 3
    assert off(node).code == 0
    assert node.count("login failed") == 3


def test_who_has_never_answered_is_given_up_soon_so_that_there_is_time_for_a_second_way() -> None:
    node = Node()
    node.login_failures = [Unreachable("192.0.2.7 does not answer")] * 100
    said = off(node)
    assert said.code == 1 and "192.0.2.7 does not answer" in said.stderr
    assert 6 < node.clock.now - 1000 <= deadline.CONTACT
    assert node.count("login failed") < 12


def test_who_has_answered_once_is_waited_for_until_the_deadline() -> None:
    node = Node()
    node.read_failures = [Silent("192.0.2.7 answers no more")]
    node.login_failures = [None] + [Unreachable("192.0.2.7 does not answer")] * 100
    said = off(node)
    assert said.code == 1 and "192.0.2.7 does not answer" in said.stderr
    assert deadline.CONTACT + 5 < node.clock.now - 1000 <= LIMIT


def test_a_try_that_the_deadline_cut_short_does_not_hide_the_reason_of_the_one_before() -> None:
    node = Node()
    node.read_failures = [Silent("192.0.2.7 says nothing sensible"), TimeUp("there was no time")]
    said = off(node)
    assert said.code == 1 and "says nothing sensible" in said.stderr
    assert "no time" not in said.stderr


def test_a_login_that_is_refused_while_the_power_is_switched_is_tried_again() -> None:
    node = Node()
    node.read_failures = [SessionLost("gone")]
    node.login_failures = [None, LoginRefused("192.0.2.7 does not know fencer"),
                           PrivilegeTooLow("192.0.2.7: not now")]
    assert off(node).code == 0
    assert node.count("login failed") == 2


def test_a_password_that_is_wrong_only_after_the_order_still_fails_with_its_own_reason() -> None:
    node = Node()
    node.read_failures = [SessionLost("gone")]
    node.login_failures = [None] + [LoginRefused("192.0.2.7 does not know fencer")] * 100
    said = off(node)
    assert said.code == 1 and "does not know fencer" in said.stderr
    assert node.clock.now - 1000 <= LIMIT


def test_no_answer_is_success_when_every_answer_takes_longer_than_the_time_that_is_left() -> None:
    node = Node()
    node.takes = 30.0
    said = off(node)
    assert said.code == 1 and "timed out" in said.stderr


def test_reboot_is_a_proven_off_and_then_on() -> None:
    node = Node()
    said = reboot(node)
    assert (said.code, said.stdout, said.stderr) == (0, "Success: Rebooted\n", "")
    assert node.names() == ["login", "off", "read", "read", "on", "read", "close"]
    assert node.is_on


def test_reboot_of_a_node_that_stays_on_fails_and_never_orders_it_on() -> None:
    node = Node()
    node.obeys = False
    assert reboot(node).code == 1
    assert node.count("on") == 0


@pytest.mark.parametrize("failure", [
    OrderRefused("192.0.2.7 refuses to power on"), SessionLost("gone"), Silent("no answer"),
    ValueError("a defect")])
def test_what_goes_wrong_with_on_does_not_make_a_fenced_node_unfenced(failure: Exception) -> None:
    node = Node()

    def fail_on() -> None:
        if node.names()[-3:] == ["off", "read", "read"]:
            raise failure
    node.after = fail_on
    said = reboot(node)
    assert (said.code, said.stdout) == (0, "Success: Rebooted\n")


def test_a_node_that_does_not_come_on_is_watched_for_two_seconds_and_the_log_says_so() -> None:
    node = Node()

    def stay_off() -> None:
        node.obeys = node.count("off") == 0
    node.after = stay_off
    said = reboot(node)
    assert said.code == 0 and said.stderr == "" and "not yet seen on" in said.logged
    assert node.clock.now - 1000 < 0.7 + transition.WATCH_ON


@pytest.mark.parametrize("order_fails", [True, False])
def test_a_controller_that_is_silent_after_off_holds_a_reboot_for_some_seconds_only(
        order_fails: bool) -> None:
    node = Node()

    def fall_silent() -> None:
        if node.count("read") >= 2 and (order_fails or node.count("on")):
            node.takes = 0.5
            raise Silent("192.0.2.7 answers no more")
    node.after = fall_silent
    said = reboot(node)
    assert (said.code, said.stderr) == (0, "") and "answers no more" in said.logged
    assert node.clock.now - 1000 < 0.7 + transition.ORDER_ON + transition.WATCH_ON


def test_on_is_ordered_until_the_node_is_on() -> None:
    node = Node(is_on=False)
    said = call(node, {**GOOD, "action": "on"})
    assert (said.code, said.stdout) == (0, "Success: Powered ON\n")
    assert node.names() == ["login", "on", "read", "close"]


def test_on_fails_with_its_own_reason_when_the_node_stays_off() -> None:
    node = Node(is_on=False)
    node.obeys = False
    said = call(node, {**GOOD, "action": "on"})
    assert said.code == 1 and "still off" in said.stderr and "timed out" not in said.stderr
    assert node.count("on") > 1


def test_the_delay_comes_before_everything_and_on_top_of_the_deadline() -> None:
    node = Node()
    node.obeys = False
    assert off(node, delay="10").code == 1
    assert node.times("login")[0] >= 10
    assert 30 < node.clock.now - 1000 <= 10 + LIMIT


@pytest.mark.parametrize("action", ["on", "status", "monitor"])
def test_only_off_and_reboot_are_delayed(action: str) -> None:
    node = Node()
    assert call(node, {**GOOD, "action": action, "delay": "10"}).code == 0
    assert node.times("login")[0] < 1


def test_a_larger_power_timeout_raises_the_deadline_and_a_smaller_one_does_not_shorten_it() -> None:
    assert deadline.seconds("off", 20) == deadline.seconds("off", 1) == 25
    assert deadline.seconds("off", 0) == 25
    assert deadline.seconds("reboot", 120) == 125
    for power_timeout, least, most in (("60", 60, 65), ("2", 20, 25), ("0", 20, 25)):
        node = Node()
        node.obeys = False
        assert off(node, power_timeout=power_timeout).code == 1
        assert least < node.clock.now - 1000 <= most


def test_a_second_try_of_pacemaker_fits_into_its_default_timeout() -> None:
    # Of 60 s it must not have used 70 %, or there is none (services of Pacemaker, st_actions.c).
    assert deadline.WHOLE < 0.7 * 60 and 2 * deadline.WHOLE + 1 < 60
    assert deadline.LOOK < 20


@given(readings=some.lists(some.booleans(), max_size=60),
       failed=some.lists(some.sampled_from([None, None, None, "lost", "silent"]), max_size=60))
def test_success_is_said_only_after_two_readings_as_off_in_a_row(
        readings: List[bool], failed: List[str]) -> None:
    node = Node()
    node.readings = readings + [True] * 1000
    node.read_failures = [None if what is None else SessionLost(what) for what in failed]
    seen: List[str] = []
    original = node.happens

    def happens(what: str, given: object) -> None:
        before = len(node.readings)
        try:
            original(what, given)  # type: ignore[arg-type]
        except SessionLost:
            seen.append("lost")
            raise
        if what == "read":
            seen.append("on" if node.readings[0] else "off")
            assert len(node.readings) == before
    node.happens = happens  # type: ignore[method-assign]
    said = off(node)
    assert (said.code == 0) == (seen[-2:] == ["off", "off"])
    assert node.clock.now - 1000 <= LIMIT and node.open_sessions == 0


@pytest.fixture(autouse=True)
def _nothing_waits_for_real(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    def refuse(seconds: float) -> None:
        raise AssertionError(f"somebody sleeps {seconds} s by the real clock")
    monkeypatch.setattr("time.sleep", refuse)
    yield
