# SPDX-License-Identifier: GPL-2.0-or-later
"""Follow symbolic links without ever touching a file system that has not been accepted.

readlink on a path that has a dead server somewhere in it hangs. So the path is walked part by part:
a part is looked at only after the mount on which it lies has been found in the kernel's table and
accepted, and a part on which something is mounted is never looked at, since it is a directory. All
of it happens in a child with a deadline, because a local disk can die too.

A recurring monitor loads this module, and uses :class:`Destinations`, which rarely needs that
child.
"""

from __future__ import annotations

import errno
import os

from mailha import errors
from mailha.storage import filesystems, mountinfo, remembered

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

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


class Endless(errors.Failed):
    """The symbolic links of the path lead in a circle or through too many others, or it is longer
    than a path can be: nothing can ever be there."""


def resolve(machine: Machine, path: str, *, timeout: float,
            accept: Callable[[Mount], bool] = is_local, table: Table | None = None) -> str:
    """Return the path without symbolic links; what does not exist is left as it is written.

    accept: says of a mount whether it may be touched. timeout: seconds. table: our mounts, if they
    have been read.

    Raises NotAccepted for the first mount on the way that may not, Endless for a loop,
    errors.Failed for an unreadable part or a wrong path, and patience.DiskSilent if the disk does
    not answer.
    """
    mountinfo.lexical(path)
    [found] = _in_a_child(machine, table or mountinfo.mounts(machine), [path], accept, timeout)
    if isinstance(found, errors.MailhaError):
        raise found
    return found


class Destinations:
    """Where paths lead, for several paths of one moment.

    table: our mounts. timeout: seconds for each disk that may be slow. What is local is followed,
    and the root of the machine is, whatever it is: this program came from there.
    """

    def __init__(self, machine: Machine, table: Table, timeout: float) -> None:
        self._machine = machine
        self._table = table
        self._timeout = timeout
        self._root = table.find("/").identifier
        self._found: dict[str, str | errors.MailhaError] = {}
        self._waiting: dict[str, list[str]] = {}

    def expect(self, paths: Iterable[str]) -> None:
        """Prepare for these paths to be asked for: what needs a child can then share one."""
        for path in paths:
            if path in self._found:
                continue
            try:
                found, is_certain = self._at_once(path)
            except errors.MailhaError as error:
                self._found[path] = error
                continue
            if is_certain:
                self._found[path] = found
            else:
                # One child for each disk: a dead one is nothing against the others.
                disk = self._table.find(found).mount_point
                self._waiting.setdefault(disk, []).append(path)

    def of(self, path: str) -> str:
        """Return what :func:`resolve` returns, and raise what it raises."""
        if path not in self._found:
            if not any(path in together for together in self._waiting.values()):
                self.expect([path])
            for disk, together in list(self._waiting.items()):
                if path in together:
                    self._found.update(zip(together, self._patiently(together)))
                    del self._waiting[disk]
        found = self._found[path]
        if isinstance(found, errors.MailhaError):
            raise found
        return found

    def _patiently(self, together: list[str]) -> Sequence[str | errors.MailhaError]:
        """Return where each of these leads, or why that cannot be told."""
        try:
            return _in_a_child(self._machine, self._table, together, self._accept, self._timeout)
        except errors.MailhaError as error:
            # A dead disk is waited for once, and not for each of a thousand paths.
            return [error] * len(together)

    def _accept(self, mount: Mount) -> bool:
        return mount.identifier == self._root or is_local(mount)

    def _at_once(self, path: str) -> tuple[str, bool]:
        """Return where a path leads, and whether that is certain without a look at its disk.

        Mostly there is no link at all, and the kernel remembers that, so that it answers without a
        look at any disk. Else the links on the disk of the operating system and in memory are
        simply read, and the kernel is asked about what they lead to. Only if there is a link
        elsewhere, or if the kernel does not remember, it takes a child to follow the path.
        """
        table, root = self._table, self._machine.root
        if all(self._accept(mount) for mount in table.passed(path)) \
                and remembered.has_no_links(root + path):
            return mountinfo.lexical(path), True
        taken_on_trust = False

        def read(here: str) -> str:
            nonlocal taken_on_trust
            mount = table.find(here)
            if mount.identifier == self._root \
                    or filesystems.kind_of(mount.fstype) is filesystems.MEMORY:
                return os.readlink(root + here)
            taken_on_trust = True
            raise OSError(errno.EINVAL, "not read")

        found = follow(table, path, self._accept, read)
        return found, not taken_on_trust or remembered.has_no_links(root + found)


def _in_a_child(machine: Machine, table: Table, paths: Sequence[str],
                accept: Callable[[Mount], bool], timeout: float
                ) -> list[str | errors.MailhaError]:
    """Follow the paths in one child; return where each leads, or why that cannot be told.

    Raises patience.DiskSilent, and system.children.ChildFailed if no child can be made.
    """
    from mailha.storage import patience

    def work() -> bytes:
        said = []
        for path in paths:
            try:
                said += ["path", follow(table, path, accept,
                                        lambda here: os.readlink(machine.root + here)), ""]
            except NotAccepted as refused:
                said += ["stop", refused.path, refused.rest]
            except errors.MailhaError as error:
                said += ["loop" if isinstance(error, Endless) else "fail", error.reason,
                         error.remedy]
        # No path has a NUL byte in it.
        return b"\0".join(os.fsencode(each) for each in said)

    said = os.fsdecode(patience.touch(machine, paths[0], work, timeout)).split("\0")
    found: list[str | errors.MailhaError] = []
    for path, kind, text, rest in zip(paths, said[::3], said[1::3], said[2::3]):
        if kind == "path":
            found.append(text)
        elif kind == "stop":
            found.append(NotAccepted(text, table.find(text), rest))
        else:
            found.append((Endless if kind == "loop" else errors.Failed)(text, remedy=rest))
    return found


def follow(table: Table, path: str, accept: Callable[[Mount], bool],
           readlink: Callable[[str], str]) -> str:
    """Return where a path leads; ``..`` in a link is followed as the kernel does it.

    Raises NotAccepted, Endless and errors.Failed as :func:`resolve`.
    """
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
            raise Endless(f"'{path}' has more than {MOST_LINKS} symbolic links in it",
                          remedy=f"look at the links with 'namei -l {path}'")
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
        if error.errno == errno.ENAMETOOLONG:
            raise Endless(f"'{path}' is longer than a path can be",
                          remedy="correct it where it is named") from None
        remedy = "ask as root" if error.errno == errno.EACCES else \
            f"look at it with 'namei -l {path}'"
        raise errors.Failed(f"cannot read '{path}': {error.strerror}", remedy=remedy) from None
