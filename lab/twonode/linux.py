# SPDX-License-Identifier: GPL-2.0-or-later
"""The system calls that a laboratory of namespaces needs and Python 3.9 does not offer.

Constants are named as in the kernel header that they come from; every function raises OSError.
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import struct
from pathlib import Path
from typing import Iterable, Union

_libc = ctypes.CDLL(None, use_errno=True)

# <linux/sched.h>
CLONE_NEWNS = 0x00020000
CLONE_NEWCGROUP = 0x02000000
CLONE_NEWUTS = 0x04000000
CLONE_NEWIPC = 0x08000000
CLONE_NEWPID = 0x20000000
CLONE_NEWNET = 0x40000000

# <linux/mount.h>
MS_RDONLY = 1
MS_NOSUID = 2
MS_NODEV = 4
MS_NOEXEC = 8
MS_REMOUNT = 32
MS_BIND = 4096
MS_REC = 16384
MS_PRIVATE = 1 << 18
MS_SHARED = 1 << 20
MNT_DETACH = 2

# <linux/prctl.h>
PR_SET_PDEATHSIG = 1
PR_CAPBSET_DROP = 24

# <linux/capability.h>: what would reach through a node to the machine that it runs on
DANGEROUS_CAPABILITIES = {
    "sys_module": 16,       # load modules into the host's kernel
    "sys_rawio": 17,        # /proc/kcore, I/O ports
    "sys_time": 25,         # the clock is the host's: an innocent `date -s` in a node sets it
    "mknod": 27,            # make the device of the host's own disk, and write to it
    "audit_control": 30,
    "syslog": 34,           # the kernel's log is the host's
    "wake_alarm": 35,
    "block_suspend": 36,
}

# <linux/fs.h>, <linux/ext4.h>
FS_IOC_SHUTDOWN = 0x8004587D
FS_SHUTDOWN_FLAGS_NOLOGFLUSH = 2

PathLike = Union[str, Path]


def _check(result: int, *what: object) -> None:
    """Raise OSError for a system call that returned -1."""
    if result == -1:
        number = ctypes.get_errno()
        raise OSError(number, f"{os.strerror(number)}: {' '.join(map(str, what))}")


def unshare(flags: int) -> None:
    """Leave the namespaces that `flags` names for new ones; a new pid namespace only takes in
    the children."""
    _check(_libc.unshare(flags), "unshare", hex(flags))


def setns(descriptor: int, kind: int = 0) -> None:
    """Enter the namespace that `descriptor` is open on. Only the calling thread moves."""
    _check(_libc.setns(descriptor, kind), "setns")


def mount(source: PathLike, target: PathLike, kind: str = "", flags: int = 0,
          options: str = "") -> None:
    """Mount `source` on `target`, as mount(2) does."""
    _check(_libc.mount(os.fsencode(source), os.fsencode(target), kind.encode(),
                       ctypes.c_ulong(flags), options.encode()), "mount", source, target)


def bind(source: PathLike, target: PathLike, *, read_only: bool = False) -> None:
    """Make `source` appear at `target` too. The kernel takes read_only in a second call only."""
    mount(source, target, flags=MS_BIND)
    if read_only:
        mount(source, target, flags=MS_BIND | MS_REMOUNT | MS_RDONLY)


def detach(target: PathLike) -> None:
    """Unmount `target` from the tree at once, whoever still uses it."""
    _check(_libc.umount2(os.fsencode(target), MNT_DETACH), "umount", target)


def make_mounts_private() -> None:
    """Let no mount of this mount namespace appear in another one."""
    mount("none", "/", flags=MS_REC | MS_PRIVATE)


def make_mounts_shared() -> None:
    """Let every mount appear and vanish in the mount namespaces that are made of this one, too."""
    mount("none", "/", flags=MS_REC | MS_SHARED)


def pivot_root(root: PathLike) -> None:
    """Make the mount point `root` this mount namespace's root, and let go of the old one."""
    os.chdir(root)
    # Both arguments the same stacks the old root over the new one (pivot_root(2)), which spares a
    # directory in the image for it.
    _check(_libc.pivot_root(b".", b"."), "pivot_root", root)
    _check(_libc.umount2(b".", MNT_DETACH), "umount the old root")
    os.chdir("/")


def drop_capabilities(numbers: Iterable[int] = tuple(DANGEROUS_CAPABILITIES.values())) -> None:
    """Give up capabilities for this process and for everything that it will ever execute."""
    for number in numbers:
        _check(_libc.prctl(PR_CAPBSET_DROP, number, 0, 0, 0), "drop capability", number)


def die_with_parent(signal_number: int = 9) -> None:
    """Ask the kernel for a signal to this process when the thread that made it ends."""
    _check(_libc.prctl(PR_SET_PDEATHSIG, signal_number, 0, 0, 0), "prctl")


def sync_file_system(path: PathLike) -> None:
    """Wait until all that was written on the file system of a path is on its disk."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        _check(_libc.syncfs(descriptor), "syncfs", path)
    finally:
        os.close(descriptor)


def shut_down_file_system(descriptor: int) -> None:
    """Stop the ext4 file system that `descriptor` lies on dead, as if its machine lost power.

    Nothing that is still in memory, the journal included, reaches the disk after this call.
    """
    fcntl.ioctl(descriptor, FS_IOC_SHUTDOWN, struct.pack("I", FS_SHUTDOWN_FLAGS_NOLOGFLUSH))


def fork_as_init() -> int:
    """Fork, with the child as process 1 of a pid namespace of its own. Returns as os.fork does.

    The caller stays the child's parent, and so learns from waitpid how it died: for process 1 of a
    pid namespace SIGHUP means that it called for a reboot and SIGINT for power off (reboot(2)).
    unshare(1) --fork of util-linux 2.38 loses that difference.
    """
    own = os.open("/proc/self/ns/pid", os.O_RDONLY | os.O_CLOEXEC)
    try:
        unshare(CLONE_NEWPID)
        child = os.fork()
        if child != 0:
            setns(own, CLONE_NEWPID)    # else every later child would be born in there as well
    finally:
        os.close(own)
    return child
