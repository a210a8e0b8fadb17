# SPDX-License-Identifier: GPL-2.0-or-later
"""imapd.conf(5) as text: which options it sets, in which file and line.

Read as Cyrus reads it (lib/libconfig.c, 2.4 to 3.10; compared with cyr_info of 3.6): "name: value",
names in any case, "#" begins a comment, a backslash at the end of a line continues it (from 3.2
on), and "@include: /path" reads another file in its place. What makes Cyrus itself refuse to start
is refused here in one line that names the file and the line, for what such a file meant to say
nobody knows.

Where Cyrus takes one value and refuses a second one, all of them are kept: none of the paths that
somebody may have meant goes unexamined.

A recurring monitor loads this module.
"""

from __future__ import annotations

from mailha import errors

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    Load = Callable[[str], bytes]

MOST_FILES = 64
"""Files that one configuration may consist of. Cyrus's own limit is that none is read twice."""

LARGEST = 1 << 20
"""Bytes of one file; BlueMind's list of partitions has about 200 for each domain."""

_LETTERS = frozenset("abcdefghijklmnopqrstuvwxyz0123456789-_")
_BLANKS = " \t\n\v\f\r"


class ConfigurationUnusable(errors.NotAllowedHere):
    """Cyrus's configuration on this node cannot be read, or not be understood.

    others: what else is wrong with the same file, for who wants to correct all of it at once.
    """

    others: tuple[ConfigurationUnusable, ...] = ()


def together(faults: list[ConfigurationUnusable]) -> ConfigurationUnusable:
    """Return the first of some faults, with the others."""
    first = faults[0]
    first.others = tuple(faults[1:])
    return first


class Option:
    """One line. key: in lower case. value: never empty. path, line: where it stands."""

    __slots__ = ("key", "value", "path", "line")

    def __init__(self, key: str, value: str, path: str, line: int) -> None:
        self.key = key
        self.value = value
        self.path = path
        self.line = line

    @property
    def place(self) -> str:
        """Where it stands, for a message."""
        return f"{self.path} line {self.line}"

    def wrong(self, complaint: str, remedy: str) -> ConfigurationUnusable:
        """Return the error for this line."""
        return ConfigurationUnusable(f"{self.place}: {self.key}: {complaint}", remedy=remedy)


def read(load: Load, path: str) -> tuple[list[Option], list[str]]:
    """Return all options of a file and of those that it includes, and the paths of these files.

    load: returns the bytes of a file, and raises ConfigurationUnusable. Raises the same for what is
    no configuration of Cyrus: a line without a name or a value, an unknown directive, a NUL byte, a
    file that is included twice, which is what a loop comes to.
    """
    options: list[Option] = []
    files: list[str] = []
    _read(load(path), load, path, options, files)
    return options, files


def _read(content: bytes, load: Load, path: str, options: list[Option], files: list[str]) -> None:
    """Append what one file says."""
    files.append(path)
    if len(files) > MOST_FILES:
        raise ConfigurationUnusable(f"{files[0]} includes more than {MOST_FILES} files",
                                    remedy="look at its lines with @include")
    for option in parse(content, path):
        if option.key != "@include":
            options.append(option)
            continue
        if not option.value.startswith("/"):
            raise option.wrong(f"'{option.value}' is no absolute path, and what it is relative to "
                               "depends on who reads it", "write it from / on")
        if option.value in files:
            raise option.wrong(f"{option.value} is included twice, at which Cyrus refuses to start",
                               "take one of the two lines out")
        try:
            content = load(option.value)
        except ConfigurationUnusable as error:
            error.reason += f", which {option.place} includes"
            raise
        _read(content, load, option.value, options, files)


def parse(content: bytes, path: str) -> list[Option]:
    """Return the options of one file, its directives ("@include") among them; path: for messages.

    Bytes that are not UTF-8 are kept, as os.fsdecode keeps them: the name of a directory may have
    some. Raises ConfigurationUnusable.
    """
    if b"\0" in content:
        raise ConfigurationUnusable(f"{path} has a NUL byte in it, so it is no text",
                                    remedy="restore it from a backup")
    found = []
    waiting = ""
    doubtful = False
    for number, line in enumerate(content.decode("utf-8", "surrogateescape").split("\n"), 1):
        text = (waiting + line).strip(_BLANKS)
        goes_on = line.endswith("\\")
        if text.startswith("#"):
            # Since 3.2 the next line is part of the comment, before it was none and may name a
            # path: it counts if it has a meaning.
            waiting, doubtful = "", goes_on
            continue
        if goes_on:
            waiting += line[:-1]
            continue
        waiting = ""
        if text:
            try:
                found.append(_option(text, path, number))
            except ConfigurationUnusable:
                if not doubtful:
                    raise
        doubtful = False
    if waiting.strip(_BLANKS):
        found.append(_option(waiting.strip(_BLANKS), path, number))
    return found


def _option(text: str, path: str, line: int) -> Option:
    """Return what one line says; the text has neither blanks around it nor is it a comment."""
    key, colon, value = text.partition(":")
    key = key.lower()
    option = Option(key, value.strip(_BLANKS), path, line)
    name = key[1:] if key.startswith("@") else key
    if not colon or not _LETTERS.issuperset(name):
        raise ConfigurationUnusable(f"{option.place} is not of the form 'name: value'",
                                    remedy="correct it; Cyrus refuses to start with it")
    if not option.value:
        raise option.wrong("it has no value", "give it one or take the line out; Cyrus refuses to "
                                              "start with it")
    if key.startswith("@") and key != "@include":
        raise option.wrong("there is no such directive", "correct it; there is @include alone")
    return option
