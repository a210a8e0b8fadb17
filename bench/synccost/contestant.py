# SPDX-License-Identifier: GPL-2.0-or-later
"""What a contestant is."""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Callable

from synccost.stage import Stage

Setup = Callable[[Stage], "AbstractContextManager[Running]"]


class Running:
    """A contestant that runs. What it does not say of itself is as here."""

    def acknowledged(self) -> float:
        """Wait until it says that all changes are durable on the target.

        Returns when it had learnt that, on the monotonic clock, which both nodes and the bench
        share; 0.0 if it never says.
        """
        return 0.0

    def notices(self, path: str) -> bool:
        """Tell whether it says of itself that a file of the target is not as it should be."""
        return False


@dataclass(frozen=True)
class Contestant:
    """A way to replicate a directory.

    setup: makes it run on a stage, whose tree it shall bring over before it is ready.
    limit: seconds after which a change that has not arrived will never.
    together: measure one change of each kind at once, because it waits before it does anything.
    rounds: in how many of a run it is measured at most, 0 for all; one that waits needs few to show
    that it does.
    """

    name: str
    setup: Setup
    limit: float = 6.0
    together: bool = False
    rounds: int = 0
