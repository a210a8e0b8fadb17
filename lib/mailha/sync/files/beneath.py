# SPDX-License-Identifier: GPL-2.0-or-later
"""Directories, opened beneath a root without ever following a symbolic link.

Who follows links while he writes as root lets whoever may make one choose what is overwritten; and
a directory that was replaced by a link makes him delete what the link leads to (lsyncd issue 290).
Each part of a path is opened from the directory before it with O_NOFOLLOW. That is what openat2(2)
does with RESOLVE_BENEATH and RESOLVE_NO_SYMLINKS, since no path has a ".." here; it needs no kernel
5.6, which RHEL 8 has not, so there is one way and not two.
"""

from __future__ import annotations

import errno
import os
import stat
from collections import OrderedDict
from types import TracebackType

from mailha import errors

MOST_OPEN = 128
"""Directories that are kept open; a process may have 1024 files."""

_FLAGS = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK


class NoParent(errors.Failed):
    """The directory in which something is to be is not there."""


class NotADirectory(errors.Failed):
    """A symbolic link or a file stands where a directory should be. path: of that link."""

    path = ""


class Beneath:
    """Opens directories beneath the machine's root and keeps them open until it is closed.

    root: as of Machine, "" for "/".
    """

    def __init__(self, root: str) -> None:
        self._root = os.open(root or "/", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        self._open: OrderedDict[str, int] = OrderedDict()

    def __enter__(self) -> Beneath:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Close everything."""
        self.forget()
        if self._root >= 0:
            os.close(self._root)
            self._root = -1

    def forget(self) -> None:
        """Close all directories but the root: what was opened may have been replaced since."""
        while self._open:
            os.close(self._open.popitem()[1])

    def directory(self, path: str) -> int:
        """Return a descriptor of the directory, which stays ours to close.

        path: absolute, as mailha.sync.files.entry.check_path() wants it; "" is the root. It is good
        until MOST_OPEN others were asked for. Raises NoParent, NotADirectory, and errors.Failed.
        """
        if not path:
            return self._root
        descriptor = self._open.get(path)
        if descriptor is not None:
            self._open.move_to_end(path)
            return descriptor
        above, _, name = path.rpartition("/")
        parent = self.directory(above)
        try:
            descriptor = os.open(name, _FLAGS, dir_fd=parent)
        except OSError as error:
            raise _refusal(path, name, parent, error) from None
        self._open[path] = descriptor
        if len(self._open) > MOST_OPEN:
            os.close(self._open.popitem(last=False)[1])
        return descriptor

    def parent(self, path: str) -> tuple[int, str]:
        """Return a descriptor of the directory that holds a path, and the name in it.

        Raises as directory() does.
        """
        above, _, name = path.rpartition("/")
        return self.directory(above), name


def _refusal(path: str, name: str, parent: int, error: OSError) -> errors.Failed:
    if error.errno == errno.ENOENT:
        return NoParent(f"there is no directory {path}")
    if error.errno in (errno.ELOOP, errno.ENOTDIR):
        try:
            link = stat.S_ISLNK(os.lstat(name, dir_fd=parent).st_mode)
        except OSError:
            link = False
        what = "a symbolic link" if link else "no directory"
        found = NotADirectory(f"{path} is {what}, and nothing is read or written through it",
                              remedy="name the directory itself" if link else "")
        found.path = path
        return found
    return errors.Failed(f"cannot open the directory {path}: {error.strerror}")
