# SPDX-License-Identifier: GPL-2.0-or-later
"""One run: a takeover with each contestant a round, in an order that rotates."""

from __future__ import annotations

from typing import Dict

from sidebyside.order import rotated

from takeovercost.contestants import ALL, Contestant
from takeovercost.figures import MOUNTED, Measured
from takeovercost.stage import Say, Stage


def run(stage: Stage, rounds: int, say: Say) -> Dict[Contestant, Measured]:
    """Take over as often as that with each contestant.

    Raises BenchFailed and Incomplete; nothing that went otherwise than it should is left out.
    """
    results = {each: Measured(each) for each in ALL}
    for number in range(rounds):
        for contestant in rotated(ALL, number):
            stage.enter(contestant)
            found = stage.take_over()
            results[contestant].takeovers.append(found)
            say(f"round {number + 1} of {rounds}: {contestant.name}: {found.victim}'s disk is "
                f"mounted after {found.seconds[MOUNTED]:.2f} s")
    return results
