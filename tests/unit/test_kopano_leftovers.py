# SPDX-License-Identifier: GPL-2.0-or-later
"""What a dead Kopano leaves, and what it said last."""

from __future__ import annotations

import errno
import os
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fake_machine import FakeMachine, Program, Script
from mailha import errors
from mailha.products.kopano import last_words, leftovers
from mailha.services.service import Service
from mailha.system.machine import Machine

SOCKET = "/var/run/kopano/server.sock"
LOCK = "/tmp/kopano-upgrade-lock"


def service(name: str, *, pipes: tuple[str, ...] = (), pid_file: str | None = None) -> Service:
    return Service(name, unit=f"kopano-{name}.service", program=f"/usr/sbin/kopano-{name}",
                   configuration=f"/etc/kopano/{name}.cfg",
                   default_configuration=f"/etc/kopano/{name}.cfg", pipes=pipes,
                   pid_file=f"/run/kopano/{name}.pid" if pid_file is None else pid_file)


SPOOLER, SERVER = service("spooler"), service("server", pipes=(SOCKET,))


def machine_with(pid: object, name: str = "spooler") -> Any:
    """Return a machine with a pid file."""
    machine: Any = FakeMachine()
    machine.files.make_directory("/run/kopano")
    machine.files.put(f"/run/kopano/{name}.pid", f"{pid}".encode())
    return machine


# Pid files

@pytest.mark.parametrize("pid", ["4711\n", "4711", "", "\n", "0\n", "99999999999999999999"])
def test_a_pid_file_of_nobody_goes(pid: str) -> None:
    machine = machine_with(pid)
    assert leftovers.clear(machine, [SPOOLER]) == ["/run/kopano/spooler.pid"]
    assert not machine.files.exists("/run/kopano/spooler.pid")
    assert leftovers.clear(machine, [SPOOLER]) == []


def test_the_pid_file_of_the_living_service_stays() -> None:
    machine: Any = FakeMachine()
    machine.files.make_directory("/run/kopano")
    machine.processes.run(Program(SPOOLER.program, pid_file=SPOOLER.pid_file))
    assert leftovers.clear(machine, [SPOOLER]) == []
    assert machine.files.exists(SPOOLER.pid_file)


def test_a_zombie_is_dead_although_kopano_takes_it_for_itself() -> None:
    """Measured: its command line is empty, and the spooler then refuses to start."""
    machine = machine_with("")
    running = machine.processes.run(Program(SPOOLER.program, pid_file=SPOOLER.pid_file))
    running.state = "Z"
    assert leftovers.clear(machine, [SPOOLER]) == [SPOOLER.pid_file]


def test_a_pid_that_was_used_again_names_a_stranger() -> None:
    machine = machine_with("")
    machine.processes.run(Program("/usr/bin/sleep", pid_file=SPOOLER.pid_file))
    assert leftovers.clear(machine, [SPOOLER]) == [SPOOLER.pid_file]


def test_a_pid_of_another_instance_is_a_strangers_too() -> None:
    machine = machine_with("")
    machine.processes.run(Program(SPOOLER.program, pid_file=SPOOLER.pid_file, arguments=[
        SPOOLER.program, "-c", "/etc/kopano/second.cfg"]))
    assert leftovers.clear(machine, [SPOOLER]) == [SPOOLER.pid_file]


def test_a_script_is_known_by_its_path() -> None:
    search = service("search")
    machine = machine_with("", "search")
    machine.processes.run(Program("/usr/bin/python3.11", pid_file=search.pid_file, arguments=[
        "/usr/bin/python3", "/usr/sbin/kopano-search", "-F"]))
    assert leftovers.clear(machine, [search]) == []


def test_a_server_that_waits_for_its_database_has_no_pid_file_but_its_old_one_goes() -> None:
    """Measured: while it waits for MySQL the pid of the run before is in it."""
    machine = machine_with("4711", "server")
    machine.processes.run(Program(SERVER.program))
    assert leftovers.clear(machine, [SERVER]) == [SERVER.pid_file]


@pytest.mark.parametrize("content", ["root:x:0:0:root:/root:/bin/bash\n", "12 34", "x" * 100, "-1"])
def test_a_file_that_is_no_pid_file_stays_whatever_the_configuration_says(content: str) -> None:
    machine: Any = FakeMachine()
    machine.files.put("/etc/passwd", content.encode())
    assert leftovers.clear(machine, [service("spooler", pid_file="/etc/passwd")]) == []
    assert machine.files.exists("/etc/passwd")


def test_a_pid_file_on_a_dead_disk_holds_nobody_up() -> None:
    machine: Any = FakeMachine()
    machine.files.put("/srv/mail/spooler.pid", b"4711")
    machine.children.hanging.add("read_leftover")
    assert leftovers.clear(machine, [service("spooler", pid_file="/srv/mail/spooler.pid")]) == []
    machine.children.hanging.clear()
    assert leftovers.clear(machine, [service("spooler", pid_file="/srv/mail/spooler.pid")]) == [
        "/srv/mail/spooler.pid"]


def test_no_pid_files_since_10_nothing_to_do() -> None:
    assert leftovers.clear(machine_with("1"), [service("spooler", pid_file="")]) == []


def test_run_that_cannot_be_written_is_said() -> None:
    machine = machine_with("4711")
    machine.files.failing["/run"] = errno.EROFS
    with pytest.raises(errors.Failed, match="/run/kopano/spooler.pid.*Read-only"):
        leftovers.clear(machine, [SPOOLER])


# Sockets and the upgrade lock

def test_a_socket_without_owner_goes_and_one_with_owner_stays() -> None:
    machine: Any = FakeMachine()
    machine.files.put(SOCKET, b"")
    assert leftovers.clear(machine, [SERVER]) == [SOCKET]
    machine.processes.run(Program(SERVER.program, listens={SOCKET: Script()}))
    assert leftovers.clear(machine, [SERVER]) == []
    assert machine.files.exists(SOCKET)


def test_a_socket_that_somebody_listens_on_under_its_other_name_stays() -> None:
    machine: Any = FakeMachine()
    machine.files.put(SOCKET, b"")
    machine.processes.run(Program("/usr/bin/other", listens={"/run/kopano/server.sock": Script()}))
    assert leftovers.clear(machine, [SERVER]) == []


def test_a_socket_stays_as_long_as_a_process_of_its_service_lives() -> None:
    """It may be about to bind it."""
    machine: Any = FakeMachine()
    machine.files.put(SOCKET, b"")
    machine.processes.run(Program(SERVER.program))
    assert leftovers.clear(machine, [SERVER]) == []


def test_a_real_socket_is_told_from_a_file(tmp_path: Path) -> None:
    import socket
    machine = Machine(str(tmp_path))
    (tmp_path / "proc/net").mkdir(parents=True)
    (tmp_path / "proc/net/unix").write_text("Num\n")
    (tmp_path / "run").mkdir()
    directory = os.open(tmp_path / "run", os.O_RDONLY)
    try:
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(f"/proc/self/fd/{directory}/s")
    finally:
        os.close(directory)
    (tmp_path / "run/f").write_text("mail")
    assert leftovers.clear(machine, [service("server", pipes=("/run/s", "/run/f", "/run/d"))]) == [
        "/run/s"]
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["f"]


def test_a_lock_of_a_killed_upgrade_goes_when_no_server_lives() -> None:
    """Measured: the next server never removes it, and init scripts then refuse to stop for ever."""
    machine: Any = FakeMachine()
    machine.files.put(LOCK, b"")
    assert leftovers.clear(machine, [SPOOLER]) == []
    running = machine.processes.run(Program(SERVER.program))
    assert leftovers.clear(machine, [SERVER]) == []
    running.die()
    assert leftovers.clear(machine, [SERVER]) == [LOCK]


def test_upgrading_is_a_lock_that_is_not_older_than_the_server() -> None:
    machine: Any = FakeMachine()
    machine.files.put(LOCK, b"")
    machine.clock.sleep(10)
    running = machine.processes.run(Program(SERVER.program))
    seen = f"/proc/{running.pid}/root{LOCK}"
    assert not leftovers.upgrading(machine)
    machine.files.put(seen, b"")
    machine.files.times[seen] = machine.clock.wall() - 10
    assert not leftovers.upgrading(machine)
    machine.clock.sleep(1)
    machine.files.put(seen, b"")
    assert leftovers.upgrading(machine)
    running.state = "Z"
    assert not leftovers.upgrading(machine)


# What a start needs

def test_the_run_directory_is_made_as_the_init_scripts_do() -> None:
    machine: Any = FakeMachine()
    machine.children.answer(["install"])
    leftovers.make_run_directory(machine)
    assert machine.children.ran[0].argv == [
        "install", "-d", "-m", "0775", "-o", "kopano", "-g", "kopano", "/run/kopano"]
    machine.files.make_directory("/run/kopano")
    leftovers.make_run_directory(machine)
    assert len(machine.children.ran) == 1


def test_a_run_directory_that_cannot_be_made() -> None:
    machine: Any = FakeMachine()
    machine.children.answer(["install"], code=1, stderr=b"install: invalid user: 'kopano'\n")
    with pytest.raises(errors.Failed, match="cannot make /run/kopano.*invalid user"):
        leftovers.make_run_directory(machine)
    machine.children.answer(["install"], takes=1000)
    with pytest.raises(errors.Failed, match="did not end"):
        leftovers.make_run_directory(machine)


@pytest.mark.parametrize("path, text, locale", [
    ("/etc/default/kopano", 'KOPANO_LOCALE="de_DE.UTF-8"\n', "de_DE.UTF-8"),
    ("/etc/sysconfig/kopano", "# KOPANO_LOCALE=x\n export KOPANO_LOCALE='C.UTF-8' # y\n",
     "C.UTF-8"),
    ("/etc/default/kopano", "KOPANO_LOCALE=nl_NL@euro\n", "nl_NL@euro"),
    ("/etc/default/kopano", "KOPANO_LOCALE=$(reboot)\n", "C"),
    ("/etc/default/kopano", "KOPANO_LOCALE=\n", "C"), ("/x", "", "C")])
def test_the_environment_is_that_of_the_init_scripts(path: str, text: str, locale: str) -> None:
    machine: Any = FakeMachine()
    machine.files.put(path, text.encode())
    found = leftovers.environment(machine)
    assert found["LC_ALL"] == found["LANG"] == locale
    assert found["KOPANO_USERSCRIPT_LOCALE"] == "C" and "/usr/sbin" in found["PATH"]


def test_the_locale_of_userscripts() -> None:
    machine: Any = FakeMachine()
    machine.files.put("/etc/default/kopano", b"KOPANO_USERSCRIPT_LOCALE=de_DE.UTF-8\n")
    found = leftovers.environment(machine)
    assert (found["LC_ALL"], found["KOPANO_USERSCRIPT_LOCALE"]) == ("C", "de_DE.UTF-8")


# Last words

NOW = time.mktime((2026, 11, 21, 12, 0, 0, 0, 0, -1))


def said(*lines: str) -> str:
    return last_words.choose(list(lines), NOW)[1]


def test_the_last_serious_line_counts() -> None:
    assert said("2026-11-21T12:00:01.000001: [=======] Starting kopano-server version 8.7.25",
                "2026-11-21T12:00:02.000001: [crit   ] Unable to bind to port 236: in use",
                "2026-11-21T12:00:02.100001: [notice ] Shutting down",
                "2026-11-21T12:00:02.200001: [=======] Server shutdown complete.") == \
        "Unable to bind to port 236: in use"


def test_without_a_serious_line_the_last_one_counts() -> None:
    assert said("2026-11-21T12:00:02.000001: [notice ] Unable to connect, retrying in 10s: x") == \
        "Unable to connect, retrying in 10s: x"
    assert said() == ""


def test_lines_from_before_the_start_do_not_count() -> None:
    assert said("2026-11-21T11:59:59.999999: [error  ] an old story", "  of two lines",
                "2026-11-21T12:00:00.000000: [notice ] here we go") == "here we go"
    assert said("Sat Nov 21 11:59:59 2026: [error  ] an old story") == ""


def test_the_way_of_writing_before_8_7() -> None:
    assert said("Sat Nov 21 12:00:01 2026: [error  ] Unable to create socket") == \
        "Unable to create socket"
    assert said("Thu Jan  1 00:00:00 1970: [error  ] old") == ""


def test_newer_data_is_what_matters_and_not_the_advice_to_run_over_it() -> None:
    words = said(
        "2026-11-21T12:00:02.0: [warning] WARNING: Database version (9,0,0,0,119) is newer than "
        "the server version (8,7,25,0,118)",
        "2026-11-21T12:00:02.0: [warning]    You can force the server to start with "
        "--ignore-database-version-conflict",
        "2026-11-21T12:00:02.0: [crit   ] something else",
        "An error occurred: invalid version. Please check logfile file:x for details.")
    assert words.startswith("WARNING: Database version (9,0,0,0,119) is newer")
    assert last_words.newer_data(words) and not last_words.newer_data("something else")


def test_standard_error_has_no_time() -> None:
    assert said('Config error: Unknown option "server_bind" found!', "bye") == \
        'Config error: Unknown option "server_bind" found!'


@given(st.lists(st.text()), st.floats(0, 2e9))
def test_whatever_was_said_becomes_one_bearable_line(lines: list[str], since: float) -> None:
    rank, text = last_words.choose(lines, since)
    assert bool(rank) == bool(text) and text.isprintable() and len(text) <= 300


def machine_that_logged(tmp_path: Path, text: str, *, age: float = 0.0) -> Machine:
    path = tmp_path / "var/log/kopano/server.log"
    path.parent.mkdir(parents=True)
    path.write_text(text)
    os.utime(path, (time.time() - age, time.time() - age))
    return Machine(str(tmp_path))


def ask(machine: Any, since: float, log_file: str = "/var/log/kopano/server.log",
        output: str = "/nothing") -> str:
    return leftovers.last_words(machine, SERVER, since=since, log_file=log_file, output=output)


def test_a_log_of_any_size_is_read_from_its_end(tmp_path: Path) -> None:
    machine = machine_that_logged(tmp_path, "[error  ] early\n" + "[notice ] dull\n" * 100_000
                                  + "[error  ] late\n[notice ] dull\n")
    assert ask(machine, time.time() - 60) == "late"


def test_half_a_line_at_the_beginning_of_the_end_is_left_out(tmp_path: Path) -> None:
    machine = machine_that_logged(tmp_path, "[error  ] " + "x" * 70_000 + "\n")
    assert ask(machine, time.time() - 60) == ""


def test_a_log_that_nobody_wrote_to_since_says_nothing(tmp_path: Path) -> None:
    machine = machine_that_logged(tmp_path, "[error  ] old\n", age=3600)
    assert ask(machine, time.time() - 60) == ""


def test_no_log_no_words(tmp_path: Path) -> None:
    machine = Machine(str(tmp_path))
    assert ask(machine, 0.0) == "" and ask(machine, 0.0, log_file="") == ""


def test_standard_error_counts_where_the_log_says_nothing_serious(tmp_path: Path) -> None:
    machine = machine_that_logged(tmp_path, "[notice ] dull\n")
    (tmp_path / "output").write_text("Config error: bad\n")
    assert ask(machine, time.time() - 60, output="/output") == "Config error: bad"


def test_the_journal_has_what_a_unit_prints() -> None:
    machine: Any = FakeMachine()
    machine.children.answer(["journalctl"], stdout=b"Config error: \xff bad\n")
    assert ask(machine, 1000.7, log_file="", output="") == "Config error: \ufffd bad"
    assert {"--since=@1000", "_SYSTEMD_UNIT=kopano-server.service"} <= set(
        machine.children.ran[0].argv)
    machine.children.answer(["journalctl"], takes=1000)
    assert ask(machine, 1000.7, log_file="", output="") == ""
    assert machine.clock.slept <= 5
