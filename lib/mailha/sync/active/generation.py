# SPDX-License-Identifier: GPL-2.0-or-later
"""The fencing token: a number that rises with each start of the sender, wherever that is.

It lies where only the active node can write: on the shared disk, or, where there is none, among the
cluster's properties. Who holds the higher number was started later.
"""

from __future__ import annotations

import os
import stat

from mailha import errors
from mailha.system.child_failures import ChildFailed, ChildTimedOut
from mailha.system.machine import Machine

NAME = ".mailha-sync-generation"
PROPERTY_PREFIX = "mailha-sync-generation-"
FORMAT = 1
LARGEST = 4096
HIGHEST = 2 ** 53


class CounterDamaged(errors.Failed):
    """There is a counter, and what it says is no number."""


class Counter:
    """A number that survives its node."""

    def read(self) -> int:
        """Return the number, 0 if it was never raised. Raises errors.Failed."""
        raise NotImplementedError

    def raise_(self, at_least: int = 0) -> int:
        """Raise the number by one, or to at_least if that is more, and return it.

        It survives a power cut from here on. Raises errors.Failed.
        """
        raise NotImplementedError


class FileCounter(Counter):
    """A file on the shared disk.

    directory: on that disk. It may belong to the mail software, so no link is followed in it; and
    the disk may be dead, so it is touched in a child. resource: several may share a disk. timeout:
    seconds for one call.
    """

    def __init__(self, machine: Machine, directory: str, resource: str, node: str,
                 timeout: float) -> None:
        self._machine = machine
        self._path = f"{directory.rstrip('/')}/{NAME}-{resource}"
        self._node = node
        self._timeout = timeout

    def read(self) -> int:
        """Return the number, 0 if there is no file."""
        path = self._machine.root + self._path

        def work() -> bytes:
            try:
                file = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
            except FileNotFoundError:
                return b""
            try:
                if not stat.S_ISREG(os.fstat(file).st_mode):
                    return b"!"
                return b"=" + os.read(file, LARGEST)
            finally:
                os.close(file)

        answer = self._touch("read", work)
        return self._parsed(answer[1:]) if answer else 0

    def raise_(self, at_least: int = 0) -> int:
        """Raise the number in the file."""
        number = max(self.read() + 1, at_least)
        path = self._machine.root + self._path
        temporary = f"{path}.{os.getpid()}"
        data = f"format {FORMAT}\ngeneration {number}\nnode {self._node}\nend\n".encode()

        def work() -> bytes:
            try:
                os.unlink(temporary)
            except FileNotFoundError:
                pass
            file = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
                           | os.O_CLOEXEC, 0o600)
            try:
                os.write(file, data)
                os.fsync(file)
            finally:
                os.close(file)
            os.rename(temporary, path)
            directory = os.open(os.path.dirname(path), os.O_RDONLY | os.O_DIRECTORY)
            try:
                os.fsync(directory)
            finally:
                os.close(directory)
            return b""

        self._touch("write", work)
        return number

    def _touch(self, verb: str, work: "Work") -> bytes:
        try:
            return self._machine.children.bounded(work, timeout=self._timeout)
        except ChildTimedOut:
            raise errors.Failed(f"the disk of {self._path} did not answer within "
                                f"{self._timeout:g} s", remedy="see whether it is there") from None
        except ChildFailed as error:
            raise errors.Failed(f"cannot {verb} the generation in {self._path}: {error.reason}",
                                remedy="see whether the shared disk is mounted there") from None

    def _parsed(self, content: bytes) -> int:
        lines = content.decode("ascii", "replace").split("\n")
        if lines[:1] != [f"format {FORMAT}"] or lines[-2:] != ["end", ""] or len(lines) < 4 \
                or not lines[1].startswith("generation "):
            raise self._damaged()
        return _number(lines[1][len("generation "):], self._damaged())

    def _damaged(self) -> CounterDamaged:
        return CounterDamaged(
            f"the generation in {self._path} is damaged",
            remedy="remove the file; the next start takes a number above what this node has seen")


class AttributeCounter(Counter):
    """A property of the cluster, which every node has. timeout: seconds for one call."""

    def __init__(self, machine: Machine, resource: str, timeout: float) -> None:
        self._machine = machine
        self._property = PROPERTY_PREFIX + resource
        self._timeout = timeout

    def read(self) -> int:
        """Return the number, 0 if the cluster has no such property."""
        output = self._machine.children.run(
            ["crm_attribute", "--type", "crm_config", "--name", self._property, "--query",
             "--quiet", "--default", "0"], timeout=self._timeout).stdout
        return _number(output.decode("ascii", "replace").strip(), CounterDamaged(
            f"the cluster's property {self._property} is damaged",
            remedy=f"set it to a number above all that were: 'crm_attribute --name "
                   f"{self._property} --update NUMBER'"))

    def raise_(self, at_least: int = 0) -> int:
        """Raise the number in the cluster's configuration, which Pacemaker writes to its disks."""
        number = max(self.read() + 1, at_least)
        self._machine.children.run(
            ["crm_attribute", "--type", "crm_config", "--name", self._property, "--update",
             str(number)], timeout=self._timeout)
        return number


def _number(text: str, damaged: CounterDamaged) -> int:
    if not text.isdecimal() or not text.isascii() or len(text) > 16 or int(text) > HIGHEST:
        raise damaged
    return int(text)


TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Callable

    Work = Callable[[], bytes]
