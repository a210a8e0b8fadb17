# SPDX-License-Identifier: GPL-2.0-or-later
"""What a run says: the table, the verdicts, and the raw figures for who wants to check them."""

from __future__ import annotations

import json
from typing import Any, Dict, List, Sequence

from sidebyside.spread import spread
from sidebyside.table import render

from fencecost.figures import Measured
from fencecost.promises import Verdict

HEAD = ("network", "action", "program", "wall ms", "quartiles", "slowest", "CPU ms", "quartiles",
        "datagrams", "succeeded")

TEXTS = 3
"""Columns of the table that are text."""


def table(results: Sequence[Measured]) -> str:
    """Return the results as a table, which is Markdown as well."""
    return render(HEAD, [_row(result) for result in results], TEXTS)


def verdict_lines(verdicts: Sequence[Verdict]) -> List[str]:
    """Return the last lines: one for each promise, then how many of them are kept."""
    kept = sum(verdict.met for verdict in verdicts)
    return [*[f"{'met    ' if verdict.met else 'NOT MET'} {verdict.text}" for verdict in verdicts],
            f"targets {'met' if kept == len(verdicts) else 'NOT MET'}: {kept} of {len(verdicts)}"]


def as_json(results: Sequence[Measured], verdicts: Sequence[Verdict], machine: Sequence[str],
            load: Sequence[float]) -> str:
    """Return everything that was measured, run by run; milliseconds.

    load: the load averages of one minute before and after the rounds.
    """
    document: Dict[str, Any] = {
        "machine": list(machine), "load": list(load),
        "targets_met": all(verdict.met for verdict in verdicts),
        "verdicts": [{"met": verdict.met, "text": verdict.text} for verdict in verdicts],
        "contests": [{
            "program": result.contest.program.name, "action": result.contest.action,
            "network": result.contest.network.name, "runs": [{
                "succeeded": run.succeeded(result.contest.action), "exit_code": run.code,
                "chassis": list(run.chassis), "wall_ms": run.wall, "cpu_ms": run.cpu,
                "datagrams": run.datagrams, "lost": run.lost, "said": run.said,
                "logged": list(run.logged),
            } for run in result.runs]} for result in results]}
    return json.dumps(document, indent=1, ensure_ascii=False) + "\n"


def _row(result: Measured) -> List[str]:
    contest = result.contest
    names = [contest.network.name, contest.action, contest.program.name]
    succeeded = f"{len(result.good)} of {len(result.runs)}"
    if not result.good:
        return [*names, *["–"] * (len(HEAD) - TEXTS - 1), succeeded]
    wall, cpu = spread(result.wall), spread(result.cpu)
    return [*names, f"{wall.median:.1f}", f"{wall.lower:.1f}–{wall.upper:.1f}",
            f"{max(result.wall):.1f}", f"{cpu.median:.1f}", f"{cpu.lower:.1f}–{cpu.upper:.1f}",
            _datagrams(result.datagrams), succeeded]


def _datagrams(counts: Sequence[int]) -> str:
    """Return the median, and the range if there is one."""
    if not counts:
        return "–"
    middle = f"{spread(counts).median:.0f}"
    return middle if min(counts) == max(counts) else f"{middle} ({min(counts)}–{max(counts)})"
