# SPDX-License-Identifier: GPL-2.0-or-later
"""What is seen of a group, and what a monitor and a probe make of it."""

from __future__ import annotations

from typing import Any, Optional

import pytest
from fake_machine import FakeMachine, Program
from kopano_machine import ADDRESS, NAMES, RESOURCE, Log, group, machine, program, service, unit
from mailha import errors
from mailha.services import active, evidence, monitoring
from mailha.services.managers import manager_of
from mailha.services.service import DIRECT, Group, Listening, Service
from mailha.services.starting import Start
from mailha.system.netlink import Listener


def running(manager: str = "systemd", names: Any = NAMES) -> FakeMachine:
    """Return a machine on which the whole group serves."""
    where = machine()
    what = group(names, manager=manager)
    its: Any = where.call(manager_of, what, dict)
    its.prepare(10.0)
    Start(where, what, its, deadline=where.clock.monotonic() + 540.0,  # type: ignore[arg-type]
          log=Log(), explain=lambda service: "").run()
    where.sockets.connected.clear()
    return where


def judge(where: FakeMachine, what: Optional[Group] = None) -> None:
    """Be a recurring monitor."""
    what = what or group()
    record = active.read(where, RESOURCE)  # type: ignore[arg-type]
    seen = where.call(evidence.look, what, timeout=5.0,
                      known=record.processes if record else None)
    where.call(monitoring.judge, what, seen)


def probe(where: FakeMachine, what: Optional[Group] = None, *, marked: bool = False) -> None:
    """Be a probe."""
    what = what or group()
    where.call(monitoring.probe, what, where.call(evidence.look, what, timeout=5.0), active=marked)


def main(where: FakeMachine, name: str) -> Any:
    return unit(where, name).main


@pytest.mark.parametrize("manager", ["systemd", DIRECT])
def test_a_group_that_serves_is_seen_without_one_connection(manager: str) -> None:
    where = running(manager)
    judge(where, group(manager=manager))
    assert where.sockets.connected == []


def test_a_stopped_group_is_not_running() -> None:
    with pytest.raises(errors.NotRunning):
        judge(machine())


@pytest.mark.parametrize("name", NAMES)
def test_one_dead_service_is_a_failure_that_names_it(name: str) -> None:
    where = running()
    main(where, name).die(-9)
    with pytest.raises(errors.Failed, match=f"^{name}: "):
        judge(where)


def test_a_dead_optional_service_only_degrades() -> None:
    where = running()
    main(where, "ical").die(-9)
    with pytest.raises(errors.Degraded, match="ical.*journalctl -u kopano-ical.service"):
        judge(where, group(optional=["ical"]))


def test_a_dead_service_beside_a_dead_optional_one_is_still_a_failure() -> None:
    where = running()
    main(where, "ical").die(-9)
    main(where, "dagent").die(-9)
    with pytest.raises(errors.Failed, match="dagent"):
        judge(where, group(optional=["ical"]))


def test_systemd_says_active_and_the_control_group_is_empty() -> None:
    where = running()
    unit(where, "spooler").remain = True
    main(where, "spooler").die(0)
    assert unit(where, "spooler").active == "active"
    with pytest.raises(errors.Failed, match="not one process of it lives"):
        judge(where)


def test_systemd_says_inactive_and_a_process_lives_on() -> None:
    where = running()
    unit(where, "spooler").active = "inactive"
    with pytest.raises(errors.Failed, match="processes of it live on"):
        judge(where)


def test_a_unit_that_is_being_stopped_is_no_clean_stop() -> None:
    where = running()
    for name in NAMES:
        main(where, name).program.ignores_term = True
        where.systemd.stop(f"kopano-{name}.service")
    with pytest.raises(errors.Failed, match="being stopped"):
        judge(where)


def test_a_crash_loop_is_no_clean_stop() -> None:
    where = running(names=["ical"])
    unit(where, "ical").crash_loop = True
    main(where, "ical").die(-11)
    with pytest.raises(errors.Failed, match="auto-restart"):
        judge(where, group(["ical"]))


def test_a_process_stopped_by_a_signal_has_failed() -> None:
    where = running()
    main(where, "server").state = "T"
    with pytest.raises(errors.Failed, match="server: process .*state T"):
        judge(where)


def test_a_process_that_a_debugger_holds_is_left_alone() -> None:
    where = running()
    main(where, "server").state = "t"
    judge(where)


def test_a_zombie_is_dead() -> None:
    where = running(DIRECT)
    for process in where.processes.find("/usr/sbin/kopano-server"):
        where.processes.table[process.pid].state = "Z"
        where.processes.table[process.pid].open = {}
    with pytest.raises(errors.Failed, match="server"):
        judge(where, group(manager=DIRECT))


def test_a_port_that_is_closed_is_seen() -> None:
    where = running()
    main(where, "gateway").open.pop((ADDRESS, 110))
    with pytest.raises(errors.Failed, match=r"gateway: it does not listen on 192\.0\.2\.100:110"):
        judge(where)


def test_a_port_that_another_process_holds_is_not_the_services() -> None:
    where = running()
    its = main(where, "gateway")
    its.open = {}
    thief = where.processes.run(Program("/usr/sbin/dovecot"))
    thief.program.listens = its.program.listens
    thief.listen()
    with pytest.raises(errors.Failed, match="another process"):
        judge(where)


def test_systemd_that_cannot_be_asked_is_no_reason_to_fail_mail() -> None:
    where = running()
    where.systemd.unavailable = True
    judge(where)


def test_a_masked_unit_whose_service_serves_is_left_alone_and_said() -> None:
    where = running()
    unit(where, "dagent").load = "masked"
    with pytest.raises(errors.Degraded, match="unmask kopano-dagent.service"):
        judge(where)


def test_a_stray_process_forbids_to_call_the_group_cleanly_stopped() -> None:
    where = machine()
    stray = program("spooler")
    where.processes.run(stray)
    with pytest.raises(errors.Failed):
        judge(where)


def test_probe_of_a_node_where_nothing_runs() -> None:
    with pytest.raises(errors.NotRunning):
        probe(machine())


def test_probe_of_a_node_without_the_software() -> None:
    where = machine()
    for name in NAMES:
        unit(where, name).load = "not-found"
    with pytest.raises(errors.NotAllowedHere, match="install it"):
        probe(where)


def test_probe_of_the_active_node() -> None:
    probe(running(), marked=True)


def test_probe_never_doubts_for_a_left_over_leaf_on_a_passive_node() -> None:
    """A probe that says 0 or 1 there restarts the service on the active node."""
    where = machine()
    where.processes.run(program("spooler"), cgroup="/system.slice/kopano-spooler.service")
    unit(where, "spooler").active = "active"
    with pytest.raises(monitoring.LeftOver, match="spooler runs on this node although"):
        probe(where)


def test_probe_tells_of_a_server_on_a_passive_node_in_any_case() -> None:
    where = machine()
    waiting = program("server")
    waiting.listens = {}
    where.processes.run(waiting)
    with pytest.raises(errors.Failed, match="server"):
        probe(where)


def test_probe_of_a_group_that_runs_in_part_after_a_start_is_a_failure() -> None:
    where = running()
    main(where, "gateway").die(-9)
    with pytest.raises(errors.Failed, match="gateway"):
        probe(where, marked=True)


def test_a_record_says_again_what_was_written() -> None:
    where = machine()
    first = group()
    first.services[0].listens += (Listening("http", "::1", 236), Listening("http", "*", 237))
    where.call(active.write, first, {"server": (12, 3456)})
    found = where.call(active.read, RESOURCE)
    assert found.manager == "systemd" and found.processes == {"server": (12, 3456)}
    for before, after in zip(first.services, found.services):
        for field in ("name", "unit", "program", "configuration", "default_configuration", "pipes",
                      "pid_file", "needs", "touches_data"):
            assert getattr(before, field) == getattr(after, field)
        assert [str(each) for each in before.listens] == [str(each) for each in after.listens]


@pytest.mark.parametrize("damage", [
    b"", b"format 2\nend\n", b"format 1\nmanager systemd\nend\n", b"\xff\xfe",
    b"format 1\nmanager systemd\nservice x\nlisten lmtp 1.2.3.4 port\nend\n",
    b"format 1\nmanager systemd\nlisten lmtp 1.2.3.4 24\nend\n",
    b"format 1\nmanager systemd\nservice x\nunit x.service\n"])
def test_a_damaged_record_is_said_and_not_believed(damage: bytes) -> None:
    where = machine()
    where.files.put(f"/run/mailha/active/{RESOURCE}", damage)
    with pytest.raises(active.RecordUnreadable):
        where.call(active.read, RESOURCE)


@pytest.mark.parametrize("name", ["", "../x", ".x", "a/b", "a\0b"])
def test_a_resource_name_never_leads_out_of_the_directory(name: str) -> None:
    with pytest.raises(errors.Failed, match="no name of a resource"):
        machine().call(active.read, name)


def test_two_resources_never_share_a_service() -> None:
    where = running()
    other = Group("other", "systemd", [service("gateway")])
    with pytest.raises(errors.NotAllowedHere, match=f"'gateway' is run by.*'{RESOURCE}'"):
        where.call(active.refuse_sharing, other)
    where.call(active.refuse_sharing, Group("other", "systemd", [
        Service("presence", unit="kopano-presence.service")]))


def test_waves_of_services_that_need_each_other_are_a_defect() -> None:
    first = Service("a", unit="a.service", needs=["b"])
    second = Service("b", unit="b.service", needs=["a"])
    with pytest.raises(ValueError):
        Group("x", "systemd", [first, second]).waves()


def test_pipes_under_var_run_are_found_under_run() -> None:
    where = running()
    its = main(where, "server")
    its.open["/run/kopano/server.sock"] = its.open.pop("/var/run/kopano/server.sock")
    judge(where)


def test_a_listener_that_was_made_in_the_unit_s_control_group_is_the_unit_s(
        monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody has to look through the open files of its processes then: Java has hundreds."""
    where = running()
    plain = where.sockets.listeners
    of = {each.inode: number for number, name in enumerate(NAMES, 1)
          for running in where.processes.table.values() if f"kopano-{name}" in running.cgroup
          for each in plain() if each.inode in running.open.values()}

    def listeners() -> list[Listener]:
        found = plain()
        for each in found:
            each.group = of[each.inode]
        return found

    def number(path: str) -> int:
        return next((index for index, name in enumerate(NAMES, 1)
                     if path.endswith(f"kopano-{name}.service")), 0)

    asked: list[int] = []
    monkeypatch.setattr(where.sockets, "listeners", listeners)
    monkeypatch.setattr(where.cgroups, "number", number)
    owned = where.sockets.owned_inodes
    monkeypatch.setattr(where.sockets, "owned_inodes", lambda pid, wanted: (
        asked.append(pid), owned(pid, wanted))[1])
    assert evidence.whole(where.call(evidence.look, group(), timeout=5.0))
    server = unit(where, "server").main
    assert server is not None and set(asked) <= {server.pid}, "only for its unix socket"
    of = {inode: 99 for inode in of}
    del asked[:]
    assert evidence.whole(where.call(evidence.look, group(), timeout=5.0))
    assert asked, "made elsewhere, as by socket activation: then its processes are asked"
