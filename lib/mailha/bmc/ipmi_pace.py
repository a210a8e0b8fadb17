# SPDX-License-Identifier: GPL-2.0-or-later
"""When to send a request again: soon on a network that loses datagrams, later to a slow controller.

Both look the same until the first answer. A controller that is slower than the repetition would
never finish a login, as each repetition of one of its steps begins it anew; and a repetition that
waits for the slowest controller turns a loss of 20 % into minutes.
"""

from __future__ import annotations

FIRST = 0.15
"""Seconds after which something is sent again when nothing is known yet; pyghmi: 0.5 to 1."""

GROWTH = 1.5

MOST = {True: 0.75, False: 4.0}
"""Seconds to which that grows at most: in a session, where every copy of a request may be answered,
and in a login, where only the last one may."""


class Pace:
    """What is known of how long a controller takes, for each step (a login has several).

    The wait grows with each loss at a step, and is twice what an answer at that step has taken.
    """

    def __init__(self) -> None:
        self._waits: dict[str, float] = {}
        self._guess = FIRST

    def wait(self, step: str) -> float:
        """Return the seconds to wait for an answer at a step before it is sent again."""
        return self._waits.get(step, self._guess)

    def lost(self, step: str, *, in_session: bool) -> None:
        """Note that no answer came in that time."""
        wait = self.wait(step)
        self._waits[step] = max(wait, min(GROWTH * wait, MOST[in_session]))

    def answered(self, step: str, seconds: float, *, certain: bool) -> None:
        """Note that an answer came.

        seconds: that it took. certain: whether it is known to which copy of the request it is.
        """
        self._waits.pop(step, None)
        if certain:
            self._guess = self._waits[step] = max(FIRST, 2 * seconds)
