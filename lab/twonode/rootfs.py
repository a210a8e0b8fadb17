# SPDX-License-Identifier: GPL-2.0-or-later
"""What a machine of the lab sees as its file systems.

A root is an overlay: the image, which all machines share and none can change, under the machine's
own disk, a directory that holds only what differs. On top lie a /dev of its own, a /proc of its own
pid namespace, and a /sys that cannot be written, except for its own part of the cgroups.

Everything here is called by the machine's first process, already in namespaces of its own.
"""

from __future__ import annotations

import os
import shutil
import stat
from pathlib import Path
from typing import Mapping, Sequence

from twonode import linux

CHARACTER_DEVICES = {"null": (1, 3), "zero": (1, 5), "full": (1, 7), "random": (1, 8),
                     "urandom": (1, 9), "tty": (5, 0), "fuse": (10, 229)}

LINKS = {"ptmx": "pts/ptmx", "fd": "/proc/self/fd", "stdin": "/proc/self/fd/0",
         "stdout": "/proc/self/fd/1", "stderr": "/proc/self/fd/2"}


def adopt_directories(disk: Path, image: Path, layers: Sequence[Path] = ()) -> None:
    """Give each directory of the disk that is also below it the owner and the mode it has there.

    image, layers: as of assemble().
    In an overlay the upper directory's attributes win. Without this, a file put under
    /var/lib/pacemaker would take that directory away from the user hacluster.
    """
    for directory, _, _ in os.walk(disk):
        for below in (*layers, image):
            original = below / Path(directory).relative_to(disk)
            if original.is_dir() and not original.is_symlink():
                facts = original.stat()
                os.chown(directory, facts.st_uid, facts.st_gid)
                os.chmod(directory, stat.S_IMODE(facts.st_mode))
                break


def assemble(image: Path, disk: Path, work: Path, root: Path, *, layers: Sequence[Path] = (),
             block_devices: Mapping[str, int] = {}) -> None:
    """Mount a whole machine at `root`.

    image: the lower layer, never written.
    layers: what lies between the image and the disk, the uppermost first; not written either.
    disk: the upper layer, the machine's own; it outlives the machine.
    work: scratch space of the overlay on the disk's file system; emptied here.
    block_devices: name in /dev -> device number.
    """
    shutil.rmtree(work, ignore_errors=True)
    for directory in (disk, work, root):
        directory.mkdir(parents=True, exist_ok=True)
    # "volatile" leaves out the syncs of the overlay: the machine's disk need not survive a crash of
    # the host, only one of the machine. It needs the emptied work directory.
    lower = ":".join(map(str, [*layers, image]))
    linux.mount("overlay", root, "overlay", 0,
                f"lowerdir={lower},upperdir={disk},workdir={work},volatile")
    _mount_dev(root / "dev", block_devices)
    _mount_proc(root / "proc")
    linux.mount("tmpfs", root / "run", "tmpfs", linux.MS_NOSUID | linux.MS_NODEV, "mode=755")
    linux.mount("tmpfs", root / "tmp", "tmpfs", linux.MS_NOSUID | linux.MS_NODEV, "mode=1777")
    # Read-only, because with a writable /sys systemd would start udevd, which sees the host's
    # hardware.
    linux.mount("sysfs", root / "sys", "sysfs", linux.MS_RDONLY)


def mount_cgroups(root: Path) -> None:
    """Mount the machine's own part of the cgroups, as the pure version 2 layout.

    The kernel shows a machine the hierarchy from its own cgroup namespace on, and lets version 2 be
    mounted anywhere, so this works and looks the same on hosts of version 1, hybrid and version 2.
    """
    linux.mount("cgroup2", root / "sys/fs/cgroup", "cgroup2")


def _mount_dev(dev: Path, block_devices: Mapping[str, int]) -> None:
    """Mount a /dev that has what every program expects, the machine's disks, and nothing else."""
    linux.mount("tmpfs", dev, "tmpfs", linux.MS_NOSUID, "mode=755")
    os.umask(0)
    for name, (major, minor) in CHARACTER_DEVICES.items():
        os.mknod(dev / name, stat.S_IFCHR | 0o666, os.makedev(major, minor))
    for name, device in block_devices.items():
        os.mknod(dev / name, stat.S_IFBLK | 0o660, device)
    for name, destination in LINKS.items():
        os.symlink(destination, dev / name)
    for name, kind, options in (("pts", "devpts", "newinstance,ptmxmode=0666,mode=620,gid=5"),
                                ("shm", "tmpfs", "mode=1777"), ("mqueue", "mqueue", "")):
        (dev / name).mkdir()
        linux.mount(kind, dev / name, kind, 0, options)
    os.umask(0o022)


def _mount_proc(proc: Path) -> None:
    """Mount /proc so that no setting of the host's kernel can be changed through it.

    /proc/sys is read-only, but for the settings of the network, which belong to the machine.
    """
    linux.mount("proc", proc, "proc")
    network = proc / "sys/net"
    descriptor = os.open(network, os.O_PATH | os.O_DIRECTORY)
    try:
        for name in ("sys", "irq", "bus", "fs"):
            if (proc / name).is_dir():
                linux.bind(proc / name, proc / name, read_only=True)
        linux.bind(f"/proc/self/fd/{descriptor}", network)
    finally:
        os.close(descriptor)
