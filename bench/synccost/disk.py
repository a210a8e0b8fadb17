# SPDX-License-Identifier: GPL-2.0-or-later
"""A disk of a node: a real ext4 on a block device of its own, whose power can be cut.

The root of a sandbox is an overlay that leaves out every sync, so nothing on it could be told to be
durable. What is replicated, and what the contestants must not forget, therefore lies here.
"""

from __future__ import annotations

import os
from pathlib import Path

from twonode import linux, loop
from twonode.sandbox import Sandbox

MOUNT = "/srv/disk"

TREE = f"{MOUNT}/tree"
"""What is replicated."""

STATE = "/var/lib/mailha"
"""What ours remembers and keeps. On a node it lies on one file system with /etc, as it does here by
a link to this disk."""

MEBIBYTES = 512
LIMIT = 60.0


class Disk:
    """The disk of one sandbox, mounted."""

    def __init__(self, sandbox: Sandbox) -> None:
        file = sandbox.scratch / "disk"
        loop.create_image(file, MEBIBYTES)
        self._sandbox = sandbox
        self._device = sandbox.device(file)
        self._mount()

    @property
    def tree(self) -> Path:
        """Where the bench finds what is replicated."""
        return self._sandbox.path(TREE)

    def cut_power(self) -> None:
        """Lose all that is not on the disk yet, and mount what is, as after a reboot.

        Nothing may run on the disk any more a moment later: whoever does is in the way of that.
        """
        descriptor = os.open(self._sandbox.path(MOUNT), os.O_RDONLY | os.O_DIRECTORY)
        try:
            linux.shut_down_file_system(descriptor)
        finally:
            os.close(descriptor)

    def reboot(self) -> None:
        """Mount again after cut_power(), when everything that ran has been ended."""
        self._shell(f"umount {MOUNT}")
        self._mount()

    def _mount(self) -> None:
        self._shell(f"mkdir -p {MOUNT}; mount -t ext4 {self._device} {MOUNT}\n"
                    f"mkdir -p {TREE} {MOUNT}/state; ln -sfn {MOUNT}/state {STATE}")

    def _shell(self, script: str) -> None:
        self._sandbox.run(["/bin/sh", "-euc", script], timeout=LIMIT, check=True)
