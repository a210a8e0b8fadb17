# SPDX-License-Identifier: GPL-2.0-or-later
"""Children made by fork: a function that may hang, and a daemon that shall outlive us.

The child never returns into the caller's code: it ends with os._exit, so that no handler, no
`finally` and no buffered output of the parent runs a second time.
"""

from __future__ import annotations

import errno
import os
import select
import time
import _signal  # type: ignore[import]  # typeshed lacks it; `signal` costs 5 ms

from mailha import errors
from mailha.system.child_failures import (ChildFailed, ChildTimedOut, ending, name_of,
                                          not_started)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Callable, Mapping, Sequence

_RESULT, _EXCEPTION, _PID = b"+", b"-", b"="
_LARGEST_RESULT = 16 << 20


def bounded(function: Callable[[], bytes], timeout: float) -> bytes:
    """Run function() in a child; see Children.bounded."""
    name = getattr(function, "__name__", "function")
    command = [name]
    deadline = time.monotonic() + timeout
    reader, writer = _pipe(command)
    try:
        pid = os.fork()
    except OSError as error:
        os.close(reader)
        os.close(writer)
        raise not_started(command, error) from None
    if pid == 0:
        _run_function(function, writer, timeout)
    os.close(writer)
    data, complete = _read(reader, deadline)
    if not complete:
        _kill(pid)
        _reap(pid, 0.05)
        raise ChildTimedOut(f"{name} did not end within {timeout:g} s", command=command,
                            remedy="look for a dead file system: a process in state D")
    code = _reap(pid, 0.5)
    if data[:1] == _RESULT:
        return data[1:]
    if data[:1] == _EXCEPTION:
        number, _, text = data[1:].partition(b" ")
        raise ChildFailed(text.decode("utf-8", "backslashreplace"), command=command,
                          exit_code=1, errno=int(number))
    raise ChildFailed(f"{name} {ending(code or 0)} without an answer",
                      command=command, exit_code=code)


def _run_function(function: Callable[[], bytes], writer: int, timeout: float) -> None:
    """The child of bounded(). Does not return."""
    try:
        try:
            _reset_signals()
            os.setsid()
            # Should the parent be killed, this ends us too, once we can end at all.
            _signal.alarm(int(timeout) + 2)
            _detach_output(writer, None)
            data = _RESULT + bytes(function())
        except MemoryError:
            data = _EXCEPTION + b"%d no memory left" % errno.ENOMEM
        except errors.MailhaError as error:
            data = _EXCEPTION + b"0 " + _one_line(str(error))
        except Exception as error:
            number = error.errno or 0 if isinstance(error, OSError) else 0
            data = _EXCEPTION + b"%d %s" % (number, _one_line(f"{type(error).__name__}: {error}"))
        view = memoryview(data)
        while view:
            view = view[os.write(writer, view):]
    finally:
        os._exit(0)


def spawn_detached(argv: Sequence[str], environment: Mapping[str, str], user: str | None,
                   output: str | None, timeout: float) -> int:
    """Start a daemon; see Children.spawn_detached."""
    deadline = time.monotonic() + timeout
    reader, writer = _pipe(argv)
    try:
        middle = os.fork()
    except OSError as error:
        os.close(reader)
        os.close(writer)
        raise not_started(argv, error) from None
    if middle == 0:
        _start_daemon(argv, environment, user, output, writer)
    os.close(writer)
    # The pipe closes itself when the program is executed (O_CLOEXEC): its end is the good news.
    data, complete = _read(reader, deadline)
    if not complete:
        _kill(middle)
        if data[:1] == _PID and data[1:].isdigit():
            _kill(int(data[1:]))
    _reap(middle, 0.5)
    if not complete:
        raise ChildTimedOut(
            f"{name_of(argv)} was not executed within {timeout:g} s", command=argv,
            remedy="look for a dead file system or a name service that hangs")
    head, _, failure = data.partition(_EXCEPTION)
    if failure:
        number, _, text = failure.partition(b" ")
        reason = OSError(int(number), text.decode("utf-8", "backslashreplace"))
        raise not_started(argv, reason)
    if not head[1:].isdigit():
        raise ChildFailed(f"{name_of(argv)} died before it was executed",
                          command=argv)
    return int(head[1:])


def _start_daemon(argv: Sequence[str], environment: Mapping[str, str], user: str | None,
                  output: str | None, writer: int) -> None:
    """The child in the middle. Does not return."""
    try:
        try:
            _reset_signals()
            os.setsid()
            if os.fork():
                os._exit(0)
            os.write(writer, _PID + b"%d" % os.getpid())
            # No controlling terminal, and not the leader of the session: a session of its own
            # group, which a server that kills its process group may kill.
            os.setpgid(0, 0)
            os.chdir("/")
            os.umask(0o022)
            _detach_output(writer, output)
            if user is not None:
                _become(user)
            os.execvpe(argv[0], list(argv), dict(environment))
        except OSError as error:
            _report(writer, error.errno or 0, error.strerror or str(error))
        except KeyError:
            _report(writer, 0, f"there is no user {user}")
        except Exception as error:
            _report(writer, 0, f"{type(error).__name__}: {error}")
    finally:
        os._exit(127)


def _become(user: str) -> None:
    """Take the user's identity and groups. Raises KeyError for an unknown one."""
    import pwd
    entry = pwd.getpwnam(user)
    os.initgroups(user, entry.pw_gid)
    os.setgid(entry.pw_gid)
    os.setuid(entry.pw_uid)


def _report(writer: int, number: int, text: str) -> None:
    os.write(writer, _EXCEPTION + b"%d %s" % (number, _one_line(text)))


def _one_line(text: str) -> bytes:
    return " ".join(text.split()).encode("utf-8", "backslashreplace")


def _reset_signals() -> None:
    """Give every signal its default again; Python ignores SIGPIPE, and we may handle some."""
    for number in range(1, 32):
        if number not in (9, 19):
            _signal.signal(number, _signal.SIG_DFL)
    _signal.pthread_sigmask(_signal.SIG_SETMASK, [])


def _detach_output(keep: int, output: str | None) -> None:
    """Close every file of the parent but `keep`, and point the standard ones elsewhere.

    A child that hangs in the kernel would otherwise hold the agent's output, for which Pacemaker
    waits, and every lock that the agent has.
    """
    null = os.open("/dev/null", os.O_RDWR)
    os.dup2(null, 0)
    if output is not None:
        target = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW, 0o640)
    else:
        target = null
    os.dup2(target, 1)
    os.dup2(target, 2)
    try:
        descriptors = [int(name) for name in os.listdir("/proc/self/fd")]
    except OSError:
        descriptors = list(range(256))
    for descriptor in descriptors:
        if descriptor > 2 and descriptor != keep:
            try:
                os.close(descriptor)
            except OSError:
                pass


def _pipe(command: Sequence[str]) -> tuple[int, int]:
    try:
        reader, writer = os.pipe()
    except OSError as error:
        raise not_started(command, error) from None
    if writer <= 2:
        os.close(reader)
        os.close(writer)
        raise ChildFailed("standard input, output or error is closed", command=command)
    return reader, writer


def _read(reader: int, deadline: float) -> tuple[bytes, bool]:
    """Read to the end of the pipe, which is closed then; (data, came the end in time)."""
    data = b""
    try:
        while True:
            left = deadline - time.monotonic()
            if left <= 0 or not select.select([reader], [], [], left)[0]:
                return data, False
            piece = os.read(reader, 1 << 17)
            if not piece:
                return data, True
            data += piece
            if len(data) > _LARGEST_RESULT:
                return data, False
    finally:
        os.close(reader)


def _kill(pid: int) -> None:
    """Kill the child and, when it has come so far, its group."""
    for kill in (os.killpg, os.kill):
        try:
            kill(pid, 9)
        except (ProcessLookupError, PermissionError):
            pass


def _reap(pid: int, seconds: float) -> int | None:
    """Collect the child if it ends in time; its code, None when it does not end (state D)."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            found, status = os.waitpid(pid, os.WNOHANG)
        except ChildProcessError:
            return None
        if found:
            return -os.WTERMSIG(status) if os.WIFSIGNALED(status) else os.WEXITSTATUS(status)
        if time.monotonic() > deadline:
            return None
        time.sleep(0.002)
