# SPDX-License-Identifier: GPL-2.0-or-later
"""Children: every one has an end, and takes nothing of ours with it."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import time
from pathlib import Path
from typing import Any, Callable

import pytest

from mailha import errors
from mailha.system import children
from mailha.system.child_failures import ChildFailed, ChildMissing, ChildTimedOut
from mailha.system.children import Children

RUN = Children().run
BOUNDED = Children().bounded


def until(condition: Callable[[], Any]) -> Any:
    """Wait for an event, at most 60 s."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        found = condition()
        if found:
            return found
        time.sleep(0.005)
    raise AssertionError("it did not happen")


def alive(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            return file.read().rpartition(b")")[2].split()[0] not in (b"Z", b"X")
    except OSError:
        return False


def test_much_input_and_much_output_on_both_do_not_block_each_other() -> None:
    data = os.urandom(300_000)
    finished = RUN(["sh", "-c", "head -c 400000 /dev/zero >&2; cat"], timeout=60, stdin=data)
    assert finished.stdout == data
    assert finished.stderr == bytes(400_000)


def test_output_beyond_the_limit_is_cut_with_a_mark() -> None:
    finished = RUN(["head", "-c", "3000000", "/dev/zero"], timeout=60)
    assert finished.stdout.startswith(bytes(children.OUTPUT_LIMIT) + b"\n[output cut at")
    assert len(finished.stdout) < children.OUTPUT_LIMIT + 100


def test_child_that_reads_no_input_is_no_error() -> None:
    assert RUN(["true"], timeout=60, stdin=bytes(1_000_000)).code == 0


def test_hanging_child_is_killed_with_all_its_group() -> None:
    before = time.monotonic()
    with pytest.raises(ChildTimedOut) as caught:
        RUN(["sh", "-c", "sleep 600 & echo $!; wait"], timeout=0.3)
    assert time.monotonic() - before < 30
    grandchild = int(caught.value.stdout)
    until(lambda: not alive(grandchild))


def test_grandchild_that_holds_the_output_does_not_hold_us() -> None:
    before = time.monotonic()
    finished = RUN(["sh", "-c", "sleep 600 & echo $!"], timeout=300)
    assert time.monotonic() - before < 100
    os.kill(int(finished.stdout), signal.SIGKILL)


def test_child_gets_nothing_of_our_environment_and_files(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OCF_RESKEY_password", "secret")
    held = os.open("/dev/null", os.O_RDONLY)
    os.set_inheritable(held, True)
    try:
        finished = RUN(["sh", "-c", "env; ls /proc/self/fd"], timeout=60)
    finally:
        os.close(held)
    assert b"secret" not in finished.stdout and b"LC_ALL=C\n" in finished.stdout
    assert str(held).encode() not in finished.stdout.split()
    assert RUN(["/usr/bin/env"], timeout=60, environment={"A": "b"}).stdout == b"A=b\n"


def test_child_is_in_a_session_of_its_own() -> None:
    # kopano-server up to 8.7 sends SIGTERM to its own process group when it cannot bind.
    with pytest.raises(ChildFailed) as caught:
        RUN(["sh", "-c", "kill -TERM 0; sleep 600"], timeout=60)
    assert caught.value.exit_code == -signal.SIGTERM
    assert "was killed by signal 15" in str(caught.value)


def test_failure_names_the_command_the_code_and_the_last_words() -> None:
    with pytest.raises(ChildFailed) as caught:
        RUN(["sh", "-c", "echo out; echo first >&2; echo 'last\tword' >&2; echo >&2; exit 7"],
            timeout=60)
    assert str(caught.value).endswith("ended with code 7: last word")
    assert "\n" not in str(caught.value)
    assert (caught.value.exit_code, caught.value.stdout) == (7, b"out\n")
    assert caught.value.code == errors.ERR_GENERIC
    assert RUN(["sh", "-c", "exit 7"], timeout=60, accept=(0, 7)).code == 7


def test_missing_and_forbidden_programs(tmp_path: Path) -> None:
    script = tmp_path / "script"
    script.write_text("#!/nowhere/sh\n")
    for argv in (["mailha-none"], ["/mailha/none"], [str(script)], [""]):
        with pytest.raises(ChildMissing):
            RUN(argv, timeout=60)
    script.chmod(0o755)
    with pytest.raises(ChildMissing, match="No such file"):
        RUN([str(script)], timeout=60)


@pytest.mark.parametrize("number", [errno.EAGAIN, errno.ENOMEM, errno.EMFILE])
def test_no_process_left_is_a_failure_with_its_reason(
        monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    def fail(*_: Any, **__: Any) -> Any:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(subprocess, "Popen", fail)
    monkeypatch.setattr(os, "fork", fail)
    descriptors = os.listdir("/proc/self/fd")
    for call in (lambda: RUN(["true"], timeout=1), lambda: BOUNDED(lambda: b"", timeout=1),
                 lambda: Children().spawn_detached(["true"], environment={})):
        with pytest.raises(ChildFailed, match=os.strerror(number)) as caught:
            call()
        assert caught.value.errno == number and not isinstance(caught.value, ChildMissing)
    assert os.listdir("/proc/self/fd") == descriptors


@pytest.mark.parametrize("argument", ["a b", "it's \"quoted\"", "line\nbreak", "-rf", "", "\udcff"])
def test_arguments_arrive_as_they_are(argument: str) -> None:
    finished = RUN(["printf", "%s|", "x", argument], timeout=60)
    assert finished.stdout == b"x|" + os.fsencode(argument) + b"|"


def test_nul_in_an_argument_is_a_failure_and_no_traceback() -> None:
    with pytest.raises(ChildFailed):
        RUN(["echo", "a\0b"], timeout=60)


# bounded

def test_bounded_gives_back_bytes_however_many() -> None:
    assert BOUNDED(lambda: b"x" * 1_000_000, timeout=60) == b"x" * 1_000_000
    assert BOUNDED(lambda: b"", timeout=60) == b""


def test_bounded_gives_back_exceptions_with_their_number() -> None:
    with pytest.raises(ChildFailed, match="FileNotFoundError.*No such file") as caught:
        BOUNDED(lambda: open("/mailha/none", "rb").read(), timeout=60)
    assert caught.value.errno == errno.ENOENT

    def refuse() -> bytes:
        raise errors.NotInstalled("no such\nthing", remedy="install it")

    with pytest.raises(ChildFailed, match="^no such thing; install it$") as caught:
        BOUNDED(refuse, timeout=60)
    assert caught.value.code == errors.ERR_GENERIC


def test_bounded_function_that_hangs_is_left_at_the_deadline() -> None:
    def hang() -> bytes:
        time.sleep(600)
        return b""

    before = time.monotonic()
    with pytest.raises(ChildTimedOut, match="hang did not end within 0.2 s"):
        BOUNDED(hang, timeout=0.2)
    assert time.monotonic() - before < 30


def test_child_that_cannot_be_killed_does_not_hold_us(monkeypatch: pytest.MonkeyPatch) -> None:
    """SIGKILL does nothing to a process in state D; here it is not even sent."""
    pids: list[int] = []
    monkeypatch.setattr("mailha.system.forked._kill", pids.append)
    before = time.monotonic()
    with pytest.raises(ChildTimedOut):
        BOUNDED(lambda: time.sleep(600) or b"", timeout=0.2)
    assert time.monotonic() - before < 30
    os.kill(pids[0], signal.SIGKILL)
    os.waitpid(pids[0], 0)


def test_bounded_child_holds_neither_our_output_nor_our_files() -> None:
    reader, writer = os.pipe()

    def look() -> bytes:
        names = [os.readlink(f"/proc/self/fd/{each}") for each in os.listdir("/proc/self/fd")
                 if os.path.lexists(f"/proc/self/fd/{each}")]
        return "\n".join(names).encode()

    try:
        seen = BOUNDED(look, timeout=60).decode().split("\n")
    finally:
        os.close(reader)
        os.close(writer)
    assert seen.count("/dev/null") == 3
    assert sum(name.startswith("pipe:") for name in seen) == 1


def test_bounded_child_runs_nothing_of_ours_at_its_end(tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    handler = signal.signal(signal.SIGTERM, lambda *_: mark.write_text("handler"))
    parent = os.getpid()

    def suicide() -> bytes:
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(600)
        return b""

    try:
        with pytest.raises(ChildFailed, match="was killed by signal 15"):
            BOUNDED(suicide, timeout=60)
        with pytest.raises(ChildFailed):
            BOUNDED(lambda: exit(3) or b"", timeout=60)
    finally:
        signal.signal(signal.SIGTERM, handler)
        if os.getpid() != parent:
            mark.write_text("finally")
    assert not mark.exists()


# spawn_detached

def test_daemon_has_a_session_its_output_and_its_environment(tmp_path: Path) -> None:
    output = tmp_path / "log"
    pid = Children().spawn_detached(
        ["sh", "-c", "echo $A; echo two >&2; exec sleep 600"],
        environment={"A": "one", "PATH": "/usr/bin:/bin"}, output=str(output))
    try:
        until(lambda: output.exists() and output.read_bytes() == b"one\ntwo\n")
        until(lambda: os.readlink(f"/proc/{pid}/exe").endswith("sleep"))
        assert os.getsid(pid) != os.getsid(0) and os.getpgid(pid) != os.getpgid(0)
        assert os.readlink(f"/proc/{pid}/fd/0") == "/dev/null"
        assert sorted(os.listdir(f"/proc/{pid}/fd")) == ["0", "1", "2"]
        assert os.readlink(f"/proc/{pid}/cwd") == "/"
        with open(f"/proc/{pid}/stat", "rb") as file:
            assert int(file.read().rpartition(b")")[2].split()[1]) != os.getpid()
    finally:
        os.kill(pid, signal.SIGKILL)


def test_daemon_that_kills_its_process_group_hits_only_itself() -> None:
    pid = Children().spawn_detached(["sh", "-c", "kill -TERM 0; sleep 600"],
                                    environment={"PATH": "/usr/bin:/bin"})
    until(lambda: not alive(pid))


def test_daemon_that_cannot_be_executed_is_told() -> None:
    with pytest.raises(ChildMissing, match="mailha-none"):
        Children().spawn_detached(["mailha-none"], environment={"PATH": "/bin"})
    with pytest.raises(ChildFailed, match="no user mailha-none"):
        Children().spawn_detached(["true"], environment={"PATH": "/bin"}, user="mailha-none")
    with pytest.raises(ChildFailed):
        Children().spawn_detached(["true"], environment={}, output="/mailha/none/log")
