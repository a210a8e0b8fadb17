# SPDX-License-Identifier: GPL-2.0-or-later
"""What a unit has said in the journal, for the reason of a start that failed."""

from __future__ import annotations

from mailha import errors

TYPE_CHECKING = False
if TYPE_CHECKING:
    from mailha.system.machine import Machine

_TIMEOUT = 5.0
_MOST_LINES = "100"
_LONGEST = 300


def lines(machine: Machine, unit: str, since: float) -> list[str]:
    """Return the last lines of a unit's processes; none if the journal cannot be read.

    since: seconds since 1970; what was said before is left out.
    """
    try:
        finished = machine.children.run(
            ["journalctl", "--quiet", "--no-pager", "--output=cat", f"--lines={_MOST_LINES}",
             f"--since=@{int(since)}", f"_SYSTEMD_UNIT={unit}"], timeout=_TIMEOUT)
    except errors.MailhaError:
        return []
    return finished.stdout.decode("utf-8", "replace").splitlines()


def last_line(machine: Machine, unit: str, since: float) -> str:
    """Return the last line that says something, fit for a message; "" if there is none."""
    for line in reversed(lines(machine, unit, since)):
        text = " ".join("".join(char if char.isprintable() else " " for char in line).split())
        if text:
            return text[:_LONGEST]
    return ""
