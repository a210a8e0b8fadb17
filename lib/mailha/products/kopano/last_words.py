# SPDX-License-Identifier: GPL-2.0-or-later
"""What a service said last, for the reason of a start that failed.

Its exit code tells nothing (measured: 0 for most faults), its log does.
"""

from __future__ import annotations

import os
import re
import time

from mailha.services import journal
from mailha.services.service import Service
from mailha.system.child_failures import ChildFailed
from mailha.system.machine import Machine

NEWER_DATA = "is newer than the server version"
"""What kopano-server logs over a database of a later version; it refuses to start over it."""

_TAIL = 64 << 10
_LONGEST = 300
_TIMEOUT = 5.0
# "2026-11-21T06:40:01.123456: [error  ] text"; before 8.7 "Sat Nov 21 06:40:01 2026: [error  ] t"
_LINE = re.compile(
    r"(?:(?P<iso>\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d)(?:[.,]\d+)?(?:[+-]\d\d:?\d\d|Z)?:?\s*"
    r"|(?P<c>[A-Z][a-z]{2} [A-Z][a-z]{2} [ \d]\d \d\d:\d\d:\d\d \d{4}):?\s*)?"
    r"(?:\[(?P<level>[a-z]+) *\]\s*|\[=*\]\s*)?(?P<text>.*)", re.DOTALL)
_SERIOUS = ("crit", "fatal", "error", "warning")
# Lines that say only that there was an error, or give the advice to run over newer data.
_EMPTY_WORDS = ("Server shutdown complete", "An error occurred", "You can force the server",
                "Please check logfile", "Please wait")


def last_words(machine: Machine, service: Service, *, since: float, log_file: str = "",
               output: str = "") -> str:
    """Return the last line that says why a service died, "" if there is none.

    since: seconds since 1970; what was said before does not count. log_file: its own log. output:
    where its standard output goes, if not to the journal. Only so much of all that is looked at
    that a log of any size on any disk costs at most a few seconds.
    """
    sources = [_tail(machine, log_file, since),
               _tail(machine, output, since) if output
               else journal.lines(machine, service.unit, since) if service.unit else []]
    # The log first: where both are serious, it says more than standard error.
    return max((choose(lines, since) for lines in sources), key=lambda found: found[0])[1]


def newer_data(words: str) -> bool:
    """Tell whether the last words are those of a server that meets data of a later version."""
    return NEWER_DATA in words


def wrong_configuration(words: str) -> bool:
    """Tell whether the last words are those of a service that does not take its file."""
    return words.startswith("Config error")


def choose(lines: list[str], since: float) -> tuple[int, str]:
    """Return how telling the best of the lines is, and that line without time and level.

    3: it is about newer data; 2: the last serious one; 1: the last one at all; 0: there is none.
    Lines from before since are left out; a line without time belongs to the one above it.
    """
    current = True
    best = (0, "")
    for line in lines:
        match = _LINE.fullmatch(line.strip())
        assert match is not None, "the pattern fits every text"
        moment = _moment(match)
        if moment is not None:
            current = moment >= int(since)
        text = "".join(char if char.isprintable() else " " for char in match["text"])
        text = " ".join(text.split())[:_LONGEST]
        if not current or not text or any(part in text for part in _EMPTY_WORDS):
            continue
        serious = match["level"] in _SERIOUS or text.startswith(("Config error", "Fatal"))
        rank = 3 if newer_data(text) else 2 if serious else 1
        if rank >= best[0]:
            best = (rank, text)
    return best


def _moment(match: re.Match[str]) -> float | None:
    """Return the time of a line, which Kopano writes in local time; None if it has none."""
    text, form = (match["iso"], "%Y-%m-%dT%H:%M:%S") if match["iso"] \
        else (match["c"], "%a %b %d %H:%M:%S %Y")
    if not text:
        return None
    try:
        return time.mktime(time.strptime(text.replace(" ", "T", 1) if match["iso"] else text, form))
    except (ValueError, OverflowError):
        return None


def _tail(machine: Machine, path: str, since: float) -> list[str]:
    """Return the last lines of a file that was written to since then; none if it cannot be read."""
    if not path:
        return []
    real = machine.root + path

    def read_tail() -> bytes:
        file = os.open(real, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        try:
            status = os.fstat(file)
            if status.st_mtime < int(since):
                return b""
            skipped = max(0, status.st_size - _TAIL)
            content = os.pread(file, _TAIL, skipped)
            return content.partition(b"\n")[2] if skipped else content
        finally:
            os.close(file)

    try:
        content = machine.children.bounded(read_tail, timeout=_TIMEOUT)
    except ChildFailed:
        return []
    return content.decode("utf-8", "replace").splitlines()
