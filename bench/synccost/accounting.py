# SPDX-License-Identifier: GPL-2.0-or-later
"""CPU and memory of everything that a contestant runs, on both nodes.

All processes of a sandbox but its first belong to the contestant of the moment, the SSH server
included. What ended counts through its parent, or through the first process where that has ended.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Iterator, Sequence

from twonode.sandbox import Sandbox

TICK = os.sysconf("SC_CLK_TCK")


def cpu(sandboxes: Sequence[Sandbox]) -> float:
    """Return the seconds of CPU that all processes have had, those that have ended included."""
    total = 0
    for sandbox in sandboxes:
        # Whose parent had ended before was waited for by the first process.
        total += sum(_times(sandbox.path("/proc/1"))[2:])
    for place in _processes(sandboxes):
        total += sum(_times(place))
    return total / TICK


def memory(sandboxes: Sequence[Sandbox]) -> float:
    """Return the mebibytes of memory of all processes; shared pages are shared out."""
    total = 0
    for place in _processes(sandboxes):
        try:
            lines = (place / "smaps_rollup").read_text().splitlines()
        except OSError:
            continue
        total += sum(int(line.split()[1]) for line in lines if line.startswith("Pss:"))
    return total / 1024


def busy(sandboxes: Sequence[Sandbox]) -> "tuple[float, int]":
    """Return what differs as long as something is going on: the CPU had, the processes there."""
    return cpu(sandboxes), sum(1 for _ in _processes(sandboxes))


def _times(place: Path) -> Sequence[int]:
    """Return the ticks of a process, in its own code and the kernel, and of those it waited for."""
    try:
        fields = (place / "stat").read_text().rpartition(")")[2].split()
    except OSError:
        return (0, 0, 0, 0)         # it has ended
    return [int(field) for field in fields[11:15]]


def _processes(sandboxes: Sequence[Sandbox]) -> Iterator[Path]:
    for sandbox in sandboxes:
        for place in sandbox.path("/proc").iterdir():
            if place.name.isdigit() and place.name != "1":
                yield place
