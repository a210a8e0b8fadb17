# SPDX-License-Identifier: GPL-2.0-or-later
"""What a daemon does about processes: background, pid file, privileges, signals."""

from __future__ import annotations

import grp
import os
import pwd
import resource
import select
import signal
import socket
import sys
from types import FrameType
from typing import Callable, List, Optional, Sequence, Tuple

PROC = "/proc"


class AlreadyRunning(Exception):
    """The pid file seems to belong to a live predecessor; the text is the line for the log."""


def daemonise() -> None:
    """Go on in the background; the caller's process ends with exit code 0 here and now.

    That exit code proves nothing (measured): everything that can go wrong comes later.
    """
    if os.fork():
        os._exit(0)
    os.setsid()
    if os.fork():
        os._exit(0)
    os.chdir("/")
    null = os.open("/dev/null", os.O_RDWR)
    for descriptor in (0, 1, 2):
        os.dup2(null, descriptor)
    os.close(null)


def predecessor(path: str, program: str) -> int:
    """Return the pid in the file ``path`` if Kopano would take it for a running ``program``, or 0.

    Kopano's rule (measured): the process exists, and its command line is empty or contains, or is
    contained in, the program's name. So a kernel thread, a zombie and, after the number was given
    to somebody else, many an innocent process count as a predecessor.
    """
    try:
        with open(path, encoding="ascii") as file:
            pid = int(file.read().split()[0])
        with open(f"{PROC}/{pid}/cmdline", "rb") as file:
            command = file.read().replace(b"\0", b" ").decode("utf-8", "replace").strip()
    except (OSError, ValueError, IndexError):
        return 0
    if pid == os.getpid():
        return 0
    return pid if program in command or command in program else 0


def write_pid_file(path: str, program: str, mode: int, *, refuse: bool) -> None:
    """Write this process's pid to ``path``; nobody ever removes the file (measured).

    refuse: raise AlreadyRunning over a predecessor's file (spooler and monitor do; the others
    only log it). OSError is raised when the file cannot be written; services log it and run on.
    """
    pid = predecessor(path, program)
    if pid and refuse:
        raise AlreadyRunning(
            f"Warning: Process {program} is probably already running (pid {pid}). "
            f"If this message is incorrect, please remove pidfile {path}")
    # Written in place: real ones do not rename, so a full disk leaves an empty file.
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, mode)
    try:
        os.fchmod(descriptor, mode)
        os.write(descriptor, f"{os.getpid()}\n".encode("ascii"))
    finally:
        os.close(descriptor)


def account(user: str, group: str) -> Tuple[int, int]:
    """Return the numbers of ``user`` and ``group`` (empty: root, and the user's own group).

    KeyError: there is no such user or group.
    """
    found = pwd.getpwnam(user or "root")
    return found.pw_uid, grp.getgrnam(group).gr_gid if group else found.pw_gid


def become(user: str, group: str) -> None:
    """Give up root for ``user`` and ``group``.

    The real ones then execute themselves once more under the same pid; the stand-in spares itself
    that.
    """
    user_number, group_number = account(user, group)
    os.setgroups([])
    os.setgid(group_number)
    os.setuid(user_number)


def terminate_own_group() -> None:
    """Send SIGTERM to the whole process group, caller and its parent included (measured).

    Kopano's ``kill(0, SIGTERM)``: it ends a cluster agent that started the server in its own
    group.
    """
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    os.kill(0, signal.SIGTERM)


def crash_in(seconds: float) -> None:
    """Arrange for a death by SIGSEGV, without a core file, ``seconds`` from now."""
    def crash(number: int, frame: Optional[FrameType]) -> None:
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        signal.signal(signal.SIGSEGV, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGSEGV)

    signal.signal(signal.SIGALRM, crash)
    signal.setitimer(signal.ITIMER_REAL, seconds)


def leave_stubborn_child(close: Sequence[socket.socket]) -> None:
    """Fork a child that ignores every polite signal and outlives its parent."""
    if os.fork():
        return
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    for listener in close:
        listener.close()
    while True:
        signal.pause()


class Signals:
    """The signals of one service: SIGTERM and SIGINT end it, SIGHUP is survived.

    The first SIGTERM only sets ``stopping``; the handler is gone then, so a second one kills at
    once whatever the process is doing, a database upgrade included (measured).

    on_hangup: called for SIGHUP in the main loop.
    """

    def __init__(self, on_hangup: Callable[[], None], *, ignore_stop: bool = False) -> None:
        self.stopping = False
        self._on_hangup = on_hangup
        self._hangup = False
        self._reader, self._writer = socket.socketpair()
        self._reader.setblocking(False)
        self._writer.setblocking(False)
        signal.set_wakeup_fd(self._writer.fileno(), warn_on_full_buffer=False)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, signal.SIG_IGN if ignore_stop else self._stop)
        signal.signal(signal.SIGHUP, self._hang_up)
        signal.signal(signal.SIGCHLD, self._reap)
        signal.signal(signal.SIGPIPE, signal.SIG_IGN)
        self.children: List[int] = []

    def _stop(self, number: int, frame: Optional[FrameType]) -> None:
        self.stopping = True
        signal.signal(number, signal.SIG_DFL)

    def _hang_up(self, number: int, frame: Optional[FrameType]) -> None:
        self._hangup = True

    def _reap(self, number: int, frame: Optional[FrameType]) -> None:
        try:
            while True:
                pid, _ = os.waitpid(-1, os.WNOHANG)
                if pid == 0:
                    return
                if pid in self.children:
                    self.children.remove(pid)
        except ChildProcessError:
            return

    def wait(self, sockets: Sequence[socket.socket], timeout: Optional[float]) -> List[
            socket.socket]:
        """Return those of ``sockets`` that have something, after a signal or ``timeout`` none.

        timeout: seconds, None for as long as it takes.
        """
        if self.stopping:
            return []
        ready, _, _ = select.select([self._reader, *sockets], [], [], timeout)
        if self._reader in ready:
            self._reader.recv(4096)
        if self._hangup:
            self._hangup = False
            self._on_hangup()
        if self.stopping:
            return []
        return [item for item in ready if item is not self._reader]

    def sleep(self, seconds: float) -> None:
        """Sleep, but wake for a signal as C's sleep does: the end of a child is seen at once."""
        select.select([self._reader], [], [], seconds)
        try:
            self._reader.recv(4096)
        except BlockingIOError:
            pass

    def fork(self, work: Callable[[], None], close: Sequence[socket.socket]) -> None:
        """Run ``work`` in a child that SIGTERM ends at once, without the sockets ``close``."""
        # Blocked, so that the child's end is not seen before its pid is in the list.
        signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGCHLD,))
        pid = os.fork()
        if pid:
            self.children.append(pid)
            signal.pthread_sigmask(signal.SIG_UNBLOCK, (signal.SIGCHLD,))
            return
        signal.set_wakeup_fd(-1)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGCHLD):
            signal.signal(number, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, (signal.SIGCHLD,))
        for listener in close:
            listener.close()
        try:
            work()
        finally:
            sys.stderr.flush()
            os._exit(0)
