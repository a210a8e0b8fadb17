# SPDX-License-Identifier: GPL-2.0-or-later
"""What an agent says: lines for the log, and the one reason why it failed.

Pacemaker takes as the reason what follows the *last* "ocf-exit-reason:" on stderr, up to the end of
the line, also when the agent succeeded. So that mark is written once, last, on failure only, and
wherever else it appears, say in the answer of a server that is quoted, it is defused.

crm ra validate sorts what is on stderr by "ERROR: ", "WARNING: ", "INFO: " at the beginning.
"""

from __future__ import annotations

import os

from mailha import errors, systemlog

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Mapping

MARK = "ocf-exit-reason:"

LONGEST = 1000
"""Characters of a line; a longer one is of no use in crm_mon and bloats the status of the CIB."""

KEPT_BY_PACEMAKER = 128
"""Characters of a reason that crm_mon shows (EXIT_REASON_MAX_LEN of lib/services, seen in 2.0, 2.1
and 3.0). It logs little more, so that of a longer one the remedy would be lost."""

_FACILITIES = {"user": 1, "daemon": 3, "local0": 16, "local1": 17, "local2": 18, "local3": 19,
               "local4": 20, "local5": 21, "local6": 22, "local7": 23}


class Output:
    """Where an agent's words go.

    agent: its name. environment: what Pacemaker, or whoever calls, has set.
    """

    def __init__(self, agent: str, environment: Mapping[str, str]) -> None:
        resource = environment.get("OCF_RESOURCE_INSTANCE", "")
        self._tag = f"{agent}({resource})" if resource else agent
        self._debugging = environment.get("HA_debug", "0") not in ("", "0")
        self._in_cluster = bool(environment.get("OCF_RESKEY_CRM_meta_on_node"))
        self._facility = _FACILITIES.get(environment.get("HA_logfacility", "daemon"), 0)
        mark = environment.get("OCF_EXIT_REASON_PREFIX", MARK)
        self._mark = mark if mark and mark.isprintable() else MARK

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
        """Log a detail, if HA_debug asks for it."""
        if self._debugging:
            self._log("DEBUG", text)

    def trace(self, text: str) -> None:
        """Log a line for those who will look for a defect, without bothering anybody else."""
        if self._debugging:
            self._log("DEBUG", text)
        else:
            self._to_system_log("DEBUG", self._one_line(text))

    def reason(self, text: str) -> None:
        """Print the reason of a failure. To be called once, last."""
        line = self._one_line(text)
        if len(line) > KEPT_BY_PACEMAKER:
            self._to_system_log("ERROR", line)
        _write(f"{self._mark}{line}\n")

    def _log(self, level: str, text: str) -> None:
        line = self._one_line(text)
        _write(f"{level}: {line}\n")
        self._to_system_log(level, line)

    def _to_system_log(self, level: str, line: str) -> None:
        """Send a line to the system's log, unless that has no room for it.

        Outside a cluster stderr is an administrator's terminal and enough.
        """
        if self._in_cluster and self._facility:
            systemlog.send(self._one_line(self._tag), level, f"{level}: {line}",
                           facility=self._facility)

    def _one_line(self, text: str) -> str:
        """Return the text on one line, printable, of bounded length, with no mark in it."""
        line = " ".join(text[:LONGEST * 8].split())
        if not line.isprintable():
            line = "".join(letter if letter.isprintable() else _replacement(letter)
                           for letter in line)
        for mark in (self._mark, MARK):
            line = line.replace(mark, mark[:-1] + "_")
        return line if len(line) <= LONGEST else line[:LONGEST - 3] + "..."


def _replacement(letter: str) -> str:
    """Return what stands for a character that cannot be printed: nothing, but a byte is shown."""
    number = ord(letter)
    return f"\\x{number - 0xDC00:02x}" if 0xDC80 <= number <= 0xDCFF else ""


def _bytes(text: str) -> bytes:
    """Return the text as UTF-8 whatever is in it."""
    return text.encode("utf-8", "backslashreplace")


def _write(text: str) -> None:
    """Write to stderr; that nobody reads it any more (EPIPE) changes nothing about the answer."""
    try:
        os.write(2, _bytes(text))
    except OSError:
        pass


def publish(document: bytes) -> None:
    """Write a document to stdout, where nothing else is ever written. Raises errors.Failed."""
    view = memoryview(document)
    try:
        while view:
            view = view[os.write(1, view):]
    except OSError as error:
        raise errors.Failed(f"cannot write to stdout: {error.strerror}") from None
