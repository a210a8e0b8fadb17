# SPDX-License-Identifier: GPL-2.0-or-later
"""Each file says under which licence it may be used, in the form that programs read."""

from __future__ import annotations

import fnmatch
import os
from pathlib import Path
from typing import Iterator

CHECKOUT = Path(__file__).resolve().parents[2]

LINE = b"SPDX-License-Identifier: GPL-2.0-or-later"

NOT_OURS_TO_SHAPE = ("LICENSE", "debian/changelog", "debian/copyright", "debian/source/format")
"""Files whose form others have laid down, without a place for the line."""

RECORDED = "tests/unit/data/"
"""What programs have printed, word by word."""

IGNORED = [line.rstrip("/") for line in (CHECKOUT / ".gitignore").read_text().splitlines()
           if not line.startswith("#")]
"""What nobody has written, in the patterns of git."""


def files() -> Iterator[str]:
    """Yield every file of the checkout that somebody has written."""
    for directory, folders, names in os.walk(CHECKOUT):
        place = os.path.relpath(directory, CHECKOUT)
        folders[:] = [folder for folder in folders
                      if folder != ".git" and not ignored(place, folder)]
        for name in names:
            path = os.path.normpath(os.path.join(place, name))
            if path not in NOT_OURS_TO_SHAPE and not path.startswith(RECORDED) \
                    and name != ".git" and not ignored(place, name):
                yield path


def ignored(place: str, name: str) -> bool:
    """Say whether git is told to pass over a name in a folder."""
    path = os.path.normpath(os.path.join(place, name))
    return any(fnmatch.fnmatch(path if "/" in pattern else name, pattern) for pattern in IGNORED)


def test_every_file_names_its_licence() -> None:
    known = list(files())
    assert len(known) > 300
    assert [path for path in known
            if LINE not in (CHECKOUT / path).read_bytes()[:2000]] == []
