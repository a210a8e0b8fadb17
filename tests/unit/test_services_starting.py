# SPDX-License-Identifier: GPL-2.0-or-later
"""A group starts in order, in truth, and ends with a reason when it does not."""

from __future__ import annotations

from typing import Any, Dict, List, Optional

import pytest
from fake_machine import FakeMachine
from kopano_machine import (NAMES, RESOURCE, Log, group, machine, program,
                            unit)
from mailha import errors
from mailha.services import active, evidence
from mailha.services.managers import SystemdManager, manager_of
from mailha.services.service import DIRECT, Group
from mailha.services.starting import Start


def start(where: FakeMachine, what: Group, *, budget: float = 540.0, last_words: str = "",
          log: Optional[Log] = None) -> Log:
    """Start the group; returns the log."""
    log = log or Log()
    manager: Any = where.call(manager_of, what, dict)
    manager.prepare(10.0)
    Start(where, what, manager, deadline=where.clock.monotonic() + budget,  # type: ignore[arg-type]
          log=log, explain=lambda service: last_words).run()
    return log


def started(where: FakeMachine) -> List[str]:
    """Return the services that systemd was told to start, in order."""
    return [call[1][len("kopano-"):-len(".service")] for call in where.systemd.calls
            if call[0] == "start"]


def serves(where: FakeMachine, what: Group) -> bool:
    return evidence.whole(where.call(evidence.look, what, timeout=5.0))


def test_the_server_comes_first_and_the_others_together() -> None:
    where = machine(server={"listen_after": 3.0})
    start(where, group())
    assert started(where) == list(NAMES)
    assert serves(where, group())
    born = {name: unit(where, name).main.born for name in NAMES}  # type: ignore[union-attr]
    assert all(born[name] >= born["server"] + 3.0 for name in NAMES[1:])
    assert len({born[name] for name in NAMES[1:]}) == 1


def test_start_returns_only_when_a_mute_server_answers_at_last() -> None:
    where = machine(server={"mute_for": 300.0})
    begin = where.clock.monotonic()
    start(where, group())
    assert where.clock.monotonic() - begin >= 300.0


def test_a_server_that_stays_mute_ends_with_what_is_missing_inside_the_budget() -> None:
    where = machine(server={"mute_for": 10_000.0})
    begin = where.clock.monotonic()
    with pytest.raises(errors.BudgetSpent, match=r"server at 192\.0\.2\.100:236 takes conn"):
        start(where, group(), budget=100.0)
    assert 100.0 <= where.clock.monotonic() - begin < 103.0
    assert started(where) == ["server"]


def test_a_service_that_dies_ends_the_start_at_once_with_its_last_words() -> None:
    where = machine(gateway={"exit_after": 1.0, "exit_code": 1, "listen_after": 60.0})
    begin = where.clock.monotonic()
    with pytest.raises(errors.Failed, match="gateway ended right after.*unable to bind"):
        start(where, group(), last_words="unable to bind")
    assert where.clock.monotonic() - begin < 5.0


def test_exit_code_0_of_a_dead_dagent_proves_nothing() -> None:
    where = machine(dagent={"exit_after": 0.5, "exit_code": 0, "listen_after": 60.0})
    with pytest.raises(errors.Failed, match="dagent ended right after its start"):
        start(where, group())


def test_a_spooler_without_a_port_must_live_for_a_moment() -> None:
    where = machine(spooler={"exit_after": 0.7})
    with pytest.raises(errors.Failed, match="spooler ended right after its start"):
        start(where, group())


def test_a_group_started_in_part_is_completed_and_what_serves_is_left_alone() -> None:
    where = machine()
    start(where, group())
    pid = unit(where, "server").main.pid  # type: ignore[union-attr]
    unit(where, "ical").main.die(-9)  # type: ignore[union-attr]
    where.systemd.calls.clear()
    start(where, group())
    assert started(where) == ["ical"]
    assert unit(where, "server").main.pid == pid  # type: ignore[union-attr]


def test_start_of_a_started_group_starts_nothing() -> None:
    where = machine()
    start(where, group())
    where.systemd.calls.clear()
    start(where, group())
    assert started(where) == []


def test_an_optional_service_that_dies_is_a_warning() -> None:
    where = machine(ical={"exit_after": 0.1, "listen_after": 9.0})
    log = start(where, group(optional=["ical"]), last_words="no certificate")
    assert "optional service ical does not serve" in log.warnings()
    assert "no certificate" in log.warnings()


def test_an_optional_service_that_stays_mute_does_not_hold_the_group_up_for_ever() -> None:
    where = machine(ical={"mute_for": 10_000.0})
    begin = where.clock.monotonic()
    log = start(where, group(optional=["ical"]), budget=400.0)
    assert "ical" in log.warnings()
    assert where.clock.monotonic() - begin < 120.0


def test_a_second_copy_is_never_started_beside_a_stray_one() -> None:
    where = machine()
    where.processes.run(program("server"), cgroup="/user.slice")
    with pytest.raises(errors.Failed, match="runs already, outside of the cluster's hands"):
        start(where, group())
    assert started(where) == []


@pytest.mark.parametrize("habits", [{}, {"term_takes": 5.0}, {"ignores_term": True}])
def test_a_stray_copy_that_cannot_touch_the_data_is_ended_first(habits: Dict[str, Any]) -> None:
    where = machine()
    stray = where.processes.run(program("spooler", **habits), cgroup="/user.slice")
    log = start(where, group())
    assert "spooler runs already, outside of the cluster's hands" in log.warnings()
    assert stray.terms == 1 and not stray.here
    assert started(where)[-1] == "spooler" and sorted(started(where)) == sorted(NAMES)


def test_a_stray_copy_that_not_even_sigkill_ends_is_named_at_the_deadline() -> None:
    where = machine()
    where.processes.run(program("spooler", unkillable=True), cgroup="/user.slice")
    with pytest.raises(errors.BudgetSpent, match="spooler runs already.* and does not end"):
        start(where, group(), budget=60.0)
    assert "spooler" not in started(where)


def test_another_instance_with_another_configuration_is_nobody_of_ours() -> None:
    where = machine()
    other = program("server")
    other.arguments = [other.executable, "-F", "-c", "/etc/other/server.cfg"]
    other.listens = {}
    other.pid_file = ""
    where.processes.run(other, cgroup="/system.slice/other.service")
    start(where, group())
    assert serves(where, group())


def test_a_masked_unit_bans_the_node_and_names_the_remedy() -> None:
    where = machine()
    unit(where, "dagent").load = "masked"
    with pytest.raises(errors.NotAllowedHere, match="unmask kopano-dagent.service"):
        start(where, group())


def test_a_queued_start_is_taken_back_when_the_budget_is_spent() -> None:
    where = machine()
    unit(where, "monitor").queued = True
    with pytest.raises(errors.BudgetSpent, match="systemctl list-jobs"):
        start(where, group(), budget=30.0)
    assert unit(where, "monitor").job == ""
    assert any(call[0] == "cancel" for call in where.systemd.calls)


def test_the_start_limit_of_systemd_is_reset_first() -> None:
    where = machine()
    unit(where, "server").limit_hit = True
    start(where, group())
    assert serves(where, group())


def test_nothing_is_started_while_the_node_shuts_down() -> None:
    where = machine()
    where.systemd.manager_state = "stopping"
    with pytest.raises(errors.Failed, match="shutting down"):
        start(where, group())
    assert not active.is_active(where, RESOURCE)  # type: ignore[arg-type]


def test_a_service_found_stopped_by_a_signal_is_broken_and_not_waited_for() -> None:
    where = machine()
    start(where, group())
    unit(where, "server").main.state = "T"  # type: ignore[union-attr]
    with pytest.raises(errors.Failed, match="state T"):
        start(where, group())


def test_a_stop_that_is_not_done_is_waited_for_and_then_started_over() -> None:
    where = machine(server={"term_takes": 20.0})
    start(where, group())
    where.systemd.stop("kopano-server.service")
    start(where, group())
    assert serves(where, group())


def test_a_port_of_another_process_is_not_taken_for_the_service() -> None:
    where = machine()
    where.processes.run(program("gateway"), cgroup="/user.slice")
    foreign = next(iter(where.processes.table.values()))
    foreign.program.executable = "/usr/sbin/dovecot"
    unit(where, "gateway").program.listens = {}  # type: ignore[union-attr]
    with pytest.raises(errors.Failed, match="another process"):
        start(where, group())


def test_a_service_that_dies_while_another_one_comes_up_is_noticed() -> None:
    where = machine(ical={"listen_after": 20.0}, spooler={"exit_after": 10.0})
    with pytest.raises(errors.Failed, match="spooler ended"):
        start(where, group())


def test_directly_managed_services_are_recorded_with_pid_and_start_time() -> None:
    where = machine()
    what = group(manager=DIRECT)
    start(where, what)
    record = active.read(where, RESOURCE)  # type: ignore[arg-type]
    assert record is not None and set(record.processes) == set(NAMES)
    pid, start_time = record.processes["server"]
    assert where.processes.table[pid].start_time == start_time
    assert where.children.spawned[0][0] == ["/usr/sbin/kopano-server", "-F"]
    assert where.systemd.calls == []


def test_a_directly_managed_program_that_is_missing_is_said() -> None:
    where = machine()
    del where.children.programs["/usr/sbin/kopano-ical"]
    with pytest.raises(errors.Failed, match="kopano-ical"):
        start(where, group(manager=DIRECT))


def test_systemd_that_executes_itself_anew_in_the_middle_of_a_start_is_waited_for() -> None:
    where = machine(server={"mute_for": 20.0})
    where.clock.after(3.0, lambda: setattr(where.systemd, "unavailable_until",
                                           where.clock.monotonic() + 2.0))
    start(where, group())
    assert serves(where, group())


def test_services_of_one_wave_are_found_by_their_needs_whatever_their_order() -> None:
    waves = group(("ical", "server", "dagent")).waves()
    assert [[each.name for each in wave] for wave in waves] == [["server"], ["ical", "dagent"]]


def test_leaves_alone_form_one_wave_because_their_server_is_somebody_elses() -> None:
    assert [[each.name for each in wave] for wave in group(("gateway", "ical")).waves()] \
        == [["gateway", "ical"]]


def test_guards_are_written_before_the_first_service_runs() -> None:
    where = machine()
    what = group()
    manager = SystemdManager(where, what)  # type: ignore[arg-type]
    manager.prepare(10.0)
    text = where.files.content["/etc/systemd/system/kopano-server.service.d/zz-mailha.conf"]
    assert b"ConditionPathExists=/run/mailha/active/kopano_services\n" in text
    assert where.systemd.reloads == 1
    manager.prepare(10.0)
    assert where.systemd.reloads == 1
