# SPDX-License-Identifier: GPL-2.0-or-later
"""What a service is given when it starts, and the moves that all services share."""

from __future__ import annotations

import os
import signal
import socket
import threading
import time
from pathlib import Path
from typing import Callable, List, NoReturn, Sequence, Set

from . import journal, lifecycle
from .configuration import Settings
from .journal import Journal
from .release import Release
from .vices import Vices

Handler = Callable[[socket.socket], None]


class Context:
    """One start of one service.

    service: its short name, such as server; foreground: whether -F (or dagent's -l) was given;
    options: the long options of the command line, without their dashes.
    """

    def __init__(self, service: str, release: Release, settings: Settings, vices: Vices, *,
                 foreground: bool, options: Sequence[str] = ()) -> None:
        self.service = service
        self.program = f"kopano-{service}"
        self.release = release
        self.settings = settings
        self.vices = vices
        self.foreground = foreground or not release.daemonises
        self.options = options
        self.log = Journal(self.program, settings)
        self._threads: Set[threading.Thread] = set()
        self._muted: List[socket.socket] = []

    def check_user(self) -> None:
        """Raise KeyError if run_as_user or run_as_group do not exist."""
        lifecycle.account(self.settings["run_as_user"], self.settings["run_as_group"])

    def become_user(self) -> None:
        """Give up root as run_as_user says, log file included."""
        user, group = self.settings["run_as_user"], self.settings["run_as_group"]
        if os.geteuid() == 0 and user:
            self.log.give_to(*lifecycle.account(user, group))
            lifecycle.become(user, group)

    def go_to_background(self) -> None:
        """Daemonise, unless the command line or the release say foreground."""
        if not self.foreground:
            lifecycle.daemonise()

    def hang_if_told(self) -> None:
        """Stop right here for ever if ``hang_on_start`` is on: no handler, SIGTERM kills."""
        if self.vices.has("hang_on_start"):
            self.log(journal.NOTICE, "stand-in vice: hanging on start")
            while True:
                signal.pause()

    def write_pid_file(self, mode: int, *, refuse: bool = False) -> None:
        """Write the pid file, where the release has one; only ``refuse`` can raise (see there)."""
        path = self.settings["pid_file"]
        if not self.release.writes_pid_files or not path:
            return
        pid = lifecycle.predecessor(path, self.program)
        if pid and not refuse:
            self.log(journal.WARNING, f"Process {self.program} may still run as pid {pid}, "
                                      f"going on; pidfile {path}")
        try:
            lifecycle.write_pid_file(path, self.program, mode, refuse=refuse)
        except OSError as error:
            self.log(journal.ERROR, f"Unable to open pidfile '{path}': {error.strerror}")

    def signals(self) -> lifecycle.Signals:
        """Install the signal handlers and the vices that belong to a running service."""
        found = lifecycle.Signals(self._hang_up, ignore_stop=self.vices.has("ignore_term"))
        if self.vices.seconds("crash_after"):
            lifecycle.crash_in(self.vices.seconds("crash_after"))
        return found

    def _hang_up(self) -> None:
        self.log.reopen()
        self.log(journal.WARNING, "Log connection was reset")

    def serve(self, signals: lifecycle.Signals, listeners: Sequence[socket.socket],
              handler: Callable[[socket.socket], Handler], *, fork: bool = False) -> None:
        """Answer connections until SIGTERM.

        handler: gives the function that talks to clients of one listener.
        fork: a process for each client instead of a thread.
        """
        if self.vices.has("ignore_term_child"):
            lifecycle.leave_stubborn_child(listeners)
        while not signals.stopping:
            for listener in signals.wait(listeners, None):
                try:
                    connection, _ = listener.accept()
                except OSError:
                    continue  # the client was quicker to leave
                if self.vices.mute_now():
                    self._muted.append(connection)
                elif fork:
                    signals.fork(lambda: handler(listener)(connection), listeners)
                    connection.close()
                else:
                    thread = threading.Thread(
                        target=self._talk, args=(handler(listener), connection), daemon=True)
                    self._threads.add(thread)
                    thread.start()

    def _talk(self, handler: Handler, connection: socket.socket) -> None:
        try:
            handler(connection)
        finally:
            connection.close()
            self._threads.discard(threading.current_thread())

    def sessions(self, signals: lifecycle.Signals) -> int:
        """Return how many clients are being talked to."""
        return len(self._threads) + len(signals.children)

    def wait_for_sessions(self, signals: lifecycle.Signals, seconds: int) -> None:
        """Give the sessions ``seconds`` to end, looking once a second as the real ones do."""
        signals.sleep(0)  # forget the signal that brought us here
        for remaining in range(seconds, 0, -1):
            if not self.sessions(signals):
                break
            if remaining % 5 == 0:
                self.log(journal.WARNING,
                         f"Waiting for {self.sessions(signals)} processes/threads to exit")
            signals.sleep(1)
        if self.sessions(signals):
            self.log(journal.WARNING, f"Forced shutdown with {self.sessions(signals)} "
                                      "processes/threads left")

    def end(self, code: int = 0) -> NoReturn:
        """End the process, without waiting for threads."""
        if self.vices.seconds("slow_stop"):
            time.sleep(self.vices.seconds("slow_stop"))
        os._exit(code)

    @property
    def attachment_directory(self) -> Path:
        """The server's ``attachment_path``."""
        return Path(self.settings["attachment_path"])
