# SPDX-License-Identifier: GPL-2.0-or-later
"""Previous copies of everything that was overwritten or deleted.

A copy of /etc/postfix/main.cf is called etc/postfix/main.cf~20261121T133501.123456Z~replaced. It is
the old file itself under a second name where the file system allows it, with its owner, mode and
attributes, in a directory that is root's alone. The last word tells why it was kept: "replaced",
"deleted", "conflict" (changed here, behind the sender's back), "unsent" (this node was active
and had not sent it) or "undeleted" (this node was active, had deleted it, and had not sent that; it
has come back, and the copy is an empty file that says so). Of the first two the ten newest of each
path stay; the others stay until an administrator has seen them.
"""

from __future__ import annotations

import calendar
import errno
import functools
import hashlib
import os
import re
import stat
import time
from typing import Iterable, Iterator, NamedTuple

from mailha.sync.places import Places
from mailha.system.files import failure
from mailha.system.machine import Machine

REPLACED, DELETED, CONFLICT, UNSENT = "replaced", "deleted", "conflict", "unsent"
UNDELETED = "undeleted"
OPEN = (CONFLICT, UNSENT, UNDELETED)
"""The reasons that an administrator has to see."""
GENERATIONS = 10
MOST_OPEN = 100
"""Copies of one path that an administrator has to see; of a path that flaps, the newest."""

_NAME = re.compile(r"(?P<name>.*)~(?P<when>[0-9]{8}T[0-9]{6}\.[0-9]{6}Z)~"
                   r"(?P<why>replaced|deleted|conflict|unsent|undeleted)", re.DOTALL)
_LONGEST = 255
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_ELSEWHERE = (errno.EXDEV, errno.EPERM, errno.EMLINK, errno.ENOTSUP)


class Copy(NamedTuple):
    """A kept copy. path: of the original. when: UTC. why. place: where the copy is. size: bytes."""

    path: str
    when: str
    why: str
    place: str
    size: int


class Kept:
    """The kept copies of a resource on this node."""

    def __init__(self, machine: Machine, places: Places) -> None:
        self._root = machine.root
        self._directory = places.kept
        self._names: dict[str, dict[str, list[str]]] = {}
        self._open: dict[str, int] | None = None
        self._counted = 0
        self._grown: set[tuple[str, str]] = set()

    def keep(self, parent: int, name: str, path: str, why: str) -> str:
        """Keep what is at a path now and return the place of the copy.

        For UNDELETED nothing is there, and it is noted that there was nothing. parent, name: the
        opened directory that holds it, and its name there. The lock has to be held. Raises
        errors.Failed; then it may not be overwritten.
        """
        above = os.path.dirname(path)
        names = self._listed(above)
        short = _short(name)
        moment = time.time_ns() // 1000
        # Later than the one before, whatever became of the clock: the oldest by name goes first.
        before = names.get(short)
        if before and before[-1] >= _called(short, moment, ""):
            moment = max(moment, _moment(before[-1]) + 1)
        while True:
            called = _called(short, moment, why)
            place = f"{self._directory}{above}/{called}"
            try:
                if why == UNDELETED:
                    os.close(os.open(self._root + place, _NEW, 0o600))
                else:
                    _second_name(parent, name, self._root + place)
                break
            except FileExistsError:
                moment += 1
            except OSError as error:
                raise failure("keep a copy as", place, error) from None
        names.setdefault(short, []).append(called)
        if self._open is not None and why in OPEN:
            self._open[why] += 1
        self._grown.add((above, short))
        return place

    def take_back(self, place: str) -> None:
        """Remove a copy of what is still there, since it could not be changed.

        Else each further attempt would push a copy out that is one. The lock has to be held.
        """
        above, _, called = place[len(self._directory):].rpartition("/")
        found = _NAME.fullmatch(called)
        try:
            os.unlink(self._root + place)
        except OSError:
            return          # one copy too many harms nobody
        copies = self._names.get(above, {}).get(found["name"], []) if found else []
        if called in copies:
            copies.remove(called)
        self._open = None

    def tidy(self) -> None:
        """Remove copies of which there are enough newer ones. The lock has to be held.

        For the time after the sender has its answer: on a busy disk a removal takes milliseconds.
        """
        while self._grown:
            above, name = self._grown.pop()
            self._prune(above, self._names.get(above, {}).get(name, []))

    def remove(self, copies: Iterable[Copy]) -> None:
        """Remove copies, and directories that held nothing else. The lock has to be held."""
        for copy in copies:
            place = self._root + copy.place
            try:
                os.unlink(place)
                while os.path.dirname(place) != self._root + self._directory:
                    place = os.path.dirname(place)
                    os.rmdir(place)
            except OSError:
                pass        # one copy too many harms nobody; a directory that holds more stays
        self._names.clear()

    def listing(self, path: str = "") -> list[Copy]:
        """Return the copies of a path, of everything without one, the newest first.

        Raises errors.Failed.
        """
        above, _, name = path.rpartition("/")
        found = [copy for copy in self._all(above)
                 if not path or copy.path == f"{above}/{_short(name)}"]
        return sorted(found, key=lambda copy: copy.when, reverse=True)

    def counts(self) -> dict[str, int]:
        """Return how many copies an administrator has to see, by reason: CONFLICT and UNSENT.

        What is not deleted as it should be has not been sent either. Raises errors.Failed.
        """
        # seen() marks the directory, since it is called by another process.
        try:
            marked = os.stat(self._root + self._directory).st_mtime_ns
        except FileNotFoundError:
            return {CONFLICT: 0, UNSENT: 0}     # nothing was ever received
        if self._open is None or self._counted != marked:
            self._counted = marked
            self._open = dict.fromkeys(OPEN, 0)
            for copy in self._all(""):
                if copy.why in OPEN:
                    self._open[copy.why] += 1
        return {CONFLICT: self._open[CONFLICT], UNSENT: self._open[UNSENT] + self._open[UNDELETED]}

    def seen(self, copy: Copy) -> None:
        """Note that an administrator has seen a copy: from now on it is one among others.

        The lock has to be held. Raises errors.Failed.
        """
        place = copy.place[:-len(copy.why)] + REPLACED
        try:
            if copy.why == UNDELETED:
                os.unlink(self._root + copy.place)      # there is nothing to come back to
            else:
                os.rename(self._root + copy.place, self._root + place)
            os.utime(self._root + self._directory)
        except OSError as error:
            raise failure("rename", copy.place, error) from None
        self._names.clear()
        self._open = None

    def _listed(self, above: str) -> dict[str, list[str]]:
        """Return the copies in the directory that mirrors one, by name; make it if need be."""
        names = self._names.get(above)
        if names is None:
            place = self._root + self._directory + above
            names = {}
            try:
                os.makedirs(place, 0o700, exist_ok=True)
                for called in sorted(os.listdir(place)):
                    found = _NAME.fullmatch(called)
                    if found:
                        names.setdefault(found["name"], []).append(called)
            except OSError as error:
                raise failure("make", self._directory + above, error) from None
            self._names[above] = names
        return names

    def _prune(self, above: str, copies: list[str]) -> None:
        """Remove copies of a path that are older than those that are to stay."""
        if len(copies) <= GENERATIONS:
            return
        usual = [called for called in copies if not called.endswith(OPEN)]
        waiting = [called for called in copies if called.endswith(OPEN)]
        for called in usual[:-GENERATIONS] + waiting[:-MOST_OPEN]:
            try:
                os.unlink(f"{self._root}{self._directory}{above}/{called}")
            except OSError:
                pass        # one copy too many harms nobody
            copies.remove(called)
            self._open = None if called.endswith(OPEN) else self._open

    def _all(self, above: str) -> Iterator[Copy]:
        top = self._root + self._directory
        for directory, _, files in os.walk(top + above):
            for called in files:
                found = _NAME.fullmatch(called)
                if not found:
                    continue
                place = f"{directory[len(self._root):]}/{called}"
                try:
                    size = os.lstat(self._root + place).st_size
                except OSError:
                    continue
                original = directory[len(top):] + "/" + found["name"]
                yield Copy(original, found["when"], found["why"], place, size)


def _called(short: str, moment: int, why: str) -> str:
    """Return the name of a copy. moment: when it is made, in microseconds since 1970."""
    second, fraction = divmod(moment, 10 ** 6)
    return f"{short}~{_second(second)}.{fraction:06d}Z~{why}"


@functools.lru_cache(maxsize=2)
def _second(second: int) -> str:
    return time.strftime("%Y%m%dT%H%M%S", time.gmtime(second))


def _moment(called: str) -> int:
    """Return when a copy was made as its name says, in microseconds since 1970."""
    found = _NAME.fullmatch(called)
    if not found:
        return 0
    whole, _, fraction = found["when"].rstrip("Z").partition(".")
    try:
        return calendar.timegm(time.strptime(whole, "%Y%m%dT%H%M%S")) * 10 ** 6 + int(fraction)
    except ValueError:
        return 0


def _short(name: str) -> str:
    """Return the name as it begins a copy's; a long one is cut, with a digest of the whole."""
    data = os.fsencode(name)
    if len(data) <= _LONGEST - 40:
        return name
    return os.fsdecode(data[:180]) + "~" + hashlib.sha256(data).hexdigest()[:16]


def _second_name(parent: int, name: str, place: str) -> None:
    """Give a file or link a second name, or copy it where that cannot be. Raises OSError."""
    try:
        os.link(name, place, src_dir_fd=parent, follow_symlinks=False)
        return
    except OSError as error:
        if error.errno not in _ELSEWHERE:
            raise
    if stat.S_ISLNK(os.lstat(name, dir_fd=parent).st_mode):
        os.symlink(os.readlink(name, dir_fd=parent), place)
        return
    source = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC,
                     dir_fd=parent)
    try:
        copy = os.open(place, _NEW, 0o600)
        try:
            _copy(source, copy)
        except OSError:
            os.unlink(place)
            raise
        finally:
            os.close(copy)
    finally:
        os.close(source)


def _copy(source: int, copy: int) -> None:
    found = os.fstat(source)
    while True:
        piece = os.read(source, 1 << 20)
        if not piece:
            break
        view = memoryview(piece)
        while view:
            view = view[os.write(copy, view):]
    os.fchown(copy, found.st_uid, found.st_gid)
    os.fchmod(copy, stat.S_IMODE(found.st_mode))
    for name in os.listxattr(source):
        try:
            os.setxattr(copy, name, os.getxattr(source, name))
        except OSError:
            pass            # the file system of the copies has not what that of the original has
    os.utime(copy, ns=(found.st_atime_ns, found.st_mtime_ns))
    # It lies on another file system than what is overwritten next, and has to be there first.
    os.fsync(copy)
