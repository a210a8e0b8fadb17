# SPDX-License-Identifier: GPL-2.0-or-later
"""Calling an agent on a node exactly as Pacemaker's executor does, and judging its answer.

What a caller sees was measured on Pacemaker 2.1.5: the directory, the umask, the environment, a
process group of its own, /dev/null as standard input, pipes as output. At the timeout the whole
group gets SIGKILL at once, no signal before, and what was printed is lost.
"""

from __future__ import annotations

import json
import subprocess
from dataclasses import dataclass
from typing import Dict, List, Mapping, Optional, Sequence, Tuple

from twonode.enter import Door

MARK = "ocf-exit-reason:"

# Runs on the node and lives as long as its standard input. A request and its answer are a line of
# JSON each; bytes that are no UTF-8 travel as lone surrogates. An empty line is the order to kill.
_EXECUTOR = r"""
import json, os, resource, select, signal, time

said_to_us = b""

def hear():
    global said_to_us
    while b"\n" not in said_to_us:
        piece = os.read(0, 65536)
        if not piece:
            os._exit(0)
        said_to_us += piece
    line, _, said_to_us = said_to_us.partition(b"\n")
    return line

def execute(argv, environment, timeout, user, limits, umask, directory):
    out, err = os.pipe(), os.pipe()
    begin = time.monotonic()
    pid = os.fork()
    if not pid:
        try:
            os.setpgid(0, 0)
            null = os.open("/dev/null", os.O_RDONLY)
            for source, target in ((null, 0), (out[1], 1), (err[1], 2)):
                os.dup2(source, target)
            os.closerange(3, 64)
            os.chdir(directory)
            os.umask(umask)
            for name, value in limits.items():
                resource.setrlimit(getattr(resource, name), (value, value))
            if user:
                os.setgroups([])
                os.setgid(user)
                os.setuid(user)
            os.execve(os.fsencode(argv[0]), [os.fsencode(word) for word in argv],
                      {os.fsencode(name): os.fsencode(value)
                       for name, value in environment.items()})
        except BaseException as error:
            os.write(2, repr(error).encode())
        finally:
            os._exit(126)
    try:
        os.setpgid(pid, pid)
    except PermissionError:
        pass  # it has done so itself and executes the program already
    os.close(out[1])
    os.close(err[1])
    handle = os.pidfd_open(pid)
    said = {out[0]: b"", err[0]: b""}
    open_ends = set(said)
    deadline, killed, status = begin + timeout, False, None
    while open_ends or status is None:
        watched = [*open_ends, *([handle, 0] if status is None else [])]
        ready = select.select(watched, [], [], max(0.0, deadline - time.monotonic()))[0]
        for end in ready:
            if end == 0:
                hear()
                deadline = time.monotonic()
            elif end == handle:
                status = os.waitpid(pid, 0)[1]
                seconds = time.monotonic() - begin
                # From here on only those can write who have inherited the pipe.
                deadline = time.monotonic() + 5
            else:
                piece = os.read(end, 65536)
                said[end] += piece
                if not piece:
                    open_ends.discard(end)
        if ready in ([], [0]) and time.monotonic() >= deadline:
            if status is not None:
                break
            killed = True
            os.killpg(pid, signal.SIGKILL)
            deadline = time.monotonic() + 60
    for descriptor in (out[0], err[0], handle):
        os.close(descriptor)
    return {"code": os.waitstatus_to_exitcode(status), "seconds": seconds, "killed": killed,
            "closed": not open_ends, "stdout": said[out[0]].decode("utf-8", "surrogateescape"),
            "stderr": said[err[0]].decode("utf-8", "surrogateescape")}

while True:
    request = hear()
    if request:     # else an order to kill what had ended by itself
        os.write(1, json.dumps(execute(**json.loads(request))).encode() + b"\n")
"""


@dataclass(frozen=True)
class Answer:
    """What came of a program. code: below 0 the signal that ended it. killed: whether it had to be
    ended at the timeout. closed: whether its output came to an end with it, which it does not where
    a child of its has inherited the pipe."""

    code: int
    seconds: float
    killed: bool
    closed: bool
    stdout: str
    stderr: str

    @property
    def reasons(self) -> List[str]:
        """The exit reasons that it printed."""
        return [line[len(MARK):] for line in self.stderr.splitlines() if line.startswith(MARK)]

    @property
    def reason(self) -> str:
        """The one exit reason, "" where there is none."""
        return self.reasons[0] if self.reasons else ""

    def __str__(self) -> str:
        return (f"code {self.code} after {self.seconds:.2f} s{' (killed)' if self.killed else ''}\n"
                f"{self.stderr}{self.stdout}")


class Running:
    """A program that was begun and whose answer is still to come."""

    def __init__(self, executors: Executors, process: subprocess.Popen[bytes],
                 check: Tuple[str, bool]) -> None:
        self._executors = executors
        self._process = process
        self._check = check
        self._answer: Optional[Answer] = None

    def kill(self) -> Answer:
        """Kill its group now, as Pacemaker does at the timeout, and return its answer."""
        assert self._process.stdin is not None
        self._process.stdin.write(b"\n")
        self._process.stdin.flush()
        return self.answer()

    def answer(self) -> Answer:
        """Wait for its end and return its answer, which for an agent has been judged."""
        if self._answer is None:
            assert self._process.stdout is not None
            line = self._process.stdout.readline()
            assert line, "the executor on the node has died"
            self._executors.free.append(self._process)
            self._answer = Answer(**json.loads(line))
            if self._check[0]:
                judge(self._answer, *self._check)
        return self._answer


class Executors:
    """The executors on one node; each runs one program at a time."""

    def __init__(self, door: Door) -> None:
        self._door = door
        self.free: List[subprocess.Popen[bytes]] = []
        self._all: List[subprocess.Popen[bytes]] = []

    def begin(self, argv: Sequence[str], environment: Mapping[str, str], *, timeout: float,
              check: Tuple[str, bool] = ("", False), user: int = 0,
              limits: Mapping[str, int] = {}, umask: int = 0o026,
              directory: str = "/") -> Running:
        """Start a program on the node and return at once. user: the number of whom it runs as.
        check: (action, probe) where the answer is an agent's."""
        if not self.free:
            process = self._door.popen(["/usr/bin/python3", "-I", "-c", _EXECUTOR],
                                       stdin=subprocess.PIPE, stdout=subprocess.PIPE)
            self._all.append(process)
            self.free.append(process)
        process = self.free.pop()
        request = {"argv": list(argv), "environment": dict(environment), "timeout": timeout,
                   "user": user, "limits": dict(limits), "umask": umask, "directory": directory}
        assert process.stdin is not None
        process.stdin.write(json.dumps(request).encode() + b"\n")
        process.stdin.flush()
        return Running(self, process, check)

    def close(self) -> None:
        """End them."""
        for process in self._all:
            assert process.stdin is not None and process.stdout is not None
            process.stdin.close()
            process.kill()
            process.wait()
            process.stdout.close()


def environment(resource: str, action: str, *, timeout: float, interval: float, level: int,
                node: str, parameters: Mapping[str, str]) -> Dict[str, str]:
    """Return what Pacemaker puts into an agent's environment. interval: seconds, 0 for none."""
    found = {
        "PATH": "/usr/sbin:/bin:/usr/bin:/sbin", "LC_ALL": "C", "OCF_ROOT": "/usr/lib/ocf",
        "OCF_RA_VERSION_MAJOR": "1", "OCF_RA_VERSION_MINOR": "1",
        "OCF_EXIT_REASON_PREFIX": MARK, "OCF_OUTPUT_FORMAT": "text",
        "OCF_RESOURCE_INSTANCE": resource, "OCF_RESOURCE_TYPE": "kopano",
        "OCF_RESOURCE_PROVIDER": "mailha", "OCF_RESKEY_crm_feature_set": "3.16.2",
        "OCF_RESKEY_CRM_meta_timeout": str(round(timeout * 1000)),
        "HA_debug": "0", "PCMK_debug": "0", "HA_logfacility": "daemon", "HA_LOGFACILITY": "daemon"}
    if node:
        found["OCF_RESKEY_CRM_meta_on_node"] = node
        found["OCF_RESKEY_CRM_meta_on_node_uuid"] = "1"
    if interval:
        found["OCF_RESKEY_CRM_meta_interval"] = str(round(interval * 1000))
        found["OCF_RESKEY_CRM_meta_name"] = action
    if level:
        found["OCF_CHECK_LEVEL"] = str(level)
    found.update({f"OCF_RESKEY_{name}": value for name, value in parameters.items()})
    return found


def judge(answer: Answer, action: str, probe: bool) -> None:
    """Raise AssertionError over what no answer of an agent may be, whatever the test is about."""
    assert answer.closed, f"something that {action} has left holds its output open:\n{answer}"
    if answer.killed:
        return
    assert "Traceback" not in answer.stderr + answer.stdout, str(answer)
    assert answer.stdout == "" or action == "meta-data", f"stdout is for meta-data only:\n{answer}"
    wanted = 0 if answer.code == 0 or answer.code == 7 and probe else 1
    assert answer.stderr.count(MARK) == len(answer.reasons) == wanted, (
        f"{wanted} exit reasons are right for the {action}:\n{answer}")
    if wanted:
        assert answer.stderr.endswith("\n") and answer.reason.strip(), str(answer)
        assert answer.stderr.splitlines()[-1].startswith(MARK), f"it is not the last:\n{answer}"
    assert answer.code in (0, 1, 3, 4, 5, 6, 7, 190), str(answer)
    assert answer.code != 7 or action == "monitor", str(answer)
    assert answer.code != 6 or action in ("start", "validate-all"), str(answer)
    assert answer.code != 190 or action == "monitor" and not probe, str(answer)
