# SPDX-License-Identifier: GPL-2.0-or-later
"""The record of the version that last ran on the data, kept with the data.

It lies on the data's own disk, so that the node that takes over knows what the other one ran. The
data directory belongs to the mail software, whose user may put anything there: the record is never
read or written through a symbolic link, and its text is checked.

Everything that touches the directory runs in a child with a deadline: the disk may be dead.
"""

from __future__ import annotations

import errno
import os
import stat
import time

from mailha import errors
from mailha.storage import patience
from mailha.storage.version import Version
from mailha.system.machine import Machine

NAME = ".mailha-last-run"
FORMAT = 1
LARGEST = 4096
"""Bytes; a record has about 150."""


class RecordDamaged(errors.Failed):
    """There is a record and it cannot be understood, so what ran last is unknown."""


class Record:
    """What last ran: software ("kopano"), its full version, the node, and seconds since 1970."""

    def __init__(self, software: str, version: Version, node: str, when: float) -> None:
        self.software = software
        self.version = version
        self.node = node
        self.when = when

    def text(self) -> str:
        """Return the record as it is written, one field a line, for people too."""
        moment = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(self.when))
        return (f"format {FORMAT}\nsoftware {self.software}\nversion {self.version}\n"
                f"node {self.node}\ntime {moment}\nend\n")


def read(machine: Machine, directory: str, timeout: float) -> Record | None:
    """Return the record in a data directory; None if there is none.

    Raises RecordDamaged, errors.Failed if the directory cannot be read, and patience.DiskSilent if
    the disk does not answer within timeout seconds.
    """
    path = _path(directory)

    def work() -> bytes:
        try:
            # O_NONBLOCK: a FIFO of that name would otherwise wait for a writer.
            file = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
            try:
                if not stat.S_ISREG(os.fstat(file).st_mode):
                    return b"strange it is no regular file"
                return b"content " + os.read(file, LARGEST + 1)
            finally:
                os.close(file)
        except OSError as error:
            if error.errno == errno.ENOENT:
                return b"absent "
            if error.errno == errno.ELOOP:
                return b"strange it is a symbolic link"
            return b"error " + os.fsencode(error.strerror or "unknown error")

    kind, _, content = patience.touch(machine, path, work, timeout).partition(b" ")
    if kind == b"absent":
        return None
    if kind == b"content":
        return parse(content, path)
    if kind == b"strange":
        raise _damaged(path, os.fsdecode(content))
    raise errors.Failed(f"cannot read '{path}': {os.fsdecode(content)}",
                        remedy="see whether the data directory is mounted and readable")


def write(machine: Machine, directory: str, record: Record, timeout: float) -> None:
    """Write the record into a data directory, so that it survives a power cut from here on.

    Raises errors.Failed if it cannot be written, and patience.DiskSilent if the disk does not
    answer within timeout seconds. The old record stays whole in either case.
    """
    path = _path(directory)
    temporary = f"{path}.{os.getpid()}"
    data = record.text().encode("utf-8")

    def work() -> bytes:
        try:
            _replace(path, temporary, data)
        except OSError as error:
            return os.fsencode(error.strerror or "unknown error")
        return b""

    complaint = patience.touch(machine, path, work, timeout)
    if complaint:
        raise errors.Failed(f"cannot write '{path}': {os.fsdecode(complaint)}",
                            remedy="see whether the data's disk is full or read-only")


def remove(machine: Machine, directory: str, timeout: float) -> None:
    """Remove the record from a data directory, if there is one. Raises as write() does."""
    path = _path(directory)

    def work() -> bytes:
        try:
            os.unlink(path)
        except FileNotFoundError:
            pass
        except OSError as error:
            return os.fsencode(error.strerror or "unknown error")
        return b""

    complaint = patience.touch(machine, path, work, timeout)
    if complaint:
        raise errors.Failed(f"cannot remove '{path}': {os.fsdecode(complaint)}",
                            remedy="see whether the data's disk is read-only")


def parse(content: bytes, path: str) -> Record:
    """Parse a record; path: for the message.

    Raises RecordDamaged. A record of a later format is damaged too: what it says is not known here.
    """
    if len(content) > LARGEST:
        raise _damaged(path, f"it has more than {LARGEST} bytes")
    try:
        lines = content.decode("utf-8").split("\n")
    except UnicodeDecodeError:
        raise _damaged(path, "it is not UTF-8") from None
    if lines[0] != f"format {FORMAT}":
        raise _damaged(path, f"its first line is not 'format {FORMAT}'")
    if lines[-2:] != ["end", ""]:
        raise _damaged(path, "it has no end")
    fields = dict(line.partition(" ")[::2] for line in lines[1:-2])
    missing = [name for name in ("software", "version", "node", "time") if not fields.get(name)]
    if missing:
        raise _damaged(path, f"it has no {missing[0]}")
    try:
        version = Version(fields["version"])
        when = _seconds(fields["time"])
    except (errors.MailhaError, ValueError) as error:
        raise _damaged(path, str(error)) from None
    return Record(fields["software"], version, fields["node"], when)


def _seconds(moment: str) -> float:
    """Return the seconds since 1970 of a moment in the form in which it is written."""
    import calendar
    return float(calendar.timegm(time.strptime(moment, "%Y-%m-%dT%H:%M:%SZ")))


def _replace(path: str, temporary: str, data: bytes) -> None:
    """Write data to a new file, make it last, and put it in the place of the old one."""
    try:
        os.unlink(temporary)
    except FileNotFoundError:
        pass
    file = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC,
                   0o600)
    try:
        try:
            while data:
                data = data[os.write(file, data):]
            # Pacemaker runs agents with umask 026; people shall be able to read the record.
            os.fchmod(file, 0o644)
            os.fsync(file)
        finally:
            os.close(file)
        os.rename(temporary, path)
    except OSError:
        os.unlink(temporary)
        raise
    directory = os.open(os.path.dirname(path), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


def _path(directory: str) -> str:
    """Return the path of the record in a data directory."""
    return os.path.join(directory, NAME)


def _damaged(path: str, what: str) -> RecordDamaged:
    """Return the error for a record that cannot be understood."""
    return RecordDamaged(f"the record of the last run '{path}' is damaged: {what}",
                         remedy="'mailha accept-version' lets the installed version write it anew")
