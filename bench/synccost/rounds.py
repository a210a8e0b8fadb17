# SPDX-License-Identifier: GPL-2.0-or-later
"""A run: every contestant in every round, in an order that rotates."""

from __future__ import annotations

from typing import Callable, Dict, Sequence

from sidebyside import order

from synccost import losses, meter
from synccost.changes import ALL
from synccost.contestant import Contestant, Running
from synccost.figures import Measured
from synccost.stage import Stage

TURNS = 3
"""How often a round makes each kind of change..."""

TURNS_TOGETHER = 1
"""...and how often where a contestant waits a quarter of a minute first."""


def run(stage: Stage, contestants: Sequence[Contestant], rounds: int, say: Callable[[str], None],
        ) -> Dict[str, Measured]:
    """Measure all contestants; the cases of loss come in the last round."""
    results = {each.name: Measured(each.name) for each in contestants}
    for number in range(rounds):
        for contestant in order.rotated(contestants, number):
            if not order.comes(number, min(contestant.rounds or rounds, rounds), rounds):
                continue
            say(f"round {number + 1} of {rounds}: {contestant.name}")
            _round(stage, contestant, results[contestant.name], number,
                   last=number == rounds - 1, disk_too=contestant is contestants[0])
            say(f"so far: {results[contestant.name].summary()}")
    return results


def _round(stage: Stage, contestant: Contestant, measured: Measured, number: int, *, last: bool,
           disk_too: bool) -> None:
    """Measure one of them. disk_too: also how long the disk takes for a burst alone."""
    turns = TURNS_TOGETHER if contestant.together else TURNS
    stage.end_all()
    stage.clear(turns)
    if disk_too:
        measured.writing.append(meter.writing_alone(stage, f"writing {number}"))
    try:
        with contestant.setup(stage) as running:
            stage.wait_quiet()
            before = stage.cpu()
            _changes(stage, contestant, running, measured, turns)
            stage.wait_quiet()
            measured.changes = turns * len(ALL)
            measured.cpu.append(stage.cpu() - before)
            if disk_too:
                measured.disk_burst.append(meter.disk_alone_thousand(stage))
            arrived, written = meter.thousand(stage, running, f"burst {number}")
            measured.burst.append(arrived)
            measured.after.append(None if arrived is None else arrived - written)
            stage.wait_quiet()
            with meter.another_writer(stage):
                if disk_too:
                    measured.disk_contended.append(meter.disk_alone_thousand(stage))
                measured.contended.append(meter.thousand(stage, running, f"contended {number}")[0])
            stage.wait_quiet()
            measured.memory.append(stage.memory())
            for name, case in losses.CASES.items() if last else ():
                measured.lost[name] = case(stage, running, contestant)
        if last:
            stage.end_all()
            with stage.target.disk.with_plug():
                stage.clear(0)
                with contestant.setup(stage) as running:
                    measured.lost[losses.UNPLUGGED] = losses.unplugged(stage, running, contestant)
                stage.end_all()
    finally:
        stage.end_all()


def _changes(stage: Stage, contestant: Contestant, running: Running, measured: Measured,
             turns: int) -> None:
    for turn in range(turns):
        if contestant.together:
            found = meter.together(stage, running, contestant, turn)
        else:
            found = {}
            for change in order.rotated(ALL, turn):
                measured.disk.append(meter.disk_alone(stage))
                found[change.name] = meter.one(stage, running, contestant, change, turn)
                stage.wait_quiet()
        for change in ALL:
            measured.latency.setdefault(change.name, []).append(found[change.name])
