# SPDX-License-Identifier: GPL-2.0-or-later
"""The commands of the runbooks in the manual, to be played in a cluster word by word.

In the sources of the manual, man/sections/runbooks, each block of commands stands behind a comment
that names it::

    .\\" PLAYED maintenance.away.crm
    .EX
    crm node standby bob
    .EE

Tests play it by that name; tests/unit/test_runbooks.py proves that none is left out.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Dict, List, Tuple

FOLDER = Path(__file__).resolve().parents[1] / "man" / "sections" / "runbooks"

LIMIT = 240.0
"""Seconds for one block; a changeover that it waits for is part of it."""

_BLOCK = re.compile(r'((?:^\.\\" PLAYED \S+\n)?)^\.EX\n(.*?)^\.EE$', re.MULTILINE | re.DOTALL)


def blocks() -> List[Tuple[str, str]]:
    """Return the name of each block, "" for one that has none, and its commands."""
    return [(head.rpartition(" ")[2].strip(), plain(text))
            for file in sorted(FOLDER.glob("*.in"))
            for head, text in _BLOCK.findall(file.read_text())]


def plain(roff: str) -> str:
    """Return the text that a reader of the page copies."""
    return roff.replace("\\-", "-").replace("\\(aq", "'").replace("\\e", "\\")


def script(name: str, **words: str) -> str:
    """Return the commands of a block as a script of the shell.

    words: what stands for a word of the manual, as in bob="alice", kopano_services="mail".
    """
    [found] = [text for each, text in blocks() if each == name]
    known = _pattern(words)
    return known.sub(lambda match: words[match.group()], found) if words else found


def play(lab: Any, node: str, name: str, **words: str) -> str:
    """Run a block on a node, where each command has to succeed; return what they printed.

    lab: of twonode.lab.Lab. words: as of script.
    """
    # Debian's cluster has init scripts as well, and the nodes no runlevels to take them out of.
    said: str = lab.execute(node, ["env", "SYSTEMCTL_SKIP_SYSV=1", "/bin/sh", "-euc",
                                   script(name, **words)], timeout=LIMIT).stdout
    return said


def _pattern(words: Dict[str, str]) -> "re.Pattern[str]":
    return re.compile(r"\b(?:" + "|".join(map(re.escape, words)) + r")\b")
