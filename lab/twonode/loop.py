# SPDX-License-Identifier: GPL-2.0-or-later
"""The shared disks: one file each, seen by every node through a block device of its own.

With a device of its own each node caches for itself, as machines on a real storage network do. So
two nodes that mount the disk at the same time destroy it, which is what fencing has to prevent.

A device is bound with LO_FLAGS_AUTOCLEAR, so it vanishes with its last user. Whatever of a lab is
killed, no loop device stays behind.
"""

from __future__ import annotations

import errno
import fcntl
import os
import stat
import struct
import subprocess
from pathlib import Path

# <linux/loop.h>
LOOP_CONFIGURE = 0x4C0A
LOOP_CTL_GET_FREE = 0x4C82
LO_FLAGS_AUTOCLEAR = 4
LO_NAME_SIZE = 64
LOOP_MAJOR = 7

BLOCK_SIZE = 512

# struct loop_config { __u32 fd, block_size; struct loop_info64 info; __u64 reserved[8]; }
# struct loop_info64 { __u64 device, inode, rdevice, offset, sizelimit;
#                      __u32 number, encrypt_type, encrypt_key_size, flags;
#                      __u8 file_name[64], crypt_name[64], encrypt_key[32]; __u64 init[2]; }
_LOOP_CONFIG = struct.Struct("=2I 5Q 4I 64s 64s 32s 2Q 8Q")


def create_image(path: Path, mebibytes: int) -> None:
    """Make `path` a disk with an empty ext4 on it. It takes up only what is written to it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "wb") as image:
        image.truncate(mebibytes << 20)
    subprocess.run(["mkfs.ext4", "-q", "-F", "-m", "0", str(path)], check=True, timeout=120,
                   stdin=subprocess.DEVNULL)


class LoopDevice:
    """One block device over a file. It lives until close() and until nobody has it mounted."""

    def __init__(self, file: Path, directory: Path) -> None:
        """Bind a free device to the file.

        directory: where to make a device node for our own use; it is removed at once.
        """
        self.file = file
        with open(file, "r+b") as backing, open("/dev/loop-control", "rb") as control:
            while True:
                self.number = fcntl.ioctl(control, LOOP_CTL_GET_FREE)
                self._descriptor = self._open(directory)
                try:
                    fcntl.ioctl(self._descriptor, LOOP_CONFIGURE, self._request(backing.fileno()))
                    return
                except OSError as error:
                    os.close(self._descriptor)
                    if error.errno != errno.EBUSY:      # somebody else was given the same one
                        raise

    @property
    def device(self) -> int:
        """The device number, as in st_rdev."""
        return os.makedev(LOOP_MAJOR, self.number)

    def close(self) -> None:
        """Let go of the device."""
        os.close(self._descriptor)

    @property
    def in_use(self) -> bool:
        """Whether the device is still bound to our file, that is, whether a machine can write."""
        try:
            bound = Path(f"/sys/block/loop{self.number}/loop/backing_file").read_text().rstrip("\n")
        except OSError:
            return False
        return bound == str(self.file)

    def _open(self, directory: Path) -> int:
        """Open the device by its number; /dev need not show it yet, or at all."""
        node = directory / f".loop{self.number}-{os.getpid()}"
        os.mknod(node, stat.S_IFBLK | 0o600, self.device)
        try:
            return os.open(node, os.O_RDWR | os.O_CLOEXEC)
        finally:
            os.unlink(node)

    def _request(self, backing: int) -> bytes:
        """Return what LOOP_CONFIGURE wants to be told."""
        name = os.fsencode(self.file)[:LO_NAME_SIZE - 1]
        return _LOOP_CONFIG.pack(backing, BLOCK_SIZE, 0, 0, 0, 0, 0, 0, 0, 0, LO_FLAGS_AUTOCLEAR,
                                 name, b"", b"", 0, 0, 0, 0, 0, 0, 0, 0, 0, 0)
