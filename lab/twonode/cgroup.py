# SPDX-License-Identifier: GPL-2.0-or-later
"""The cgroups of a lab: one per lab below the root of the version 2 hierarchy, one per node in it.

Below the root, because there a process may be put into a cgroup whatever controllers the host has
enabled (the rule against inner processes spares only the root), and because a systemd of the host
minds only what is below its own slices.
"""

from __future__ import annotations

import os
import subprocess
import time
from pathlib import Path
from typing import Optional

from twonode import linux

EXECUTE = "lab-execute.scope"
"""Where a node's cgroup holds what the lab executes in the node from outside."""


def make(node: Path) -> None:
    """Make a node's cgroup, empty."""
    (node / EXECUTE).mkdir(parents=True, exist_ok=True)


def join(group: Path) -> None:
    """Move the calling process into a cgroup."""
    (group / "cgroup.procs").write_text("0")


def remove(top: Path, timeout: float) -> bool:
    """Remove a cgroup and all below it once their processes are gone; False if some live on.

    The kernel calls a cgroup empty a moment after its last process ended, so this is tried until
    `timeout` seconds are over.
    """
    deadline = time.monotonic() + timeout
    while top.is_dir():
        for directory, _, _ in os.walk(top, topdown=False):
            try:
                os.rmdir(directory)
            except OSError:
                pass
        if top.is_dir() and time.monotonic() > deadline:
            return False
        if top.is_dir():
            time.sleep(0.01)
    return True


def hierarchy() -> Optional[Path]:
    """Return where the version 2 hierarchy is mounted whole; None where it is not."""
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        # man 5 proc: id, parent, device, root, mount point, options, optional fields, "-", type
        before, _, after = line.partition(" - ")
        root, point = before.split()[3:5]
        if root == "/" and after.split()[0] == "cgroup2":
            return Path(point)
    return None


def hierarchy_or_mount(place: Path) -> Path:
    """Return where the version 2 hierarchy is; mount it on `place` if it is nowhere.

    It is never mounted a second time: a mount from the host's own cgroup namespace sets the options
    of all of them, and systemd's nsdelegate and memory_recursiveprot would be gone from the host.
    """
    found = hierarchy()
    if found is None:
        place.mkdir(exist_ok=True)
        linux.mount("cgroup2", place, "cgroup2")
    return found or place


def remove_leftover(name: str) -> None:
    """Remove the empty cgroups of a lab whose supervisor is gone.

    Where the hierarchy is mounted nowhere this is done in a mount namespace of a child.
    """
    found = hierarchy()
    if found is not None:
        remove(found / name, timeout=5)
        return
    script = ('mount -t cgroup2 cgroup2 /sys/fs/cgroup && cd /sys/fs/cgroup && '
              '[ ! -d "$1" ] || find "$1" -depth -type d -exec rmdir {} +')
    subprocess.run(["unshare", "--mount", "--propagation", "private",
                    "sh", "-c", script, "sh", name],
                   timeout=30, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                   stderr=subprocess.DEVNULL)
