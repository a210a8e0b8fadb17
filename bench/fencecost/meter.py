# SPDX-License-Identifier: GPL-2.0-or-later
"""The meter: runs an agent as pacemaker-fenced would, and looks at the power afterwards.

It reads one request a line from stdin and answers each with a line, both JSON; times are seconds.

- ``{"do": "run", "argv": [...], "environment": {...}, "stdin": text, "limit": s}`` switches the
  power on, runs the program to its end, and answers its code (None if it was killed at the limit),
  its CPU and wall time, what it said on stderr, and what the chassis has been through.
- ``{"do": "settle"}`` answers when the controller has worked off all that it had received before,
  with what has been written to the system's log meanwhile.

CPU is user and system time of the program and of all its descendants that were waited for, of
wait4(2). The kernel adds up nanoseconds for it, however short a process was.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import sys
import threading
import time
from typing import Any, Dict, List, Optional

# Where the chassis keeps its past, one line for each order: 1 (on), 0 (off), or another word. The
# first line is what it was before.
CHASSIS = "/run/bench-chassis"

WORKING_DIRECTORY = "/var/lib/pacemaker/cores"
UMASK = 0o026
"""Where and how pacemaker-fenced starts an agent."""

ASK_CAPABILITIES = bytes.fromhex("0600ff07" "00" "00000000" "00000000" "09"
                                 "2018c88100388e04b5")
"""Get Channel Authentication Capabilities (IPMI 2.0, 22.13), which needs no session."""

SETTLE_TRY = 0.5
SETTLE_LIMIT = 30.0

LAST_WORDS = 4000


class SystemLog:
    """The system's log, which nothing else keeps in a sandbox; agents write to it as they run."""

    def __init__(self, path: str = "/dev/log") -> None:
        self._lines: List[str] = []
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(path)
        threading.Thread(target=self._listen, daemon=True).start()

    def taken(self) -> List[str]:
        """Return what has been logged since the last call."""
        lines, self._lines = self._lines, []
        return lines

    def _listen(self) -> None:
        while True:
            line = self._socket.recv(1 << 16).decode(errors="replace").strip("\0\n")
            if "ipmi_sim" not in line:      # the controller has its word too
                self._lines.append(line)


class Controller:
    """The controller, as somebody who has no session sees it."""

    def __init__(self, address: str, port: int) -> None:
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.connect((address, port))
        self._socket.settimeout(SETTLE_TRY)

    def settle(self) -> None:
        """Wait for an answer. It does one thing after the other, so all before is done then.

        Raises TimeoutError.
        """
        deadline = time.monotonic() + SETTLE_LIMIT
        while time.monotonic() < deadline:
            try:
                self._socket.send(ASK_CAPABILITIES)
                self._socket.recv(1024)
                return
            except (socket.timeout, ConnectionRefusedError):
                time.sleep(0.01)
        raise TimeoutError(f"the controller has not answered for {SETTLE_LIMIT:.0f} s")


def run(argv: List[str], environment: Dict[str, str], stdin: str, limit: float) -> Dict[str, Any]:
    """Run a program with the power on, to its end or for `limit` seconds; see above."""
    with open(CHASSIS, "w") as file:
        file.write("1\n")
    said = os.memfd_create("stderr")
    told, tell = os.pipe()
    os.write(tell, stdin.encode())      # all of it fits into the pipe's buffer
    os.close(tell)
    try:
        answer = _measure(argv, environment, told, said, limit)
        with open(CHASSIS) as file:     # before anything else can happen to it
            answer["chassis"] = file.read().split()
        os.lseek(said, 0, os.SEEK_SET)
        answer["said"] = os.read(said, 1 << 20).decode(errors="replace").strip()[-LAST_WORDS:]
    finally:
        os.close(said)
        os.close(told)
    return answer


def _measure(argv: List[str], environment: Dict[str, str], stdin: int, stderr: int, limit: float,
             ) -> Dict[str, Any]:
    """Start a program, wait for its end, and return code, CPU and wall time."""
    killed: List[int] = []
    process = 0

    def kill(number: int, frame: object) -> None:
        killed.append(process)
        os.killpg(process, signal.SIGKILL)

    signal.signal(signal.SIGALRM, kill)
    started = time.perf_counter()
    process = os.posix_spawn(argv[0], argv, environment, setpgroup=0, setsigdef=[signal.SIGALRM],
                             file_actions=[(os.POSIX_SPAWN_DUP2, stdin, 0),
                                           (os.POSIX_SPAWN_OPEN, 1, "/dev/null", os.O_WRONLY, 0),
                                           (os.POSIX_SPAWN_DUP2, stderr, 2)])
    signal.setitimer(signal.ITIMER_REAL, limit)
    _, status, usage = os.wait4(process, 0)
    elapsed = time.perf_counter() - started
    signal.setitimer(signal.ITIMER_REAL, 0)
    code: Optional[int] = None if killed else os.waitstatus_to_exitcode(status)
    return {"code": code, "wall": elapsed, "cpu": usage.ru_utime + usage.ru_stime}


def main() -> None:
    """Answer requests until stdin ends. The first two arguments are where the controller is."""
    controller, log = Controller(sys.argv[1], int(sys.argv[2])), SystemLog()
    os.chdir(WORKING_DIRECTORY)
    os.umask(UMASK)
    for line in sys.stdin:
        request = json.loads(line)
        answer: Dict[str, Any] = {}
        if request.pop("do") == "run":
            answer = run(**request)
        else:
            controller.settle()
            answer = {"logged": log.taken()}
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
