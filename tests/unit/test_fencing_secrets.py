# SPDX-License-Identifier: GPL-2.0-or-later
"""Passwords from a program and from a file, and that they go nowhere else."""

from __future__ import annotations

import os
import stat
import time
from pathlib import Path
from typing import Callable

import pytest

from fencing_node import Node, call
from mailha.agents import fence_ipmi
from mailha.bmc import screen
from mailha.fencing import secrets
from mailha.fencing.deadline import Deadline
from mailha.fencing.failures import FencingFailed
from mailha.fencing.log import Log

Program = Callable[..., str]


@pytest.fixture
def program(tmp_path: Path) -> Program:
    """Return a function that makes a program out of lines of shell and returns its path."""
    def make(*lines: str, interpreter: str = "#!/bin/sh") -> str:
        path = tmp_path / f"program{len(list(tmp_path.iterdir()))}"
        path.write_text("\n".join([interpreter, *lines, ""]))
        path.chmod(0o755)
        return str(path)
    return make


@pytest.mark.parametrize("printed, password", [
    ("sesame\\n", "sesame"), ("sesame", "sesame"), ("  two words \\n", "  two words "),
    ("sesame\\r\\n", "sesame"), ("sesame\\n\\n\\r\\n", "sesame"),
    ("\\303\\274ber\\n", "\u00fcber"), ("\\t\\n", "\t")])
def test_the_one_line_that_a_program_prints_is_the_password_blanks_included(
        program: Program, printed: str, password: str) -> None:
    assert secrets.from_program(program(f"printf '{printed}'"), None) == password


def test_a_program_gets_its_arguments_as_a_shell_would_divide_them(program: Program) -> None:
    path = program("printf '%s' \"$#:$1:$2\"")
    assert secrets.from_program(f"{path} 'a b' \"c d\"", None) == "2:a b:c d"
    assert secrets.from_program(f"{path} a\\ b c", None) == "2:a b:c"


def test_no_shell_is_used_and_what_needs_one_is_refused(tmp_path: Path) -> None:
    witness = tmp_path / "witness"
    for command in (f"/bin/echo x; touch {witness}", f"/bin/echo $(touch {witness})",
                    f"/bin/echo `touch {witness}`", f"/bin/echo x > {witness}", "/bin/echo $HOME",
                    '/bin/echo "$HOME"', "/bin/cat /etc/ho*", "cat x | head", "~/x", "(true)"):
        with pytest.raises(secrets.NoCommand):
            secrets.words(command)
    assert secrets.words("/bin/echo 'a;b|c' a\\;b") == ["/bin/echo", "a;b|c", "a;b"]
    assert not witness.exists()


@pytest.mark.parametrize("text", ["", " ", "'", "relative/path", "./x", '"'])
def test_what_is_no_command_is_refused(text: str) -> None:
    with pytest.raises(secrets.NoCommand):
        secrets.words(text)


def test_a_program_without_a_slash_is_looked_up_as_the_shell_did() -> None:
    assert secrets.find("sh").endswith("/sh") and secrets.find("no-such-program") == ""
    assert secrets.from_program("echo sesame", None) == "sesame"


@pytest.mark.parametrize("lines, complaint", [
    (("echo sesame-hidden", "exit 3"), "ended with status 3"),
    (("echo sesame-hidden", "kill -9 $$"), "killed by signal 9"), (("true",), "no password"),
    (("echo",), "no password"), (("printf 'sesame-hidden\\nb\\n'",), "more than one line"),
    (("printf 'sesame-hidden\\000'",), "NUL"),
    (("while :; do echo sesame-hidden-sesame-hidden; done",), "more than")])
def test_a_program_that_fails_is_a_failure_and_no_empty_password(
        program: Program, lines: tuple[str, ...], complaint: str) -> None:
    path = program(*lines)
    node = Node()
    said = call(node, {"ip": "192.0.2.7", "action": "off", "password_script": path})
    assert said.code == 1 and complaint in said.stderr and path in said.stderr
    assert "sesame-hidden" not in said.everything and node.events == []


def test_what_a_program_says_on_stderr_is_shown_to_nobody(program: Program) -> None:
    path = program("set -x", "echo sesame-hidden", "exit 1")
    said = call(Node(), {"ip": "192.0.2.7", "action": "off", "password_script": path,
                         "verbose": "1"})
    assert "sesame-hidden" not in said.everything


def test_a_program_that_hangs_is_killed_with_all_that_it_started(program: Program,
                                                                 tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    path = program(f"sleep 1000 & echo $! > {pids}.new", f"mv {pids}.new {pids}", "wait")
    deadline = Deadline(1.0)
    with pytest.raises(FencingFailed, match="did not end within"):
        secrets.from_program(path, deadline)
    assert deadline.left() > 0
    sleeper = int(pids.read_text())
    until = time.monotonic() + 60       # the kernel ends it when it comes to it
    while _lives(sleeper):
        assert time.monotonic() < until, "it was not killed"
        time.sleep(0.01)


def _lives(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False


def test_a_grandchild_that_keeps_the_pipe_open_is_not_waited_for(program: Program) -> None:
    path = program("sleep 5 &", "echo sesame")
    deadline = Deadline(60.0)
    assert secrets.from_program(path, deadline) == "sesame"
    assert deadline.left() > 56


def test_a_program_has_no_input_and_nothing_secret_in_its_arguments_or_environment(
        program: Program, tmp_path: Path) -> None:
    seen = tmp_path / "seen"
    path = program(f"tr '\\0' ' ' < /proc/$$/cmdline > {seen}", f"env >> {seen}",
                   f"cat >> {seen}", "echo sesame-hidden")
    said = call(Node(), {"ip": "192.0.2.7", "action": "off", "password_script": path,
                         "hexadecimal_kg": "00112233445566778899", "password": "other-hidden"})
    assert said.code == 0
    for secret in ("sesame-hidden", "00112233445566778899", "other-hidden"):
        assert secret not in seen.read_text() and secret not in said.everything


def test_a_program_comes_before_a_password_as_it_does_for_fence_ipmilan() -> None:
    node = Node()
    assert call(node, {"ip": "192.0.2.7", "action": "off", "password": "old",
                       "password_script": "/bin/echo new"}).code == 0
    assert node.passwords == ["new"]


def test_a_program_is_run_once_however_often_the_agent_logs_in(program: Program,
                                                               tmp_path: Path) -> None:
    from mailha.fencing.failures import SessionLost
    count = tmp_path / "count"
    path = program(f"echo x >> {count}", "echo sesame")
    node = Node()
    node.read_failures = [SessionLost("gone"), SessionLost("gone")]
    assert call(node, {"ip": "192.0.2.7", "action": "off", "password_script": path}).code == 0
    assert node.passwords == ["sesame"] * 3 and count.read_text() == "x\n"


@pytest.mark.parametrize("content, password", [
    (b"sesame\n", "sesame"), (b"sesame", "sesame"), (b" a b \n", " a b "), (b'"a"\n', '"a"'),
    (b"sesame\r\n", "sesame"), (b"#a=b\n", "#a=b")])
def test_the_one_line_of_a_file_is_the_password(tmp_path: Path, content: bytes,
                                                password: str) -> None:
    path = tmp_path / "password"
    path.write_bytes(content)
    path.chmod(0o600)
    node = Node()
    assert call(node, {"ip": "192.0.2.7", "action": "off", "password_file": str(path)}).code == 0
    assert node.passwords == [password]


def test_a_password_of_a_file_that_is_no_utf_8_is_kept_byte_by_byte(tmp_path: Path) -> None:
    path = tmp_path / "password"
    path.write_bytes(b"\xfcber\n")
    path.chmod(0o400)
    assert secrets.from_file(str(path)).encode("utf-8", "surrogateescape") == b"\xfcber"


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o602, 0o777, 0o610])
def test_a_file_that_others_can_touch_is_refused(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "password"
    path.write_text("sesame-hidden\n")
    path.chmod(mode)
    for action in ("off", "validate-all"):
        node = Node()
        said = call(node, {"ip": "192.0.2.7", "action": action, "password_file": str(path)})
        assert said.code == 1 and f"{mode:04o}" in said.stderr and "chmod 0600" in said.stderr
        assert node.events == [] and "sesame-hidden" not in said.everything


def test_a_file_of_somebody_else_is_refused(tmp_path: Path,
                                            monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "password"
    path.write_text("sesame\n")
    path.chmod(0o600)
    real = os.fstat

    def of_another(descriptor: int) -> os.stat_result:
        state = list(real(descriptor))
        state[stat.ST_UID] = 4242
        return os.stat_result(state)
    monkeypatch.setattr("os.fstat", of_another)
    with pytest.raises(FencingFailed, match="4242"):
        secrets.from_file(str(path))


@pytest.mark.parametrize("content, complaint", [
    (b"", "no password"), (b"\n", "no password"), (b"sesame-hidden\nb\n", "more than one line"),
    (b"sesame-hidden\0", "NUL"), (b"sesame-hidden" * 1000, "more than 4096")])
def test_a_file_with_something_else_in_it_is_refused(tmp_path: Path, content: bytes,
                                                     complaint: str) -> None:
    path = tmp_path / "password"
    path.write_bytes(content)
    path.chmod(0o600)
    with pytest.raises(FencingFailed, match=complaint) as caught:
        secrets.from_file(str(path))
    assert "sesame" not in str(caught.value)


def test_what_is_no_file_is_refused_and_waited_for_by_nobody(tmp_path: Path) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo, 0o600)
    for path in (fifo, tmp_path, tmp_path / "missing", Path("/dev/null")):
        with pytest.raises(FencingFailed, match="password file"):
            secrets.from_file(str(path))


def test_a_program_and_a_file_together_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "password"
    path.write_text("sesame\n")
    path.chmod(0o600)
    for action in ("off", "validate-all"):
        node = Node()
        said = call(node, {"ip": "192.0.2.7", "action": action, "password_file": str(path),
                           "password_script": "/bin/echo x"})
        assert said.code == 1 and "only one" in said.stderr and node.events == []


def test_validate_all_does_not_run_the_program(program: Program, tmp_path: Path) -> None:
    witness = tmp_path / "witness"
    path = program(f"touch {witness}")
    said = call(Node(), {"ip": "192.0.2.7", "node": "bob", "action": "validate-all",
                         "password_script": path})
    assert said.code == 0 and not witness.exists()


@pytest.mark.parametrize("script", ["/no/such/program", "/etc/passwd", "no-such-program", "/tmp"])
def test_validate_all_finds_a_program_that_cannot_be_run(script: str) -> None:
    said = call(Node(), {"ip": "192.0.2.7", "node": "bob", "action": "validate-all",
                         "password_script": script})
    assert said.code == 1 and "password_script" in said.stderr
    assert call(Node(), {"ip": "192.0.2.7", "action": "off", "password_script": script}).code == 1


def test_a_program_without_an_interpreter_is_run_by_a_shell_as_a_shell_would(
        tmp_path: Path) -> None:
    path = tmp_path / "program"
    path.write_text('echo "sesame $1"\n')
    path.chmod(0o755)
    assert secrets.from_program(f"{path} two", None) == "sesame two"


@pytest.mark.parametrize("mode", [0o757, 0o777, 0o702])
def test_a_program_that_others_can_change_is_never_run(program: Program, tmp_path: Path,
                                                       mode: int) -> None:
    witness = tmp_path / "ran"
    path = program(f"touch {witness}", "echo sesame")
    os.chmod(path, mode)
    with pytest.raises(FencingFailed, match=f"mode {mode:04o}.*chmod go-w"):
        secrets.from_program(path, None)
    said = call(Node(), {"ip": "192.0.2.7", "action": "validate-all", "password_script": path})
    assert said.code == 1 and "others could change what is run" in said.stderr
    assert not witness.exists()


def test_a_program_ends_with_an_agent_that_is_killed(program: Program, tmp_path: Path) -> None:
    number = tmp_path / "number"
    path = program(f"echo $$ >{number}.new; mv {number}.new {number}; exec sleep 1000")
    agent = os.fork()
    if not agent:
        try:
            secrets.from_program(path, Deadline(600))
        finally:
            os._exit(1)
    end = time.monotonic() + 60
    while not number.exists():
        assert time.monotonic() < end
        time.sleep(0.005)
    os.kill(agent, 9)
    os.waitpid(agent, 0)
    child = int(number.read_text())
    while alive(child):
        assert time.monotonic() < end
        time.sleep(0.005)


def alive(process: int) -> bool:
    """Tell whether a process runs; a zombie that nobody has waited for does not."""
    try:
        with open(f"/proc/{process}/stat", encoding="ascii") as file:
            return file.read().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def test_validate_all_finds_a_password_in_a_file_that_is_too_long_for_ipmi(tmp_path: Path) -> None:
    path = tmp_path / "password"
    path.write_text("x" * 21)
    path.chmod(0o600)
    said = call(Node(), {"ip": "192.0.2.7", "action": "validate-all", "password_file": str(path)},
                agent=fence_ipmi.AGENT)
    assert said.code == 1 and "option password_file: it has more than the 20 bytes" in said.stderr


def test_a_password_that_is_no_name_of_an_option_is_not_shown() -> None:
    said = call(Node(), stdin=b"ip=192.0.2.7\nc2VzYW1l=\nc2VzYW1l=x\nsesame=\naction=status\n")
    assert "c2VzYW1l" not in said.everything and "sesame" not in said.everything


def test_a_password_that_is_no_utf_8_is_hidden_however_it_is_shown() -> None:
    secret = b"ses\xe4me-hidden".decode("utf-8", "surrogateescape")
    log = Log("fence", system_log="")
    log.hide(secret)
    for text in (secret, "ses\\xe4me-hidden", secret.encode("utf-8", "backslashreplace").decode()):
        assert "me-hidden" not in log.line(f"it said {text}!")
    assert "hidden" not in screen.quoted(screen.shown(b"it said ses\xe4me-hidden"), secret)
    assert "hidden" not in screen.quoted(f"it said {secret} and more", secret, end=16)
