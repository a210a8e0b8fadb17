# SPDX-License-Identifier: GPL-2.0-or-later
"""One run: every contestant once a round, in an order that rotates; see sidebyside.order."""

from __future__ import annotations

from typing import Callable, Sequence

from sidebyside.order import comes, rotated

from fencecost.contestants import Contest
from fencecost.figures import Measured
from fencecost.promises import Results
from fencecost.stage import Stage

WARM_UP = 0
"""The seed of the runs before the first round, which do not count: they fill the caches."""


def run(stage: Stage, contests: Sequence[Contest], rounds: int,
        progress: Callable[[str], None]) -> Results:
    """Measure every contestant; return the results in the contestants' order.

    rounds: how often each is run that has a turn in every round. Raises stage.BenchFailed.
    """
    results = {contest: Measured(contest) for contest in contests}
    times = {contest: contest.times(rounds) for contest in contests}
    whole = max(times.values())
    progress("warming up")
    for contest in contests:
        if contest.network.loss == 0.0:
            stage.run(contest, WARM_UP)
    for number in range(whole):
        progress(f"round {number + 1} of {whole}")
        turns = [contest for contest in contests if comes(number, times[contest], whole)]
        for contest in rotated(turns, number):
            results[contest].runs.append(stage.run(contest, WARM_UP + 1 + number))
    return results
