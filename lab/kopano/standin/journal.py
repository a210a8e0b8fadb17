# SPDX-License-Identifier: GPL-2.0-or-later
"""Write a service's log where ``log_method`` and ``log_file`` say."""

from __future__ import annotations

import datetime
import os
import signal
import socket
import sys
from typing import NoReturn

from .configuration import Settings

# Kopano's levels, by their numbers in log_level. 0 is written whatever the level is.
ALWAYS, CRITICAL, ERROR, WARNING, NOTICE, INFO, DEBUG = range(7)
_NAMES = ("=======", "crit   ", "error  ", "warning", "notice ", "info   ", "debug  ")
_SYSLOG_PRIORITIES = (5, 2, 3, 4, 5, 6, 7)
_SYSLOG_DAEMON = 3 << 3


class Journal:
    """One service's log.

    program: the name that syslog shows, such as kopano-server.
    """

    def __init__(self, program: str, settings: Settings) -> None:
        self._program = program
        self._level = settings.number("log_level")
        self._timestamp = settings["log_timestamp"] in ("", "1", "yes", "true")
        method, path = settings["log_method"], settings["log_file"]
        self._syslog = method == "syslog"
        self._path = "" if path == "-" or method == "syslog" else path
        self._descriptor = 2
        self._owned = False
        self.reopen()

    def reopen(self) -> None:
        """Open the log file (again); where that is impossible, write to standard error."""
        if self._owned:
            os.close(self._descriptor)
        self._descriptor, self._owned = 2, False
        if self._path:
            try:
                self._descriptor = os.open(
                    self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o640)
                self._owned = True
            except OSError as error:
                sys.stderr.write(f"Unable to open logfile {self._path}: {error.strerror}\n")

    def give_to(self, user: int, group: int) -> None:
        """Make ``user`` the owner of the log file, before the service becomes that user."""
        if self._owned:
            os.fchown(self._descriptor, user, group)

    def __call__(self, level: int, text: str) -> None:
        """Write one line of ``level`` unless log_level hides it."""
        if level > max(self._level, CRITICAL):
            return
        if self._syslog and self._to_syslog(level, text):
            return
        line = f"[{_NAMES[level]}] {text}\n"
        if self._timestamp:
            line = f"{datetime.datetime.now().isoformat(timespec='microseconds')}: {line}"
        try:
            os.write(self._descriptor, line.encode("utf-8", "surrogateescape"))
        except OSError:
            pass  # a full disk must not end a mail service

    def _to_syslog(self, level: int, text: str) -> bool:
        priority = _SYSLOG_DAEMON | _SYSLOG_PRIORITIES[level]
        message = f"<{priority}>{self._program}[{os.getpid()}]: {text}"
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as log:
            try:
                log.sendto(message.encode("utf-8", "surrogateescape"), "/dev/log")
            except OSError:
                return False
        return True

    def move_to_child(self) -> None:
        """Hand all writing to a child process, as dagent and spooler do.

        The child ends when the last writer has gone, so also when its parent is killed with
        SIGKILL (measured); signals do not reach it.
        """
        reader, writer = os.pipe()
        if os.fork() == 0:
            os.close(writer)
            self._be_the_child(reader)
        os.close(reader)
        if self._owned:
            os.close(self._descriptor)
        os.set_inheritable(writer, False)
        self._descriptor, self._owned, self._path = writer, True, ""

    def _be_the_child(self, reader: int) -> NoReturn:
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
        try:
            while True:
                data = os.read(reader, 65536)
                if not data:
                    break
                os.write(self._descriptor, data)
        finally:
            os._exit(0)
