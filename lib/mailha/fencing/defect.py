# SPDX-License-Identifier: GPL-2.0-or-later
"""An exception that nobody has foreseen: a defect of ours, or of a library.

Loaded when there is one.
"""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from mailha.fencing.log import Log


def describe(error: BaseException) -> str:
    """Return the reason for an exception: what it is and where it came from, on one line."""
    if isinstance(error, MemoryError):
        return "there is no memory left on this machine"
    if isinstance(error, KeyboardInterrupt):
        return "it was interrupted and is not done"
    place = "an unknown place"
    trace = error.__traceback__
    while trace is not None:
        code = trace.tb_frame.f_code
        place = f"{os.path.basename(code.co_filename)}:{trace.tb_lineno}"
        trace = trace.tb_next
    detail = f": {error}" if str(error) else ""
    return (f"a defect of the agent or of a library, {type(error).__name__} at {place}{detail}; "
            "please report it")


def trace(error: BaseException, log: Log) -> None:
    """Log the traceback for those who will look for the defect. Never raises."""
    if isinstance(error, (MemoryError, KeyboardInterrupt)):
        return
    try:
        import traceback
        for line in "".join(traceback.format_exception(type(error), error,
                                                       error.__traceback__)).splitlines():
            log.trace(line)
    except Exception:
        pass        # the reason names the place all the same
