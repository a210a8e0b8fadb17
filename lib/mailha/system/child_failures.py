# SPDX-License-Identifier: GPL-2.0-or-later
"""How a child process can fail, and the words for it."""

from __future__ import annotations

import errno

from mailha import errors

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Sequence


class ChildFailed(errors.Failed):
    """A child could not be started or did not end as it should.

    command: its argument list. exit_code: the child's, negative for a signal, None when it never
    ended (`code` is what the agent ends with, as in every MailhaError). errno: of the
    failure to start it, or of the OSError in a bounded function; else 0. stdout, stderr: what it
    wrote.
    """

    def __init__(self, reason: str, *, command: Sequence[str], exit_code: int | None = None,
                 stdout: bytes = b"", stderr: bytes = b"", errno: int = 0,
                 remedy: str = "") -> None:
        super().__init__(reason, remedy=remedy)
        self.command = list(command)
        self.exit_code = exit_code
        self.stdout = stdout
        self.stderr = stderr
        self.errno = errno


class ChildTimedOut(ChildFailed):
    """A child did not end in its time and was killed, or cannot even be killed (state D)."""


class ChildMissing(ChildFailed):
    """There is no such program here, or it may not be executed."""


def not_started(command: Sequence[str], error: Exception) -> ChildFailed:
    """Return the failure that says why the child did not come to be."""
    number = getattr(error, "errno", None) or 0
    text = getattr(error, "strerror", None) or str(error)
    if number in (errno.ENOENT, errno.EACCES, errno.ENOEXEC, errno.ENOTDIR, errno.ELOOP):
        return ChildMissing(f"cannot execute {command[0] if command else ''!r}: {text}",
                            command=command, errno=number,
                            remedy="install it, or put it where PATH finds it")
    remedies = {errno.EAGAIN: "too many processes: raise the limit or find who makes them",
                errno.ENOMEM: "no memory left: find who takes it",
                errno.EMFILE: "too many open files: raise the limit"}
    return ChildFailed(f"cannot start {name_of(command)}: {text}", command=command, errno=number,
                       remedy=remedies.get(number, ""))


def name_of(command: Sequence[str]) -> str:
    """Return the command for a message: one line, of bearable length."""
    text = " ".join(command)
    text = "".join(char if char.isprintable() else "?" for char in text)
    return f"`{text}`" if len(text) <= 120 else f"`{text[:117]}...`"


def ending(code: int) -> str:
    """Return in words how a child ended."""
    return f"was killed by signal {-code}" if code < 0 else f"ended with code {code}"
