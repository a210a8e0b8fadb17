# SPDX-License-Identifier: GPL-2.0-or-later
"""The verdict of one start: what is asked, what is recorded, who may start."""

from __future__ import annotations

import errno
from typing import Optional

import pytest

from configurations import DATA
from fake_machine import FakeMachine, Ran
from mailha import errors
from mailha.cluster import stonith
from mailha.cluster.cib import QUERY
from mailha.system.child_failures import ChildTimedOut
from mailha.system.children import Finished


GOOD = (DATA / "crm_two_devices.xml").read_bytes()
OFF = (DATA / "crm_stonith_off.xml").read_bytes()
BUSY = None
"""Stands for a cibadmin that hangs until it is killed."""


def machine_with(*answers: Optional[bytes], before: Optional[FakeMachine] = None) -> FakeMachine:
    """Return a machine on which cibadmin gives these answers, the last one for ever."""
    machine = before or FakeMachine()
    left = list(answers)

    def cibadmin(ran: Ran) -> Finished:
        answer = left.pop(0) if len(left) > 1 else left[0]
        if answer is None:
            machine.clock.sleep(ran.timeout)
            raise ChildTimedOut(f"cibadmin did not end within {ran.timeout:g} s",
                                command=ran.argv)
        return Finished(0, answer)

    machine.children.answer([QUERY[0]], function=cibadmin)
    return machine


def decide(machine: FakeMachine, *, node: str = "alice", manual_node: str = "",
           timeout: float = 9.0) -> Optional[errors.MailhaError]:
    """Return the refusal, None if the node may start."""
    try:
        machine.call(stonith.verdict, node=node, manual_node=manual_node, timeout=timeout)
    except errors.MailhaError as error:
        return error
    return None


def test_with_stonith_every_node_may_start_and_manual_node_means_nothing() -> None:
    for manual_node in ("", "bob", "nobody"):
        assert decide(machine_with(GOOD), manual_node=manual_node) is None


def test_without_stonith_nobody_may_start_by_itself() -> None:
    error = decide(machine_with(OFF))
    assert isinstance(error, errors.NotAllowedHere) and error.code == 5
    assert "STONITH is off" in str(error) and "manual_node" in str(error)
    assert "\n" not in str(error)


def test_without_stonith_only_the_named_node_may_start() -> None:
    assert decide(machine_with(OFF), node="alice", manual_node="Alice") is None
    error = decide(machine_with(OFF), node="bob", manual_node="alice")
    assert isinstance(error, errors.NotAllowedHere)
    assert "only 'alice' may run this" in error.reason
    assert "make certain that 'alice' is off" in error.remedy
    assert "pcs resource update" in error.remedy and "crm resource param" in error.remedy


def test_a_manual_node_that_is_no_node_is_said_so() -> None:
    error = decide(machine_with(OFF), node="bob", manual_node="alcie")
    assert isinstance(error, errors.NotAllowedHere)
    assert error.reason == ("manual_node names 'alcie', which is no node of this cluster "
                            "(alice, bob)")


def test_a_busy_cib_is_asked_again_inside_the_time() -> None:
    machine = machine_with(BUSY, b"", GOOD)
    assert decide(machine) is None
    assert len(machine.children.ran) == 3
    assert machine.clock.slept <= 9.0


def test_asking_the_cib_ends_inside_the_time() -> None:
    machine = machine_with(BUSY)
    error = decide(machine, timeout=9.0)
    assert isinstance(error, errors.Failed) and error.code == 1
    assert "did not end within" in error.reason and "nothing was recorded" in error.reason
    assert 3.0 <= machine.clock.slept <= 9.0
    assert len(machine.children.ran) >= 2


def test_only_the_local_configuration_is_asked_for() -> None:
    machine = machine_with(GOOD)
    decide(machine)
    [ran] = machine.children.ran
    assert ran.argv == ["/usr/sbin/cibadmin", "--query", "--local", "--scope", "configuration"]


def test_a_node_without_cibadmin_says_so() -> None:
    error = decide(FakeMachine())
    assert isinstance(error, errors.Failed) and "/usr/sbin/cibadmin" in error.reason


def test_a_draft_in_the_environment_is_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CIB_file", "/tmp/draft.xml")
    monkeypatch.setenv("CIB_shadow", "draft")
    monkeypatch.setenv("PCMK_ipc_buffer", "1048576")
    machine = machine_with(GOOD)
    decide(machine)
    [ran] = machine.children.ran
    assert ran.environment is not None
    assert "CIB_file" not in ran.environment and "CIB_shadow" not in ran.environment
    assert ran.environment["PCMK_ipc_buffer"] == "1048576"


def test_an_unreadable_cib_falls_back_on_the_verdict_of_this_boot() -> None:
    machine = machine_with(GOOD)
    assert decide(machine) is None
    assert decide(machine_with(BUSY, before=machine)) is None
    machine.reboot()
    assert isinstance(decide(machine), errors.Failed)


def test_a_recorded_refusal_stays_a_refusal_except_for_the_named_node() -> None:
    machine = machine_with(OFF)
    assert decide(machine) is not None
    machine_with(BUSY, before=machine)
    error = decide(machine)
    assert isinstance(error, errors.NotAllowedHere) and "STONITH is off" in error.reason
    assert decide(machine, manual_node="alice") is None
    assert isinstance(decide(machine, manual_node="bob"), errors.NotAllowedHere)
    assert isinstance(decide(machine, manual_node="dave"), errors.NotAllowedHere)


@pytest.mark.parametrize("damage", [b"", b"format 1\n", b"format 2\nnodes alice bob\nend\n",
                                    b"format 1\nnodes alice bob\n", b"\xff\xfe",
                                    b"format 1\nend\n", b"format 1\nnodes \nend\n"])
def test_a_damaged_record_is_no_record(damage: bytes) -> None:
    machine = machine_with(BUSY)
    machine.files.put(stonith.RECORD, damage)
    error = decide(machine)
    assert isinstance(error, errors.Failed) and "nothing was recorded" in error.reason


def test_the_record_says_its_format() -> None:
    machine = machine_with(GOOD)
    decide(machine)
    assert machine.files.content[stonith.RECORD] == b"format 1\nnodes alice bob\nend\n"


@pytest.mark.parametrize("number", [errno.EROFS, errno.ENOSPC])
def test_a_record_that_cannot_be_written_does_not_change_the_verdict(number: int) -> None:
    machine = machine_with(GOOD)
    machine.files.failing["/run"] = number
    assert decide(machine) is None
    assert isinstance(decide(machine_with(OFF, before=machine)), errors.NotAllowedHere)
