# SPDX-License-Identifier: GPL-2.0-or-later
"""Making one file, link or directory what an entry says, in an opened directory.

A file is complete before it has its name: made under another one that nobody else could have made
(O_EXCL, O_NOFOLLOW, for root alone), then content, owner, mode, attributes and times, in this
order. So a key is never readable by others for a moment (csync2 issue 5), and whoever reads sees
the old file or the new one.
"""

from __future__ import annotations

import os
import stat

from mailha import errors
from mailha.sync.files import attributes
from mailha.sync.files.beneath import Beneath
from mailha.sync.files.entry import Entry
from mailha.sync.files.owners import Owners
from mailha.sync.passive.spool import Content

PREFIX, SUFFIX = ".mailha-sync-", ".new"
"""Names of files that are being made; the built-in list knows them."""

_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


class Prepared:
    """A new file or link under its temporary name, "" once it has its own. descriptor: or -1."""

    __slots__ = ("entry", "name", "descriptor")

    def __init__(self, entry: Entry, name: str, descriptor: int) -> None:
        self.entry = entry
        self.name = name
        self.descriptor = descriptor


def temporary_name() -> str:
    """Return a name that nobody else has."""
    return f"{PREFIX}{os.urandom(8).hex()}{SUFFIX}"


def is_temporary(name: str) -> bool:
    """Tell whether a name is one of those that temporary_name() gives."""
    return name.startswith(PREFIX) and name.endswith(SUFFIX)


def make_file(parent: int, name: str, entry: Entry, content: Content, owners: Owners) -> int:
    """Make a file and return it, open; the caller makes it durable, renames and closes it.

    Raises OwnerUnknown, errors.Failed for an attribute, and OSError; nothing is left behind then.
    """
    uid, gid = owners.user(entry.owner, entry.uid), owners.group(entry.group, entry.gid)
    descriptor = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC,
                         0o600, dir_fd=parent)
    try:
        content.write_to(descriptor)
        _dress(descriptor, entry, uid, gid, owners)
        os.utime(descriptor, ns=(entry.mtime, entry.mtime))
    except BaseException:
        os.close(descriptor)
        os.unlink(name, dir_fd=parent)
        raise
    return descriptor


def make_link(parent: int, name: str, entry: Entry, owners: Owners) -> None:
    """Make a symbolic link. Raises OwnerUnknown and OSError; nothing is left behind then."""
    uid, gid = owners.user(entry.owner, entry.uid), owners.group(entry.group, entry.gid)
    os.symlink(entry.target, name, dir_fd=parent)
    try:
        os.chown(name, uid, gid, dir_fd=parent, follow_symlinks=False)
        os.utime(name, ns=(entry.mtime, entry.mtime), dir_fd=parent, follow_symlinks=False)
    except BaseException:
        os.unlink(name, dir_fd=parent)
        raise


def make_directory(parent: int, name: str, entry: Entry, owners: Owners) -> int:
    """Make a directory what the entry says, make it at all if need be, and return it, open.

    Raises OwnerUnknown, errors.Failed for an attribute, and OSError, NotADirectoryError among them
    when something else is there.
    """
    uid, gid = owners.user(entry.owner, entry.uid), owners.group(entry.group, entry.gid)
    try:
        os.mkdir(name, 0o700, dir_fd=parent)
    except FileExistsError:
        pass
    descriptor = os.open(name, _READ | os.O_DIRECTORY, dir_fd=parent)
    try:
        _dress(descriptor, entry, uid, gid, owners)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def is_directory(parent: int, name: str) -> bool:
    """Tell whether a directory, and not a link to one, has this name."""
    try:
        return stat.S_ISDIR(os.lstat(name, dir_fd=parent).st_mode)
    except FileNotFoundError:
        return False


def what_is_in(beneath: Beneath, path: str) -> str:
    """Return why a directory could not be removed, by the names that it holds."""
    try:
        names = sorted(os.listdir(beneath.directory(path)))
    except (OSError, errors.Failed):
        names = []
    more = ", ..." if len(names) > 3 else ""
    return (f"the directory holds what was never replicated: {', '.join(names[:3])}{more}; remove "
            "it there")


def signature(parent: int, name: str) -> tuple[int, ...]:
    """Return what changes whenever a file is changed, without reading it. Raises OSError."""
    found = os.lstat(name, dir_fd=parent)
    return (found.st_dev, found.st_ino, found.st_mode, found.st_uid, found.st_gid, found.st_size,
            found.st_mtime_ns, found.st_ctime_ns)


def _dress(descriptor: int, entry: Entry, uid: int, gid: int, owners: Owners) -> None:
    """Give owner, mode and attributes to an open file or directory."""
    found = os.fstat(descriptor)
    if (found.st_uid, found.st_gid) != (uid, gid):
        os.fchown(descriptor, uid, gid)
        found = os.fstat(descriptor)
    # After the owner, because a change of owner takes set-user-ID away.
    if stat.S_IMODE(found.st_mode) != entry.mode:
        os.fchmod(descriptor, entry.mode)
    attributes.write(descriptor, entry.attributes, owners)
