# SPDX-License-Identifier: GPL-2.0-or-later
"""The help and the version, for people."""

from __future__ import annotations

import mailha
from mailha.fencing import standard
from mailha.fencing.metadata import form

TYPE_CHECKING = False
if TYPE_CHECKING:
    from mailha.fencing.declaration import FenceAgent

_COLUMN = 34
_WIDTH = 100


def text(agent: FenceAgent) -> str:
    """Return the help."""
    lines = [f"{agent.name}: {agent.short}", "",
             f"Usage: {agent.name} OPTION...", f"   or: {agent.name} < FILE",
             "Without any option, lines of the form name=value are read from stdin, as Pacemaker",
             "gives them; a name there has _ for the - of an option here.", "", "Options:"]
    for option in agent.options:
        lines += _paragraph("  " + form(option), option.short + _remark(option.default,
                                                                        option.choices))
    lines += ["", f"Actions: {', '.join(standard.ACTIONS)}", "",
              "Exit status: 0 done, and for status: the power is on; 2 for status: it is off; 1",
              "failed, and one line on stderr says why.", ""]
    return "\n".join(lines)


def version(agent: FenceAgent) -> str:
    """Return the version."""
    return f"{agent.name} (mailha) {mailha.__version__}\n"


def _remark(default: str | None, choices: tuple[str, ...]) -> str:
    """Return what follows the description: choices and default."""
    parts = [" or ".join(choices)] if choices else []
    if default not in (None, ""):
        parts.append(f"default {default}")
    return f" ({'; '.join(parts)})" if parts else ""


def _paragraph(head: str, body: str) -> list[str]:
    """Return the lines of one option, its description in a column."""
    lines = [head.ljust(_COLUMN)] if len(head) < _COLUMN else [head, " " * _COLUMN]
    for word in body.split():
        if len(lines[-1]) + len(word) + 1 > _WIDTH and lines[-1].strip():
            lines.append(" " * _COLUMN)
        lines[-1] += word if lines[-1].endswith(" ") else " " + word
    return lines
