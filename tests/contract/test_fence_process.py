# SPDX-License-Identifier: GPL-2.0-or-later
"""The executables under fence/ as processes: found from anywhere, ended whatever hangs."""

from __future__ import annotations

import os
import shutil
import signal
import stat
import subprocess
import time
from pathlib import Path
from typing import Any, Dict, Iterable, List, Optional, Tuple

import pytest

CHECKOUT = Path(__file__).resolve().parents[2]
AGENTS = sorted(path for path in (CHECKOUT / "fence").iterdir() if path.is_file())
IPMI = CHECKOUT / "fence/fence_ipmi"

every_agent = pytest.mark.parametrize("agent", AGENTS, ids=[path.name for path in AGENTS])

LIMIT = 60.0
"""Seconds after which a test has failed; none waits for them if all is well."""


def run(command: List[Any], given: str = "", environment: Optional[Dict[str, str]] = None,
        **more: Any) -> subprocess.CompletedProcess[str]:
    """Run a command with an environment of its own and with something on stdin."""
    return subprocess.run(command, input=given, env=environment or {}, timeout=LIMIT, text=True,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE, **more)


def make(directory: Path, body: str, seconds: float = 5.0) -> Path:
    """Return an executable fence agent whose way to the controller is some lines of Python."""
    lines = "".join(f"    {line}\n" for line in body.splitlines())
    path = directory / "fence_test"
    path.write_text(f"""#!/usr/bin/python3 -IS
import os, sys, time
sys.path.insert(0, {str(CHECKOUT / "lib")!r})
from mailha.agents import fence_ipmi
from mailha.fencing import deadline
from mailha.fencing.declaration import FenceAgent
from mailha.fencing.run import main
deadline.WHOLE = deadline.LOOK = {seconds}
deadline.RESERVE = 0.1
from mailha.fencing import transition
transition.SPACING = 0.05
class Controller:
    def is_on(self): return False
    def order(self, on): pass
    def close(self): open({str(directory / "closed")!r}, "w").close()
def connect(settings, deadline, phases):
{lines}    return Controller()
main(FenceAgent("fence_test", short="s", long="l", vendor_url="", connect=connect,
                options=fence_ipmi.options))
""")
    path.chmod(0o755)
    return path


OFF = "ip=192.0.2.7\naction=off\nnodename=bob\n"


@every_agent
def test_an_executable_is_thin_and_runs_the_systems_python_isolated(agent: Path) -> None:
    lines = agent.read_text().splitlines()
    assert lines[0] == "#!/usr/bin/python3 -IS"
    assert len(lines) < 36
    assert stat.S_IMODE(agent.stat().st_mode) == 0o755


@every_agent
def test_metadata_load_no_library_and_little_else(agent: Path) -> None:
    done = run(["/usr/bin/python3", "-IS", "-c", f"""
import os, sys
os._exit = lambda code: print(*sys.modules)
sys.path.insert(0, {str(CHECKOUT / "lib")!r})
sys.argv = ["x", "-o", "metadata"]
os.dup2 = lambda *words: None
exec(open({str(agent)!r}).read(), {{"__file__": {str(agent)!r}}})
"""])
    document, _, names = done.stdout.rstrip().rpartition("\n")
    assert done.returncode == 0 and f'name="{agent.name}"' in document
    loaded = set(names.split())
    ours = {name for name in loaded if name.startswith("mailha")}
    assert "mailha.fencing.metadata" in ours
    assert not {"mailha.fencing.transition", "mailha.fencing.settings"} & ours
    assert not any(name.startswith("mailha.bmc.") for name in ours)
    for name in ("typing", "re", "enum", "dataclasses", "functools", "contextlib", "signal",
                 "socket", "subprocess", "logging", "json", "argparse", "xml", "collections",
                 "threading", "pyghmi", "pexpect", "site", "shlex"):
        assert name not in loaded, name


@pytest.mark.parametrize("place", ["usr", "destdir/usr"])
def test_an_agent_finds_the_library_wherever_it_is_installed(tmp_path: Path, place: str) -> None:
    root = tmp_path / place
    (root / "sbin").mkdir(parents=True)
    shutil.copy(IPMI, root / "sbin")
    shutil.copytree(CHECKOUT / "lib/mailha", root / "lib/ocf/lib/mailha")
    link = tmp_path / "link"
    link.symlink_to(root / "sbin/fence_ipmi")
    for agent in (root / "sbin/fence_ipmi", link):
        done = run([agent, "-o", "metadata"], cwd="/")
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout == run([IPMI, "-o", "metadata"]).stdout


def test_an_agent_without_its_library_says_so_without_a_traceback(tmp_path: Path) -> None:
    agent = tmp_path / "fence_ipmi"
    shutil.copy(IPMI, agent)
    done = run([agent, "-o", "metadata"])
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("cannot load the library of mailha from ")
    assert done.stderr.count("\n") == 1


def test_a_definition_on_stdin_is_done_by_a_process_too(tmp_path: Path) -> None:
    agent = make(tmp_path, "pass")
    done = run([agent], OFF)
    assert (done.returncode, done.stdout, done.stderr) == (0, "Success: Powered OFF\n", "")
    assert (tmp_path / "closed").exists()


@pytest.mark.parametrize("body", [
    "time.sleep(1000)",
    "import threading\nthreading.Event().wait()",
    "import threading\nlock = threading.Lock()\nlock.acquire()\nlock.acquire()",
    "while True:\n    try:\n        time.sleep(1000)\n    except BaseException:\n        pass",
    "while True:\n    pass"],
    ids=["sleep", "event", "deadlock", "swallows all", "spins"])
def test_whatever_hangs_the_process_ends_at_its_deadline_with_a_reason(tmp_path: Path,
                                                                       body: str) -> None:
    agent = make(tmp_path, body, seconds=0.4)
    begun = time.monotonic()
    done = run([agent], OFF)
    spent = time.monotonic() - begun
    assert (done.returncode, done.stdout) == (1, "")
    assert "timed out" in done.stderr and "192.0.2.7" in done.stderr
    assert 0.3 < spent < 10


def test_code_that_never_lets_another_thread_run_is_killed_by_the_kernel(tmp_path: Path) -> None:
    # ctypes.PyDLL calls C while it keeps the interpreter's lock.
    agent = make(tmp_path, "sys.path[:0] = __import__('site').getsitepackages()\n"
                           "import ctypes\nctypes.PyDLL(None).pause()", seconds=0.5)
    begun = time.monotonic()
    done = run([agent], OFF)
    # pause() returns at the alarm only if that has a handler: it has none, and kills.
    assert done.returncode == -signal.SIGALRM and done.stdout == ""
    assert time.monotonic() - begun < 10


def test_a_hang_after_the_power_was_proven_off_does_not_change_the_result(tmp_path: Path) -> None:
    agent = make(tmp_path, "Controller.close = lambda self: time.sleep(1000)", seconds=3.0)
    begun = time.monotonic()
    done = run([agent], OFF)
    assert done.returncode == 0
    assert time.monotonic() - begun < 10


def test_a_failure_whose_session_cannot_be_ended_keeps_its_reason(tmp_path: Path) -> None:
    agent = make(tmp_path, """
from mailha.fencing.failures import OrderRefused
def order(self, on):
    raise OrderRefused("192.0.2.7 refuses to power off")
Controller.order = order
Controller.close = lambda self: time.sleep(1000)""", seconds=3.0)
    done = run([agent], OFF)
    assert (done.returncode, done.stderr) == (1, "192.0.2.7 refuses to power off\n")


def test_a_hang_in_on_after_a_reboots_off_does_not_change_the_result(tmp_path: Path) -> None:
    agent = make(tmp_path, """
def order(self, on):
    if on:
        time.sleep(1000)
Controller.order = order""", seconds=3.0)
    done = run([agent], OFF.replace("off", "reboot"))
    assert done.returncode == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_who_is_told_to_end_ends_the_session_first(tmp_path: Path, number: signal.Signals) -> None:
    ready = tmp_path / "ready"
    agent = make(tmp_path, f"""
def is_on(self):
    open({str(ready)!r}, "w").close()
    time.sleep(1000)
Controller.is_on = is_on""", seconds=LIMIT)
    child = subprocess.Popen([agent], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                             stderr=subprocess.PIPE, text=True, env={})
    try:
        assert child.stdin is not None
        child.stdin.write(OFF)
        child.stdin.close()
        child.stdin = None
        wait_for(ready)
        child.send_signal(number)
        stdout, stderr = child.communicate(timeout=LIMIT)
    finally:
        child.kill()
        child.wait()
    assert (child.returncode, stdout) == (1, "")
    assert f"told to end by signal {int(number)}" in stderr and stderr.count("\n") == 1
    assert (tmp_path / "closed").exists()


def wait_for(path: Path) -> None:
    """Wait until a file is there."""
    until = time.monotonic() + LIMIT
    while not path.exists():
        assert time.monotonic() < until, f"{path} did not appear"
        time.sleep(0.01)


def test_stdin_that_is_never_closed_is_not_waited_for(tmp_path: Path) -> None:
    agent = make(tmp_path, "pass")
    agent.write_text(agent.read_text().replace(
        "deadline.RESERVE = 0.1",
        "deadline.RESERVE = 0.1\nfrom mailha.fencing import run\nrun._INPUT = 0.3"))
    reader, writer = os.pipe()
    try:
        done = subprocess.run([agent], stdin=reader, stdout=subprocess.PIPE, env={},
                              stderr=subprocess.PIPE, text=True, timeout=LIMIT)
    finally:
        os.close(reader)
        os.close(writer)
    assert (done.returncode, done.stdout) == (1, "") and "stdin" in done.stderr


def test_a_person_at_a_terminal_may_take_his_time_and_the_action_then_has_its_own(
        tmp_path: Path) -> None:
    import pty
    agent = make(tmp_path, "pass", seconds=3.0)
    agent.write_text(agent.read_text().replace(
        "deadline.RESERVE = 0.1",
        "deadline.RESERVE = 0.1\nfrom mailha.fencing import run\nrun._INPUT = 0.3"))
    ours, theirs = pty.openpty()
    child = subprocess.Popen([agent], stdin=theirs, stdout=subprocess.PIPE, env={}, text=True,
                             stderr=subprocess.PIPE)
    os.close(theirs)
    try:
        os.write(ours, b"ip=192.0.2.7\n")
        with pytest.raises(subprocess.TimeoutExpired):
            child.wait(0.6)
        os.write(ours, b"action=off\n\x04")
        stdout, stderr = child.communicate(timeout=LIMIT)
    finally:
        child.kill()
        child.wait()
        os.close(ours)
    assert (child.returncode, stdout) == (0, "Success: Powered OFF\n")
    assert stderr.startswith("INFO: reading lines of name=value from the terminal")
    assert stderr.count("\n") == 1


def test_what_a_library_prints_goes_neither_to_stdout_nor_to_stderr(tmp_path: Path) -> None:
    agent = make(tmp_path, """
print("to stdout")
print("timeout", file=sys.stderr)
os.write(1, b"by hand")
os.write(2, b"timed out")
import threading
def fail():
    raise ValueError("timeout in a thread")
thread = threading.Thread(target=fail)
thread.start()
thread.join()""")
    done = run([agent], OFF)
    assert (done.returncode, done.stdout, done.stderr) == (0, "Success: Powered OFF\n", "")


@pytest.mark.parametrize("closed", [(0,), (1,), (2,), (0, 1, 2)])
def test_a_missing_stdin_stdout_or_stderr_changes_nothing(tmp_path: Path,
                                                          closed: Tuple[int, ...]) -> None:
    agent = make(tmp_path, "pass")
    shut = " ".join(f"{number}{'<' if number == 0 else '>'}&-" for number in closed)
    arguments = "-a 192.0.2.7 -o off"
    done = run(["/bin/sh", "-c", f"exec {agent} {arguments} {shut}"])
    assert done.returncode == 0
    assert done.stdout == ("" if 1 in closed else "Success: Powered OFF\n")
    assert done.stderr == ""


def test_a_stdout_that_nobody_reads_does_not_change_the_result(tmp_path: Path) -> None:
    agent = make(tmp_path, "pass")
    with open("/dev/full", "w") as full:
        done = subprocess.run([agent, "-a", "192.0.2.7", "-o", "off"], stdout=full, env={},
                              stderr=subprocess.PIPE, timeout=LIMIT)
        assert (done.returncode, done.stderr) == (0, b"")
        done = subprocess.run([agent, "-o", "metadata"], stdout=full, env={},
                              stderr=subprocess.PIPE, timeout=LIMIT)
        assert done.returncode == 1 and b"stdout" in done.stderr


@every_agent
def test_the_environment_of_a_shell_changes_nothing(agent: Path) -> None:
    noise = {"LC_ALL": "de_DE.ISO-8859-1", "PYTHONUTF8": "0", "PYTHONPATH": "/nowhere",
             "PYTHONSTARTUP": "/nowhere", "PCMK_service": "pacemaker-fenced", "TZ": "nowhere"}
    assert run([agent, "-o", "metadata"], "", noise).stdout == run([agent, "-o", "metadata"]).stdout


def test_no_secret_is_in_the_arguments_of_any_process(tmp_path: Path) -> None:
    """Look at every process while the agent is in its controller, as a naive spy would."""
    ready, done = tmp_path / "ready", tmp_path / "go"
    agent = make(tmp_path, f"""
settings.secret("password")
settings.secret("hexadecimal_kg")
open({str(ready)!r}, "w").close()
while not os.path.exists({str(done)!r}):
    time.sleep(0.01)""", seconds=LIMIT)
    child = subprocess.Popen([agent], stdin=subprocess.PIPE, env={}, stdout=subprocess.DEVNULL)
    try:
        assert child.stdin is not None
        child.stdin.write((OFF + "password=sesame-hidden\nhexadecimal_kg=00112233445566\n")
                          .encode())
        child.stdin.close()
        wait_for(ready)
        seen = b"".join(_shown(Path(f"/proc/{child.pid}")))
        assert b"fence_test" in seen
        assert b"sesame-hidden" not in seen and b"00112233445566" not in seen
    finally:
        done.touch()
        assert child.wait(LIMIT) == 0


def _shown(process: Path) -> Iterable[bytes]:
    """Yield what others may see of a process."""
    yield (process / "cmdline").read_bytes()
    yield (process / "environ").read_bytes()
