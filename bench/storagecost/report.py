# SPDX-License-Identifier: GPL-2.0-or-later
"""What a run says: the table and the verdict."""

from __future__ import annotations

from typing import Sequence

from monitorcost.figures import Verdict
from sidebyside.spread import spread
from sidebyside.table import render

from storagecost.figures import Results


def table(results: Results) -> str:
    """Return the results as a table, which is Markdown as well.

    For each number of mounts: milliseconds from beginning to end, and of a program its CPU.
    """
    head = ["what is asked about one path", *(f"{number:,} mounts" for number in results.counts),
            *(f"CPU, {number:,}" for number in results.counts), "children"]
    rows = []
    for name in results.names:
        wall = [f"{results.wall(name, number).median:.3g}" for number in results.counts]
        cpu = [f"{spread(values).median:.1f}" if values else "–"
               for values in (results.cpu(name, number) for number in results.counts)]
        rows.append([name, *wall, *cpu, str(results.forks.get(name, "–"))])
    return render(head, rows)


def verdicts(judged: Sequence[Verdict]) -> str:
    """Return the last line."""
    met = all(verdict.met for verdict in judged)
    parts = [verdict.text if verdict.met or met else f"{verdict.text}: NO" for verdict in judged]
    return f"targets {'met' if met else 'NOT MET'}: {'; '.join(parts)}"
