# SPDX-License-Identifier: GPL-2.0-or-later
"""A machine in memory, with the attributes of mailha.system.machine.Machine.

Nothing of it is real and nothing is random: time passes only when somebody sleeps or waits for an
answer that does not come. An example, a server whose start takes three seconds::

    machine = FakeMachine()
    machine.sockets.addresses.add("192.0.2.1")
    machine.mount("/var/lib/kopano", "ext4", "/dev/drbd0")
    server = Program("/usr/sbin/kopano-server", listen_after=3.0, term_takes=1.5,
                     listens={("192.0.2.1", 236): Script(answers={b"HEAD": b"HTTP/1.1 200 OK"})})
    machine.systemd.add("kopano-server.service", FakeUnit(program=server))
    machine.systemd.start("kopano-server.service")
    machine.clock.sleep(3.0)
    with machine.sockets.connect(("192.0.2.1", 236), 1.0) as connection: ...

What can be bent, and where it is described: programs (Program: dies, ignores SIGTERM, leaves
children, cannot be killed, listens late, stays mute), endpoints (Script), units (FakeUnit: masked,
queued, auto-restart...), systemd as a whole (FakeSystemd), answers of commands (FakeChildren),
full and read-only disks (FakeFiles), a reboot (FakeMachine.reboot).
"""

from __future__ import annotations

import errno
import heapq
import os
import zlib
from typing import Any, Callable, Dict, List, Mapping, NamedTuple, Optional, Sequence, Set, Union

from fake_programs import (FakeCgroups, FakeConnection, FakeProcesses, FakeSockets, Program,
                           Running, Script)
from fake_systemd import FakeSystemd, FakeUnit
from mailha import errors
from mailha.system import files as real_files
from mailha.system.child_failures import ChildFailed, ChildMissing, ChildTimedOut
from mailha.system.children import Finished

__all__ = ["FakeChildren", "FakeClock", "FakeConnection", "FakeFiles", "FakeMachine",
           "FakeSystemd", "FakeUnit", "Program", "Running", "Script"]


class FakeClock:
    """Time that passes only by sleep(); what is due meanwhile happens at its moment."""

    def __init__(self) -> None:
        self._now = 1000.0
        self._asked = 0
        self._order = 0
        self._due: List[tuple[float, int, Callable[[], None]]] = []
        self.boot = "00000000-0000-4000-8000-000000000001"
        self.wall_offset = 1_700_000_000.0
        self.slept = 0.0

    def monotonic(self) -> float:
        self._asked += 1
        assert self._asked < 100_000, "a loop waits without sleeping"
        return self._now

    def wall(self) -> float:
        return self._now + self.wall_offset

    def sleep(self, seconds: float) -> None:
        self._asked = 0
        end = self._now + max(0.0, seconds)
        while self._due and self._due[0][0] <= end:
            self._now, _, action = heapq.heappop(self._due)
            action()
        self.slept += max(0.0, seconds)
        self._now = end

    def after(self, seconds: float, action: Callable[[], None]) -> None:
        """Let something happen later; at once when seconds is 0."""
        if seconds <= 0:
            action()
            return
        self._order += 1
        heapq.heappush(self._due, (self._now + seconds, self._order, action))

    def boot_id(self) -> str:
        return self.boot

    def forget(self) -> None:
        """Drop all that is due."""
        self._due = []


class FakeLock:
    """Stands for system.files.FileLock."""

    def __init__(self, files: FakeFiles, path: str) -> None:
        self._files, self._path = files, path

    def release(self) -> None:
        self._files.locked.discard(self._path)


class FakeFiles:
    """Stands for system.files.Files. content: data by path; directories are implied.

    failing: error number by path; everything at or below such a path fails with it when written
    or removed (errno.ENOSPC, errno.EROFS), and with EACCES or EIO also when read.
    """

    def __init__(self, machine: FakeMachine) -> None:
        self._machine = machine
        self.content: Dict[str, bytes] = {}
        self.modes: Dict[str, int] = {}
        self.times: Dict[str, float] = {}
        self.directories: Set[str] = {"/", "/run", "/etc", "/var", "/tmp"}
        self.failing: Dict[str, int] = {}
        self.locked: Set[str] = set()
        self.locked_by_others: Set[str] = set()

    def put(self, path: str, data: bytes) -> None:
        """Let a file be there, made by somebody else."""
        self.content[path] = data
        self.times[path] = self._machine.clock.wall()

    def read(self, path: str, limit: int = 1 << 20) -> bytes:
        number = self._failure(path)
        if number in (errno.EACCES, errno.EIO):
            raise OSError(number, os.strerror(number), path)
        if path not in self.content:
            if self._is_directory(path):
                raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), path)
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path)
        if len(self.content[path]) > limit:
            raise errors.Failed(f"{path} is larger than {limit} bytes")
        return self.content[path]

    def write_atomic(self, path: str, data: bytes, mode: int = 0o644) -> None:
        self._may_write("write", path)
        if not self._is_directory(os.path.dirname(path)):
            raise real_files.failure("write", path, _os_error(errno.ENOENT))
        self.put(path, bytes(data))
        self.modes[path] = mode

    def remove(self, path: str) -> bool:
        if path not in self.content:
            return False
        self._may_write("remove", path)
        del self.content[path]
        return True

    def exists(self, path: str) -> bool:
        return path in self.content or self._is_directory(path)

    def modified(self, path: str) -> Optional[float]:
        return self.times.get(path) if path in self.content else None

    def inode(self, path: str) -> int:
        return zlib.crc32(path.encode()) if path in self.content else 0

    def link(self, path: str) -> str:
        return ""

    def block_device(self, path: str) -> str:
        return ""

    def is_device(self, path: str) -> bool:
        return path.startswith("/dev/")

    def names(self, path: str) -> List[str]:
        base = path.rstrip("/") + "/"
        return sorted({each[len(base):].partition("/")[0]
                       for each in [*self.content, *self.directories]
                       if each.startswith(base) and each != base})

    def make_directory(self, path: str, mode: int = 0o755) -> None:
        if self._is_directory(path):
            return
        self._may_write("make directory", path)
        while path not in ("", "/"):
            if not self._is_directory(path):
                self.modes[path] = mode
            self.directories.add(path)
            path = os.path.dirname(path)

    def lock(self, path: str) -> Optional[FakeLock]:
        """locked_by_others: paths whose lock another process holds."""
        self._may_write("make the lock", path)
        self.content.setdefault(path, b"")
        if path in self.locked or path in self.locked_by_others:
            return None
        self.locked.add(path)
        return FakeLock(self, path)

    def _is_directory(self, path: str) -> bool:
        base = path.rstrip("/")
        if base in self.directories or not base:
            return True
        below = base + "/"
        for known in (self.directories, self.content):
            for each in known:
                if each.startswith(below):
                    return True
        return False

    def _failure(self, path: str) -> int:
        for place, number in self.failing.items():
            if path == place or path.startswith(place.rstrip("/") + "/"):
                return number
        return 0

    def _may_write(self, verb: str, path: str) -> None:
        number = self._failure(path)
        if number:
            raise real_files.failure(verb, path, _os_error(number))


def _os_error(number: int) -> OSError:
    return OSError(number, os.strerror(number))


class Ran(NamedTuple):
    """A command that was run."""

    argv: List[str]
    stdin: bytes
    environment: Optional[Mapping[str, str]]
    timeout: float


class _Reply(NamedTuple):
    code: int
    stdout: bytes
    stderr: bytes
    takes: float


class FakeChildren:
    """Stands for system.children.Children.

    answer() says what a command answers; a command without an answer is missing on this machine.
    programs: what spawn_detached() starts, by executable. ran, spawned: what was asked for.
    hanging: names of functions (or "*") that bounded() finds hanging.
    """

    def __init__(self, machine: FakeMachine) -> None:
        self._machine = machine
        self._answers: Dict[tuple[str, ...], Union[_Reply, Callable[[Ran], Finished]]] = {}
        self.programs: Dict[str, Program] = {}
        self.ran: List[Ran] = []
        self.spawned: List[tuple[List[str], Dict[str, str], Optional[str], Optional[str]]] = []
        self.hanging: Set[str] = set()

    def answer(self, prefix: Sequence[str], code: int = 0, stdout: bytes = b"",
               stderr: bytes = b"", takes: float = 0.0,
               function: Optional[Callable[[Ran], Finished]] = None) -> None:
        """Let commands that begin with prefix answer so; the longest prefix wins.

        takes: seconds, more than the timeout for a command that hangs. function: computes the
        answer instead.
        """
        self._answers[tuple(prefix)] = function or _Reply(code, stdout, stderr, takes)

    def run(self, argv: Sequence[str], *, timeout: float, stdin: bytes = b"",
            environment: Optional[Mapping[str, str]] = None,
            accept: Sequence[int] = (0,)) -> Finished:
        ran = Ran(list(argv), stdin, environment, timeout)
        self.ran.append(ran)
        fitting = [prefix for prefix in self._answers if tuple(argv[:len(prefix)]) == prefix]
        if not fitting:
            raise ChildMissing(f"cannot execute {argv[0]!r}: No such file or directory",
                               command=argv, errno=errno.ENOENT)
        answer = self._answers[max(fitting, key=len)]
        if callable(answer):
            finished = answer(ran)
        else:
            if answer.takes > timeout:
                self._machine.clock.sleep(timeout)
                raise ChildTimedOut(f"`{' '.join(argv)}` did not end within {timeout:g} s",
                                    command=argv)
            self._machine.clock.sleep(answer.takes)
            finished = Finished(answer.code, answer.stdout, answer.stderr)
        if finished.code not in accept:
            raise ChildFailed(f"`{' '.join(argv)}` ended with code {finished.code}: "
                              f"{finished.stderr.decode(errors='replace').strip()}", command=argv,
                              exit_code=finished.code, stdout=finished.stdout,
                              stderr=finished.stderr)
        return finished

    def bounded(self, function: Callable[[], bytes], *, timeout: float) -> bytes:
        name = getattr(function, "__name__", "function")
        if name in self.hanging or "*" in self.hanging:
            self._machine.clock.sleep(timeout)
            raise ChildTimedOut(f"{name} did not end within {timeout:g} s", command=[name])
        try:
            return bytes(function())
        except errors.MailhaError as error:
            raise ChildFailed(str(error), command=[name], exit_code=1) from None
        except Exception as error:
            raise ChildFailed(f"{type(error).__name__}: {error}", command=[name], exit_code=1,
                              errno=getattr(error, "errno", None) or 0) from None

    def spawn_detached(self, argv: Sequence[str], *, environment: Mapping[str, str],
                       user: Optional[str] = None, output: Optional[str] = None,
                       timeout: float = 10.0) -> int:
        self.spawned.append((list(argv), dict(environment), user, output))
        program = self.programs.get(argv[0])
        if program is None:
            raise ChildMissing(f"cannot execute {argv[0]!r}: No such file or directory",
                               command=argv, errno=errno.ENOENT)
        if not program.arguments:
            program.arguments = list(argv)
        return self._machine.processes.run(program, cgroup="/system.slice/pacemaker.service").pid


class FakeMachine:
    """See the head of this module. Annotate what takes it as Machine; it quacks like one."""

    root = ""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.files = FakeFiles(self)
        self.processes = FakeProcesses(self)
        self.cgroups = FakeCgroups(self)
        self.sockets = FakeSockets(self)
        self.systemd = FakeSystemd(self)
        self.children = FakeChildren(self)
        self._mounts: Dict[str, tuple[str, str]] = {}
        self._bound: Dict[str, str] = {}
        self.mount("/", "ext4", "/dev/vda1")

    def mount(self, path: str, kind: str = "ext4", source: str = "/dev/vdb",
              options: str = "rw") -> None:
        """Mount something; it is seen in /proc/self/mountinfo."""
        self._mounts[path] = (kind, f"{source} {options}")
        self._write_mounts()

    def bind(self, path: str, source: str) -> None:
        """Mount a directory that lies on the root file system in another place."""
        self._bound[path] = source
        self.mount(path, *self._mounts["/"][0:1], source="/dev/vda1")

    def unmount(self, path: str) -> None:
        """Take a mount away."""
        del self._mounts[path]
        self._write_mounts()

    def reboot(self) -> None:
        """Lose power and boot: processes, /run, jobs and floating addresses are gone."""
        self.clock.forget()
        self.processes.table.clear()
        self.systemd.forget()
        self.sockets.addresses = {"127.0.0.1", "::1"}
        for path in [each for each in self.files.content if each.startswith("/run/")]:
            del self.files.content[path]
        self.files.directories = {each for each in self.files.directories
                                  if not each.startswith("/run/")}
        number = int(self.clock.boot[-12:]) + 1
        self.clock.boot = f"{self.clock.boot[:-12]}{number:012d}"
        self._mounts = {"/": self._mounts["/"]}
        self._write_mounts()

    def _write_mounts(self) -> None:
        lines = []
        numbers = {path: 20 + number for number, path in enumerate(self._mounts)}
        for path, (kind, rest) in self._mounts.items():
            source, options = rest.split(" ")
            escaped = "".join(f"\\{ord(char):03o}" if char in " \t\n\\" else char for char in path)
            # The kernel names the mount on which this one lies; the root's is out of sight.
            below = [each for each in self._mounts
                     if each != path and path.startswith(each.rstrip("/") + "/")]
            parent = numbers[max(below, key=len)] if below else 1
            device = numbers["/" if path in self._bound else path]
            root = self._bound.get(path, "/")
            lines.append(f"{numbers[path]} {parent} 8:{device} {root} {escaped} "
                         f"{options},relatime shared:1 - {kind} {source} {options}\n")
        self.files.put("/proc/self/mountinfo", "".join(lines).encode())

    def call(self, function: Callable[..., Any], *arguments: Any, **named: Any) -> Any:
        """Call function(machine, ...); saves tests a cast to Machine."""
        return function(self, *arguments, **named)
