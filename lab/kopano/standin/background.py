# SPDX-License-Identifier: GPL-2.0-or-later
"""The services without a port: spooler, monitor, and the idle search and presence.

Spooler and monitor keep a session on the server and come back to it by themselves; neither has any
sign of life but its process.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from typing import Optional

from . import journal, lifecycle
from .context import Context
from .link import ServerRefused, ServerUnreachable, Session

FAILED = 1
# The spooler was seen to retry that often.
_SECONDS_BETWEEN_CHECKS = 3.0
_SECONDS_FOR_SENDING = 60


def run(context: Context) -> int:
    """Run one of these services until SIGTERM and return its exit code."""
    context.go_to_background()
    try:
        context.become_user()
        context.write_pid_file(
            0o600 if context.service == "spooler" else 0o644,
            refuse=context.service in ("spooler", "monitor"))
    except lifecycle.AlreadyRunning as error:
        # Exit code 1 in the foreground; whoever started a daemon has long seen 0 (measured).
        context.log(journal.CRITICAL, str(error))
        sys.stderr.write(f"{error}\n")
        return FAILED
    context.hang_if_told()
    if context.service == "spooler":
        context.log.move_to_child()
    signals = context.signals()
    if context.vices.has("ignore_term_child"):
        lifecycle.leave_stubborn_child(())
    if context.vices.seconds("send_for"):
        signals.fork(lambda: _send(context.vices.seconds("send_for")), ())
    if context.service in ("spooler", "monitor"):
        # Apart from the signals, so that a server that hangs does not delay SIGTERM.
        threading.Thread(target=_keep_session, args=(context,), daemon=True).start()
    while not signals.stopping:
        signals.wait((), None)
    if context.service == "spooler" and context.sessions(signals):
        context.wait_for_sessions(signals, _SECONDS_FOR_SENDING)
    context.log(journal.NOTICE, f"{context.program} shutdown complete")
    context.end()


def _keep_session(context: Context) -> None:
    session: Optional[Session] = None
    failures = 0
    while True:
        try:
            if session is None:
                session = Session(context.settings["server_socket"], context.program)
                if failures:
                    context.log(journal.NOTICE,
                                f"Server connection succeeded after {failures} retries")
                failures = 0
            session.open_store()
        except (ServerUnreachable, ServerRefused) as error:
            session, failures = None, failures + 1
            if failures == 1:
                context.log(journal.WARNING, f"Server connection lost, retrying: {error}")
        time.sleep(_SECONDS_BETWEEN_CHECKS)


def _send(seconds: float) -> None:
    """Be one of the spooler's children that keep sending when they are killed politely."""
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        time.sleep(max(0.0, end - time.monotonic()))
    os._exit(0)
