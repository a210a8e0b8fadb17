# SPDX-License-Identifier: GPL-2.0-or-later
"""kopano-gateway: IMAP and POP3."""

from __future__ import annotations

import os
import signal
import socket
import sys

from . import imap, journal, listening, pop3
from .context import Context, Handler
from .link import Session

FAILED = 1
# Ten looks, one a second: with a client attached a stop takes 10.04 s (measured).
_SECONDS_FOR_SESSIONS = 10


def run(context: Context) -> int:
    """Run kopano-gateway until SIGTERM and return its exit code."""
    settings = context.settings
    try:
        imap_listeners = listening.tcp(
            listening.wanted(settings, "imap_listen", "imap_port", "imap_enable"), 143)
        pop3_listeners = listening.tcp(
            listening.wanted(settings, "pop3_listen", "pop3_port", "pop3_enable"), 110)
    except listening.BindFailed as error:
        context.log(journal.CRITICAL, str(error))
        sys.stderr.write(f"{error}\n")
        return FAILED
    context.become_user()
    context.hang_if_told()
    context.go_to_background()
    context.write_pid_file(0o644)
    signals = context.signals()
    fork = settings["process_model"] == "fork"

    def log_on(user: str, password: str) -> Session:
        return Session(settings["server_socket"], context.program, user, password)

    def handler(listener: socket.socket) -> Handler:
        talk = imap.talk if listener in imap_listeners else pop3.talk
        return lambda connection: talk(connection, log_on)

    context.serve(signals, imap_listeners + pop3_listeners, handler, fork=fork)
    context.log(journal.ALWAYS, "POP3/IMAP Gateway will now exit")
    for listener in imap_listeners + pop3_listeners:
        listener.close()
    if fork:
        # To its whole process group, in a normal shutdown (source of all releases).
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        os.kill(0, signal.SIGTERM)
    context.wait_for_sessions(signals, _SECONDS_FOR_SESSIONS)
    context.log(journal.NOTICE, "POP3/IMAP Gateway shutdown complete")
    context.end()
