# SPDX-License-Identifier: GPL-2.0-or-later
"""Follow symbolic links without ever touching a file system that has not been accepted.

readlink on a path that has a dead server somewhere in it hangs. So the path is walked part by part:
a part is looked at only after the mount on which it lies has been found in the kernel's table and
accepted, and a part on which something is mounted is never looked at, since it is a directory. All
of it happens in a child with a deadline, because a local disk can die too.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable

from mailha import errors
from mailha.storage import mountinfo, patience
from mailha.storage.mountinfo import Mount
from mailha.system.machine import Machine

MOST_LINKS = 40
"""The kernel's own limit (MAXSYMLINKS)."""

LOCAL_TYPES = frozenset((
    "bcachefs", "btrfs", "devtmpfs", "erofs", "ext2", "ext3", "ext4", "f2fs", "gfs2", "jfs",
    "nilfs2", "ocfs2", "overlay", "ramfs", "reiserfs", "rootfs", "squashfs", "tmpfs", "vfat", "xfs",
    "zfs"))
"""File systems that answer from this machine or from its block devices. Whoever lacks here is not
looked at: a list of the dangerous ones would be wrong with every new network file system."""


class NotAccepted(errors.Failed):
    """The path leads onto a mount that must not be touched.

    path: how far it was followed; mount: what lies there.
    """

    def __init__(self, path: str, mount: Mount) -> None:
        super().__init__(
            f"'{path}' is on {mount.source} ({mount.fstype}), mounted at '{mount.mount_point}': "
            "its symbolic links are not followed", remedy="use a path on a local file system")
        self.path = path
        self.mount = mount


def is_local(mount: Mount) -> bool:
    """Say whether the mount is of a type that needs no server."""
    return mount.fstype in LOCAL_TYPES


def resolve(machine: Machine, path: str, *, timeout: float,
            accept: Callable[[Mount], bool] = is_local) -> str:
    """Return the path without symbolic links; what does not exist is left as it is written.

    accept: says of a mount whether it may be touched. timeout: seconds.

    Raises NotAccepted for the first mount on the way that may not, errors.Failed for a loop, an
    unreadable part or a wrong path, and patience.DiskSilent if the disk does not answer.
    """
    mountinfo.lexical(path)
    table = mountinfo.mounts(machine)

    def work() -> bytes:
        try:
            return b"path " + os.fsencode(follow(table, path, accept, os.readlink))
        except NotAccepted as refused:
            return b"stop " + os.fsencode(refused.path)
        except errors.MailhaError as error:
            return b"fail " + os.fsencode(error.reason)

    answer = os.fsdecode(patience.touch(machine, path, work, timeout))
    kind, found = answer[:5], answer[5:]
    if kind == "stop ":
        raise NotAccepted(found, mountinfo.find(table, found))
    if kind != "path ":
        raise errors.Failed(found, remedy=f"look at the links with 'namei -l {path}'")
    return found


def follow(table: list[Mount], path: str, accept: Callable[[Mount], bool],
           readlink: Callable[[str], str]) -> str:
    """Do the work of :func:`resolve`; ``..`` in a link is followed as the kernel does it."""
    waiting = mountinfo.lexical(path).split("/")[1:]
    done = ""
    links = 0
    while waiting:
        part = waiting.pop(0)
        if part in ("", "."):
            continue
        if part == "..":
            done = done.rpartition("/")[0]
            continue
        here = f"{done}/{part}"
        mount = mountinfo.find(table, here)
        if not accept(mount):
            raise NotAccepted(here, mount)
        target = "" if mount.mount_point == here else _target(here, readlink)
        if not target:
            done = here
            continue
        links += 1
        if links > MOST_LINKS:
            raise errors.Failed(f"'{path}' has more than {MOST_LINKS} symbolic links in it")
        waiting = target.split("/") + waiting
        if target.startswith("/"):
            done = ""
    return done or "/"


def _target(path: str, readlink: Callable[[str], str]) -> str:
    """Return where a link points; empty if the path is no link or does not exist."""
    try:
        return readlink(path)
    except OSError as error:
        if error.errno in (errno.EINVAL, errno.ENOENT, errno.ENOTDIR):
            return ""
        raise errors.Failed(f"cannot read '{path}': {error.strerror}") from None
