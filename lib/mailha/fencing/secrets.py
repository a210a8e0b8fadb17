# SPDX-License-Identifier: GPL-2.0-or-later
"""Passwords that do not stand in the configuration: from a program, or from a file.

No reason that is raised here has anything in it that the program printed or the file contains.
"""

from __future__ import annotations

import errno
import os
import stat
import time

from mailha.fencing.failures import FencingFailed

TYPE_CHECKING = False
if TYPE_CHECKING:
    from subprocess import Popen
    from typing import Callable

    from mailha.fencing.deadline import Deadline

LONGEST = 4096
"""Bytes of a password, far more than any controller takes."""

PATIENCE = 10.0
"""Seconds for the program where there is no deadline."""

SHARE = 0.5
"""Of what is left of the deadline; the rest is for what the password is needed for."""

_PR_SET_PDEATHSIG = 1       # <linux/prctl.h>

_SHELL = "|&;<>$`*?(){}\n"


class NoCommand(ValueError):
    """A text that is no program with its arguments."""


def words(command: str) -> list[str]:
    """Return the program and its arguments. Raises NoCommand if only a shell could run it.

    Blanks separate, quotes and backslashes work as in a shell, nothing is expanded. fence_ipmilan
    gives the text to a shell, so a definition for it may have more than words.
    """
    import shlex
    reader = shlex.shlex(command, posix=True, punctuation_chars=False)
    reader.whitespace_split = True
    reader.commenters = ""
    try:
        found = list(reader)
    except ValueError as error:
        raise NoCommand(f"it cannot be divided into words: {str(error).lower()}") from None
    if not found or "/" in found[0] and not found[0].startswith("/"):
        raise NoCommand("it does not begin with the absolute path of a program")
    unquoted = _outside_quotes(command)
    letter = next((letter for letter in unquoted if letter in _SHELL), "")
    if letter:
        raise NoCommand(f"it has a {letter!r} in it, which only a shell understands, and none is "
                        "used; put it into an executable script and name that")
    return found


def find(name: str) -> str:
    """Return the path of a program, empty if it is not there or may not be executed."""
    places = [""] if "/" in name else os.environ.get("PATH", os.defpath).split(":")
    for place in places:
        path = f"{place}/{name}" if place else name
        if path.startswith("/") and os.path.isfile(path) and os.access(path, os.X_OK):
            return path
    return ""


def from_program(command: str, deadline: Deadline | None) -> str:
    """Return the password that a program prints on its one line. Raises FencingFailed.

    The end of the line is not part of it, blanks are. An exit status other than 0 is a failure,
    whatever was printed: fence_ipmilan would go on with an empty password and say that the
    controller is broken.
    """
    import subprocess
    argv = words(command)
    patience = deadline.share(SHARE) if deadline is not None else PATIENCE
    program = f"the program for the password, {argv[0]},"
    path = find(argv[0])
    if not path:
        raise FencingFailed(f"{program} is not there or cannot be executed",
                            remedy="check option password_script")
    require_unchanged(path)

    def start(argv: list[str], path: str) -> Popen[bytes]:
        return subprocess.Popen(argv, executable=path, stdin=subprocess.DEVNULL,
                                stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, cwd="/",
                                start_new_session=True, preexec_fn=_die_with(os.getpid()))
    try:
        try:
            child = start(argv, path)
        except OSError as error:
            if error.errno != errno.ENOEXEC:
                raise
            # A script without "#!" on its first line; a shell runs it as one of its own.
            child = start(["sh", path, *argv[1:]], "/bin/sh")
    except (OSError, ValueError, subprocess.SubprocessError) as error:
        raise FencingFailed(f"{program} cannot be executed: "
                            f"{getattr(error, 'strerror', None) or error}",
                            remedy="check option password_script") from None
    try:
        output, ended = _read(child, time.monotonic() + patience)
    finally:
        _end(child)
    if len(output) > LONGEST + 2:
        raise FencingFailed(f"{program} printed more than {LONGEST} bytes, where a password is "
                            "expected")
    if not ended:
        raise FencingFailed(f"{program} did not end within {patience:.1f} s and was killed")
    if child.returncode:
        how = f"was killed by signal {-child.returncode}" if child.returncode < 0 \
            else f"ended with status {child.returncode}"
        raise FencingFailed(f"{program} {how}", remedy="run it by hand to see why")
    return _password(output, program + " printed")


def require_unchanged(path: str) -> None:
    """Raise FencingFailed if somebody else than root or this user may change a program."""
    try:
        state = os.stat(path)
    except OSError as error:
        raise FencingFailed(f"the program for the password, {path}, cannot be looked at: "
                            f"{error.strerror}") from None
    if state.st_uid not in (0, os.geteuid()):
        raise FencingFailed(f"the program for the password, {path}, belongs to the user with id "
                            f"{state.st_uid}, who could change what is run as root",
                            remedy=f"chown root {path}")
    if state.st_mode & 0o002 or state.st_mode & 0o020 and state.st_gid:
        raise FencingFailed(f"the program for the password, {path}, has the mode "
                            f"{stat.S_IMODE(state.st_mode):04o}, so that others could change what "
                            "is run as root", remedy=f"chmod go-w {path}")


def _die_with(parent: int) -> Callable[[], None] | None:
    """Return what makes a child end with this process, even if that is killed with SIGKILL."""
    try:
        import ctypes
        prctl = ctypes.CDLL(None).prctl
    except (ImportError, OSError, AttributeError):
        return None

    def prepare() -> None:
        prctl(_PR_SET_PDEATHSIG, 9, 0, 0, 0)
        if os.getppid() != parent:      # it ended before the kernel was told
            os._exit(127)
    return prepare


def from_file(path: str) -> str:
    """Return the password that is the one line of a file. Raises FencingFailed.

    The file must belong to root or to who runs the agent, and nobody else may read or write it.
    """
    where = f"the password file {path}"
    try:
        # A FIFO would wait for a writer.
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY)
    except OSError as error:
        raise FencingFailed(f"{where} cannot be opened: {error.strerror}") from None
    try:
        state = os.fstat(descriptor)
        if not stat.S_ISREG(state.st_mode):
            raise FencingFailed(f"{where} is no regular file")
        if state.st_uid not in (0, os.geteuid()):
            raise FencingFailed(f"{where} belongs to the user with id {state.st_uid}, who could "
                                "change it", remedy=f"chown root {path}")
        if state.st_mode & 0o077:
            raise FencingFailed(f"{where} has the mode {stat.S_IMODE(state.st_mode):04o}, so that "
                                "others than its owner can read or write it",
                                remedy=f"chmod 0600 {path}, and change the password")
        content = os.read(descriptor, LONGEST + 2)
    except OSError as error:
        raise FencingFailed(f"{where} cannot be read: {error.strerror}") from None
    finally:
        os.close(descriptor)
    return _password(content, where + " has")


def _password(content: bytes, where: str) -> str:
    """Return the one line that is there; empty ones behind it do not count."""
    line = content.rstrip(b"\r\n")
    if not line:
        raise FencingFailed(f"{where} no password in it" if where.endswith("has")
                            else f"{where} no password")
    if len(line) > LONGEST:
        raise FencingFailed(f"{where} more than {LONGEST} bytes, where a password is expected")
    if b"\n" in line or b"\r" in line or b"\0" in line:
        raise FencingFailed(f"{where} more than one line, or a NUL, where a password is expected")
    return line.decode("utf-8", "surrogateescape")


def _read(child: Popen[bytes], deadline: float) -> tuple[bytes, bool]:
    """Return what the child has printed, and whether it has ended in time.

    A grandchild that keeps the pipe open is not waited for once the child has ended.
    """
    import select
    assert child.stdout is not None
    pipe = child.stdout.fileno()
    os.set_blocking(pipe, False)
    output = b""
    is_open = True
    while True:
        ended = child.poll() is not None
        while is_open and len(output) <= LONGEST + 2:
            try:
                chunk = os.read(pipe, LONGEST)
            except OSError as error:
                if error.errno != errno.EAGAIN:
                    is_open = False
                break
            is_open = bool(chunk)
            output += chunk
        if ended or len(output) > LONGEST + 2:
            return output, True
        left = deadline - time.monotonic()
        if left <= 0:
            return output, False
        select.select([pipe] if is_open else [], [], [], min(left, 0.02))


def _end(child: Popen[bytes]) -> None:
    """Make sure that nothing of the child's session is left."""
    if child.returncode is None:
        child.poll()
    if child.returncode is None:
        try:
            os.killpg(child.pid, 9)
        except OSError:
            pass
        until = time.monotonic() + 0.5
        while child.poll() is None and time.monotonic() < until:
            time.sleep(0.005)
        if child.returncode is None:
            child.returncode = -9      # state D; Popen would complain at its end
    assert child.stdout is not None
    child.stdout.close()


def _outside_quotes(command: str) -> str:
    """Return the characters of a command that are neither quoted nor escaped."""
    kept = []
    quote = ""
    escaped = False
    for letter in command:
        if escaped:
            escaped = False
        elif letter == "\\" and quote != "'":
            escaped = True
        elif quote:
            if letter == quote:
                quote = ""
            elif quote == '"' and letter in "$`":
                kept.append(letter)
        elif letter in "'\"":
            quote = letter
        else:
            kept.append(letter)
    return "".join(kept)
