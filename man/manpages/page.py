# SPDX-License-Identifier: GPL-2.0-or-later
"""From a page's source to the page."""

from __future__ import annotations

import re
from pathlib import Path
from typing import List

import mailha
from mailha.ocf.declaration import Agent
from manpages import generated, roff

MAN = Path(__file__).resolve().parents[1]
CHECKOUT = MAN.parent

_MARKER = re.compile(r"@([A-Z]+)(?: ([^@]+))?@")

_INDENTED = {".EX": [".RS 4", ".EX"], ".EE": [".EE", ".RE"]}
"""Commands among prose."""

_HEADING = {"7": "Resource agents", "8": "mailha"}


class PageWrong(Exception):
    """A page's source asks for what there is not; the text names the file and the line."""


def sources() -> List[Path]:
    """Return the source of every page."""
    return sorted(MAN.glob("*.[78].in"))


def render(source: Path) -> str:
    """Return a page in roff. Raises PageWrong."""
    name, section = source.name[:-len(".in")].rsplit(".", 1)
    title = (f'.TH {name.upper()} {section} "" "mailha {mailha.__version__}" '
             f'"{_HEADING[section]}"')
    comment = '.\\" SPDX-License-Identifier: GPL-2.0-or-later'
    # No hyphens and no stretched blanks, at the end of a sentence neither: commands and names are
    # copied from these pages.
    return "\n".join([comment, ".nr HY 0", title, ".ad l", ".ss 12 0",
                      *_filled(source, name)]) + "\n"


def _filled(source: Path, name: str) -> List[str]:
    """Return the lines of a source or a fragment with its markers replaced."""
    lines: List[str] = []
    for number, line in enumerate(source.read_text().splitlines(), 1):
        marker = _MARKER.fullmatch(line)
        if marker is None:
            if not line.startswith('.\\"'):
                lines += _INDENTED.get(line, [line])
            continue
        try:
            lines += _replacement(marker.group(1), marker.group(2) or "", name)
        except (OSError, KeyError, ImportError) as error:
            raise PageWrong(f"{source}:{number}: {line}: {error!r}") from None
    return lines


def _replacement(word: str, argument: str, name: str) -> List[str]:
    """Return what stands for a marker."""
    if word == "FILE":
        return roff.literal((CHECKOUT / argument).read_text())
    if word == "ERROR":
        return [".TP", roff.message(argument)]
    if word == "SECTION":
        return _filled(MAN / "sections" / f"{argument}.in", name)
    agent = generated.agent_of(name)
    if word == "PARAMETERS":
        return generated.parameters(agent)
    if word == "DESCRIPTION":
        return roff.paragraphs(agent.long)
    if word == "ACTIONS" and isinstance(agent, Agent):
        return generated.actions(agent)
    raise KeyError(word)
