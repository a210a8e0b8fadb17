# SPDX-License-Identifier: GPL-2.0-or-later
"""Other tools that carry the same files: lsyncd, csync2, incron, and rsync in a job of cron.

Two that carry the same file undo each other's work, and one that runs on both nodes makes a circle.
What runs is told from the processes, what is carried from the tools' own files. Nothing here stops
anything: that is the administrator's to do.
"""

from __future__ import annotations

import re

from mailha import errors

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from mailha.system.machine import Machine

LARGEST = 1 << 20

CRON = ("/etc/crontab", "/etc/cron.d", "/etc/cron.hourly", "/etc/cron.daily",
        "/var/spool/cron/crontabs", "/var/spool/cron")

TOOLS = (
    ("lsyncd", ("lsyncd",), ("/etc/lsyncd.conf", "/etc/lsyncd", "/etc/lsyncd.conf.d"),
     re.compile(r"source\s*=\s*[\"']([^\"']+)[\"']")),
    ("incron", ("incrond",), ("/etc/incron.d", "/var/spool/incron"),
     re.compile(r"^\s*(/\S+)\s+\S+", re.MULTILINE)),
    ("csync2", ("csync2",), ("/etc/csync2.cfg", "/etc/csync2"),
     re.compile(r"^\s*include\s+([^;\s]+)", re.MULTILINE)),
)
"""Name, programs, files or directories with its configuration, and what names a path in them."""

_CRON_JOB = re.compile(r"^[^#\n]*\b(rsync|csync2|unison)\b([^\n]*)", re.MULTILINE)
_PATH = re.compile(r"(?:^|\s)(/[\w./+-]*)")
_COMMENT = re.compile(r"^\s*(?:--|#).*$", re.MULTILINE)


class Rival:
    """A tool that carries files that are ours. running: whether it does now, or may at any time.

    where: its file of configuration. paths: what it carries, of ours.
    """

    def __init__(self, tool: str, where: str, paths: list[str], *, running: bool) -> None:
        self.tool = tool
        self.where = where
        self.paths = paths
        self.running = running

    def __str__(self) -> str:
        state = "runs" if self.running else "is set up"
        return (f"{self.tool} {state} on this node and carries {', '.join(self.paths[:3])} as "
                f"{self.where} says")


def find(machine: Machine, roots: Iterable[str]) -> list[Rival]:
    """Return who else carries what lies at or below some paths. Raises nothing."""
    ours = [root.rstrip("/") for root in roots]

    def overlaps(path: str) -> bool:
        theirs = path.rstrip("/*")
        return any(theirs == root or theirs.startswith(root + "/") or root.startswith(theirs + "/")
                   for root in ours)

    found = []
    running = _programs(machine)
    for tool, programs, places, names in TOOLS:
        for where, text in _texts(machine, places):
            paths = sorted(filter(overlaps, names.findall(_COMMENT.sub("", text))))
            if paths:
                found.append(Rival(tool, where, paths, running=bool(running.intersection(programs))
                                   ))
    return found + list(_jobs(machine, overlaps))


def _jobs(machine: Machine, overlaps: Callable[[str], bool]) -> Iterator[Rival]:
    """Yield jobs of cron. csync2's names no path: it carries what its configuration says."""
    for where, text in _texts(machine, CRON):
        for tool, rest in _CRON_JOB.findall(text):
            paths = sorted(filter(overlaps, _PATH.findall(rest)))
            if paths:
                yield Rival(f"a job of cron with {tool}", where, paths, running=True)


def _texts(machine: Machine, places: Iterable[str]) -> Iterator[tuple[str, str]]:
    """Yield the path and the text of each file at or in some places, as far as they are there."""
    for place in places:
        names = _names(machine, place)
        for path in [f"{place}/{name}" for name in names] or [place]:
            try:
                yield path, machine.files.read(path, LARGEST).decode("utf-8", "replace")
            except (OSError, errors.MailhaError):
                pass        # not there, or no text of ours to read


def _names(machine: Machine, place: str) -> list[str]:
    try:
        return machine.files.names(place)
    except errors.MailhaError:
        return []


def _programs(machine: Machine) -> set[str]:
    """Return the names of all programs that run."""
    return {process.command for process in machine.processes.all() if process.alive}
