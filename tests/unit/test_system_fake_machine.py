# SPDX-License-Identifier: GPL-2.0-or-later
"""The fake machine has what the real one has, and behaves as its description says."""

from __future__ import annotations

import errno
import inspect
from typing import Any

import pytest

from fake_machine import FakeMachine, FakeUnit, Program, Script
from mailha import errors
from mailha.system import connection
from mailha.system.child_failures import ChildMissing, ChildTimedOut
from mailha.system.connection import ConnectionFailed
from mailha.system.machine import Machine
from mailha.system.units import SystemdUnavailable, UnitError

PARTS = ["clock", "processes", "cgroups", "systemd", "sockets", "children", "files"]


def started(unit: FakeUnit) -> FakeMachine:
    machine = FakeMachine()
    machine.systemd.add("x.service", unit)
    machine.systemd.start("x.service")
    return machine


def state(machine: FakeMachine) -> tuple[str, str, str]:
    unit = machine.systemd.units(["x.service"])["x.service"]
    return unit.active, unit.sub, unit.job


@pytest.mark.parametrize("part", PARTS)
def test_every_public_method_takes_what_the_real_one_takes(part: str) -> None:
    real, fake = type(getattr(Machine(), part)), type(getattr(FakeMachine(), part))
    check_same_methods(real, fake)


def test_connections_take_what_the_real_ones_take() -> None:
    from fake_machine import FakeConnection
    check_same_methods(connection.Connection, FakeConnection)


def check_same_methods(real: Any, fake: Any) -> None:
    names = [name for name, _ in inspect.getmembers(real, inspect.isfunction)
             if not name.startswith("_")]
    assert names
    for name in names:
        wanted = inspect.signature(getattr(real, name)).parameters
        given = inspect.signature(getattr(fake, name)).parameters
        assert [(p.name, p.kind, p.default) for p in wanted.values()] == \
            [(p.name, p.kind, p.default) for p in given.values()], f"{fake.__name__}.{name}"


def test_a_server_listens_after_its_time_and_answers() -> None:
    program = Program("/usr/sbin/s", listen_after=3.0,
                      listens={("127.0.0.1", 25): Script(b"220 hello\r\n", {b"QUIT": b"221\n"})})
    machine = started(FakeUnit(program=program))
    assert not machine.sockets.listeners()
    with pytest.raises(ConnectionFailed) as caught:
        machine.sockets.connect(("127.0.0.1", 25), 1.0)
    assert caught.value.cause == "refused"
    machine.clock.sleep(3.0)
    found = machine.sockets.listeners()[0]
    main = machine.systemd.units(["x.service"], details=True)["x.service"].main_process
    assert found.inode in machine.sockets.owned_inodes(main)
    with machine.sockets.connect(("127.0.0.1", 25), 1.0) as client:
        assert client.receive_line(1.0) == b"220 hello"
        client.send(b"QUIT\r\n")
        assert client.receive(10, 1.0) == b"221\n"


@pytest.mark.parametrize("mood, cause", [("mute", "timeout"), ("resets", "reset"),
                                         ("refuses", "refused"), ("hangs", "timeout"),
                                         ("closes", "closed")])
def test_moods_of_an_endpoint(mood: str, cause: str) -> None:
    program = Program("/usr/sbin/s", listens={"/run/s.sock": Script(mood=mood)})
    machine = started(FakeUnit(program=program))
    before = machine.clock.monotonic()
    with pytest.raises(ConnectionFailed) as caught:
        machine.sockets.connect("/run/s.sock", 2.0).receive_line(2.0)
    assert caught.value.cause == cause
    assert machine.clock.monotonic() - before == (2.0 if cause == "timeout" else 0.0)


def test_stop_waits_for_sigterm_and_ignored_sigterm_needs_sigkill() -> None:
    machine = started(FakeUnit(program=Program("/usr/sbin/s", term_takes=5.0)))
    job = machine.systemd.stop("x.service")
    assert state(machine) == ("deactivating", "stop-sigterm", "stop")
    machine.clock.sleep(5.0)
    assert (state(machine), machine.systemd.job_state(job)) == (("inactive", "dead", ""), "")
    machine = started(FakeUnit(program=Program("/usr/sbin/s", ignores_term=True)))
    machine.systemd.stop("x.service")
    machine.clock.sleep(100.0)
    assert state(machine)[0] == "deactivating"
    assert machine.systemd.kill("x.service", 9)
    assert state(machine) == ("failed", "failed", "")


def test_children_left_by_killmode_process_are_in_the_cgroup_of_an_inactive_unit() -> None:
    program = Program("/usr/sbin/s", children=[Program("/usr/sbin/s")])
    machine = started(FakeUnit(program=program, kill_mode="process"))
    machine.systemd.stop("x.service")
    assert state(machine) == ("inactive", "dead", "")
    assert machine.cgroups.populated("/system.slice/x.service")


def test_units_that_cannot_start() -> None:
    machine = started(FakeUnit(program=Program("/usr/sbin/s", exit_after=0.5, exit_code=0)))
    assert state(machine)[0] == "active"
    machine.clock.sleep(1)
    assert state(machine) == ("inactive", "dead", "")
    machine.systemd.add("masked.service", FakeUnit(load="masked"))
    for name in ("masked.service", "none.service"):
        with pytest.raises(UnitError):
            machine.systemd.start(name)
    assert machine.systemd.units(["none.service"])["none.service"].load == "not-found"


def test_a_queued_job_waits_until_it_is_released() -> None:
    machine = started(FakeUnit(program=Program("/usr/sbin/s"), queued=True))
    assert state(machine) == ("inactive", "dead", "start")
    machine.systemd.release("x.service")
    assert state(machine) == ("active", "running", "")


def test_a_guard_holds_from_the_reload_after_it_was_written() -> None:
    machine = FakeMachine()
    machine.systemd.add("x.service", FakeUnit(program=Program("/usr/sbin/s")))
    machine.files.make_directory("/etc/systemd/system/x.service.d")
    machine.files.write_atomic("/etc/systemd/system/x.service.d/50-mailha.conf",
                               b"[Unit]\nConditionPathExists=/run/mailha/active/x\n")
    machine.systemd.reload()
    machine.systemd.start("x.service")
    assert state(machine)[0] == "inactive"
    assert machine.systemd.properties("x.service")["ConditionResult"] is False
    machine.files.make_directory("/run/mailha/active")
    machine.files.write_atomic("/run/mailha/active/x", b"")
    machine.systemd.start("x.service")
    assert state(machine)[0] == "active"


def test_a_server_dies_where_its_address_is_not() -> None:
    machine = started(FakeUnit(program=Program("/s", listens={("192.0.2.1", 236): Script()})))
    assert state(machine)[0] == "failed"


def test_systemd_can_be_away_for_a_while_or_for_good() -> None:
    machine = FakeMachine()
    machine.systemd.unavailable_until = machine.clock.monotonic() + 3
    assert machine.systemd.units([]) == {}
    machine.systemd.unavailable = True
    before = machine.clock.monotonic()
    with pytest.raises(SystemdUnavailable):
        machine.systemd.units(["x.service"], timeout=4.0)
    assert machine.clock.monotonic() - before == 4.0


def test_disks_fill_commands_hang_and_power_fails() -> None:
    machine = FakeMachine()
    machine.files.write_atomic("/run/x", b"1")
    machine.files.failing["/run"] = errno.ENOSPC
    with pytest.raises(errors.Failed, match="No space left.*free space"):
        machine.files.write_atomic("/run/x", b"2")
    machine.children.answer(["crm_mon"], stdout=b"ok")
    machine.children.answer(["crm_mon", "-1"], takes=99)
    assert machine.children.run(["crm_mon"], timeout=1).stdout == b"ok"
    with pytest.raises(ChildTimedOut):
        machine.children.run(["crm_mon", "-1"], timeout=1)
    with pytest.raises(ChildMissing):
        machine.children.run(["pcs"], timeout=1)
    boot = machine.clock.boot_id()
    machine.reboot()
    assert boot != machine.clock.boot_id()
    assert not machine.files.exists("/run/x")
