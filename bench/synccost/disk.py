# SPDX-License-Identifier: GPL-2.0-or-later
"""The disk of a node: what is replicated, and what the contestants must not forget.

The root of a sandbox is an overlay that leaves out every sync, so it is a directory of the host's
own disk, where a sync is one. That disk cannot be unplugged; for the one case in which the power is
cut, an ext4 on a block device of its own takes its place, which needs several times as long to sync
because it lies in a file.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import Iterator

from twonode import linux, loop
from twonode.sandbox import Sandbox

MOUNT = "/srv/disk"

TREE = f"{MOUNT}/tree"
"""What is replicated."""

STATE = "/var/lib/mailha"
"""What ours remembers and keeps. On a node it lies on one file system with /etc, as it does here by
a link to this disk."""

MEBIBYTES = 256
LIMIT = 60.0


class Disk:
    """The disk of one sandbox, whose scratch directory is at MOUNT."""

    def __init__(self, sandbox: Sandbox) -> None:
        self._sandbox = sandbox
        self._device = ""
        self._prepare()

    @property
    def tree(self) -> Path:
        """Where the bench finds what is replicated."""
        return self._sandbox.path(TREE)

    @contextlib.contextmanager
    def with_plug(self) -> Iterator[None]:
        """Have another disk in its place for a while, empty, whose power can be cut."""
        file = self._sandbox.scratch / "image"
        loop.create_image(file, MEBIBYTES)
        self._device = self._sandbox.device(file)
        self._mount()
        try:
            yield
        finally:
            self._shell(f"umount -l {MOUNT}")
            file.unlink()

    def cut_power(self) -> None:
        """Lose all that is not on the disk yet. Whoever runs on it is to be ended next."""
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
        self._shell(f"mount -t ext4 {self._device} {MOUNT}")
        self._prepare()

    def _prepare(self) -> None:
        self._shell(f"mkdir -p {TREE} {MOUNT}/state; ln -sfn {MOUNT}/state {STATE}")

    def _shell(self, script: str) -> None:
        self._sandbox.run(["/bin/sh", "-euc", script], timeout=LIMIT, check=True)
