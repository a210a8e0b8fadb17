# SPDX-License-Identifier: GPL-2.0-or-later
"""What a run says: the table, the verdict, and the raw figures for who wants to check them."""

from __future__ import annotations

import json
from typing import Any, Dict, List, Sequence

from sidebyside.spread import spread
from sidebyside.table import render

from monitorcost.figures import Measured, Verdict

HEAD = ("one monitor of the whole group", "CPU ms", "quartiles", "× bare", "of it elsewhere",
        "wall ms", "quartiles", "forks", "execs")


def table(results: Sequence[Measured], bare: Measured) -> str:
    """Return the results as a table, which is Markdown as well.

    bare: what the column "× bare" measures in, because milliseconds of one machine are not those
    of another one.
    """
    unit = spread(bare.total).median
    return render(HEAD, [_row(result, unit) for result in results])


def verdicts(judged: Sequence[Verdict], compared: Sequence[Verdict]) -> List[str]:
    """Return the last lines: what is only for information, then the verdicts that count."""
    met = all(verdict.met for verdict in judged)
    return [*[f"for information: {verdict.text}" for verdict in compared],
            f"target {'met' if met else 'NOT MET'}: "
            f"{'; '.join(verdict.text for verdict in judged)}"]


def as_json(results: Sequence[Measured], judged: Sequence[Verdict], machine: Sequence[str],
            load: Sequence[float]) -> str:
    """Return everything that was measured, round by round; milliseconds.

    load: the load averages of one minute before and after the rounds.
    """
    document: Dict[str, Any] = {
        "machine": list(machine), "load": list(load),
        "target_met": all(verdict.met for verdict in judged),
        "verdicts": [verdict.text for verdict in judged],
        "monitors": [{"name": result.name, "cpu_ms": result.cpu,
                      "elsewhere_ms": result.elsewhere, "wall_ms": result.wall,
                      "forks": result.forks, "execs": result.execs} for result in results]}
    return json.dumps(document, indent=1, ensure_ascii=False) + "\n"


def _row(result: Measured, unit: float) -> List[str]:
    cpu, wall = spread(result.total), spread(result.wall)
    return [result.name, f"{cpu.median:.1f}", f"{cpu.lower:.1f}–{cpu.upper:.1f}",
            f"{cpu.median / unit:.1f}", f"{spread(result.caused).median:.1f}", f"{wall.median:.1f}",
            f"{wall.lower:.1f}–{wall.upper:.1f}", str(result.forks), str(result.execs)]
