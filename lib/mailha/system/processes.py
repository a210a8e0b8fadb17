# SPDX-License-Identifier: GPL-2.0-or-later
"""Processes, as /proc tells them.

A process is known by its pid and its start time together: pids are used again, after a reboot
even within seconds, and a stale pid file then names a stranger (pacemaker pull request 1147).
A process may vanish between two reads; that is an answer (None), never an exception.
"""

from __future__ import annotations

import errno
import os
import time

from mailha import errors

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Iterable, Iterator, Protocol

    class Source(Protocol):
        """Where a Process reads what is only read when asked for."""

        def arguments_of(self, pid: int) -> list[str]:
            """Return argv; empty when the process is gone or has none."""

        def cgroup_of(self, pid: int) -> str:
            """Return the control group; empty when the process is gone."""

        def directory_of(self, pid: int) -> str:
            """Return the working directory; empty when it cannot be known."""

DELETED = " (deleted)"
_GONE = (errno.ENOENT, errno.ESRCH)


class Process:
    """One process as it was when it was read.

    pid, parent: numbers. start_time: clock ticks since boot. state: the letter of proc(5) ("R",
    "S", "D", "T", "t", "Z", "X"). command: the kernel's short name. executable: path of the
    program, without the " (deleted)" that an upgrade of its package leaves; "" for kernel
    threads, zombies and where it may not be read.
    """

    __slots__ = ("pid", "start_time", "state", "parent", "command", "executable", "_source",
                 "_arguments")

    def __init__(self, pid: int, start_time: int, state: str, parent: int, command: str,
                 executable: str, source: Source) -> None:
        self.pid = pid
        self.start_time = start_time
        self.state = state
        self.parent = parent
        self.command = command
        self.executable = executable
        self._source = source
        self._arguments: list[str] | None = None

    @property
    def arguments(self) -> list[str]:
        """The argument list, read once, when first asked for; empty for kernel threads."""
        if self._arguments is None:
            self._arguments = self._source.arguments_of(self.pid)
        return self._arguments

    @property
    def alive(self) -> bool:
        """False for a zombie: it holds nothing and only waits for its parent."""
        return self.state not in ("Z", "X", "x")

    @property
    def stopped(self) -> bool:
        """True while SIGSTOP holds it: SIGTERM then waits, only SIGKILL or SIGCONT act."""
        return self.state == "T"

    def cgroup(self) -> str:
        """Return its control group as systemd names it ("/system.slice/x.service"), "" if gone."""
        return self._source.cgroup_of(self.pid)

    def directory(self) -> str:
        """Return its working directory, "" if it is gone or hides it."""
        return self._source.directory_of(self.pid)

    def runs(self, executable: str) -> bool:
        """Tell whether this is the program, or an interpreter that runs it as a script."""
        if self.executable == executable:
            return True
        return is_interpreter(self.executable) and script_of(self.arguments) == executable

    def __repr__(self) -> str:
        return f"<process {self.pid} {self.executable or self.command} {self.state}>"


def is_interpreter(executable: str) -> bool:
    """Tell whether the program is a Python interpreter (kopano-search is a Python script)."""
    return executable.rpartition("/")[2].startswith("python")


def script_of(arguments: list[str]) -> str:
    """Return the script of an interpreter's command line: its first argument that is no option."""
    skip = False
    for argument in arguments[1:]:
        if skip:
            skip = False
        elif argument in ("-c", "-m", "-"):
            return ""
        elif argument in ("-W", "-X", "--check-hash-based-pycs"):
            skip = True
        elif not argument.startswith("-"):
            return argument
    return ""


def parse_stat(data: bytes) -> tuple[str, str, int, int, bool] | None:
    """Return (command, state, parent, start time, is a thread) from /proc/PID/stat.

    None if it is damaged.
    The command stands in parentheses and may hold spaces and parentheses itself, so the last
    closing one counts (proc(5)). /proc answers for the number of a thread too, though it does not
    list it; the thread shows by having no exit signal (CLONE_THREAD in the kernel's fork.c).
    """
    opening, closing = data.find(b"("), data.rfind(b")")
    fields = data[closing + 1:].split()
    if opening < 0 or closing < opening or len(fields) < 20:
        return None
    try:
        parent, start_time = int(fields[1]), int(fields[19])
    except ValueError:
        return None
    is_thread = fields[35:36] == [b"-1"]
    return (os.fsdecode(data[opening + 1:closing]), os.fsdecode(fields[0]), parent, start_time,
            is_thread)


def parse_cgroup(data: bytes) -> str:
    """Return the control group from /proc/PID/cgroup: the unified one, else name=systemd.

    Where the unified hierarchy is mounted but unused, every process is at its "/" while
    name=systemd tells the truth.
    """
    unified = named = ""
    for line in data.split(b"\n"):
        parts = line.split(b":", 2)
        if len(parts) == 3 and parts[0] == b"0":
            unified = os.fsdecode(parts[2])
        elif len(parts) == 3 and parts[1] == b"name=systemd":
            named = os.fsdecode(parts[2])
    path = named if unified in ("", "/") and named else unified
    return path[:-len(DELETED)] if path.endswith(DELETED) else path


class Processes:
    """The processes of our own pid namespace. Containers show up in /proc too; they are not ours:
    a mail server in a container is nobody's business here, and must never be killed from here."""

    def __init__(self, root: str = "") -> None:
        self._proc = root + "/proc"
        self._namespace: str | None = None

    def read(self, pid: int) -> Process | None:
        """Return the process, None when there is none (also for pid 0, negative and absurd ones).

        A thread's number is not a process and gives None: a pid file that points at one is stale.
        """
        if pid <= 0:
            return None
        found = parse_stat(self._content(pid, "stat"))
        if found is None or found[4]:
            return None
        command, state, parent, start_time, _ = found
        return Process(pid, start_time, state, parent, command, self._executable(pid), self)

    def all(self) -> Iterator[Process]:
        """Give every process of our pid namespace, zombies and kernel threads included."""
        for pid in self._pids():
            if self._is_ours(pid):
                process = self.read(pid)
                if process is not None:
                    yield process

    def find(self, executable: str) -> list[Process]:
        """Return the live processes that run this program, in any state but zombie."""
        return self.find_each([executable])[executable]

    def find_each(self, executables: Iterable[str]) -> dict[str, list[Process]]:
        """Do what find() does for several programs in one walk over /proc.

        A program counts as running also after an upgrade removed its file ("(deleted)"), and when
        a Python interpreter has it as its script.
        """
        found: dict[str, list[Process]] = {executable: [] for executable in executables}
        for pid in self._pids():
            # The link first: for all but a few processes it is the only thing that is read.
            program = self._executable(pid)
            if program not in found and not (program and is_interpreter(program)):
                continue
            process = self.read(pid)
            if process is None or not process.alive or not self._is_ours(pid):
                continue
            for executable in found:
                if process.runs(executable):
                    found[executable].append(process)
        return found

    def find_java(self, mains: Iterable[str]) -> dict[str, list[Process]]:
        """Return, by word, the live Java machines that have one of the words on the command line.

        All Java services run the same program; their class or application tells them apart.
        """
        found: dict[str, list[Process]] = {main: [] for main in mains}
        for pid in self._pids():
            if self._executable(pid).rpartition("/")[2] != "java":
                continue
            process = self.read(pid)
            if process is None or not process.alive or not self._is_ours(pid):
                continue
            for main in found:
                if any(main in argument for argument in process.arguments):
                    found[main].append(process)
        return found

    def is_same(self, process: Process) -> bool:
        """Tell whether that very process still lives: same pid, same start time, no zombie."""
        now = self.read(process.pid)
        return now is not None and now.start_time == process.start_time and now.alive

    def signal(self, process: Process, number: int) -> bool:
        """Send the signal to that very process; False when it is already gone.

        Raises errors.Failed when the kernel refuses. A pid that was given to another process in
        the meantime is never hit: the pidfd is opened first and the start time compared after,
        so nothing can slip in between. Kernels before 5.3 have no pidfd; there the check and the
        kill follow each other directly.
        """
        try:
            descriptor = os.pidfd_open(process.pid)
        except ProcessLookupError:
            return False
        except (OSError, AttributeError):
            descriptor = -1
        try:
            if not self.is_same(process):
                return False
            if descriptor >= 0:
                from _signal import pidfd_send_signal  # type: ignore[import]  # typeshed lacks it
                pidfd_send_signal(descriptor, number)
            else:
                os.kill(process.pid, number)
        except ProcessLookupError:
            return False
        except OSError as error:
            raise errors.Failed(
                f"cannot send signal {number} to process {process.pid} "
                f"({process.executable or process.command}): {error.strerror}") from None
        finally:
            if descriptor >= 0:
                os.close(descriptor)
        return True

    def age(self, process: Process) -> float:
        """Return for how many seconds the process has been running (resolution 10 ms)."""
        ticks = os.sysconf("SC_CLK_TCK")
        return max(0.0, time.clock_gettime(time.CLOCK_BOOTTIME) - process.start_time / ticks)

    def arguments_of(self, pid: int) -> list[str]:
        """Return the argument list of a pid; empty when gone, a zombie or a kernel thread."""
        data = self._content(pid, "cmdline")
        if not data:
            return []
        return [os.fsdecode(part) for part in data[:-1 if data[-1] == 0 else None].split(b"\0")]

    def cgroup_of(self, pid: int) -> str:
        """Return the control group of a pid, "" when it is gone."""
        return parse_cgroup(self._content(pid, "cgroup"))

    def directory_of(self, pid: int) -> str:
        """Return the working directory of a pid, "" when it is gone or hides it."""
        try:
            return os.readlink(f"{self._proc}/{pid}/cwd")
        except OSError:
            return ""

    def _pids(self) -> list[int]:
        try:
            return [int(name) for name in os.listdir(self._proc) if name.isdigit()]
        except OSError as error:
            raise errors.Failed(f"cannot list processes: {self._proc}: {error.strerror}",
                                remedy="mount /proc") from None

    def _content(self, pid: int, name: str) -> bytes:
        """Return a small file of /proc/PID, empty when the process is gone or hides it."""
        path = f"{self._proc}/{pid}/{name}"
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError as error:
            if error.errno in _GONE or error.errno in (errno.EACCES, errno.EPERM):
                return b""
            raise errors.Failed(f"cannot read {path}: {error.strerror}") from None
        try:
            data = piece = os.read(descriptor, 65536)
            while len(piece) == 65536:
                piece = os.read(descriptor, 65536)
                data += piece
            return data
        except OSError as error:
            if error.errno in _GONE or error.errno in (errno.EACCES, errno.EPERM):
                return b""
            raise errors.Failed(f"cannot read {path}: {error.strerror}") from None
        finally:
            os.close(descriptor)

    def _executable(self, pid: int) -> str:
        try:
            path = os.readlink(f"{self._proc}/{pid}/exe")
        except OSError:
            return ""
        return path[:-len(DELETED)] if path.endswith(DELETED) else path

    def _is_ours(self, pid: int) -> bool:
        """Tell whether the process is in our own pid namespace; yes where it cannot be known."""
        if self._namespace is None:
            try:
                self._namespace = os.readlink(f"{self._proc}/self/ns/pid")
            except OSError:
                self._namespace = ""
        try:
            return self._namespace in ("", os.readlink(f"{self._proc}/{pid}/ns/pid"))
        except OSError:
            return True
