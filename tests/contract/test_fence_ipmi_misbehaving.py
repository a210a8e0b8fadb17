# SPDX-License-Identifier: GPL-2.0-or-later
"""fence_ipmi against controllers that misbehave: the code, the reason and the time, for each.

That no success is ever said with the power on is looked at in every test, by Machine.fence.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any, Callable, Dict, Tuple

import pytest

from fence_ipmi_machine import Controller, Machine, Outcome, machine, release

__all__ = ["machine", "release"]

Case = Tuple[Controller, Outcome]

WHOLE = 25.0
"""Seconds that an action has at most."""

CONTACT = 10.0
"""Seconds in which a controller has to answer for the first time."""

LEEWAY = 15.0
"""Seconds that starting anything may take on a busy machine."""

LONG: Dict[str, Dict[str, Any]] = {
    "garbage short": {"garbage": "short"},
    "garbage later": {"garbage": "random", "garbage_after": "order", "ignore_orders": True},
    "forgets always": {"forget_after": "read", "forget_always": True},
    "stays on": {"ignore_orders": True},
    "on again": {"on_again": 0.3},
    "refuses": {"order_code": 0xd5},
    "busy": {"reading_code": 0xc0},
    "short": {"reading_length": 0},
    "stops order": {"stop_after": "order", "ignore_orders": True},
    "silent": {"silent": True},
    "garbage random": {"garbage": "random"},
    "garbage cut": {"garbage": "cut"},
    "garbage text": {"garbage": "text"},
    "echo": {"echo": True},
    "reset login": {"reset_after": "login"},
    "reset order": {"reset_after": "order"},
    "reset read": {"reset_after": "read"},
    "forgets once": {"forget_after": "read"},
    "stops login": {"stop_after": "login"},
    "no room": {"no_room": 1000000},
    "slow to go off": {"off_takes": 3.0},
    "slow 0.2": {"slow": 0.2},
    "slow 0.7": {"slow": 0.7},
    **{f"loss {seed}": {"loss": 0.2, "seed": seed} for seed in range(10)},
}
"""Controllers that are waited for, and so several at once, each by its own "off"."""

AT_ONCE = 12


@pytest.fixture(scope="module")
def cases(release: Machine) -> Callable[[str], Case]:
    """What became of each of LONG: its controller and the agent's outcome."""
    controllers = {name: release.controller(**how) for name, how in LONG.items()}
    with ThreadPoolExecutor(AT_ONCE) as pool:
        futures = {name: pool.submit(release.fence, "off", controller)
                   for name, controller in controllers.items()}
    release.stop_controllers()
    return lambda name: (controllers[name], futures[name].result())


def test_off_is_proven_with_few_datagrams_and_a_closed_session(machine: Machine) -> None:
    least = 1000
    for _ in range(10):                 # a busy machine may have made it repeat something
        bmc = machine.controller()
        outcome = machine.fence("off", bmc)
        assert (outcome.code, outcome.stdout) == (0, "Success: Powered OFF\n")
        last = bmc.events()[-1]
        assert last["event"] == "close"
        if last["taken"] + last["sent"] + 1 < least:
            least = last["taken"] + last["sent"] + 1
            events = [event["event"] for event in bmc.events()]
        if least <= 18:
            break
    assert events == ["open", "login", "privilege", "order", "off", "read", "read", "close"]
    assert least == 18, "fence_ipmilan: 66"


def test_off_is_sent_to_a_node_that_is_already_off(machine: Machine) -> None:
    bmc = machine.controller(power=False)
    assert machine.fence("off", bmc).code == 0
    assert len(bmc.events("order")) == 1


def test_reboot_is_off_that_was_proven_and_then_on(machine: Machine) -> None:
    bmc = machine.controller(off_takes=0.3)
    assert machine.fence("reboot", bmc).code == 0
    assert [event["what"] for event in bmc.events("order")] == [0, 1]
    assert bmc.is_on()
    assert len(bmc.events("login")) == len(bmc.events("close")) == 1


@pytest.mark.parametrize("on", [True, False])
def test_status_and_monitor_of_a_node(machine: Machine, on: bool) -> None:
    bmc = machine.controller(power=on)
    assert machine.fence("status", bmc).code == (0 if on else 2)
    assert machine.fence("monitor", bmc).code == 0
    assert not bmc.events("order")
    assert len(bmc.events("close")) == 2


def test_a_node_that_is_slow_to_go_off_is_waited_for(cases: Callable[[str], Case]) -> None:
    _, outcome = cases("slow to go off")
    assert outcome.code == 0
    assert 3.4 < outcome.seconds < 5.5 + LEEWAY


def test_a_silent_controller(cases: Callable[[str], Case]) -> None:
    _, outcome = cases("silent")
    assert outcome.code == 1
    assert "gave no answer" in outcome.stderr
    assert outcome.seconds < CONTACT + LEEWAY


@pytest.mark.parametrize("kind", ["random", "short", "cut", "text"])
def test_a_controller_that_answers_garbage(cases: Callable[[str], Case], kind: str) -> None:
    _, outcome = cases(f"garbage {kind}")
    assert outcome.code == 1
    assert "not in IPMI 2.0" in outcome.stderr
    assert outcome.seconds < CONTACT + LEEWAY


def test_a_controller_that_answers_garbage_after_the_order(cases: Callable[[str], Case]) -> None:
    _, outcome = cases("garbage later")
    assert outcome.code == 1
    assert outcome.seconds < WHOLE + LEEWAY


def test_an_echo(cases: Callable[[str], Case]) -> None:
    _, outcome = cases("echo")
    assert outcome.code == 1
    assert "not in IPMI 2.0" in outcome.stderr
    assert outcome.seconds < CONTACT + LEEWAY


@pytest.mark.parametrize("event", ["login", "order", "read"])
def test_a_controller_that_is_reset_in_the_middle_of_a_session(
        cases: Callable[[str], Case], event: str) -> None:
    bmc, outcome = cases(f"reset {event}")
    assert outcome.code == 0
    assert len(bmc.events("login")) == 2
    assert outcome.seconds < 10 + LEEWAY


def test_a_controller_that_forgets_the_session_after_the_first_reading_as_off(
        cases: Callable[[str], Case]) -> None:
    bmc, outcome = cases("forgets once")
    assert outcome.code == 0
    sessions = [event["session"] for event in bmc.events("read")]
    assert len(sessions) == 3 and sessions[0] != sessions[1] == sessions[2]
    assert outcome.seconds < 10 + LEEWAY


def test_a_controller_that_forgets_every_session_after_one_reading_is_never_believed(
        cases: Callable[[str], Case]) -> None:
    bmc, outcome = cases("forgets always")
    assert outcome.code == 1
    assert not bmc.is_on()              # and yet nobody could have known
    assert outcome.seconds < WHOLE + LEEWAY


def test_a_controller_that_says_ok_and_leaves_the_node_on(cases: Callable[[str], Case]) -> None:
    bmc, outcome = cases("stays on")
    assert outcome.code == 1
    assert "still on" in outcome.stderr
    assert "timed out" not in outcome.stderr
    assert len(bmc.events("order")) >= 3, "the order is repeated"
    assert outcome.seconds < WHOLE + LEEWAY
    assert len(bmc.events("close")) == 1


def test_a_node_that_switches_itself_on_between_the_readings_is_ordered_off_again(
        machine: Machine) -> None:
    bmc = machine.controller(on_again=0.3, on_again_times=2)
    outcome = machine.fence("off", bmc)
    assert outcome.code == 0
    assert len(bmc.events("off")) == 3
    assert outcome.seconds < 8 + LEEWAY


def test_a_node_that_always_switches_itself_on_again_is_not_off(
        cases: Callable[[str], Case]) -> None:
    _, outcome = cases("on again")
    assert outcome.code == 1
    assert outcome.seconds < WHOLE + LEEWAY


def test_a_controller_that_says_off_once_before_it_knows(machine: Machine) -> None:
    bmc = machine.controller(lie=[False], off_takes=1.0)
    assert machine.fence("off", bmc).code == 0


def test_a_controller_that_stays_with_an_old_on_after_off(machine: Machine) -> None:
    bmc = machine.controller(lie=[True] * 4)
    assert machine.fence("off", bmc).code == 0


def test_a_controller_that_refuses_off_as_it_is_off_is_read(machine: Machine) -> None:
    bmc = machine.controller(power=False, refuse_off_when_off=True)
    assert machine.fence("off", bmc).code == 0
    assert len(bmc.events("refused order")) == 1
    assert len(bmc.events("read")) == 2


def test_a_controller_that_refuses_off_although_it_is_on(cases: Callable[[str], Case]) -> None:
    _, outcome = cases("refuses")
    assert outcome.code == 1
    assert "present state" in outcome.stderr
    assert outcome.seconds < WHOLE + LEEWAY


def test_a_controller_that_does_not_allow_the_order(machine: Machine) -> None:
    bmc = machine.controller(order_code=0xd4)
    outcome = machine.fence("off", bmc)
    assert outcome.code == 1
    assert "not allowed to" in outcome.stderr
    assert outcome.seconds < LEEWAY, "at once, as fence_ipmilan does after 20 s"
    assert len(bmc.events("close")) == 1


def test_a_controller_that_does_not_know_the_order(machine: Machine) -> None:
    outcome = machine.fence("off", machine.controller(order_code=0xc1))
    assert outcome.code == 1
    assert "invalid command" in outcome.stderr
    assert outcome.seconds < LEEWAY


@pytest.mark.parametrize("code", [0xc0, 0xc3])
def test_a_busy_controller_is_asked_again(machine: Machine, code: int) -> None:
    bmc = machine.controller(order_code=code, order_code_times=3, reading_code=code,
                             reading_code_times=3)
    outcome = machine.fence("off", bmc)
    assert outcome.code == 0
    assert len(bmc.events("login")) == 1


def test_a_controller_that_is_busy_for_ever(cases: Callable[[str], Case]) -> None:
    _, outcome = cases("busy")
    assert outcome.code == 1
    assert "busy" in outcome.stderr
    assert outcome.seconds < WHOLE + LEEWAY


def test_a_reading_that_is_too_short_is_no_reading(cases: Callable[[str], Case]) -> None:
    _, outcome = cases("short")
    assert outcome.code == 1
    assert "0 bytes" in outcome.stderr
    assert outcome.seconds < WHOLE + LEEWAY


@pytest.mark.parametrize("event", ["login", "order"])
def test_a_controller_that_stops_after_login(cases: Callable[[str], Case], event: str) -> None:
    """pyghmi by itself gives up after 20 to 27 s, without a reason."""
    _, outcome = cases(f"stops {event}")
    assert outcome.code == 1
    assert "answer" in outcome.stderr or "timed out" in outcome.stderr
    assert outcome.seconds < WHOLE + LEEWAY


def test_a_controller_that_stops_after_login_does_not_hold_a_monitor(machine: Machine) -> None:
    outcome = machine.fence("monitor", machine.controller(stop_after="login"))
    assert outcome.code == 1
    assert outcome.seconds < 15 + LEEWAY


@pytest.mark.parametrize("delay", [0.2, 0.7])
def test_a_slow_controller(cases: Callable[[str], Case], delay: float) -> None:
    """Slower than the first repetition: its answers to the first request are taken."""
    _, outcome = cases(f"slow {delay}")
    assert outcome.code == 0
    assert outcome.seconds < 15 * delay + 2 + LEEWAY


def test_a_controller_that_sends_everything_twice(machine: Machine) -> None:
    assert machine.fence("reboot", machine.controller(twice=True)).code == 0


@pytest.mark.parametrize("seed", range(10))
def test_a_fifth_of_all_datagrams_lost_each_way(cases: Callable[[str], Case], seed: int) -> None:
    _, outcome = cases(f"loss {seed}")
    assert outcome.code == 0
    assert outcome.seconds < 12 + LEEWAY


def test_a_controller_without_a_free_session_for_a_while(machine: Machine) -> None:
    bmc = machine.controller(no_room=3)
    outcome = machine.fence("off", bmc)
    assert outcome.code == 0
    assert len(bmc.events("no room")) == 3


def test_a_controller_that_never_has_a_free_session(cases: Callable[[str], Case]) -> None:
    _, outcome = cases("no room")
    assert outcome.code == 1
    assert "no room for another session" in outcome.stderr
    assert outcome.seconds < WHOLE + LEEWAY


def test_a_controller_that_does_not_answer_the_goodbye(machine: Machine) -> None:
    bmc = machine.controller(ignore_close=True)
    outcome = machine.fence("off", bmc)
    assert outcome.code == 0
    assert len(bmc.events("close")) == 2, "it was said again, in case that it was lost"
    assert outcome.seconds < 2 + LEEWAY
