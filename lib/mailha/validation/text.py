# SPDX-License-Identifier: GPL-2.0-or-later
"""Values that are words: names, choices, paths, lists.

What holds for every type, these and the others: blanks around a value are not part of it; control
characters, line breaks, quotes, a leading dash and bytes that are not UTF-8 are refused. None of
them has ever been meant. They come from a shell that quoted once too often or from a pasted line,
and further on they would end up in the arguments of a command, in a unit file or in a log.

A recurring monitor loads this module.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

LONGEST = 4096
"""Characters of a value; PATH_MAX, which is more than anything else needs."""

LONGEST_NAME = 255
"""Bytes of one part of a path (NAME_MAX)."""

LONGEST_USER = 32
"""Characters of a user name (useradd(8))."""

_SHOWN = 60
_QUOTES = "'\"`"
_ASCII_LETTERS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
_IN_USER = _ASCII_LETTERS + "0123456789._-"

_TRUE = ("true", "on", "yes", "y", "1")
_FALSE = ("false", "off", "no", "n", "0")


class Invalid(ValueError):
    """A value that its type does not have; the text says in one line what is found and expected."""


class Type:
    """What a value has to look like.

    content_type: the OCF type, one of string, integer, boolean, select. options: the values of a
    select. expected: what is expected, for messages and man pages; fits into "where ... is
    expected". absent: the value of a parameter that is not set and has no default.
    """

    content_type = "string"
    options: tuple[str, ...] = ()
    expected = "a text"
    absent: Any = None

    def parse(self, text: str) -> Any:
        """Return the value that the text stands for. Raises Invalid."""
        raise NotImplementedError

    def plain(self, text: str, *, blanks: bool = False) -> str:
        """Return the text without the blanks around it, if it has nothing that no value has.

        blanks: whether there may be blanks inside. Raises Invalid.
        """
        value = text.strip(" ")
        if not value:
            raise Invalid(f"nothing but blanks is given, where {self.expected} is expected")
        if not value.isprintable():
            raise self.refusal(text, _unprintable(value))
        if len(value) > LONGEST:
            raise self.refusal(text, f"has more than {LONGEST} characters")
        if value.startswith("-"):
            raise self.refusal(text, "begins with a dash")
        if any(quote in value for quote in _QUOTES):
            raise self.refusal(text, "has a quote in it")
        if not blanks and " " in value:
            raise self.refusal(text, "has a blank in it")
        return value

    def refusal(self, text: str, complaint: str) -> Invalid:
        """Return the error for a text, the complaint following on it: 'x' has a blank in it."""
        return Invalid(f"{shown(text)} {complaint}, where {self.expected} is expected")


class Text(Type):
    """Any text. blanks: whether there may be blanks inside."""

    absent = ""

    def __init__(self, *, blanks: bool = False) -> None:
        self._blanks = blanks
        self.expected = "a text" if blanks else "a text without blanks"

    def parse(self, text: str) -> str:
        """Return the text without the blanks around it. Raises Invalid."""
        return self.plain(text, blanks=self._blanks)


class Choice(Type):
    """One of a few words, exactly as they are declared."""

    content_type = "select"
    absent = ""

    def __init__(self, *options: str) -> None:
        self.options = options
        self.expected = f"one of {', '.join(options)}"

    def parse(self, text: str) -> str:
        """Return the word. Raises Invalid."""
        value = self.plain(text)
        if value not in self.options:
            raise self.refusal(text, "is unknown")
        return value


class Boolean(Type):
    """Yes or no, in the words and in any case that Pacemaker takes them (crm_str_to_boolean)."""

    content_type = "boolean"
    expected = "true or false"
    absent = False

    def parse(self, text: str) -> bool:
        """Return the truth. Raises Invalid."""
        value = self.plain(text).lower()
        if value in _TRUE:
            return True
        if value in _FALSE:
            return False
        raise self.refusal(text, "is neither")


class Words(Type):
    """A list of words, separated by blanks or commas.

    allowed: the words that there are, None for any. unique: refuse a word that is named twice.
    """

    absent: tuple[str, ...] = ()

    def __init__(self, allowed: tuple[str, ...] | None = None, *, unique: bool = True) -> None:
        self._allowed = allowed
        self._unique = unique
        self.expected = "a list of words with blanks or commas between them"
        if allowed is not None:
            self.expected = f"a list of some of {', '.join(allowed)}"

    def parse(self, text: str) -> tuple[str, ...]:
        """Return the words in their order. Raises Invalid, which names the word."""
        words = self.plain(text, blanks=True).replace(",", " ").split()
        if not words:
            raise self.refusal(text, "names nothing")
        for number, word in enumerate(words):
            if word.startswith("-"):
                raise self.refusal(text, f"has {shown(word)} in it, which begins with a dash")
            if self._allowed is not None and word not in self._allowed:
                raise self.refusal(text, f"has {shown(word)} in it, which is unknown")
            if self._unique and word in words[:number]:
                raise self.refusal(text, f"names {shown(word)} twice")
        return tuple(words)


class Path(Type):
    """An absolute path of a file or a directory, without "..".

    What ".." leads to depends on whether the part before it is a symbolic link, so that two people
    who read the same path may think of two directories.
    """

    expected = "an absolute path"
    absent = ""

    def parse(self, text: str) -> str:
        """Return the path without empty and "." parts and without a slash at the end.

        Raises Invalid.
        """
        value = self.plain(text)
        if not value.startswith("/"):
            raise self.refusal(text, "does not begin with a slash")
        parts = [part for part in value.split("/") if part not in ("", ".")]
        if ".." in parts:
            raise self.refusal(text, "has '..' in it")
        if any(len(part.encode()) > LONGEST_NAME for part in parts):
            raise self.refusal(text, f"has a name of more than {LONGEST_NAME} bytes in it")
        return "/" + "/".join(parts)


class Paths(Type):
    """A list of absolute paths, separated by blanks or commas, each once."""

    expected = "a list of absolute paths with blanks or commas between them"
    absent: tuple[str, ...] = ()

    def parse(self, text: str) -> tuple[str, ...]:
        """Return the paths in their order. Raises Invalid, which names the path."""
        words = self.plain(text, blanks=True).replace(",", " ").split()
        if not words:
            raise self.refusal(text, "names nothing")
        return tuple(dict.fromkeys(Path().parse(word) for word in words))


class Release(Type):
    """A release of a software, as in 4.9 or 5.1.2, or "auto".

    known: the first numbers of the releases that can be run; without any, all of them.
    """

    expected = "auto, or a release such as 4.9"
    absent = "auto"

    def __init__(self, *known: int) -> None:
        self._known = known

    def parse(self, text: str) -> str:
        """Return it. Raises Invalid."""
        value = self.plain(text)
        parts = value.split(".")
        if value != "auto" and not (1 < len(parts) < 6 and all(
                part.isascii() and part.isdigit() and len(part) < 10 for part in parts)):
            raise self.refusal(text, "is neither")
        if value != "auto" and self._known and int(parts[0]) not in self._known:
            raise self.refusal(text, "is none of the releases that are known here, "
                                     f"{', '.join(f'{number}.x' for number in self._known)}")
        return value


class Name(Type):
    """The name of a resource or a node."""

    expected = "a name (letters, digits and . _ : - only)"
    absent = ""

    def parse(self, text: str) -> str:
        """Return the name. Raises Invalid."""
        value = self.plain(text)
        for letter in value:
            if not letter.isalnum() and letter not in "._:-":
                raise self.refusal(text, f"has {shown(letter)} in it")
        if value.startswith("."):
            raise self.refusal(text, "begins with a dot")
        return value


class User(Type):
    """The name of a user of the machine."""

    expected = "a user name (letters, digits and . _ - only)"
    absent = ""

    def parse(self, text: str) -> str:
        """Return the name. Raises Invalid."""
        value = self.plain(text)
        if len(value) > LONGEST_USER:
            raise self.refusal(text, f"has more than {LONGEST_USER} characters")
        if value[0] not in _ASCII_LETTERS and value[0] != "_":
            raise self.refusal(text, "does not begin with a letter")
        for letter in value:
            if letter not in _IN_USER:
                raise self.refusal(text, f"has {shown(letter)} in it")
        return value


def shown(text: str) -> str:
    """Return a text fit for a message: quoted, on one line, printable, and not endless."""
    cut = text if len(text) <= _SHOWN else text[:_SHOWN - 3] + "..."
    return f"'{''.join(map(_visible, cut))}'"


def _visible(letter: str) -> str:
    """Return a character, or its escape if it cannot be printed."""
    number = ord(letter)
    if letter.isprintable():
        return letter
    if 0xDC80 <= number <= 0xDCFF:      # a byte that os.fsdecode could not decode
        return f"\\x{number - 0xDC00:02x}"
    return {"\n": "\\n", "\r": "\\r", "\t": "\\t"}.get(
        letter, f"\\x{number:02x}" if number < 0x100 else f"\\u{number:04x}")


def _unprintable(value: str) -> str:
    """Say what is wrong with a text that has characters that cannot be printed."""
    if any(0xD800 <= ord(letter) <= 0xDFFF for letter in value):
        return "is not UTF-8"
    if any(letter in "\n\r\v\f\x85\u2028\u2029" for letter in value):
        return "has a line break in it"
    letter = next(letter for letter in value if not letter.isprintable())
    return f"has a character in it that cannot be printed (U+{ord(letter):04X})"
