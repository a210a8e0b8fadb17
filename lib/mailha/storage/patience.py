# SPDX-License-Identifier: GPL-2.0-or-later
"""Touch a path that may be on a dead disk, in a child, for a bounded time."""

from __future__ import annotations

from collections.abc import Callable

from mailha import errors
from mailha.system.child_failures import ChildTimedOut
from mailha.system.machine import Machine


class DiskSilent(errors.Failed):
    """A path did not answer in time: its disk or its server is dead or badly overloaded."""


def touch(machine: Machine, path: str, work: Callable[[], bytes], timeout: float) -> bytes:
    """Run work() in a child and return its bytes; path: what it touches, for the message.

    Raises DiskSilent after timeout seconds, and system.children.ChildFailed if work() raises.
    """
    try:
        return machine.children.bounded(work, timeout=timeout)
    except ChildTimedOut:
        raise DiskSilent(f"'{path}' did not answer within {timeout:g} s",
                         remedy="look for a dead disk or server below it: "
                                "'ps -eo pid,stat,wchan,args' shows who waits in state D") from None
