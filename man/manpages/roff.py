# SPDX-License-Identifier: GPL-2.0-or-later
"""Text as roff: what may stand in a manual page without being taken for a request."""

from __future__ import annotations

import re
from typing import List


def escape(text: str) -> str:
    """Return a line of text so that it is shown as it is.

    A hyphen stays a minus sign, so that what is copied from the page works in a shell.
    """
    text = text.replace("\\", "\\e").replace("-", "\\-")
    return "\\&" + text if text[:1] in (".", "'") else text


def literal(text: str) -> List[str]:
    """Return the lines of an example, shown in a fixed width as they stand."""
    return [".PP", ".RS 4", ".EX", *(escape(line) for line in text.rstrip("\n").split("\n")),
            ".EE", ".RE"]


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


def bold(text: str) -> str:
    """Return words in bold, to be put into a line."""
    return f"\\fB{escape(text)}\\fR"
