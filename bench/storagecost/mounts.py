# SPDX-License-Identifier: GPL-2.0-or-later
"""Many mounts, in a mount namespace that is ours alone and takes them with it."""

from __future__ import annotations

import os

from twonode import linux

PLACE = "/srv/many"
TABLE = "/proc/self/mountinfo"


def count() -> int:
    """Return how many mounts there are."""
    with open(TABLE, "rb") as table:
        return table.read().count(b"\n")


def grow(number: int) -> None:
    """Add mounts until there are so many: half of them tmpfs, half of them bind mounts of those.

    Raises ValueError if there are more already.
    """
    there = count()
    if there > number:
        raise ValueError(f"there are {there} mounts already, more than {number}")
    os.makedirs(PLACE, exist_ok=True)
    for each in range(there, number):
        path = f"{PLACE}/{each}"
        os.mkdir(path)
        source = f"{PLACE}/{each - 1}"
        if each % 2 and os.path.ismount(source):
            linux.bind(source, path)
        else:
            linux.mount("tmpfs", path, "tmpfs", 0, "size=4k")
