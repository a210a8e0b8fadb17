# SPDX-License-Identifier: GPL-2.0-or-later
"""What a run says: the table, the verdicts, and the raw figures for who wants to check them."""

from __future__ import annotations

import json
from typing import List, Sequence

from sidebyside.spread import spread
from sidebyside.table import render

from takeovercost.figures import MOUNTED, STEPS, Measured
from takeovercost.promises import Verdict


def table(results: Sequence[Measured]) -> str:
    """Return medians in seconds after the fault as a table, which is Markdown as well.

    Of the step that is judged the whole spread is told: there are too few runs for quartiles.
    """
    head = ["fence agent", *STEPS.values(), "disk: fastest to slowest", "runs"]
    rows = []
    for result in results:
        judged = result.seconds(MOUNTED)
        rows.append([result.contestant.name,
                     *[f"{spread(result.seconds(step)).median:.2f}" for step in STEPS],
                     f"{min(judged):.2f}–{max(judged):.2f}", str(len(judged))])
    return render(head, rows)


def verdict_lines(verdicts: Sequence[Verdict]) -> List[str]:
    """Return the last lines: one for each promise, then how many of them are kept."""
    kept = sum(verdict.met for verdict in verdicts)
    return [*[f"{'met    ' if verdict.met else 'NOT MET'} {verdict.text}" for verdict in verdicts],
            f"targets {'met' if kept == len(verdicts) else 'NOT MET'}: {kept} of {len(verdicts)}"]


def as_json(results: Sequence[Measured], verdicts: Sequence[Verdict], machine: Sequence[str],
            load: Sequence[float]) -> str:
    """Return everything that was measured, run by run; seconds after the fault.

    load: the load averages of one minute before and after the rounds.
    """
    return json.dumps({
        "machine": list(machine), "load": list(load),
        "targets_met": all(verdict.met for verdict in verdicts),
        "verdicts": [{"met": verdict.met, "text": verdict.text} for verdict in verdicts],
        "contestants": [{
            "name": result.contestant.name, "agent": result.contestant.agent,
            "parameters": result.contestant.parameters,
            "takeovers": [{"victim": each.victim, **each.seconds} for each in result.takeovers],
        } for result in results]}, indent=1, ensure_ascii=False)
