# SPDX-License-Identifier: GPL-2.0-or-later
"""Waiting for something to come true, for tests of a system that takes its time."""

from __future__ import annotations

import time
from typing import Callable, TypeVar

Found = TypeVar("Found")

PATIENCE = 240.0
"""Seconds before a test gives up; far more than anything takes, because the machine may be busy."""


def wait_for(what: str, look: Callable[[], Found], *, timeout: float = PATIENCE) -> Found:
    """Return what `look` returns as soon as that is true; raise AssertionError at the timeout.

    what: is said in the failure, as in "still waiting for WHAT after 240 s".
    """
    deadline = time.monotonic() + timeout
    while True:
        found = look()
        if found:
            return found
        if time.monotonic() > deadline:
            raise AssertionError(f"still waiting for {what} after {timeout:.0f} s; last: {found!r}")
        time.sleep(0.1)
