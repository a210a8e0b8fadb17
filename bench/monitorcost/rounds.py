# SPDX-License-Identifier: GPL-2.0-or-later
"""One run: every contestant once a round, in an order that rotates; see sidebyside.order."""

from __future__ import annotations

import statistics
from typing import Callable, Dict, List, Sequence, Tuple

from sidebyside.order import rotated
from twonode.lab import Lab

from monitorcost import cluster, forks
from monitorcost.contestants import AGENTS, IDLE, Clustered, Contestant
from monitorcost.figures import Measured
from monitorcost.node import Meter

WINDOW = 2.0
"""Seconds for which Pacemaker is watched a round: a whole number of intervals, so that it does not
matter at which moment of an interval they begin."""

TRACE_WINDOW = 3.5

Results = Dict[str, Measured]


def run(lab: Lab, meter: Meter, contestants: Sequence[Contestant], rounds: int,
        progress: Callable[[str], None]) -> Results:
    """Measure every contestant `rounds` times and count what it starts.

    Returns the results by name, in the order of the contestants. Raises BenchFailed.
    """
    results = {contestant.name: Measured(contestant.name) for contestant in contestants}
    progress("counting forks and execs")        # and warming up
    for contestant in contestants:
        result = results[contestant.name]
        result.forks, result.execs = _count(lab, meter, contestant)
    idle = Measured(IDLE.name)
    results[IDLE.name] = idle
    turns = turns_of([*contestants, IDLE])
    for number in range(rounds):
        progress(f"round {number + 1} of {rounds}")
        for contestant in rotated(turns, number):
            _measure(lab, meter, contestant, results[contestant.name])
    del results[IDLE.name]
    for contestant in contestants:
        if isinstance(contestant, Clustered):
            _take_off(results[contestant.name], idle)
    return results


def turns_of(contestants: Sequence[Contestant]) -> List[Contestant]:
    """Return who has a turn in each round: all once, then again those who have a second, a third.

    So the n-th turns of two neighbours follow each other closely, and may be compared.
    """
    most = max(contestant.turns for contestant in contestants)
    return [contestant for turn in range(most) for contestant in contestants
            if contestant.turns > turn]


def _measure(lab: Lab, meter: Meter, contestant: Contestant, result: Measured) -> None:
    """Measure one contestant once and add that to its result."""
    if isinstance(contestant, Clustered):
        monitors = WINDOW / cluster.INTERVAL
        with cluster.monitored(lab, contestant) as slowest:
            answer = meter.watch(WINDOW)
            answer["wall"] = slowest / 1e3
    else:
        monitors = 1.0
        answer = meter.run(contestant)
    result.cpu.append(answer["cpu"] * 1e3 / monitors)
    result.elsewhere.append({name: seconds * 1e3 / monitors
                             for name, seconds in answer["elsewhere"].items()})
    result.wall.append(answer["wall"] * 1e3)


def _take_off(result: Measured, idle: Measured) -> None:
    """Take off from a result what Pacemaker and systemd cost without any monitor."""
    own = statistics.median(idle.cpu)
    result.cpu = [cpu - own for cpu in result.cpu]
    for elsewhere in result.elsewhere:
        for name in elsewhere:
            elsewhere[name] -= statistics.median(each[name] for each in idle.elsewhere)


def _count(lab: Lab, meter: Meter, contestant: Contestant) -> Tuple[int, int]:
    """Return the forks and execs of one monitor."""
    if not isinstance(contestant, Clustered):
        return forks.count(meter.trace(contestant))
    with cluster.monitored(lab, contestant):
        trace = meter.trace_executor(TRACE_WINDOW)
    forked, executed = forks.count(trace)
    if not contestant.starts:
        return forked, executed
    runs = max(forks.count_execs_below(trace, AGENTS) // contestant.starts, 1)
    return round(forked / runs) - contestant.starts, round(executed / runs)
