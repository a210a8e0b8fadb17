# SPDX-License-Identifier: GPL-2.0-or-later
"""What a run says: the tables and the verdict."""

from __future__ import annotations

import dataclasses
import json
from typing import List, Mapping, Optional, Sequence

from monitorcost.figures import Verdict
from sidebyside.spread import spread
from sidebyside.table import render

from synccost.changes import ALL
from synccost.contestants import OURS
from synccost.figures import Measured, middle

NEVER = "never"
DISK = "the disk alone"
WRITING = "the writing alone"


def tables(results: Mapping[str, Measured]) -> str:
    """Return the tables, which are Markdown as well: medians in milliseconds, losses, costs."""
    return "\n\n".join([_latency(results), _bursts(results), _losses(results)])


def _latency(results: Mapping[str, Measured]) -> str:
    head = ["ms until identical", *(change.name for change in ALL), "all", "half of all", "samples"]
    rows = [[each.name, *(_median(each.latency[change.name]) for change in ALL),
             _shown(each.median()), _half(each.arrivals()), str(len(each.arrivals()))]
            for each in results.values()]
    disk = [value for each in results.values() for value in each.disk]
    if disk:
        rows.append([DISK, *("" for _ in ALL), _median(disk), _half(disk), str(len(disk))])
    return render(head, rows)


def _bursts(results: Mapping[str, Measured]) -> str:
    head = ["1,000 files, ms", "alone", "after the last", "with a writer", "bursts",
            "CPU ms a change", "MiB source", "MiB target"]
    rows = [[each.name, _median(each.burst), _median(each.after), _median(each.contended),
             str(len(each.burst)),
             f"{spread(each.cpu).median * 1e3 / each.changes:.2g}",
             *(f"{spread([memory[node] for memory in each.memory]).median:.0f}"
               for node in ("source", "target"))] for each in results.values()]
    alone = [value for each in results.values() for value in each.disk_burst]
    contended = [value for each in results.values() for value in each.disk_contended]
    if alone:
        rows.append([DISK, _median(alone), "", _median(contended), str(len(alone)), "", "", ""])
    writing = [value for each in results.values() for value in each.writing]
    if writing:
        rows.append([WRITING, _median(writing), "", "", str(len(writing)), "", "", ""])
    return render(head, rows)


def _losses(results: Mapping[str, Measured]) -> str:
    names = list(next(iter(results.values())).lost)
    rows = [[each.name, *(_count(*each.lost[name]) for name in names)]
            for each in results.values()]
    return render(["lost", *names], rows)


def verdicts(judged: Sequence[Verdict]) -> str:
    """Return the last line."""
    met = all(verdict.met for verdict in judged)
    parts = [verdict.text if verdict.met or met else f"{verdict.text}: NO" for verdict in judged]
    return f"{OURS.name}: targets {'met' if met else 'NOT MET'}: {'; '.join(parts)}"


def as_json(results: Mapping[str, Measured], judged: Sequence[Verdict], facts: List[str],
            load: List[float]) -> str:
    """Return everything as a JSON document."""
    return json.dumps({
        "machine": facts, "load": load,
        "results": [dataclasses.asdict(each) for each in results.values()],
        "targets_met": all(verdict.met for verdict in judged),
        "verdicts": [verdict.text for verdict in judged]}, indent=1, ensure_ascii=False) + "\n"


def _count(lost: int, tried: int) -> str:
    return f"{lost} of {tried}"


def _half(values: Sequence[Optional[float]]) -> str:
    """Return between which figures the middle half lies; what never arrives is beyond all."""
    ordered = sorted(values, key=lambda value: float("inf") if value is None else value)
    count = len(ordered)
    return f"{_shown(ordered[count // 4])} to {_shown(ordered[(3 * count - 1) // 4])}"


def _median(values: Sequence[Optional[float]]) -> str:
    return _shown(middle(values))


def _shown(seconds: Optional[float]) -> str:
    if seconds is None:
        return NEVER
    return f"{seconds * 1e3:.1f}" if seconds < 0.0995 else f"{seconds * 1e3:.0f}"
