# SPDX-License-Identifier: GPL-2.0-or-later
"""kopano-dagent: takes mail by LMTP and hands it to the server. -l foreground, -d background."""

from __future__ import annotations

import os
import signal
import socket

from . import journal, listening, lmtp
from .context import Context, Handler
from .link import Session

_SECONDS_FOR_SESSIONS = 30


def run(context: Context) -> int:
    """Run kopano-dagent until SIGTERM. The exit code is 0 whatever happens (measured)."""
    settings = context.settings
    context.go_to_background()
    try:
        listeners = listening.tcp(
            listening.wanted(settings, "lmtp_listen", "lmtp_port"), 2003)
    except listening.BindFailed as error:
        context.log(journal.CRITICAL, f"Socket binding failed: {error}")
        return 0
    context.become_user()
    context.hang_if_told()
    signals = context.signals()
    context.write_pid_file(0o600)
    fork = settings["process_model"] == "fork"
    if fork:
        context.log.move_to_child()

    def handler(listener: socket.socket) -> Handler:
        return lambda connection: lmtp.talk(
            connection, lambda: Session(settings["server_socket"], context.program))

    context.serve(signals, listeners, handler, fork=fork)
    context.log(journal.ALWAYS, "LMTP service will now exit")
    if fork:
        # To its whole process group, in a normal shutdown (source of all releases).
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        os.kill(0, signal.SIGTERM)
        context.wait_for_sessions(signals, _SECONDS_FOR_SESSIONS)
    context.end()
