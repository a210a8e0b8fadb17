# SPDX-License-Identifier: GPL-2.0-or-later
"""Follow symbolic links without ever touching a file system that has not been accepted.

readlink on a path that has a dead server somewhere in it hangs. So the path is walked part by part:
a part is looked at only after the mount on which it lies has been found in the kernel's table and
accepted, and a part on which something is mounted is never looked at, since it is a directory. All
of it happens in a child with a deadline, because a local disk can die too.

A recurring monitor loads this module, and uses :func:`settle`, which rarely needs that child.
"""

from __future__ import annotations

import errno
import os

from mailha import errors
from mailha.storage import filesystems, mountinfo, remembered

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from mailha.storage.mountinfo import Mount, Table
    from mailha.system.machine import Machine

MOST_LINKS = 40
"""The kernel's own limit (MAXSYMLINKS)."""


class NotAccepted(errors.Failed):
    """The path leads onto a mount that must not be touched.

    path: how far it was followed; rest: what is left of it from there on; mount: what lies there.
    """

    def __init__(self, path: str, mount: Mount, rest: str = "") -> None:
        super().__init__(
            f"'{path}' is on {mount.source} ({mount.fstype}), mounted at '{mount.mount_point}': "
            "its symbolic links are not followed", remedy="use a path on a local file system")
        self.path = path
        self.mount = mount
        self.rest = rest


def is_local(mount: Mount) -> bool:
    """Say whether the mount is of a type that needs no server.

    Whoever is not known to need none is not looked at: a list of the dangerous ones would be wrong
    with every new network file system.
    """
    kind = filesystems.kind_of(mount.fstype)
    return kind.local or kind is filesystems.OVERLAY


def resolve(machine: Machine, path: str, *, timeout: float,
            accept: Callable[[Mount], bool] = is_local, table: Table | None = None) -> str:
    """Return the path without symbolic links; what does not exist is left as it is written.

    accept: says of a mount whether it may be touched. timeout: seconds. table: our mounts, if they
    have been read.

    Raises NotAccepted for the first mount on the way that may not, errors.Failed for a loop, an
    unreadable part or a wrong path, and patience.DiskSilent if the disk does not answer.
    """
    from mailha.storage import patience
    mountinfo.lexical(path)
    known = table or mountinfo.mounts(machine)

    def work() -> bytes:
        try:
            found = follow(known, path, accept, lambda here: os.readlink(machine.root + here))
            return b"path " + os.fsencode(found)
        except NotAccepted as refused:
            return b"stop " + os.fsencode(f"{refused.path}\0{refused.rest}")
        except errors.MailhaError as error:
            return b"fail " + os.fsencode(error.reason)

    answer = os.fsdecode(patience.touch(machine, path, work, timeout))
    kind, found = answer[:5], answer[5:]
    if kind == "stop ":
        found, _, rest = found.partition("\0")
        raise NotAccepted(found, known.find(found), rest)
    if kind != "path ":
        raise errors.Failed(found, remedy=f"look at the links with 'namei -l {path}'")
    return found


def settle(machine: Machine, table: Table, path: str, *, timeout: float,
           accept: Callable[[Mount], bool] = is_local) -> str:
    """Return what :func:`resolve` returns, without a child where nothing can make us wait.

    Mostly there is no link at all, and the kernel remembers that, so that it answers without a look
    at any disk. Else the links on the disk of the operating system, where this program came from,
    and in memory are simply read, and the kernel is asked about what they lead to. Only if there is
    a link elsewhere, or if the kernel does not remember, a child follows the path.

    Raises as resolve(). The root of the machine is always accepted.
    """
    at_root = table.find("/").identifier
    if all(mount.identifier == at_root or accept(mount) for mount in table.passed(path)) \
            and remembered.has_no_links(machine.root + path):
        return mountinfo.lexical(path)
    taken_on_trust = False

    def accept_here(mount: Mount) -> bool:
        return mount.identifier == at_root or accept(mount)

    def read(here: str) -> str:
        nonlocal taken_on_trust
        mount = table.find(here)
        if mount.identifier == at_root or filesystems.kind_of(mount.fstype) is filesystems.MEMORY:
            return os.readlink(machine.root + here)
        taken_on_trust = True
        raise OSError(errno.EINVAL, "not read")

    found = follow(table, path, accept_here, read)
    if not taken_on_trust or remembered.has_no_links(machine.root + found):
        return found
    return resolve(machine, path, timeout=timeout, accept=accept_here, table=table)


def follow(table: Table, path: str, accept: Callable[[Mount], bool],
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
        mount = table.find(here)
        if not accept(mount):
            raise NotAccepted(here, mount, "/".join(waiting))
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
