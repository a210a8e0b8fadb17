# SPDX-License-Identifier: GPL-2.0-or-later
"""The life of a stand-in's process, as systemd sees it."""

from __future__ import annotations

import os
import signal
import socket
import sys
import threading
import time
from types import FrameType
from typing import Callable, Optional

from .settings import START_SECONDS, number


def say(text: str) -> None:
    """Write a line to the unit's journal."""
    sys.stderr.write(text + "\n")
    sys.stderr.flush()


def notify(state: str) -> None:
    """Tell systemd, where it has asked for it."""
    path = os.environ.get("NOTIFY_SOCKET", "")
    if path:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as channel:
            channel.sendto(state.encode(), "\0" + path[1:] if path.startswith("@") else path)


def give_up(text: str) -> None:
    """End with 1, as a blocking product check does."""
    say(text)
    os._exit(1)


class Life:
    """Start and end of one process."""

    def __init__(self, settings: "dict[str, str]") -> None:
        """Take the settings of this start, and watch for signals."""
        self._settings = settings
        self.stopping = threading.Event()
        signal.signal(signal.SIGTERM, self._on_term)
        signal.signal(signal.SIGUSR1, _dump_heap)

    def begin(self) -> None:
        """Be as slow as told until READY; end here where told so."""
        code = self._settings.get("exit_at_start")
        time.sleep(number(self._settings, "start_seconds", START_SECONDS))
        if code is not None:
            say(f"told to end with {code}")
            os._exit(int(code))
        if not self._settings.get("never_ready"):
            notify("READY=1")

    def before_serving(self) -> None:
        """Wait what is told to lie between READY and serving."""
        self.stopping.wait(number(self._settings, "serve_after"))

    def end(self, tidy_up: Callable[[], None]) -> None:
        """Wait for the order to stop, and obey as slowly as told."""
        while not self.stopping.wait(3600):
            pass
        notify("STOPPING=1")
        time.sleep(number(self._settings, "stop_seconds"))
        tidy_up()
        # As a Java machine that SIGTERM has ended; the units call it a success.
        os._exit(143)

    def _on_term(self, signum: int, frame: Optional[FrameType]) -> None:
        if not self._settings.get("ignore_term"):
            self.stopping.set()


def _dump_heap(signum: int, frame: Optional[FrameType]) -> None:
    """Leave what a Java machine out of memory leaves, and live on."""
    with open(f"/var/log/java_pid{os.getpid()}.hprof", "w", encoding="ascii") as file:
        file.write("JAVA PROFILE 1.0.2 (stand-in)\n")
