# SPDX-License-Identifier: GPL-2.0-or-later
"""A group stops in order, patiently, and says so only when nothing of it lives."""

from __future__ import annotations

import errno
from typing import Any, Dict, List, Optional

import pytest
from fake_machine import FakeMachine, Program
from kopano_machine import NAMES, Log, group, machine, program, unit
from mailha import errors
from mailha.services import evidence
from mailha.services.managers import manager_of
from mailha.services.service import DIRECT, Group
from mailha.services.starting import Start
from mailha.services.stopping import Stop

TERM, KILL = 15, 9


def running(manager: str = "systemd", **habits: Dict[str, Any]) -> FakeMachine:
    """Return a machine on which the whole group serves."""
    where = machine(**habits)
    what = group(manager=manager)
    its: Any = where.call(manager_of, what, dict)
    its.prepare(10.0)
    Start(where, what, its, deadline=where.clock.monotonic() + 540.0,  # type: ignore[arg-type]
          log=Log(), explain=lambda service: "").run()
    where.known = its.processes()  # type: ignore[attr-defined]
    return where


def stop(where: FakeMachine, what: Optional[Group] = None, *, budget: float = 540.0) -> Log:
    """Stop the group; returns the log."""
    log = Log()
    what = what or group()
    its: Any = where.call(manager_of, what, dict, getattr(where, "known", {}))
    Stop(where, what, its, deadline=where.clock.monotonic() + budget,  # type: ignore[arg-type]
         log=log).run()
    return log


def alive(where: FakeMachine) -> List[str]:
    """Return the programs that live."""
    return sorted(each.program.executable for each in where.processes.table.values())


def test_the_leaves_end_before_the_server() -> None:
    where = running(server={"term_takes": 5.0}, gateway={"term_takes": 10.04})
    ended: Dict[str, float] = {}
    for name in NAMES:
        main: Any = unit(where, name).main
        main.owner = lambda who, code, name=name, first=main.owner: (
            ended.update({name: where.clock.monotonic()}), first(who, code))
    stop(where)
    assert alive(where) == []
    assert ended["server"] == max(ended.values())
    assert ended["server"] >= ended["gateway"] + 5.0


def test_stop_of_a_stopped_group_is_a_success() -> None:
    where = machine()
    stop(where)
    stop(where)


def test_stop_succeeds_where_the_units_are_missing_and_nothing_runs() -> None:
    where = machine()
    for name in NAMES:
        unit(where, name).load = "not-found"
    stop(where)


def test_a_database_upgrade_of_minutes_is_waited_for_and_told_to_end_once() -> None:
    where = running(server={"term_takes": 400.0})
    main: Any = unit(where, "server").main
    stop(where)
    assert main.terms == 1
    assert alive(where) == []


def test_an_agent_that_was_killed_and_is_called_again_tells_nobody_a_second_time() -> None:
    where = running(DIRECT, server={"term_takes": 100.0})
    server = where.processes.find("/usr/sbin/kopano-server")[0]
    main = where.processes.table[server.pid]
    with pytest.raises(_Killed):
        where.clock.after(20.0, _kill_agent)
        stop(where, group(manager=DIRECT))
    stop(where, group(manager=DIRECT))
    assert main.terms == 1
    assert alive(where) == []


class _Killed(Exception):
    """Stands for Pacemaker's SIGKILL of the agent."""


def _kill_agent() -> None:
    raise _Killed


def test_what_ignores_sigterm_is_killed_inside_the_budget() -> None:
    where = running(gateway={"ignores_term": True}, server={"ignores_term": True})
    begin = where.clock.monotonic()
    log = stop(where, budget=100.0)
    assert alive(where) == []
    assert where.clock.monotonic() - begin < 100.0
    assert "gateway has not ended in time and is killed" in log.warnings()


def test_a_hanging_gateway_leaves_the_server_its_patience() -> None:
    where = running(gateway={"ignores_term": True}, server={"term_takes": 150.0})
    main: Any = unit(where, "server").main
    codes: List[int] = []
    main.owner = lambda who, code, first=main.owner: (codes.append(code), first(who, code))
    stop(where)
    assert codes == [0]


def test_a_process_in_state_d_fails_the_stop_and_is_named() -> None:
    where = running()
    main: Any = unit(where, "server").main
    main.state = "D"
    main.program.unkillable = True
    with pytest.raises(errors.Failed, match=r"kopano-server \(\d+, state D\).*dead disk"):
        stop(where, budget=60.0)


def test_a_process_stopped_by_a_signal_is_ended() -> None:
    where = running()
    main: Any = unit(where, "server").main
    main.state = "T"
    stop(where, budget=60.0)
    assert alive(where) == []


def test_a_stopped_process_without_systemd_is_woken_and_need_not_be_killed() -> None:
    where = running(DIRECT)
    where.processes.table[where.processes.find("/usr/sbin/kopano-gateway")[0].pid].state = "T"
    log = stop(where, group(manager=DIRECT))
    assert alive(where) == []
    assert "killed" not in log.warnings()


def test_a_server_that_waits_for_its_database_and_that_no_pid_file_names_is_found() -> None:
    where = machine()
    waiting = program("server")
    waiting.pid_file, waiting.listens = "", {}
    where.processes.run(waiting, cgroup="/user.slice")
    stop(where)
    assert alive(where) == []


def test_the_database_is_never_touched() -> None:
    where = running()
    where.processes.run(Program("/usr/sbin/mariadbd"), cgroup="/system.slice/mariadb.service")
    stop(where)
    assert alive(where) == ["/usr/sbin/mariadbd"]


def test_another_instance_of_kopano_is_left_alone() -> None:
    where = running()
    other = program("server")
    other.arguments = [other.executable, "-F", "-c", "/etc/other/server.cfg"]
    other.listens = {}
    where.processes.run(other, cgroup="/system.slice/other.service")
    stop(where)
    assert alive(where) == ["/usr/sbin/kopano-server"]


def test_children_of_a_spooler_that_go_on_sending_are_waited_for() -> None:
    child = Program("/usr/sbin/kopano-spooler", exit_after=30.0, ignores_term=True)
    where = running(spooler={"children": [child]})
    begin = where.clock.monotonic()
    log = stop(where)
    assert alive(where) == []
    assert where.clock.monotonic() - begin < 60.0
    assert "killed" not in log.warnings()


def test_processes_that_a_unit_leaves_behind_are_ended_too() -> None:
    child = Program("/usr/libexec/kopano-helper")
    where = running(spooler={"children": [child]})
    unit(where, "spooler").kill_mode = "process"
    stop(where)
    assert alive(where) == []


def test_a_crash_loop_between_two_tries_is_ended() -> None:
    where = running()
    unit(where, "ical").crash_loop = True
    unit(where, "ical").main.die(-11)  # type: ignore[union-attr]
    assert unit(where, "ical").sub == "auto-restart"
    stop(where)
    assert unit(where, "ical").active in ("inactive", "failed")


def test_a_stop_that_waits_in_systemds_queue_does_not_wait_for_ever() -> None:
    """At the shutdown of the node the queue waits for Pacemaker, and Pacemaker for us."""
    where = running()
    for name in NAMES:
        unit(where, name).queued = True
    begin = where.clock.monotonic()
    stop(where)
    assert alive(where) == []
    assert where.clock.monotonic() - begin < 20.0
    told = [pid for pid, number in where.processes.signals if number == TERM]
    assert len(told) == len(set(told)) == len(NAMES)


def test_without_an_answer_of_systemd_the_processes_are_told_directly() -> None:
    where = running()
    where.systemd.unavailable = True
    begin = where.clock.monotonic()
    stop(where, budget=120.0)
    assert alive(where) == []
    assert where.clock.monotonic() - begin < 120.0


def test_a_read_only_run_does_not_fail_the_stop() -> None:
    where = running(DIRECT)
    where.files.failing["/run"] = errno.EROFS
    stop(where, group(manager=DIRECT))
    assert alive(where) == []


def test_a_unit_that_we_killed_is_not_left_as_failed() -> None:
    where = running(server={"ignores_term": True})
    stop(where, budget=60.0)
    assert unit(where, "server").active == "inactive"


def test_after_a_stop_the_group_can_start_again() -> None:
    where = running()
    stop(where)
    what = group()
    its: Any = where.call(manager_of, what, dict)
    its.prepare(10.0)
    Start(where, what, its, deadline=where.clock.monotonic() + 540.0,  # type: ignore[arg-type]
          log=Log(), explain=lambda service: "").run()
    assert evidence.whole(where.call(evidence.look, what, timeout=5.0))
