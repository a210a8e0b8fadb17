# SPDX-License-Identifier: GPL-2.0-or-later
"""What the tool says, and to whom: findings to stdout, warnings and errors to stderr.

A terminal that has gone away must not cut in two what is being done to the machine. So nothing here
raises when it cannot be written; that it could not is remembered for the end.
"""

from __future__ import annotations

import errno
import os
import sys
import textwrap
from typing import Sequence, TextIO

WIDTH = 79
"""Columns that prose is wrapped to; one less than a terminal has, as some wrap at the last one."""


class Terminal:
    """Where the words go. stdout, stderr: None where the process has none."""

    def __init__(self, stdout: TextIO | None, stderr: TextIO | None) -> None:
        self._stdout = stdout
        self._stderr = stderr
        self.failure = ""

    def say(self, text: str = "", *, indent: int = 0) -> None:
        """Print a paragraph, wrapped, or an empty line. indent: columns to the left of it."""
        margin = " " * indent
        lines = textwrap.wrap(text, WIDTH, initial_indent=margin, subsequent_indent=margin,
                              break_long_words=False, break_on_hyphens=False)
        self._print(lines or [""])

    def items(self, items: Sequence[tuple[str, str]]) -> None:
        """Print a list: behind the mark of each item its text, wrapped and indented."""
        width = max(len(mark) for mark, _ in items) + 2
        for mark, text in items:
            self._print(textwrap.wrap(text, WIDTH, initial_indent=mark.ljust(width),
                                      subsequent_indent=" " * width, break_long_words=False,
                                      break_on_hyphens=False))

    def line(self, text: str) -> None:
        """Print what is laid out already: a command to be copied, a row of a table, a help text."""
        self._print([text])

    def table(self, rows: Sequence[Sequence[str]], notes: Sequence[str] = ()) -> None:
        """Print rows in columns, the first being the heading.

        notes: what is printed below each row, indented; "" for nothing.
        """
        widths = [max(len(cell) for cell in column) for column in zip(*rows)]
        for number, row in enumerate(rows):
            self.line("  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip())
            if number < len(notes) and notes[number]:
                self.say(notes[number], indent=4)

    def warn(self, text: str) -> None:
        """Print one line for what somebody should look at."""
        _write(self._stderr, f"mailha: warning: {_one_line(text)}\n")

    def error(self, text: str) -> None:
        """Print the one line of a failure."""
        _write(self._stderr, f"mailha: {_one_line(text)}\n")

    def _print(self, lines: Sequence[str]) -> None:
        failure = _write(self._stdout, "".join(f"{line}\n" for line in lines))
        self.failure = self.failure or failure


def open_standard_files() -> None:
    """Make sure that 0, 1 and 2 are open.

    Where one is not, the next file to be opened would get its number, and what is said would go
    there: into a guard, for example.
    """
    while True:
        descriptor = os.open(os.devnull, os.O_RDWR)
        if descriptor > 2:
            os.close(descriptor)
            return


def _write(stream: TextIO | None, text: str) -> str:
    """Write and flush; return what went wrong. A reader who has gone is nothing wrong."""
    if stream is None:
        return ""
    try:
        try:
            stream.write(text)
        except UnicodeEncodeError:
            stream.write(text.encode("ascii", "backslashreplace").decode("ascii"))
        stream.flush()
    except OSError as error:
        # What is left in its buffer would be tried again at every flush.
        _discard(stream)
        if error.errno not in (errno.EPIPE, errno.EBADF):
            return error.strerror or "unknown error"
    except ValueError:
        pass            # closed
    return ""


def _discard(stream: TextIO) -> None:
    """Let what is written from now on go nowhere."""
    try:
        null = os.open(os.devnull, os.O_WRONLY | os.O_CLOEXEC)
        os.dup2(null, stream.fileno())
        os.close(null)
    except (OSError, ValueError):
        pass            # not a file: nothing to discard


def _one_line(text: str) -> str:
    """Return the text on one line, printable."""
    line = " ".join(text.split())
    return "".join(letter if letter.isprintable() else _shown(letter) for letter in line)


def _shown(letter: str) -> str:
    """Return what stands for a character that cannot be printed."""
    number = ord(letter)
    return f"\\x{number - 0xDC00:02x}" if 0xDC80 <= number <= 0xDCFF else "?"


def standard() -> Terminal:
    """Return the terminal of this process."""
    return Terminal(sys.stdout, sys.stderr)
