# SPDX-License-Identifier: GPL-2.0-or-later
"""ocf:mailha:fencing-guard on a machine in memory."""

from __future__ import annotations

import errno
from typing import List, Optional

import pytest

from configurations import DATA
from fake_machine import FakeMachine, Ran
from mailha import errors
from mailha.agents import fencing_guard
from mailha.agents.fencing_guard import AGENT
from mailha.cluster.cib import QUERY
from mailha.ocf import Call
from mailha.system.child_failures import ChildTimedOut
from mailha.system.children import Finished

GOOD = (DATA / "crm_two_devices.xml").read_bytes()
OFF = (DATA / "crm_stonith_off.xml").read_bytes()


class Guard:
    """The guard of one resource on a machine in memory."""

    def __init__(self, machine: FakeMachine, configuration: Optional[bytes] = GOOD) -> None:
        self.machine = machine
        self.configuration = configuration
        self.warnings: List[str] = []
        machine.children.answer([QUERY[0]], function=self._cibadmin)

    def _cibadmin(self, ran: Ran) -> Finished:
        if self.configuration is None:
            self.machine.clock.sleep(ran.timeout)
            raise ChildTimedOut("cibadmin did not end", command=ran.argv)
        return Finished(0, self.configuration)

    def call(self, action: str, *, node: str = "alice", manual_node: str = "",
             timeout: int = 60000, requires: str = "") -> Call:
        """Return a call, of Pacemaker's unless there is no node."""
        environment = {"OCF_RESOURCE_INSTANCE": "mysql_guard", "HA_logfacility": "none",
                       "OCF_RESKEY_manual_node": manual_node,
                       "OCF_RESKEY_CRM_meta_timeout": str(timeout)}
        if node:
            environment["OCF_RESKEY_CRM_meta_on_node"] = node
        if requires:
            environment["OCF_RESKEY_CRM_meta_requires"] = requires
        return Call(AGENT, action, environment, self.machine.clock.monotonic)

    def do(self, action: str, *, node: str = "alice", manual_node: str = "",
           timeout: int = 60000, requires: str = "") -> Optional[errors.MailhaError]:
        """Perform an action; return its failure."""
        handler = {"start": fencing_guard.start, "stop": fencing_guard.stop,
                   "monitor": fencing_guard.monitor,
                   "reload-agent": fencing_guard.reload_agent}[action]
        call = self.call(action, node=node, manual_node=manual_node, timeout=timeout,
                         requires=requires)
        try:
            handler(call, self.machine)     # type: ignore[arg-type]
        except errors.MailhaError as error:
            return error
        return None

    def findings(self, *, node: str = "", manual_node: str = "") -> List[str]:
        """Return what validate-all finds."""
        call = self.call("validate-all", node=node, manual_node=manual_node, timeout=20000)
        return [str(finding) for finding in
                fencing_guard.findings(call, self.machine)]     # type: ignore[arg-type]

    @property
    def running(self) -> bool:
        return self.do("monitor") is None


@pytest.fixture
def guard() -> Guard:
    return Guard(FakeMachine())


def test_it_runs_between_start_and_stop_and_both_may_be_repeated(guard: Guard) -> None:
    assert isinstance(guard.do("monitor"), errors.NotRunning)
    for _ in range(2):
        assert guard.do("start") is None
        assert guard.running
    for _ in range(2):
        assert guard.do("stop") is None
        assert not guard.running


def test_without_fencing_it_does_not_start_and_leaves_no_mark(guard: Guard) -> None:
    guard.configuration = OFF
    error = guard.do("start")
    assert isinstance(error, errors.NotAllowedHere) and "STONITH is off" in error.reason
    assert not guard.running


def test_without_fencing_it_starts_on_the_named_node_alone(guard: Guard) -> None:
    guard.configuration = OFF
    assert isinstance(guard.do("start", node="bob", manual_node="alice"), errors.NotAllowedHere)
    assert guard.do("start", node="alice", manual_node="alice") is None
    assert guard.running


@pytest.mark.parametrize("requires, refused", [("", False), ("fencing", False),
                                               ("unfencing", False), ("quorum", True),
                                               ("nothing", True)])
def test_a_resource_that_would_not_wait_for_fencing_is_refused(
        guard: Guard, requires: str, refused: bool) -> None:
    assert isinstance(guard.do("start", requires=requires), errors.NotAllowedHere) is refused


def test_by_hand_nothing_is_asked_and_that_is_said(
        guard: Guard, capfd: pytest.CaptureFixture[str]) -> None:
    guard.configuration = OFF
    assert guard.do("start", node="") is None
    assert guard.running and guard.machine.children.ran == []
    assert "INFO: called by hand" in capfd.readouterr().err


def test_only_start_asks_the_cluster(guard: Guard) -> None:
    guard.do("start")
    asked = len(guard.machine.children.ran)
    guard.configuration = OFF
    assert guard.running
    assert guard.do("reload-agent") is None
    assert guard.running
    assert guard.do("stop") is None
    assert len(guard.machine.children.ran) == asked == 1


@pytest.mark.parametrize("timeout", [5000, 20000, 60000, 600000])
def test_a_cluster_that_does_not_answer_ends_start_inside_its_budget(
        guard: Guard, timeout: int) -> None:
    guard.configuration = None
    begun = guard.machine.clock.monotonic()
    error = guard.do("start", timeout=timeout)
    took = guard.machine.clock.monotonic() - begun
    assert isinstance(error, errors.Failed) and error.code == 1
    assert "cannot read the local CIB" in error.reason
    assert took < timeout / 1000 - min(2.0, timeout / 2000)
    assert took <= fencing_guard.LONGEST_QUESTION + 1
    assert not guard.running


def test_a_cluster_that_does_not_answer_is_as_it_was_earlier_in_this_boot(guard: Guard) -> None:
    assert guard.do("start") is None
    assert guard.do("stop") is None
    guard.configuration = None
    assert guard.do("start") is None and guard.running


def test_a_power_loss_stops_it(guard: Guard) -> None:
    guard.do("start")
    guard.machine.reboot()
    assert not guard.running


def test_two_guards_on_one_node_know_nothing_of_each_other(guard: Guard) -> None:
    guard.do("start")
    other = Call(AGENT, "monitor", {"OCF_RESOURCE_INSTANCE": "kopano_guard"},
                 guard.machine.clock.monotonic)
    with pytest.raises(errors.NotRunning):
        fencing_guard.monitor(other, guard.machine)     # type: ignore[arg-type]


@pytest.mark.parametrize("number", [errno.EROFS, errno.ENOSPC])
def test_a_run_that_cannot_be_written_fails_the_start_and_names_the_file(
        guard: Guard, number: int) -> None:
    guard.machine.files.failing["/run"] = number
    error = guard.do("start")
    assert isinstance(error, errors.Failed) and error.code == 1
    assert "/run/mailha" in error.reason and error.remedy


def test_a_run_that_cannot_be_written_never_fails_the_stop(
        guard: Guard, capfd: pytest.CaptureFixture[str]) -> None:
    guard.do("start")
    guard.machine.files.failing["/run"] = errno.EROFS
    assert guard.do("stop") is None
    assert "WARNING: " in capfd.readouterr().err


def test_reload_says_what_the_next_start_will_do(
        guard: Guard, capfd: pytest.CaptureFixture[str]) -> None:
    assert guard.do("reload-agent", manual_node="bob") is None
    assert "INFO: the next start will allow for manual_node=bob" in capfd.readouterr().err


def test_validate_all_finds_what_a_start_would_be_refused_for(guard: Guard) -> None:
    assert guard.findings() == []
    guard.configuration = OFF
    [finding] = guard.findings()
    assert "STONITH is off" in finding
    assert guard.findings(manual_node="alice") == []
    [finding] = guard.findings(manual_node="alcie")
    assert "which is no node of this cluster" in finding
    [finding] = guard.findings(node="bob", manual_node="alice")
    assert "only 'alice' may run this" in finding


def test_validate_all_leaves_nothing_behind(guard: Guard) -> None:
    before = dict(guard.machine.files.content)
    guard.findings()
    assert guard.machine.files.content == before


def test_validate_all_does_not_wait_for_a_cluster_that_is_not_there(guard: Guard) -> None:
    guard.configuration = None
    begun = guard.machine.clock.monotonic()
    assert guard.findings() == []
    assert guard.machine.clock.monotonic() - begun <= fencing_guard.SHORT_QUESTION


def test_the_advertised_times_are_those_of_the_examples() -> None:
    assert [(action.name, action.timeout, action.interval) for action in AGENT.actions] == [
        ("start", 60, None), ("stop", 20, None), ("monitor", 20, 30), ("reload-agent", 20, None)]
