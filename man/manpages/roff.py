# SPDX-License-Identifier: GPL-2.0-or-later
"""Text as roff: what may stand in a manual page without being taken for a request."""

from __future__ import annotations

import re
import textwrap
from typing import List


WIDTH = 73
"""Columns of an example: on a terminal with 80, man leaves seven in front."""

_COMMENT = re.compile(r" *# *")
_ITEM = re.compile(r"# \S+(?:,? \S+)*  \S")
"""A comment that begins with the name of what it is about, and two blanks behind it."""

_BELOW_ITEM = "#" + 14 * " "
"""How such a comment goes on."""

_BLANK_OR_QUOTED = re.compile(r"""'[^']*'|"(?:\\.|[^"\\])*"|\\ | """)

PLACEHOLDER = re.compile(r"\b(?!STONITH\b|IPMI\b|NOT_INSTALLED\b)[A-Z]{3,}\b")
"""A word that stands for another one in a message."""

PLACEHOLDER_OR_TEXT = re.compile(rf"{PLACEHOLDER.pattern}|(?:(?!{PLACEHOLDER.pattern}).)+")


def escape(text: str) -> str:
    """Return a line of text so that it is shown as it is.

    A hyphen stays a minus sign, so that what is copied from the page works in a shell.
    """
    text = text.replace("\\", "\\e").replace("-", "\\-")
    return "\\&" + text if text[:1] in (".", "'") else text


def literal(text: str) -> List[str]:
    """Return the lines of an example for crmsh or a shell, shown in a fixed width.

    What is longer than WIDTH goes on in the next line, in the way in which both know it.
    """
    return [".PP", ".EX", *map(escape, fitted(text)), ".EE"]


def fitted(text: str) -> List[str]:
    """Return a configuration as lines that fit; comments that go on in the next line are filled."""
    lines: List[str] = []
    rest = ""
    source = text.rstrip("\n").split("\n")
    for line, following in zip(source, [*source[1:], ""]):
        comment = _COMMENT.match(line)
        if comment is None:
            lines += folded(line)
            continue
        if rest:
            line = f"{comment.group()}{rest} {line[comment.end():]}"
        indent = _BELOW_ITEM if _ITEM.match(line) else comment.group()
        parts = textwrap.wrap(line, WIDTH, subsequent_indent=indent, break_on_hyphens=False,
                              break_long_words=False)
        rest = parts.pop()[len(indent):] if len(parts) > 1 and _goes_on(line, following, indent) \
            else ""
        lines += parts
    return lines


def _goes_on(line: str, following: str, indent: str) -> bool:
    """Tell whether a comment goes on in the following line, which is no item of its own."""
    comment = _COMMENT.match(following)
    return comment is not None and comment.group() == indent and len(following) > len(indent) \
        and not _ITEM.match(following) and line[-1] not in ".:"


def folded(line: str) -> List[str]:
    """Return a line of code as lines that fit; none is broken between quotes."""
    if len(line) <= WIDTH:
        return [line]
    blanks = [match.start() for match in _BLANK_OR_QUOTED.finditer(line) if match.group() == " "]
    begin = len(line) - len(line.lstrip())
    fitting = [place for place in blanks if begin < place <= WIDTH - 2]
    if not fitting or line[fitting[-1]:].strip() == "\\":
        return [line]
    return [f"{line[:fitting[-1]]} \\",
            *folded(" " * max(begin, min(begin + 4, 8)) + line[fitting[-1]:].lstrip())]


def paragraphs(text: str, request: str = ".PP") -> List[str]:
    """Return prose, whose paragraphs are parted by empty lines; request: what stands between."""
    lines: List[str] = []
    for number, paragraph in enumerate(re.split(r"\n\s*\n", text.strip())):
        if number:
            lines.append(request)
        lines += [escape(" ".join(line.split())) for line in paragraph.split("\n")]
    return lines


def item(head: str, body: List[str]) -> List[str]:
    """Return an entry of a list: the head, and below it, indented, the body."""
    return [".TP", head, *body]


def message(text: str) -> str:
    """Return a message in bold, with the words in capitals, which stand for others, in italics."""
    return "".join(f"\\fI{escape(part)}\\fR" if PLACEHOLDER.fullmatch(part) else bold(part)
                   for part in PLACEHOLDER_OR_TEXT.findall(text))


def bold(text: str) -> str:
    """Return words in bold, to be put into a line."""
    return f"\\fB{escape(text)}\\fR"
