# SPDX-License-Identifier: GPL-2.0-or-later
"""The programs of a fake machine: what they are, how they live, listen, answer and die."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Callable, Dict, Iterable, Iterator, List, Optional, Set, Union

from mailha.system.connection import ConnectionFailed, describe
from mailha.system.processes import Process, is_interpreter
from mailha.system.addresses import canonical, is_local, listens
from mailha.system.netlink import Listener

if TYPE_CHECKING:
    from fake_machine import FakeMachine

TERM, KILL, STOP, CONT = 15, 9, 19, 18
Endpoint = Union[tuple[str, int], str]
Answer = Union[bytes, Callable[[bytes], bytes]]


@dataclass
class Script:
    """What a client of one endpoint sees. Change it while the program runs to change its mood.

    greeting: sent on connect. answers: to a request that contains the key (first that fits).
    mood: "answers", "mute" (takes connections, never says a word), "refuses", "resets", "closes"
    (after the greeting), "hangs" (connect itself gets no answer). delay: seconds before each
    answer.
    """

    greeting: bytes = b""
    answers: Dict[bytes, Answer] = field(default_factory=dict)
    mood: str = "answers"
    delay: float = 0.0


@dataclass
class Program:
    """A program and its habits; each process made of it behaves so. Times in seconds.

    listens: its endpoints, ("192.0.2.1", 236) or a unix path, each with its Script.
    listen_after: when it opens them. mute_for: how long after its start they stay mute (a database
    upgrade). exit_after, exit_code: it ends by itself. term_takes: how long SIGTERM takes to work.
    ignores_term: SIGTERM does nothing. second_term_cuts: a second SIGTERM ends it at once.
    unkillable: in state D; not even SIGKILL works. pid_file: written at the start and, as so many
    do, never removed. children: started with it. binds_strictly: it dies when an address that it
    listens on is not here. directory: in which it works.
    """

    executable: str
    arguments: List[str] = field(default_factory=list)
    listens: Dict[Endpoint, Script] = field(default_factory=dict)
    listen_after: float = 0.0
    mute_for: float = 0.0
    exit_after: Optional[float] = None
    exit_code: int = 0
    term_takes: float = 0.0
    ignores_term: bool = False
    second_term_cuts: bool = True
    unkillable: bool = False
    pid_file: str = ""
    children: List[Program] = field(default_factory=list)
    binds_strictly: bool = True
    directory: str = "/"


class Running:
    """One process of the fake machine. Tests may set its state ("S", "T", "D", "Z")."""

    def __init__(self, machine: FakeMachine, pid: int, program: Program, cgroup: str, parent: int,
                 owner: Optional[Callable[[Running, int], None]]) -> None:
        self.machine, self.pid, self.program = machine, pid, program
        self.cgroup, self.parent, self.owner = cgroup, parent, owner
        self.state = "D" if program.unkillable else "S"
        self.born = machine.clock.monotonic()
        self.start_time = int(self.born * 100) + pid
        self.terms = 0
        self.pending: List[int] = []
        self.open: Dict[Endpoint, int] = {}

    def starts(self) -> None:
        """Do what the program does when it starts."""
        program, clock = self.program, self.machine.clock
        if program.pid_file:
            self.machine.files.write_atomic(program.pid_file, b"%d\n" % self.pid)
        clock.after(program.listen_after, self.listen)
        if program.exit_after is not None:
            clock.after(program.exit_after, lambda: self.die(program.exit_code))

    def listen(self) -> None:
        """Open the endpoints; die where an address is not here."""
        if not self.here:
            return
        for number, endpoint in enumerate(self.program.listens):
            if isinstance(endpoint, str):
                self.machine.files.put(endpoint, b"")
            elif self.program.binds_strictly and not is_local(
                    endpoint[0], self.machine.sockets.addresses):
                self.die(1)
                return
            self.open[endpoint] = self.pid * 1000 + number

    @property
    def here(self) -> bool:
        """Tell whether it is still in the table."""
        return self.machine.processes.table.get(self.pid) is self

    @property
    def mute(self) -> bool:
        """Tell whether it does not answer now: stopped, in state D, or busy with an upgrade."""
        return self.state in "TD" \
            or self.machine.clock.monotonic() < self.born + self.program.mute_for

    def signal(self, number: int) -> None:
        """Take a signal as the kernel delivers it and as the program is made."""
        if self.state == "D" or self.state == "Z":
            return
        if number == KILL:
            self.die(-KILL)
        elif number == STOP:
            self.state = "T"
        elif number == CONT:
            self.state = "S"
            for pending in self.pending:
                self.signal(pending)
            self.pending = []
        elif self.state == "T":
            self.pending.append(number)
        elif number == TERM:
            self.terms += 1
            if self.terms > 1 and self.program.second_term_cuts and not self.program.ignores_term:
                self.die(-TERM)
            elif not self.program.ignores_term:
                self.machine.clock.after(self.program.term_takes, lambda: self.die(0))

    def die(self, code: int = -KILL) -> None:
        """Vanish. Unix socket files and pid files stay."""
        if self.here:
            del self.machine.processes.table[self.pid]
            self.open = {}
            if self.owner is not None:
                self.owner(self, code)


class FakeProcesses:
    """Stands for system.processes.Processes. table: the running processes by pid."""

    def __init__(self, machine: FakeMachine) -> None:
        self._machine = machine
        self._next = 1000
        self.table: Dict[int, Running] = {}
        self.signals: List[tuple[int, int]] = []

    def run(self, program: Program, cgroup: str = "/user.slice", parent: int = 1,
            owner: Optional[Callable[[Running, int], None]] = None) -> Running:
        """Start a program; outside a unit unless systemd does it."""
        return self.launch(self.make(program, cgroup, parent, owner))

    def make(self, program: Program, cgroup: str, parent: int = 1,
             owner: Optional[Callable[[Running, int], None]] = None) -> Running:
        """Put a process in the table that has not begun to run; owner is told of its death."""
        self._next += 1
        running = Running(self._machine, self._next, program, cgroup, parent, owner)
        self.table[running.pid] = running
        return running

    def launch(self, running: Running) -> Running:
        """Let a process run, and its children."""
        running.starts()
        for child in running.program.children if running.here else ():
            self.run(child, running.cgroup, running.pid, running.owner)
        return running

    def read(self, pid: int) -> Optional[Process]:
        running = self.table.get(pid)
        if running is None:
            return None
        executable = "" if running.state == "Z" else running.program.executable
        return Process(pid, running.start_time, running.state, running.parent,
                       executable.rpartition("/")[2][:15], executable, self)

    def all(self) -> Iterator[Process]:
        for pid in list(self.table):
            process = self.read(pid)
            if process is not None:
                yield process

    def find(self, executable: str) -> List[Process]:
        return self.find_each([executable])[executable]

    def find_each(self, executables: Iterable[str]) -> Dict[str, List[Process]]:
        found: Dict[str, List[Process]] = {executable: [] for executable in executables}
        # One walk, as the real one: a stop that waits looks thousands of times.
        for process in self.all():
            known = process.executable in found or is_interpreter(process.executable)
            for executable in found if process.alive and known else ():
                if process.runs(executable):
                    found[executable].append(process)
        return found

    def find_java(self, mains: Iterable[str]) -> Dict[str, List[Process]]:
        return {main: [process for process in self.all()
                       if process.alive and process.executable.endswith("/java")
                       and any(main in argument for argument in process.arguments)]
                for main in mains}

    def is_same(self, process: Process) -> bool:
        now = self.read(process.pid)
        return now is not None and now.start_time == process.start_time and now.alive

    def signal(self, process: Process, number: int) -> bool:
        if not self.is_same(process):
            return False
        self.signals.append((process.pid, number))
        self.table[process.pid].signal(number)
        return True

    def age(self, process: Process) -> float:
        running = self.table.get(process.pid)
        return self._machine.clock.monotonic() - running.born if running else 0.0

    def arguments_of(self, pid: int) -> List[str]:
        running = self.table.get(pid)
        if running is None or running.state == "Z":
            return []
        return running.program.arguments or [running.program.executable]

    def cgroup_of(self, pid: int) -> str:
        running = self.table.get(pid)
        return running.cgroup if running else ""

    def directory_of(self, pid: int) -> str:
        running = self.table.get(pid)
        return running.program.directory if running else ""


class FakeCgroups:
    """Stands for system.cgroups.Cgroups; derived from the processes."""

    def __init__(self, machine: FakeMachine) -> None:
        self._machine = machine

    def populated(self, path: str) -> bool:
        return bool(self.processes(path))

    def number(self, path: str) -> int:
        return 0

    def processes(self, path: str) -> List[int]:
        wanted = f"/{path.strip('/')}/"
        if wanted == "//":
            return []
        return sorted([pid for pid, running in self._machine.processes.table.items()
                       if (running.cgroup + "/").startswith(wanted) and running.state != "Z"])


class FakeSockets:
    """Stands for system.sockets.Sockets. addresses: the local ones. sent: all that was sent."""

    def __init__(self, machine: FakeMachine) -> None:
        self._machine = machine
        self.addresses: Set[str] = {"127.0.0.1", "::1"}
        self.sent: List[tuple[Endpoint, bytes]] = []
        self.connected: List[Endpoint] = []

    def _opened(self) -> Iterator[tuple[Running, Endpoint, int]]:
        for running in list(self._machine.processes.table.values()):
            for endpoint, inode in running.open.items():
                yield running, endpoint, inode

    def listeners(self) -> List[Listener]:
        return [Listener(6 if ":" in endpoint[0] else 4, _bound(endpoint[0]), endpoint[1], inode)
                for _, endpoint, inode in self._opened() if not isinstance(endpoint, str)]

    def unix_listeners(self) -> Dict[str, List[int]]:
        found: Dict[str, List[int]] = {}
        for _, endpoint, inode in self._opened():
            if isinstance(endpoint, str):
                found.setdefault(endpoint, []).append(inode)
        return found

    def owned_inodes(self, pid: int, wanted: Optional[Set[int]] = None) -> Set[int]:
        running = self._machine.processes.table.get(pid)
        return set(running.open.values()) if running else set()

    def local_addresses(self) -> Set[str]:
        return {canonical(address) for address in self.addresses}

    def connect(self, endpoint: Endpoint, timeout: float) -> FakeConnection:
        """Connect to whoever listens there; refused where nobody does."""
        self.connected.append(endpoint)
        for running, own, inode in self._opened():
            if isinstance(own, str) or isinstance(endpoint, str):
                if own != endpoint:
                    continue
            elif not listens(Listener(6 if ":" in own[0] else 4, _bound(own[0]), own[1], inode),
                             endpoint[0], endpoint[1]):
                continue
            script = running.program.listens[own]
            if script.mood == "hangs":
                self._machine.clock.sleep(timeout)
                raise ConnectionFailed(f"cannot connect to {describe(endpoint)}: no answer in "
                                       "time", "timeout")
            if script.mood != "refuses":
                return FakeConnection(self._machine, running, endpoint, script)
        there = not isinstance(endpoint, str) or self._machine.files.exists(endpoint)
        raise ConnectionFailed(f"cannot connect to {describe(endpoint)}: "
                               + ("Connection refused" if there else "No such file or directory"),
                               "refused" if there else "missing")


def _bound(host: str) -> str:
    return "0.0.0.0" if host in ("*", "") else host


class FakeConnection:
    """Stands for system.connection.Connection; plays the Script of the endpoint."""

    def __init__(self, machine: FakeMachine, running: Running, endpoint: Endpoint,
                 script: Script) -> None:
        self._machine, self._running = machine, running
        self._endpoint, self._script = endpoint, script
        self._buffer = script.greeting
        self.closed = False

    def send(self, data: bytes, timeout: float = 5.0) -> None:
        self._check(0.0)
        self._machine.sockets.sent.append((self._endpoint, data))
        for key, answer in self._script.answers.items():
            if key in data:
                self._buffer += answer if isinstance(answer, bytes) else answer(data)
                break

    def receive(self, limit: int, timeout: float) -> bytes:
        self._check(timeout)
        if not self._buffer:
            if self._script.mood == "closes":
                return b""
            self._silence(timeout)
        data, self._buffer = self._buffer[:limit], self._buffer[limit:]
        return data

    def receive_line(self, timeout: float, limit: int = 65536) -> bytes:
        self._check(timeout)
        if b"\n" not in self._buffer:
            if self._script.mood == "closes":
                raise ConnectionFailed(f"{describe(self._endpoint)} closed the connection",
                                       "closed")
            self._silence(timeout)
        line, _, self._buffer = self._buffer.partition(b"\n")
        return line[:-1] if line.endswith(b"\r") else line

    def close(self) -> None:
        self.closed = True

    def __enter__(self) -> FakeConnection:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def _check(self, timeout: float) -> None:
        assert not self.closed, "used after close()"
        if self._script.mood == "resets" or not self._running.here:
            raise ConnectionFailed(f"{describe(self._endpoint)}: Connection reset by peer",
                                   "reset")
        if timeout and (self._running.mute or self._script.mood == "mute"):
            self._silence(timeout)
        if timeout and self._script.delay:
            if self._script.delay > timeout:
                self._silence(timeout)
            self._machine.clock.sleep(self._script.delay)

    def _silence(self, timeout: float) -> None:
        assert math.isfinite(timeout) and timeout > 0
        self._machine.clock.sleep(timeout)
        raise ConnectionFailed(f"no answer from {describe(self._endpoint)} within {timeout:g} s",
                               "timeout")
