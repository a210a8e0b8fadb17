# SPDX-License-Identifier: GPL-2.0-or-later
"""fence_ipmi against ipmi_sim, and its reasons: an administrator can tell each from the others."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Dict

import pytest

from fence_ipmi_machine import Machine, Outcome, machine, release

__all__ = ["machine", "release"]

AT_ONCE = 9.0
"""Seconds for what is clear with the first answers, on a busy machine; less than any deadline."""


def assert_refused(outcome: Outcome, reason: str) -> None:
    """Fail unless the agent failed soon, with one line that has the reason in it and no other."""
    assert outcome.code == 1
    assert reason in outcome.stderr
    assert len(outcome.stderr.splitlines()) == 1
    assert "time" not in outcome.stderr
    assert outcome.stdout == ""
    assert outcome.seconds < AT_ONCE


def test_off_on_and_status_with_a_simulator(machine: Machine) -> None:
    bmc = machine.simulator()
    assert machine.fence("status", bmc, cipher=3).code == 0
    assert machine.fence("off", bmc, cipher=3).code == 0
    assert machine.simulated_power() == "0"
    assert machine.fence("status", bmc, cipher=3).code == 2
    assert machine.fence("monitor", bmc, cipher=3).code == 0
    assert machine.fence("on", bmc, cipher=3).code == 0
    assert machine.simulated_power() == "1"
    assert machine.fence("reboot", bmc, cipher=3).code == 0
    assert machine.simulated_power() == "1"


def test_without_a_cipher_suite_the_better_one_is_offered_and_the_other_one_taken(
        machine: Machine) -> None:
    """fence_ipmilan takes 44 s for this with a simulator, waiting for its list of suites."""
    outcome = machine.fence("off", machine.simulator())
    assert outcome.code == 0
    assert outcome.seconds < 0.6 + AT_ONCE


@pytest.mark.parametrize("suite", [3, 17])
def test_a_cipher_suite_is_spoken(machine: Machine, suite: int) -> None:
    bmc = machine.controller()
    assert machine.fence("off", bmc, cipher=suite).code == 0
    assert [event["suite"] for event in bmc.events("open")] == [suite]


def test_the_better_cipher_suite_is_taken_where_there_are_both(machine: Machine) -> None:
    bmc = machine.controller()
    assert machine.fence("off", bmc).code == 0
    assert [event["suite"] for event in bmc.events("open")] == [17]


@pytest.mark.parametrize("ours, theirs", [(17, 3), (3, 17)])
def test_no_common_cipher(machine: Machine, ours: int, theirs: int) -> None:
    assert_refused(machine.fence("off", machine.controller(suites=[theirs]), cipher=ours),
                   f"does not take cipher suite {ours}")


def test_no_common_cipher_with_a_simulator(machine: Machine) -> None:
    assert_refused(machine.fence("off", machine.simulator(), cipher=17),
                   "does not take cipher suite 17")


def test_a_controller_without_any_cipher_suite(machine: Machine) -> None:
    assert_refused(machine.fence("off", machine.controller(suites=[])),
                   "does not take cipher suite 17 or 3")


def test_a_controller_that_speaks_ipmi_1_5_only(machine: Machine) -> None:
    assert_refused(machine.fence("off", machine.controller(ipmi15=True)), "IPMI 1.5 only")


def test_wrong_password(machine: Machine) -> None:
    assert_refused(machine.fence("off", machine.simulator(), password="wr0ng"),
                   "has another password for user 'admin'")
    assert_refused(machine.fence("off", machine.controller(), password="wr0ng"),
                   "has another password for user 'admin'")


def test_a_password_that_the_controller_finds_wrong(machine: Machine) -> None:
    assert_refused(machine.fence("off", machine.controller(rakp4_status=0x0f)),
                   "has another password for user 'admin'")


def test_unknown_user(machine: Machine) -> None:
    assert_refused(machine.fence("off", machine.simulator(), username="nobody"),
                   "knows no user 'nobody'")
    assert_refused(machine.fence("off", machine.controller(), username="nobody"),
                   "knows no user 'nobody'")


@pytest.mark.parametrize("user, password", [("operator", "0perat"), ("viewer", "v1ewer")])
def test_privilege_too_low_at_login(machine: Machine, user: str, password: str) -> None:
    outcome = machine.fence("off", machine.controller(), username=user, password=password)
    assert_refused(outcome, f"does not let user '{user}' be administrator")
    assert "privlvl=operator" in outcome.stderr


def test_an_operator_may_switch_the_power(machine: Machine) -> None:
    bmc = machine.controller()
    assert machine.fence("off", bmc, username="operator", password="0perat",
                         privlvl="operator").code == 0
    # A set, as a machine that is slow for a moment asks again.
    assert {event["level"] for event in bmc.events("privilege")} == {3}


def test_privilege_too_low_in_the_session(machine: Machine) -> None:
    bmc = machine.controller(privilege_code=0x81)
    assert_refused(machine.fence("off", bmc), "does not let user 'admin' be administrator")
    assert len(bmc.events("close")) == 1


def test_privilege_too_low_for_the_order(machine: Machine) -> None:
    bmc = machine.simulator()
    assert_refused(machine.fence("off", bmc, username="viewer", password="v1ewer", privlvl="user"),
                   "user 'viewer' is not allowed to")
    assert machine.simulated_power() == "1"


def test_the_right_key(machine: Machine) -> None:
    bmc = machine.controller(kg="00112233445566778899aabbccddeeff")
    assert machine.fence("off", bmc, hexadecimal_kg="00112233445566778899AABBCCDDEEFF").code == 0


def test_a_key_of_zeros_is_none(machine: Machine) -> None:
    assert machine.fence("off", machine.controller(), hexadecimal_kg="00" * 20).code == 0


@pytest.mark.parametrize("given", ["0102", None])
def test_wrong_key(machine: Machine, given: str) -> None:
    assert_refused(machine.fence("off", machine.controller(kg="ff" * 20), hexadecimal_kg=given),
                   "key (Kg)")


UNREACHABLE = {
    "no-such-host.invalid": "no-such-host.invalid has no address",
    "127.0.0.1": "cannot be reached: nobody listens there",
    "192.0.2.1": "cannot be reached: this node has no route to it"}
"""By where the controller is said to be; with a closed port there."""


@pytest.fixture(scope="module")
def unreachable(release: Machine) -> Dict[str, Outcome]:
    """Return what became of an "off" for each; all at once, as each is tried for 8 s and more."""
    bmc = release.controller()
    bmc.stop()
    with ThreadPoolExecutor(len(UNREACHABLE)) as pool:
        outcomes = pool.map(lambda ip: release.fence("off", bmc, ip=ip), UNREACHABLE)
        found = dict(zip(UNREACHABLE, outcomes))
    release.stop_controllers()
    return found


@pytest.mark.parametrize("ip", UNREACHABLE)
def test_a_controller_that_cannot_be_reached(unreachable: Dict[str, Outcome], ip: str) -> None:
    outcome = unreachable[ip]
    assert outcome.code == 1
    assert UNREACHABLE[ip] in outcome.stderr
    assert outcome.seconds < 10 + AT_ONCE


def test_a_name_that_is_in_hosts(machine: Machine) -> None:
    assert machine.fence("off", machine.controller(), ip="localhost").code == 0


def test_ipv6(machine: Machine) -> None:
    bmc = machine.controller(address="::1")
    assert machine.fence("off", bmc).code == 0
    machine.sandbox.path("/etc/hosts").write_text("127.0.0.1 localhost both\n::1 both\n")
    assert machine.fence("off", bmc, ip="both").code == 0, "all addresses of a name are tried"


@pytest.mark.parametrize("password", [" lead", "trail ", "a=b", "$(x)`;#'\\", "päß"])
def test_passwords_arrive_as_they_are(machine: Machine, password: str) -> None:
    bmc = machine.controller(users={"admin": [password, 4]})
    assert machine.fence("off", bmc, password=password).code == 0
