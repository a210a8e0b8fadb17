# SPDX-License-Identifier: GPL-2.0-or-later
"""Child processes, each with a deadline.

The one gateway for everything that mailha lets another program do. A child gets its own session,
so that its whole group can be killed at the deadline, and so that a daemon which signals its own
process group (kopano-server up to 8.7 does when it cannot bind) never hits the agent. It inherits
no open file, no environment and no standard output of ours: a daemon that keeps the agent's
output open makes Pacemaker wait for it.
"""

from __future__ import annotations

import errno
import os
import select
import time

from mailha.system.child_failures import (ChildFailed, ChildTimedOut, ending, name_of,
                                          not_started)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Callable, Mapping, Sequence

ENVIRONMENT = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
               "LC_ALL": "C"}
OUTPUT_LIMIT = 1 << 20
# How long a child that is done is waited for to give up its output, which a grandchild may hold.
GRACE = 0.5


class Finished:
    """What a child left: its exit code and all that it wrote (up to OUTPUT_LIMIT each)."""

    __slots__ = ("code", "stdout", "stderr")

    def __init__(self, code: int, stdout: bytes = b"", stderr: bytes = b"") -> None:
        self.code = code
        self.stdout = stdout
        self.stderr = stderr


class Children:
    """Starts programs and functions in children."""

    def __init__(self, root: str = "") -> None:
        """Programs run in the real machine; root is taken only to be built as every part is."""

    def run(self, argv: Sequence[str], *, timeout: float, stdin: bytes = b"",
            environment: Mapping[str, str] | None = None,
            accept: Sequence[int] = (0,)) -> Finished:
        """Run a program to its end and return what it left.

        argv[0] is looked up on the PATH of the child's environment, which is ENVIRONMENT unless
        given. Raises ChildMissing, ChildTimedOut, and ChildFailed when the exit code is not among
        accept or no child can be made. Secrets go through stdin, never through argv.
        """
        import subprocess
        deadline = time.monotonic() + timeout
        command = [str(argument) for argument in argv]
        variables = dict(ENVIRONMENT if environment is None else environment)
        try:
            program = _look_up(command[0], variables.get("PATH", ENVIRONMENT["PATH"]))
            child = subprocess.Popen(
                command, executable=program, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                stderr=subprocess.PIPE, env=variables, cwd="/", start_new_session=True)
        except (OSError, ValueError, subprocess.SubprocessError) as error:
            raise not_started(command, error) from None
        from mailha.system.pipes import exchange
        try:
            ended, stdout, stderr = exchange(child, stdin, deadline, OUTPUT_LIMIT, GRACE)
        except BaseException:
            _kill_group(child.pid)
            child.poll()
            raise
        if not ended:
            _kill_group(child.pid)
            died = _reap(child.poll, GRACE)
            # Popen would complain at its end about a child that is still there (state D).
            child.returncode = child.returncode if died else -9
            state = "" if died else "; it hangs in the kernel and cannot be killed"
            raise ChildTimedOut(f"{name_of(command)} did not end within {timeout:g} s{state}",
                                command=command, stdout=stdout, stderr=stderr)
        code = child.returncode
        if code not in accept:
            raise ChildFailed(f"{name_of(command)} {ending(code)}{_last_line(stderr or stdout)}",
                              command=command, exit_code=code, stdout=stdout, stderr=stderr)
        return Finished(code, stdout, stderr)

    def bounded(self, function: Callable[[], bytes], *, timeout: float) -> bytes:
        """Run function() in a forked child and return the bytes that it returns.

        For everything that may touch a dead file system: a process that waits for a dead NFS
        server cannot be killed, so it must not be ours. Raises ChildTimedOut, then without
        waiting for the child any longer, and ChildFailed with the text of any exception that the
        function raised (its errno too, when it was an OSError).
        """
        from mailha.system.forked import bounded
        return bounded(function, timeout)

    def spawn_detached(self, argv: Sequence[str], *, environment: Mapping[str, str],
                       user: str | None = None, output: str | None = None,
                       timeout: float = 10.0) -> int:
        """Start a daemon in a session of its own and return its pid; init becomes its parent.

        user: whom it runs as, with that user's groups; None means root stays root. output: a file
        that its standard output and error are appended to (made with mode 0640), else they go to
        /dev/null. Its environment is exactly the one given. Returns when the program has been
        executed, within the timeout; raises ChildMissing, ChildTimedOut or ChildFailed.
        """
        from mailha.system.forked import spawn_detached
        return spawn_detached([str(argument) for argument in argv], environment, user, output,
                              timeout)


def _look_up(name: str, path: str) -> str:
    """Return the program's path. Raises OSError as execve(2) would."""
    if "/" in name:
        return name
    number = errno.ENOENT
    for directory in path.split(":"):
        candidate = f"{directory}/{name}"
        if os.path.isfile(candidate):
            if os.access(candidate, os.X_OK):
                return candidate
            number = errno.EACCES
    raise OSError(number, os.strerror(number))


def _last_line(output: bytes) -> str:
    """Return ": " and the last line that says something; "" when there is none."""
    for line in reversed(output.decode("utf-8", "backslashreplace").splitlines()):
        text = "".join(char if char.isprintable() else " " for char in line).strip()
        if text:
            return ": " + text[:300]
    return ""


def _kill_group(leader: int) -> None:
    """Kill a child's whole group. The child is not reaped yet, so the number is still its own."""
    try:
        os.killpg(leader, 9)
    except (ProcessLookupError, PermissionError):
        pass


def _reap(poll: Callable[[], int | None], seconds: float) -> bool:
    """Wait a moment for a killed child; False when it does not die (state D)."""
    deadline = time.monotonic() + seconds
    while poll() is None:
        if time.monotonic() > deadline:
            return False
        select.select([], [], [], 0.005)
    return True
