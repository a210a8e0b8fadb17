# SPDX-License-Identifier: GPL-2.0-or-later
"""The program, called as: java -I -S /usr/lib/bluemind-standin/run UNIT CLASS [PIDFILE]."""

from __future__ import annotations

import os

from . import installed, settings
from .life import Life, give_up
from .roles import DATA, in_background, play


def main(arguments: "list[str]") -> None:
    """Be a service until told to stop.

    arguments: its unit, its class, and where its process number is to be written.
    """
    unit, pid_file = arguments[0], "".join(arguments[2:3])
    told = settings.read(unit)
    life = Life(told)
    if pid_file:
        with open(pid_file, "w", encoding="ascii") as file:
            file.write(f"{os.getpid()}\n")
    # The ports of core say nothing of its state, so it has them from the first moment on.
    ready_first = settings.number(told, "serve_after") > 0 and unit != "bm-core"
    if ready_first:
        life.begin()
        life.before_serving()
    try:
        later = play(unit, installed.text(installed.VERSION), life, bool(told.get("mute")))
    except OSError as error:
        give_up(f"{unit}: {error}")
    if not ready_first:
        life.begin()
    in_background(later)
    life.end(lambda: _tidy_up(unit))


def _tidy_up(unit: str) -> None:
    """Remove what a clean stop removes and a killed process leaves."""
    if unit == "bm-elasticsearch" and os.path.exists(f"{DATA[unit]}/es.pid"):
        os.unlink(f"{DATA[unit]}/es.pid")
