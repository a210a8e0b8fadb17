# SPDX-License-Identifier: GPL-2.0-or-later
"""Read a configuration file into assignments, as Kopano's own reader does (ECConfigImpl.cpp).

``key = value``; the last assignment of a key wins; blanks around both are cut, quotes are part of
the value; a line that starts with ``#`` is a comment, but one with blanks before the ``#`` is not;
``!include FILE`` reads another file in its place, relative to the file in which it stands (followed
through links), each file once; other directives and lines without "=" are skipped.
"""

from __future__ import annotations

import os
import re
from typing import Iterator, NamedTuple

from mailha import errors
from mailha.system.child_failures import ChildFailed
from mailha.system.machine import Machine

BLANKS = " \t\r\n"
LARGEST = 1 << 20
"""Bytes; the longest file that Kopano ships has 30,000."""

_INCLUDE_TIMEOUT = 5.0
_MOST_FILES = 64
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]*")
_NO_TEXT = re.compile(rb"[\x00-\x08\x0e-\x1f\x7f]")


class Assignment(NamedTuple):
    """A value, and the line that gives it."""

    value: str
    path: str
    line: int


class Settings:
    """All that a configuration file says, the files that it includes among it.

    assigned: the assignment in force by key. skipped: lines (file, number) that say nothing to
    Kopano. unnamed: lines with something before "=" that can be the name of no option.
    """

    def __init__(self) -> None:
        self.assigned: dict[str, Assignment] = {}
        self.skipped: list[tuple[str, int]] = []
        self.unnamed: list[tuple[str, int]] = []

    def values(self) -> dict[str, str]:
        """Return the values by key."""
        return {key: assignment.value for key, assignment in self.assigned.items()}


def read(machine: Machine, path: str, *, indented_comments: bool = False) -> Settings:
    """Read a file and what it includes.

    indented_comments: "#" may have blanks before it, as the services written in Python allow.
    Raises FileNotFoundError if the file itself is missing, and errors.NotAllowedHere, naming file
    and line, for what cannot be read or is no text.
    """
    settings = Settings()
    _add(machine, path, settings, indented_comments, {path})
    return settings


def _add(machine: Machine, path: str, settings: Settings, indented_comments: bool,
         seen: set[str], include: str = "") -> None:
    """Read one file into settings. include: where it is included, if it is."""
    for number, line in _lines(_content(machine, path, include), path):
        if indented_comments:
            line = line.lstrip(BLANKS)
        if line.startswith("#"):
            continue
        if line.startswith("!"):
            directive, _, argument = line[1:].replace("\t", " ").partition(" ")
            if directive == "include":
                target = _target(machine, path, argument.strip(BLANKS), f"{path} line {number}")
                if target not in seen:
                    seen.add(target)
                    if len(seen) > _MOST_FILES:
                        raise errors.NotAllowedHere(
                            f"{path} line {number}: more than {_MOST_FILES} files are included",
                            remedy="look whether files include each other under other names")
                    _add(machine, target, settings, indented_comments, seen,
                         f"{path} line {number}")
            continue
        key, separator, value = line.partition("=")
        key = key.strip(BLANKS)
        if not separator:
            if key:
                settings.skipped.append((path, number))
        elif not key:
            continue
        elif _NAME.fullmatch(key):
            settings.assigned[key] = Assignment(value.strip(BLANKS), path, number)
        else:
            settings.unnamed.append((path, number))


def _lines(content: bytes, path: str) -> Iterator[tuple[int, str]]:
    """Give the lines with their numbers. Bytes that are not UTF-8 are no fault: Kopano looks at
    bytes, and administrators write their comments in whatever their terminal spoke."""
    for number, line in enumerate(content.split(b"\n"), 1):
        found = _NO_TEXT.search(line)
        if found:
            raise errors.NotAllowedHere(
                f"{path} line {number}: no text (byte 0x{found.group()[0]:02x})",
                remedy="restore the file from a backup or from the other node")
        yield number, line.decode("utf-8", "surrogateescape")


def _content(machine: Machine, path: str, include: str) -> bytes:
    """Return the content of a file, an included one read in a child: it may be on any disk."""
    try:
        if not include:
            return machine.files.read(path, LARGEST)

        def read_included() -> bytes:
            return machine.files.read(path, LARGEST)

        return machine.children.bounded(read_included, timeout=_INCLUDE_TIMEOUT)
    except FileNotFoundError:
        raise
    except OSError as error:
        text = error.strerror or str(error)
    except ChildFailed as error:
        text = os.strerror(error.errno) if error.errno else error.reason
    except errors.MailhaError as error:
        text = error.reason
    raise errors.NotAllowedHere(
        f"cannot read {path}{f', included in {include}' if include else ''}: {text}",
        remedy="Kopano would not start without it" if include
        else "make it readable, or restore it")


def _target(machine: Machine, path: str, argument: str, where: str) -> str:
    """Return the path of an included file: what is not absolute is beside the including file, and
    Kopano goes by the place where that file really is."""
    if argument.startswith("/"):
        return argument

    def real_directory() -> bytes:
        real = os.path.realpath(machine.root + path)
        return os.fsencode(os.path.dirname(real)[len(machine.root):])

    try:
        directory = os.fsdecode(machine.children.bounded(real_directory,
                                                         timeout=_INCLUDE_TIMEOUT))
    except ChildFailed as error:
        raise errors.NotAllowedHere(f"{where}: cannot follow the links to {path}: {error.reason}",
                                    remedy="look at it with 'namei -l'") from None
    return os.path.join(directory or "/", argument)
