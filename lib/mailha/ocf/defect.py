# SPDX-License-Identifier: GPL-2.0-or-later
"""What to say of an exception that nobody expected.

Loaded when there is one. An administrator cannot do anything with a traceback in crm_mon, but with
one line that says whose fault it is and where.
"""

from __future__ import annotations

import errno
import os

from mailha import errors

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import FrameType

    from mailha.ocf.output import Output

_LIBRARY = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))

# What a machine may lack at any place, when a module is loaded for example; no defect of ours.
_SHORTAGES = {
    errno.EMFILE: "raise the limit of open files of pacemaker.service",
    errno.ENFILE: "raise fs.file-max, or find who holds so many files open",
    errno.ENOMEM: "look at 'free -m' and at the limits of pacemaker.service",
    errno.EAGAIN: "too many processes: raise the limit, or find who makes them",
    errno.EIO: "look for disk errors in the kernel's log",
}


def describe(error: BaseException, action: str) -> errors.MailhaError:
    """Return what the action's end by this exception is to be called; always of code 1."""
    kind = type(error).__name__
    place = place_of(error)
    if isinstance(error, KeyboardInterrupt):
        return errors.Failed(f"{action} was interrupted at {place}")
    if isinstance(error, MemoryError):
        return errors.Failed(f"{action} got no memory ({kind} at {place}): this machine is short "
                             "of it, or it is a defect of the agent",
                             remedy="look at 'free -m' and at the limits of pacemaker.service")
    if isinstance(error, OSError) and error.errno in _SHORTAGES:
        return errors.Failed(f"{action} cannot go on at {place}: {error.strerror}",
                             remedy=_SHORTAGES[error.errno])
    text = f": {error}" if str(error) else ""
    return errors.Failed(f"defect of the agent in {action}: {kind} at {place}{text}",
                         remedy="report it to the authors of mailha, with the log of this node")


def place_of(error: BaseException) -> str:
    """Return file and line of the innermost code of ours that the exception came through."""
    found = "an unknown place"
    step = error.__traceback__
    while step is not None:
        name = step.tb_frame.f_code.co_filename
        if _is_ours(name) or found == "an unknown place":
            found = _place(name, step.tb_lineno)
        step = step.tb_next
    return found


def place_of_frame(frame: FrameType | None) -> str:
    """Return file and line of the innermost code of ours that is being executed."""
    while frame is not None:
        name = frame.f_code.co_filename
        if _is_ours(name):
            return _place(name, frame.f_lineno)
        frame = frame.f_back
    return "an unknown place"


def _is_ours(name: str) -> bool:
    """Tell whether code is of this library; on a node its path is resource.d/mailha/../../lib/."""
    return os.path.abspath(name).startswith(_LIBRARY + os.sep)


def _place(name: str, line: int) -> str:
    """Return a place as short as it is unique: mailha/storage/version.py:12."""
    if _is_ours(name):
        name = os.path.relpath(name, os.path.dirname(_LIBRARY))
    return f"{name}:{line}"


def trace(error: BaseException, log: Output) -> None:
    """Log the traceback for those who will look for the defect. Never raises."""
    if isinstance(error, MemoryError):
        return
    try:
        import traceback
        for line in "".join(traceback.format_exception(type(error), error,
                                                       error.__traceback__)).splitlines():
            log.trace(line)
    except Exception as second:
        log.trace(f"no traceback: {type(second).__name__}")
