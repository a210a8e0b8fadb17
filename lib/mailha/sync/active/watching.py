# SPDX-License-Identifier: GPL-2.0-or-later
"""What has changed below some directories, as the kernel tells it: inotify(7).

Spoken by ctypes and without a library, because those that exist hide what counts here: a queue that
has overflowed, and the file that is made in a new directory before the directory is watched
(pyinotify misses it for ever).

* A directory is watched first and looked through then, so that nothing falls between; that goes
  for new directories, too.
* A file counts as changed when its writer closes it. A half-written one is no configuration: what
  lsyncd does at the mere creation of a file puts unfinished lines on the other node. Only a file
  that is held open and has been quiet for long is reported all the same.
* The directories above what is selected are watched for the next name on the way, so that nothing
  has to exist from the beginning, and what is replaced as a whole is found again.
* Where the kernel dropped events, or watches, it is said that everything may have changed. Nobody
  may rely on events alone: what is written through a mapping, or below a new mount, makes none.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import select
import stat
import struct
import time
from typing import Callable, Iterable, Iterator

from mailha import errors

# As in <sys/inotify.h>.
IN_MODIFY = 0x2
IN_ATTRIB = 0x4
IN_CLOSE_WRITE = 0x8
IN_MOVED_FROM = 0x40
IN_MOVED_TO = 0x80
IN_CREATE = 0x100
IN_DELETE = 0x200
IN_UNMOUNT = 0x2000
IN_Q_OVERFLOW = 0x4000
IN_IGNORED = 0x8000
IN_ONLYDIR = 0x1000000
IN_DONT_FOLLOW = 0x2000000
IN_EXCL_UNLINK = 0x4000000
IN_ISDIR = 0x40000000

_APPEARS = IN_CREATE | IN_MOVED_TO
_GOES = IN_DELETE | IN_MOVED_FROM
_SELECTED = IN_MODIFY | IN_ATTRIB | IN_CLOSE_WRITE | _APPEARS | _GOES
_HOW = IN_ONLYDIR | IN_DONT_FOLLOW | IN_EXCL_UNLINK

_EVENT = struct.Struct("iIII")
_BUFFER = 1 << 18
_MOST_READS = 8
"""Reads of the queue at a time: who is told nothing until a burst has ended cannot send it."""

QUIET = 2.0
"""Seconds without an event after which it is asked whether a file is still being written: the
event of its end has a name of its own if the file got its name later (O_TMPFILE)."""

FOLLOWS = 0.001
"""Seconds in which a new name is expected to get its final form. Who replaces a file writes a new
one and renames it, at once: seen as two changes, each of them would wait for the other node's disk,
and that node would keep a copy of a file that nobody ever meant to have. A new directory gets its
first file as soon."""

QUIET_BUT_OPEN = 10.0
"""Seconds without an event after which a file counts as changed although it is held open."""


class Changes:
    """What has changed since the last time.

    paths: absolute, of what was made, changed or removed; of a directory that has gone only its
    own. fresh: those of them that have come into being. everything: why all has to be looked at
    again, "" if there is no need to.
    """

    def __init__(self) -> None:
        self.paths: set[str] = set()
        self.fresh: set[str] = set()
        self.everything = ""

    def __bool__(self) -> bool:
        return bool(self.paths or self.everything)


class Watching:
    """Watches over what is selected.

    roots: absolute paths of files or directories, which need not exist. enters: tells of a
    directory below a root whether it is to be watched. Raises errors.Failed if the kernel has no
    room for another watcher. prefix: what is put before every path on the way to the kernel.

    trouble: why some directories are not watched, with the remedy; "" if all are. They have to be
    looked at from time to time then.
    """

    def __init__(self, roots: Iterable[str], enters: Callable[[str], bool], *, prefix: str = "",
                 monotonic: Callable[[], float] = time.monotonic) -> None:
        self._prefix = prefix.rstrip("/")
        self._roots = {_clean(root) for root in roots}
        self._enters = enters
        self._monotonic = monotonic
        self._next = _next_names(self._roots)
        self._watches: dict[int, str] = {}
        self._numbers: dict[str, int] = {}
        self._open: dict[str, float] = {}
        self.trouble = ""
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._descriptor: int = self._libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
        if self._descriptor < 0:
            number = ctypes.get_errno()
            raise errors.Failed(f"cannot watch for changes: {os.strerror(number)}",
                                remedy="raise the sysctl fs.inotify.max_user_instances"
                                if number == errno.EMFILE else "")

    def fileno(self) -> int:
        """Return the descriptor that becomes readable when there is something to read."""
        return self._descriptor

    def close(self) -> None:
        """End it; a second time does nothing."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    @property
    def directories(self) -> int:
        """How many directories are watched."""
        return len(self._watches)

    def watch(self) -> None:
        """Watch all that is there; again after everything may have changed.

        To be called before what is there is looked at. Sets trouble.
        """
        self.trouble = ""
        former, self._numbers = self._numbers, {}
        for _ in self._walk("/"):
            pass
        # What has been moved out of here while nobody was told of it.
        for number in set(former.values()).difference(self._numbers.values()):
            self._watches.pop(number, None)
            self._libc.inotify_rm_watch(self._descriptor, number)

    def read(self, *, follows: float = 0.0) -> Changes:
        """Return what has changed.

        follows: seconds to wait for what becomes of a name that has just come into being; again
        after each further event, but not often.
        """
        changes = Changes()
        for _ in range(_MOST_READS):
            try:
                data = os.read(self._descriptor, _BUFFER)
            except BlockingIOError:
                if changes.fresh and select.select([self._descriptor], [], [], follows)[0]:
                    continue
                break
            offset = 0
            while offset < len(data):
                number, mask, _, length = _EVENT.unpack_from(data, offset)
                offset += _EVENT.size + length
                name = data[offset - length:offset].rstrip(b"\0")
                self._event(changes, number, mask, os.fsdecode(name))
        self._settle(changes)
        return changes

    def due(self) -> float | None:
        """Return in how many seconds read() may have something to say without an event."""
        if not self._open:
            return None
        return max(0.0, min(self._open.values()) + QUIET - self._monotonic())

    def _event(self, changes: Changes, number: int, mask: int, name: str) -> None:
        """Take one event in."""
        if mask & IN_Q_OVERFLOW:
            changes.everything = "the kernel's queue of changes has overflowed"
            return
        directory = self._watches.get(number)
        if directory is None:
            return
        if mask & (IN_UNMOUNT | IN_IGNORED):
            if mask & IN_UNMOUNT:
                changes.everything = f"{directory} was unmounted"
            self._watches.pop(number, None)
            if self._numbers.get(directory) == number:
                del self._numbers[directory]
            return
        if not name:
            if self._is_selected(directory):
                changes.paths.add(directory)
            return
        path = _join(directory, name)
        if not self._is_selected(path):
            if name in self._next.get(directory, ()):
                self._on_the_way(changes, path, mask)
        elif mask & IN_ISDIR:
            self._directory(changes, path, mask)
        else:
            self._file(changes, path, mask)

    def _on_the_way(self, changes: Changes, path: str, mask: int) -> None:
        """Take in that a directory above a root has come or gone."""
        if mask & _GOES:
            self._forget(path)
        if mask & (_APPEARS | _GOES):
            changes.paths.update(root for root in self._roots if root.startswith(path + "/"))
        if mask & _APPEARS:
            self._found(changes, self._walk(path))

    def _directory(self, changes: Changes, path: str, mask: int) -> None:
        """Take in what has become of a directory."""
        changes.paths.add(path)
        if mask & _GOES:
            changes.fresh.discard(path)
            self._forget(path)
        if mask & _APPEARS:
            # It may be another one than the one that had the name, or have been moved here whole.
            self._forget(path)
            changes.fresh.add(path)
            self._found(changes, self._walk(path))

    def _file(self, changes: Changes, path: str, mask: int) -> None:
        """Take in what has become of anything but a directory."""
        if mask & (_GOES | IN_MOVED_TO | IN_CLOSE_WRITE):
            self._open.pop(path, None)
            changes.paths.add(path)
            if mask & _GOES:
                changes.fresh.discard(path)
        elif mask & IN_CREATE:
            # Nothing else tells of a link; of a file its end will, unless it is over already.
            self._found(changes, [path])
        elif mask & IN_MODIFY:
            self._open[path] = self._monotonic()
        elif path not in self._open:
            changes.paths.add(path)

    def _found(self, changes: Changes, paths: Iterable[str]) -> None:
        """Take in paths that have come into being; those that are still written have to wait."""
        for path in paths:
            changes.fresh.add(path)
            if is_written(self._prefix + path):
                self._open[path] = self._monotonic()
            else:
                changes.paths.add(path)

    def take_all(self, changes: Changes) -> None:
        """Take in the files that are still written, as they are: there will be no other time."""
        changes.paths.update(self._open)
        self._open.clear()

    def _settle(self, changes: Changes) -> None:
        """Take in the files whose end no event has told."""
        now = self._monotonic()
        for path, last in list(self._open.items()):
            if now - last >= QUIET_BUT_OPEN or now - last >= QUIET \
                    and not is_written(self._prefix + path):
                del self._open[path]
                changes.paths.add(path)

    def _walk(self, path: str) -> Iterator[str]:
        """Watch a directory and those below it; yield what is found at or below a root."""
        selected = self._is_selected(path)
        if selected and path not in self._roots and not self._enters(path):
            return
        if not self._add(path, _SELECTED if selected or self._next[path] & self._leaves(path)
                         else _APPEARS | _GOES):
            return
        if not selected:
            for name in sorted(self._next[path]):
                child = _join(path, name)
                if self._is_selected(child) and os.path.lexists(self._prefix + child):
                    yield child
                yield from self._walk(child)
            return
        try:
            with os.scandir(self._prefix + path) as entries:
                found = [(_join(path, entry.name), entry.is_dir(follow_symlinks=False))
                         for entry in entries]
        except OSError:
            return          # gone again, which is an event of its own
        for child, is_directory in found:
            yield child
            if is_directory:
                yield from self._walk(child)

    def _leaves(self, path: str) -> set[str]:
        """Return the names in a directory that are roots."""
        return {name for name in self._next[path] if _join(path, name) in self._roots}

    def _add(self, path: str, mask: int) -> bool:
        """Watch a directory; tell whether it is one."""
        number: int = self._libc.inotify_add_watch(
            self._descriptor, os.fsencode(self._prefix + path), mask | _HOW)
        if number < 0:
            code = ctypes.get_errno()
            if code not in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP):
                self.trouble = f"cannot watch {path} for changes: {os.strerror(code)}"
                if code == errno.ENOSPC:
                    self.trouble = (f"cannot watch {path} for changes: this user may not watch "
                                    "more; raise the sysctl fs.inotify.max_user_watches")
            return code in (errno.ENOSPC, errno.ENOMEM)
        former = self._watches.get(number)
        if former is not None and former != path and self._numbers.get(former) == number:
            del self._numbers[former]
        self._watches[number] = path
        self._numbers[path] = number
        return True

    def _forget(self, path: str) -> None:
        """Watch a directory and those below it no longer."""
        below = path + "/"
        for known in [each for each in self._numbers if each == path or each.startswith(below)]:
            number = self._numbers.pop(known)
            self._watches.pop(number, None)
            self._libc.inotify_rm_watch(self._descriptor, number)
        for known in [each for each in self._open if each.startswith(below)]:
            del self._open[known]

    def _is_selected(self, path: str) -> bool:
        """Tell whether the path is a root or below one."""
        while path not in self._roots:
            if path == "/":
                return False
            path = os.path.dirname(path)
        return True


def is_written(path: str) -> bool:
    """Tell whether somebody has the regular file open for writing.

    The kernel grants a lease for reading only on a file that nobody writes. It is given back at
    once; who opens the file just then waits for that, without noticing. The caller has to ignore
    SIGIO, which tells of it. Where leases cannot be had, a file counts as not being written.
    """
    try:
        if not stat.S_ISREG(os.lstat(path).st_mode):
            return False
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.fcntl(descriptor, fcntl.F_SETLEASE, fcntl.F_RDLCK)
        fcntl.fcntl(descriptor, fcntl.F_SETLEASE, fcntl.F_UNLCK)
        return False
    except OSError as error:
        return error.errno in (errno.EAGAIN, errno.EACCES)
    finally:
        os.close(descriptor)


def _clean(path: str) -> str:
    """Return the path without a slash at its end, or a doubled one."""
    return os.path.normpath("/" + path.lstrip("/"))


def _join(directory: str, name: str) -> str:
    """Return the path of a name in a directory."""
    return f"{directory}/{name}" if directory != "/" else f"/{name}"


def _next_names(roots: set[str]) -> dict[str, set[str]]:
    """Return, by each directory above a root, the names in it that lead to one."""
    names: dict[str, set[str]] = {"/": set()}
    for root in roots:
        path = root
        while path != "/":
            parent = os.path.dirname(path)
            names.setdefault(parent, set()).add(os.path.basename(path))
            path = parent
    return names
