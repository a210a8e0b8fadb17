# SPDX-License-Identifier: GPL-2.0-or-later
"""What the rounds come to, and whether that is what was promised. All times are milliseconds."""

from __future__ import annotations

from typing import Any, Dict, List, Mapping

from monitorcost.figures import Verdict
from sidebyside.spread import Spread, spread

from storagecost.contestants import BARE, BAREST, COUNTS, MONITOR, VERDICT

IN_PROCESS = {COUNTS[0]: 0.3, COUNTS[-1]: 80.0}
"""Milliseconds that a verdict may take, by the number of mounts."""

WHOLE = 12.0
"""Milliseconds of CPU that a whole monitor may cost where an empty Python program costs 7..."""

EXCESS = 5.0
"""...and beyond an empty program where that costs more."""

CHILDREN = 0


class Results:
    """What the meter has answered."""

    def __init__(self, answer: Mapping[str, Any]) -> None:
        self.forks: Dict[str, int] = answer["forks"]
        self._rows: Dict[int, Dict[str, Dict[str, List[float]]]] = {
            int(number): rows for number, rows in answer["mounts"].items()}

    @property
    def counts(self) -> List[int]:
        """The numbers of mounts, the smallest first."""
        return sorted(self._rows)

    @property
    def names(self) -> List[str]:
        """The names of the rows."""
        return list(self._rows[self.counts[0]])

    def wall(self, name: str, number: int) -> Spread:
        """Return how long it takes."""
        return spread(self._rows[number][name]["wall"])

    def cpu(self, name: str, number: int) -> List[float]:
        """Return the CPU that it costs, round by round; nothing for what is no program."""
        return self._rows[number][name]["cpu"]


def judge(results: Results) -> List[Verdict]:
    """Compare with what was promised."""
    judged = []
    for number, limit in IN_PROCESS.items():
        took = results.wall(VERDICT, number)
        judged.append(Verdict(took.median <= limit, (
            f"with {number:,} mounts a verdict takes {_precise(took)} ms ({limit:g} allowed)")))
    first = COUNTS[0]
    whole = spread(results.cpu(MONITOR.name, first))
    excess = spread([ours - bare for ours, bare in zip(results.cpu(MONITOR.name, first),
                                                       results.cpu(BARE.name, first))])
    bare, barest = (spread(results.cpu(each.name, first)) for each in (BARE, BAREST))
    judged.append(Verdict(whole.median <= WHOLE or excess.median <= EXCESS, (
        f"{MONITOR.name} costs {whole} ms CPU ({WHOLE:g} allowed), {excess} ms more than "
        f"{BARE.name} ({EXCESS:g} allowed where that costs more than {WHOLE - EXCESS:g}), which "
        f"costs {bare}, and {BAREST.name} {barest}")))
    children = results.forks[MONITOR.name]
    judged.append(Verdict(children <= CHILDREN, f"it starts {children} child processes "
                          f"({CHILDREN} allowed)"))
    return judged


def _precise(took: Spread) -> str:
    return f"{took.median:.3g} ({took.lower:.3g} to {took.upper:.3g})"
