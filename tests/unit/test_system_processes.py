# SPDX-License-Identifier: GPL-2.0-or-later
"""Processes: who they are, whether they are still the same, and how they are signalled."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any, Callable, Iterator, Optional

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailha.system import processes
from mailha.system.machine import Machine
from mailha.system.processes import Process, Processes

SELF = os.readlink("/proc/self/exe")


def until(condition: Callable[[], Any]) -> Any:
    """Wait for an event, at most 60 s."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        found = condition()
        if found:
            return found
        time.sleep(0.005)
    raise AssertionError("it did not happen")


@pytest.fixture
def sleeper() -> Iterator[subprocess.Popen[bytes]]:
    child = subprocess.Popen(["sleep", "600"])
    yield child
    child.kill()
    child.wait()


def add(root: Path, pid: int, *, comm: str = "x", state: str = "S", start: int = 7,
        executable: Optional[str] = "/bin/x", arguments: bytes = b"x\0", thread: bool = False,
        namespace: str = "pid:[1]") -> None:
    """Put a process into a picture of /proc."""
    place = root / "proc" / str(pid)
    (place / "ns").mkdir(parents=True)
    rest = [state, "1", *["0"] * 17, str(start), *["0"] * 15, "-1" if thread else "17", "0"]
    (place / "stat").write_bytes(f"{pid} ({comm}) ".encode() + " ".join(rest).encode() + b"\n")
    (place / "cmdline").write_bytes(arguments)
    if executable is not None:
        (place / "exe").symlink_to(executable)
    (place / "ns" / "pid").symlink_to(namespace)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    add(tmp_path, 1)
    (tmp_path / "proc" / "self").symlink_to("1")
    return tmp_path


@given(st.binary(max_size=30), st.integers(0, 2**63), st.integers(0, 2**22))
def test_stat_is_read_right_whatever_the_command_is_called(
        command: bytes, start: int, parent: int) -> None:
    fields = [b"S", b"%d" % parent, *[b"0"] * 17, b"%d" % start, *[b"0"] * 30]
    found = processes.parse_stat(b"42 (" + command + b") " + b" ".join(fields))
    assert found is not None
    assert (os.fsencode(found[0]), *found[1:]) == (command, "S", parent, start, False)


@given(st.binary(max_size=200))
def test_damaged_stat_is_nobody_and_no_exception(data: bytes) -> None:
    found = processes.parse_stat(data)
    assert found is None or len(found) == 5


@given(st.binary(max_size=200))
def test_damaged_cgroup_file_is_no_exception(data: bytes) -> None:
    assert isinstance(processes.parse_cgroup(data), str)


def test_this_process_is_seen_as_it_is() -> None:
    found = Machine().processes.read(os.getpid())
    assert found is not None
    assert (found.pid, found.parent, found.executable) == (os.getpid(), os.getppid(), SELF)
    assert found.alive and not found.stopped and found.arguments
    assert 0 <= Machine().processes.age(found) < 3600
    assert os.getpid() in [process.pid for process in Machine().processes.all()]


def test_name_with_spaces_and_parentheses_does_not_shift_the_fields(tmp_path: Path) -> None:
    program = tmp_path / ") S 1 (x y"
    shutil.copy("/bin/sleep", program)
    child = subprocess.Popen([str(program), "600"])
    try:
        found = until(lambda: next(iter(Machine().processes.find(str(program))), None))
        assert (found.pid, found.parent, found.command) == (child.pid, os.getpid(), ") S 1 (x y")
    finally:
        child.kill()
        child.wait()


def test_program_is_found_after_an_upgrade_removed_its_file(tmp_path: Path) -> None:
    program = tmp_path / "server"
    shutil.copy("/bin/sleep", program)
    child = subprocess.Popen([str(program), "600"])
    try:
        until(lambda: Machine().processes.find(str(program)))
        program.unlink()
        found = Machine().processes.find(str(program))
        assert [process.pid for process in found] == [child.pid]
        assert found[0].executable == str(program)
    finally:
        child.kill()
        child.wait()


def test_script_is_found_by_its_path_through_its_interpreter(tmp_path: Path) -> None:
    script = tmp_path / "kopano-search"
    script.write_text("import time\ntime.sleep(600)\n")
    child = subprocess.Popen([sys.executable, "-I", "-X", "utf8", str(script), "-F"])
    try:
        found = until(lambda: Machine().processes.find(str(script)))
        assert [process.pid for process in found] == [child.pid]
        assert str(script) not in str(Machine().processes.find("/usr/sbin/kopano-search"))
    finally:
        child.kill()
        child.wait()


@pytest.mark.parametrize("arguments, script", [
    (["python3", "/x"], "/x"), (["python3", "-u", "/x", "/y"], "/x"), (["python3", "-c", "/x"], ""),
    (["python3", "-m", "/x"], ""), (["python3", "-X", "utf8", "/x"], "/x"), (["python3"], ""),
    ([], ""), (["python3", "-"], "")])
def test_script_of_an_interpreter(arguments: list[str], script: str) -> None:
    assert processes.script_of(arguments) == script


def test_editor_of_a_script_is_not_its_interpreter(root: Path) -> None:
    add(root, 5, executable="/usr/bin/vi", arguments=b"vi\0/usr/sbin/s\0")
    add(root, 6, executable="/usr/bin/python3.9", arguments=b"python3\0/usr/sbin/s\0")
    assert [p.pid for p in Processes(str(root)).find("/usr/sbin/s")] == [6]


@pytest.mark.parametrize("pid", [0, -1, -2**31, 2**22 + 1, 2**64])
def test_absurd_pids_are_nobody(pid: int) -> None:
    assert Machine().processes.read(pid) is None


def test_number_of_a_thread_is_no_process() -> None:
    seen: list[Any] = []
    thread = threading.Thread(
        target=lambda: seen.append(Machine().processes.read(threading.get_native_id())))
    thread.start()
    thread.join()
    assert seen == [None]


def test_zombie_counts_as_dead() -> None:
    child = subprocess.Popen(["true"])
    found = until(lambda: (p := Machine().processes.read(child.pid)) and p.state == "Z" and p)
    assert not found.alive
    assert (found.executable, found.arguments) == ("", [])
    assert not Machine().processes.is_same(found)
    assert Machine().processes.signal(found, signal.SIGKILL) is False
    child.wait()


def test_kernel_thread_has_neither_program_nor_arguments(root: Path) -> None:
    add(root, 2, comm="kthreadd", executable=None, arguments=b"")
    found = Processes(str(root)).read(2)
    assert found is not None
    assert (found.executable, found.arguments, found.alive) == ("", [], True)


def test_process_that_vanishes_half_way_is_none(root: Path) -> None:
    add(root, 9)
    os.unlink(root / "proc/9/stat")
    table = Processes(str(root))
    assert table.read(9) is None
    assert [process.pid for process in table.all()] == [1]
    assert [process.pid for process in table.find("/bin/x")] == [1]
    assert table.arguments_of(77) == [] and table.cgroup_of(77) == ""


def test_processes_of_containers_are_left_out(root: Path) -> None:
    add(root, 5, executable="/usr/sbin/kopano-server")
    add(root, 6, executable="/usr/sbin/kopano-server", namespace="pid:[2]")
    table = Processes(str(root))
    assert [process.pid for process in table.find("/usr/sbin/kopano-server")] == [5]
    assert sorted(process.pid for process in table.all()) == [1, 5]


def test_stranger_with_the_same_pid_is_never_signalled(sleeper: subprocess.Popen[bytes]) -> None:
    table = Machine().processes
    now = table.read(sleeper.pid)
    assert now is not None and table.is_same(now)
    before = Process(now.pid, now.start_time - 1, "S", 1, "x", "/usr/sbin/x", table)
    assert table.signal(before, signal.SIGKILL) is False
    assert sleeper.poll() is None
    assert table.signal(now, signal.SIGKILL) is True
    assert sleeper.wait() == -signal.SIGKILL


def test_without_pidfd_signals_arrive_too(
        sleeper: subprocess.Popen[bytes], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "pidfd_open")
    table = Machine().processes
    now = table.read(sleeper.pid)
    assert now is not None and table.signal(now, signal.SIGSTOP)
    stopped = until(lambda: (p := table.read(sleeper.pid)) and p.stopped and p)
    assert stopped.alive
    assert table.signal(stopped, signal.SIGKILL)
    assert sleeper.wait() == -signal.SIGKILL


@pytest.mark.parametrize("text, path", [
    (b"0::/system.slice/x.service\n", "/system.slice/x.service"),
    (b"1:name=systemd:/a\n0::/\n", "/a"), (b"1:name=systemd:/a\n0::/b\n", "/b"),
    (b"1:name=systemd:/\n0::/b\n", "/b"), (b"4:cpu,cpuacct:/z\n1:name=systemd:/a:b\n", "/a:b"),
    (b"0::/system.slice/x.service (deleted)\n", "/system.slice/x.service"), (b"0::/\n", "/"),
    (b"", "")])
def test_control_group_of_a_process(text: bytes, path: str) -> None:
    assert processes.parse_cgroup(text) == path
