# SPDX-License-Identifier: GPL-2.0-or-later
"""What a master said last, for the reason of a start that failed.

It logs to syslog, with a severity; of its exit code nobody learns anything.
"""

from __future__ import annotations

from mailha import errors

TYPE_CHECKING = False
if TYPE_CHECKING:
    from mailha.services.service import Service
    from mailha.system.machine import Machine

_TIMEOUT = 5.0
_LONGEST = 300
_MOST_LINES = 20


def last_words(machine: Machine, service: Service, *, since: float, output: str = "") -> str:
    """Return the last two things of weight that an instance logged, "" if there are none.

    The last one mostly says that it ends, the one before says why. since: seconds since 1970.
    output: the file with what a directly managed one printed, "" where systemd runs it.
    """
    lines = _printed(machine, output) if output else _journal(machine, service, since)
    found = [text for text in map(_plain, lines) if text]
    return "; ".join(dict.fromkeys(found[-2:]))


def _journal(machine: Machine, service: Service, since: float) -> list[str]:
    """Return the errors that processes of the unit have logged."""
    try:
        finished = machine.children.run(
            ["journalctl", "--quiet", "--no-pager", "--output=cat", "--priority=err",
             f"--lines={_MOST_LINES}", f"--since=@{int(since)}",
             f"_SYSTEMD_UNIT={service.unit}"], timeout=_TIMEOUT)
    except errors.MailhaError:
        return []
    return finished.stdout.decode("utf-8", "replace").splitlines()


def _printed(machine: Machine, path: str) -> list[str]:
    """Return what was printed."""
    try:
        return machine.files.read(path).decode("utf-8", "replace").splitlines()[-_MOST_LINES:]
    except (OSError, errors.MailhaError):
        return []


def _plain(line: str) -> str:
    """Return a line fit for a reason."""
    text = "".join(each if each.isprintable() else " " for each in line)
    return " ".join(text.split())[:_LONGEST]
