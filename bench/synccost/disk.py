# SPDX-License-Identifier: GPL-2.0-or-later
"""The disk of a node: what is replicated, and what the contestants must not forget.

The root of a sandbox is an overlay that leaves out every sync, so it is a directory of the host's
own disk, where a sync is one. That disk cannot be unplugged; for the one case in which the power is
cut, an ext4 on a block device of its own takes its place, which needs several times as long to sync
because it lies in a file.

Whoever makes a file in a part of an ext4 without a journal where thousands have just been removed
looks at each of them first: the kernel lets an inode rest for a minute. So that no contestant pays
for what ended before it, a tree is never removed but put aside, and each new one begins in a part
of the disk of its own.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import struct
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

BESIDE = f"{MOUNT}/beside"
"""Where the bench itself writes to the disk."""

# <linux/fs.h>
FS_IOC_GETFLAGS = 0x80086601
FS_IOC_SETFLAGS = 0x40086602
FS_TOPDIR_FL = 0x00020000

MEBIBYTES = 256
LIMIT = 60.0


class Disk:
    """The disk of one sandbox, whose scratch directory is at MOUNT."""

    def __init__(self, sandbox: Sandbox) -> None:
        self._sandbox = sandbox
        self._device = ""
        self._aside = 0
        self._prepare()

    @property
    def tree(self) -> Path:
        """Where the bench finds what is replicated."""
        return self._sandbox.path(TREE)

    @property
    def beside(self) -> Path:
        """Where the bench may write to the same disk."""
        return self._sandbox.path(BESIDE)

    def fresh(self) -> Path:
        """Return a new directory beside what is replicated, in a part of the disk of its own."""
        place = self.tree.parent / os.urandom(8).hex()
        place.mkdir()
        return place

    def renew(self) -> None:
        """Put what is replicated aside and begin with an empty directory."""
        self._aside += 1
        self.tree.rename(self.tree.parent / f"aside-{self._aside}")
        self._make(TREE)

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
        descriptor = os.open(self._sandbox.path(MOUNT), os.O_RDONLY | os.O_DIRECTORY)
        try:
            _spread(descriptor)
        finally:
            os.close(descriptor)
        for path in (TREE, BESIDE, f"{MOUNT}/state"):
            if not self._sandbox.path(path).exists():
                self._make(path)
        self._shell(f"ln -sfn {MOUNT}/state {STATE}")

    def _make(self, path: str) -> None:
        """Make a directory; the name that it has first decides where on the disk it lies."""
        self.fresh().rename(self._sandbox.path(path))

    def _shell(self, script: str) -> None:
        self._sandbox.run(["/bin/sh", "-euc", script], timeout=LIMIT, check=True)


def _spread(descriptor: int) -> None:
    """Have the directories in one lie far from each other, as `chattr +T` does, where it can be."""
    try:
        flags = struct.unpack("i", fcntl.ioctl(descriptor, FS_IOC_GETFLAGS, b"\0" * 4))[0]
        fcntl.ioctl(descriptor, FS_IOC_SETFLAGS, struct.pack("i", flags | FS_TOPDIR_FL))
    except OSError as error:
        if error.errno not in (errno.ENOTTY, errno.EOPNOTSUPP, errno.EINVAL):
            raise
