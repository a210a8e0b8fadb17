# SPDX-License-Identifier: GPL-2.0-or-later
"""Bad habits that cannot be provoked from outside, switched on by a file.

/etc/kopano/standin.vices has lines ``service: vice`` or ``service: vice=SECONDS``; ``*`` means
every service and ``#`` starts a comment. The file is read when a service starts; ``mute`` alone is
looked up at every connection, so that a running service can fall silent and recover.

    slow_upgrade=SECONDS   server: every start upgrades the database, and that takes so long
    mute                   connections are accepted and never answered
    ignore_term            SIGTERM and SIGINT have no effect
    ignore_term_child      leaves a child of the same executable that survives SIGTERM and parent
    slow_stop=SECONDS      takes so long between SIGTERM and its end
    dead_but_exit_0        ends with exit code 0 right after its start, without a word
    hang_on_start          opens its ports and never gets further
    crash_after=SECONDS    dies of SIGSEGV so long after it was ready
    send_for=SECONDS       spooler: a child sends mail so long, and like the real one's ignores
                           SIGTERM, SIGINT and SIGHUP while it does

A process that even SIGKILL does not end (state D) cannot be had this way: it takes a device or a
file system that does not answer.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Dict

PATH = Path("/etc/kopano/standin.vices")
TIMED = frozenset(("slow_upgrade", "slow_stop", "crash_after", "send_for"))
PLAIN = frozenset(
    ("mute", "ignore_term", "ignore_term_child", "dead_but_exit_0", "hang_on_start"))


def parse(text: str, service: str) -> Dict[str, float]:
    """Return the vices of ``service`` in ``text`` with their seconds (0 where there are none).

    ValueError names a line that is no vice: a test that misspells one must not pass by luck.
    """
    vices: Dict[str, float] = {}
    for line in text.splitlines():
        line = line.partition("#")[0].strip()
        if not line:
            continue
        who, _, what = line.partition(":")
        name, _, seconds = what.strip().partition("=")
        if name in PLAIN and not seconds:
            value = 0.0
        elif name in TIMED and re.fullmatch(r"\d+(\.\d+)?", seconds):
            value = float(seconds)
        else:
            raise ValueError(f"{PATH}: {line!r} is not 'service: vice' or 'service: vice=SECONDS'"
                             " with a vice that there is")
        if who.strip() in (service, "*"):
            vices[name] = value
    return vices


class Vices:
    """The vices of one service."""

    def __init__(self, service: str, path: Path = PATH) -> None:
        self._service = service
        self._path = path
        self._at_start = self._read()

    def _read(self) -> Dict[str, float]:
        try:
            return parse(self._path.read_text(encoding="utf-8"), self._service)
        except FileNotFoundError:
            return {}

    def has(self, name: str) -> bool:
        """Return whether the vice was on when the service started."""
        return name in self._at_start

    def seconds(self, name: str) -> float:
        """Return the seconds of a timed vice, 0 where it is off."""
        return self._at_start.get(name, 0.0)

    def mute_now(self) -> bool:
        """Return whether the service is to answer nobody at this moment."""
        try:
            return "mute" in self._read()
        except ValueError:
            return False  # caught while somebody writes it; a start would have named the line
