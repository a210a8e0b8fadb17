# SPDX-License-Identifier: GPL-2.0-or-later
"""Ending on a signal without leaving anything running."""

from __future__ import annotations

import signal
from typing import NoReturn

ENDING_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Ended(BaseException):
    """A signal asks us to end. Not an Exception, so that nothing but the tear-down minds it.

    code: the exit code that a shell gives a program that the signal ended.
    """

    def __init__(self, number: int) -> None:
        super().__init__(f"ended by {signal.Signals(number).name}")
        self.code = 128 + number


def raise_on_signals() -> None:
    """Let the first signal raise Ended, which unwinds every context, and ignore those after it."""
    for number in ENDING_SIGNALS:
        signal.signal(number, _end)


def ignore_signals() -> None:
    """Let no signal interrupt what is left, which is tidying up."""
    for number in ENDING_SIGNALS:
        signal.signal(number, signal.SIG_IGN)


def _end(number: int, frame: object) -> NoReturn:
    """End, once: whatever else comes while a lab is being taken down must not stop that."""
    ignore_signals()
    raise Ended(number)
