# SPDX-License-Identifier: GPL-2.0-or-later
"""The meter: runs on the node, and says what a monitor cost there.

It reads one request a line from stdin and answers each with a line, both JSON; times are seconds.

- ``{"do": "run", "commands": [[argv, environment], ...]}`` runs commands one after the other.
- ``{"do": "watch", "seconds": s}`` watches Pacemaker at work.
- ``{"do": "trace", "commands": ...}`` and ``{"do": "trace", "seconds": s}`` return what strace saw
  of the commands, or of pacemaker-execd.

Where the figures come from:

- A command and all its descendants that were waited for: user and system time of wait4(2). The
  kernel adds up nanoseconds for it, however short the process was.
- systemd, dbus-daemon: the time on a CPU in /proc/PID/schedstat, nanoseconds. Both are one thread.
- pacemaker-execd with the agents that it starts: all of pacemaker.service's cgroup (cpu.stat,
  microseconds), less the daemons beside execd that are in it.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from typing import Any, Dict, List, Tuple

from monitorcost import forks

PACEMAKER = "/sys/fs/cgroup/system.slice/pacemaker.service"
EXECUTOR = "pacemaker-execd"

WORKING_DIRECTORY = "/var/lib/pacemaker/cores"
UMASK = 0o026
"""Where and how pacemaker-execd starts an agent."""

QUIET = 0.01
"""Seconds without a timeslice after which systemd is believed to have done what it was asked."""

QUIET_LIMIT = 2.0

TRACE_LIMIT = 120.0

Command = Tuple[List[str], Dict[str, str]]


class Meter:
    """The processes that are watched, found once."""

    def __init__(self) -> None:
        by_name = {_name(process): process for process in os.listdir("/proc") if process.isdigit()}
        self._systemd = "1"
        self._bus = by_name["dbus-daemon"]
        self._executor = by_name[EXECUTOR]
        with open(f"{PACEMAKER}/cgroup.procs") as file:
            self._beside = [process for process in file.read().split()
                            if process != self._executor]

    def run(self, commands: List[Command]) -> Dict[str, Any]:
        """Run commands to their ends; return what they cost, and which of them failed."""
        before = self._elsewhere()
        own = wall = 0.0
        failed = []
        for argv, environment in commands:
            code, cpu, elapsed = run_once(argv, environment)
            own += cpu
            wall += elapsed
            if code != 0:
                failed.append(f"{' '.join(argv)} ended with {code}: {words(argv, environment)}")
        self._wait_for_quiet()
        after = self._elsewhere()
        return {"cpu": own, "wall": wall, "failed": failed,
                "elsewhere": {name: after[name] - before[name] for name in after}}

    def watch(self, seconds: float) -> Dict[str, Any]:
        """Let Pacemaker work for a while; return what it cost, agents apart from the others."""
        before, agents_before = self._elsewhere(), self._executor_and_agents()
        time.sleep(seconds)
        after, agents = self._elsewhere(), self._executor_and_agents()
        del before[EXECUTOR]
        cost = {name: after[name] - before[name] for name in before}
        return {"cpu": agents - agents_before, "elsewhere": cost}

    def trace(self, commands: List[Command], seconds: float) -> str:
        """Return what strace saw of the commands, or else of pacemaker-execd for some seconds."""
        with tempfile.NamedTemporaryFile("r") as file:
            strace = [*forks.STRACE, "-o", file.name]
            if not commands:
                subprocess.run(["timeout", "--signal=INT", str(seconds), *strace,
                                "-p", self._executor], timeout=TRACE_LIMIT,
                               stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                               stderr=subprocess.DEVNULL)
            for argv, environment in commands:
                subprocess.run([*strace, "-A", *argv], env=environment, timeout=TRACE_LIMIT,
                               stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                               stderr=subprocess.DEVNULL)
            return file.read()

    def _elsewhere(self) -> Dict[str, float]:
        return {"systemd": _on_cpu(self._systemd), "dbus-daemon": _on_cpu(self._bus),
                EXECUTOR: _on_cpu(self._executor)}

    def _executor_and_agents(self) -> float:
        with open(f"{PACEMAKER}/cpu.stat") as file:
            usage = int(file.readline().split()[1]) / 1e6
        return usage - sum(_on_cpu(process) for process in self._beside)

    def _wait_for_quiet(self) -> None:
        """Wait until systemd sleeps: it may still be at work for a client that has ended."""
        deadline = time.monotonic() + QUIET_LIMIT
        seen = -1.0
        while seen != _on_cpu(self._systemd) and time.monotonic() < deadline:
            seen = _on_cpu(self._systemd)
            time.sleep(QUIET)


def run_once(argv: List[str], environment: Dict[str, str]) -> Tuple[int, float, float]:
    """Run one command as pacemaker-execd does, but without pipes; return code, CPU and wall."""
    started = time.perf_counter()
    process = os.posix_spawn(argv[0], argv, environment, setpgroup=0, file_actions=[
        (os.POSIX_SPAWN_OPEN, descriptor, "/dev/null", os.O_RDWR, 0) for descriptor in (0, 1, 2)])
    _, status, usage = os.wait4(process, 0)
    elapsed = time.perf_counter() - started
    return os.waitstatus_to_exitcode(status), usage.ru_utime + usage.ru_stime, elapsed


def words(argv: List[str], environment: Dict[str, str]) -> str:
    """Return what a command says that has just failed; it is run once more for that."""
    said = subprocess.run(argv, env=environment, timeout=TRACE_LIMIT, stdin=subprocess.DEVNULL,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    return said.stdout.decode(errors="replace").strip()[-1000:]


def _name(process: str) -> str:
    try:
        with open(f"/proc/{process}/cmdline", "rb") as file:
            return os.path.basename(file.read().split(b"\0")[0].decode())
    except OSError:
        return ""       # it has just ended


def _on_cpu(process: str) -> float:
    """Return the seconds that a process of one thread has been on a CPU."""
    with open(f"/proc/{process}/schedstat") as file:
        return int(file.read().split()[0]) / 1e9


def main() -> None:
    """Answer requests until stdin ends."""
    os.chdir(WORKING_DIRECTORY)
    os.umask(UMASK)
    meter = Meter()
    for line in sys.stdin:
        request = json.loads(line)
        if request["do"] == "run":
            answer: Any = meter.run(request["commands"])
        elif request["do"] == "watch":
            answer = meter.watch(request["seconds"])
        else:
            answer = meter.trace(request.get("commands", []), request.get("seconds", 0.0))
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
