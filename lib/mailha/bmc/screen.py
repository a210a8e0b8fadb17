# SPDX-License-Identifier: GPL-2.0-or-later
"""What a terminal shows of the bytes that a controller's shell sends, and how to quote it.

Shells of controllers colour their prompts, move the cursor, erase what a pager has written and end
lines with CR LF. What a command said can only be read from what remains of that.
"""

from __future__ import annotations

import re

_SEQUENCES = re.compile(
    r"\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)"        # a title and the like (OSC), up to its end
    r"|\x1b\[[0-?]*[ -/]*[@-~]"                 # colours, cursor (CSI)
    r"|\x1b[ -/]+[0-~]"                         # character sets
    r"|\x1b[0-Z\\^-~]"                          # the short ones
    r"|\x1b(?:[\[\]][^\x07]{0,80})?\Z")         # one of them of which the end is still to come
"""The escape sequences of ECMA-48."""

_LONGEST_QUOTE = 160


def shown(data: bytes) -> str:
    """Return the text that remains on a terminal, its lines ended by a single newline.

    What no terminal can show is left out; bytes that are no UTF-8 are shown as \\xNN.
    """
    text = _SEQUENCES.sub("", data.decode("utf-8", "backslashreplace"))
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    kept: list[str] = []
    for char in text:
        if char == "\b":
            if kept and kept[-1] != "\n":
                kept.pop()
        elif char == "\n" or char.isprintable():
            kept.append(char)
        elif char == "\t":
            kept.append(" ")
    return "".join(kept)


def last_line(text: str) -> str:
    """Return what stands behind the last newline: where a prompt would stand."""
    return text.rpartition("\n")[2]


def quoted(text: str, secret: str = "", *, end: int = 0) -> str:
    """Return the text for a message: one line of bearable length in quotes, without the secret.

    end: if not 0, only so many characters at its end.
    A controller that shows what is typed may show a password as well.
    """
    for form in {secret, shown(secret.encode("utf-8", "surrogateescape"))} - {""}:
        text = text.replace(form, "***")
    words = " ".join("".join(char if char.isprintable() else " " for char in text).split())
    if end:
        words = words[-end:]
    if len(words) > _LONGEST_QUOTE:
        words = words[:_LONGEST_QUOTE - 3] + "..."
    return f'"{words}"'
