# SPDX-License-Identifier: GPL-2.0-or-later
"""What an agent says: to the system's log, to whoever called it, and to a file for debugging.

stdout has the answer that fence agents give ("Success: Powered OFF"), stderr the one reason of a
failure. Pacemaker copies stderr into its log and looks there for the kind of the failure, so that
nothing else is written to it unless somebody asks for it with verbose.
"""

from __future__ import annotations

import os
import time

from mailha import systemlog

LONGEST = 1000
"""Characters of a line."""

HIDDEN = "(secret)"

_SHORTEST_SECRET = 4
_LONG_SECRET = 8
"""Characters. One that is shorter than the first is not hidden, it would take letters out of every
message; one that is shorter than the second only as a word of its own: "(secret)istrator" would
tell the password, not hide it."""


class Log:
    """Where an agent's words go.

    name: of the agent. stdout, stderr: descriptors. verbose: log lines go to stderr too. quiet:
    nothing goes there unless verbose. system_log: the socket of the system's log; empty for none.
    """

    def __init__(self, name: str, *, stdout: int = 1, stderr: int = 2,
                 system_log: str = systemlog.SOCKET) -> None:
        self.verbose = False
        self.quiet = False
        self._name = name
        self._stdout = stdout
        self.stderr = stderr
        self._system_log = system_log
        self._secrets: list[str] = []
        self._lines: list[str] = []

    def hide(self, secret: str) -> None:
        """Let this text never appear in anything that is said from now on.

        No message has a secret in it on purpose; this is for the answer of a device or a library
        that repeats what it was sent.
        """
        # One that is no UTF-8 is shown as \\xNN by what reads a terminal.
        for text in (secret, _bytes(secret).decode(), _octets(secret)):
            if len(text) >= _SHORTEST_SECRET and text not in self._secrets:
                self._secrets.append(text)
        self._secrets.sort(key=len, reverse=True)

    def error(self, text: str) -> None:
        """Log why something failed."""
        self._log("ERROR", text)

    def warning(self, text: str) -> None:
        """Log what somebody should look at."""
        self._log("WARNING", text)

    def info(self, text: str) -> None:
        """Log what has been done or decided."""
        self._log("INFO", text)

    def debug(self, text: str) -> None:
        """Log a detail, for those who asked for it."""
        if self.verbose:
            self._log("DEBUG", text)
        else:
            self._lines.append(f"DEBUG: {self.line(text)}")

    def trace(self, text: str) -> None:
        """Log what is there to be looked up, and does not bother anybody else."""
        self._log("DEBUG", text)

    def reason(self, text: str) -> None:
        """Say on stderr why the action failed. To be called once, last."""
        if not self.quiet or self.verbose:
            _write(self.stderr, self.line(text) + "\n")

    def complain(self, level: str, text: str) -> None:
        """Say on stderr one of several findings; crm sorts them by "ERROR: " and "WARNING: "."""
        if not self.quiet or self.verbose:
            _write(self.stderr, f"{level}: {self.line(text)}\n")

    def answer(self, text: str) -> bool:
        """Write the answer to stdout; tell whether that was possible."""
        return _write(self._stdout, text + "\n")

    def append_to(self, path: str) -> None:
        """Append all that has been logged to a file.

        Done last: a full or a dead disk must not keep a node from being fenced. Raises OSError.
        """
        stamp = time.strftime("%Y-%m-%d %H:%M:%S")
        text = "".join(f"{stamp} {self._name}[{os.getpid()}]: {line}\n" for line in self._lines)
        descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC
                             | os.O_NOCTTY | os.O_NONBLOCK, 0o600)
        try:
            os.write(descriptor, _bytes(text))
        finally:
            os.close(descriptor)

    def line(self, text: str) -> str:
        """Return a text on one line, printable, not endless, and without any secret."""
        for secret in self._secrets:
            text = _without(secret, text)
        line = " ".join(text[:LONGEST * 8].split())
        if not line.isprintable():
            line = "".join(letter if letter.isprintable() else _shown(letter) for letter in line)
        return line if len(line) <= LONGEST else line[:LONGEST - 3] + "..."

    def _log(self, level: str, text: str) -> None:
        line = self.line(text)
        self._lines.append(f"{level}: {line}")
        if self.verbose:
            _write(self.stderr, f"{level}: {line}\n")
        self._to_system_log(level, line)

    def _to_system_log(self, level: str, line: str) -> None:
        """Send a line to the system's log, unless that has no room for it."""
        if self._system_log:
            systemlog.send(self._name, level, line, path=self._system_log)


def _without(secret: str, text: str) -> str:
    """Return a text in which something else stands for the secret."""
    if len(secret) >= _LONG_SECRET:
        return text.replace(secret, HIDDEN)
    parts = text.split(secret)
    kept = parts[0]
    for before, after in zip(parts, parts[1:]):
        is_word = not (before[-1:].isalnum() or after[:1].isalnum())
        kept += (HIDDEN if is_word else secret) + after
    return kept


def _shown(letter: str) -> str:
    """Return what stands for a character that cannot be printed: nothing, but a byte is shown."""
    number = ord(letter)
    return f"\\x{number - 0xDC00:02x}" if 0xDC80 <= number <= 0xDCFF else ""


def _octets(text: str) -> str:
    """Return the text with a \\xNN for each byte of it that is no UTF-8."""
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace") \
        if not text.isprintable() and _is_encodable(text) else text


def _is_encodable(text: str) -> bool:
    return not any(0xD800 <= ord(letter) <= 0xDFFF and not 0xDC80 <= ord(letter) <= 0xDCFF
                   for letter in text)


def _bytes(text: str) -> bytes:
    """Return the text as UTF-8 whatever is in it."""
    return text.encode("utf-8", "backslashreplace")


def _write(descriptor: int, text: str) -> bool:
    """Write all of it; tell whether that was possible."""
    view = memoryview(_bytes(text))
    try:
        while view:
            view = view[os.write(descriptor, view):]
    except OSError:
        return False
    return True
