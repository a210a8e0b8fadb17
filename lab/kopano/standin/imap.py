# SPDX-License-Identifier: GPL-2.0-or-later
"""kopano-gateway's IMAP: greeting and login as measured, and just enough for an open session."""

from __future__ import annotations

import shlex
import socket
from typing import Callable, List, Optional

from .lines import Conversation
from .link import ServerRefused, ServerUnreachable, Session

_CAPABILITIES = "IMAP4rev1 LITERAL+ AUTH=PLAIN"
LogOn = Callable[[str, str], Session]


def talk(connection: socket.socket, log_on: LogOn) -> None:
    """Answer one client until it leaves.

    log_on: opens a user's session on the server. The greeting does not need the server, so it
    proves nothing but the gateway itself (measured).
    """
    conversation = Conversation(connection)
    try:
        conversation.say(f"* OK [CAPABILITY {_CAPABILITIES}] IMAP gateway ready")
        dialogue = Dialogue(conversation, log_on)
        while dialogue.answer():
            pass
    except OSError:
        return  # the client has gone


def words(line: str) -> List[str]:
    """Split a command into its words, quoted ones included."""
    try:
        return shlex.split(line)
    except ValueError:
        return line.split()


class Dialogue:
    """The commands of one client."""

    def __init__(self, conversation: Conversation, log_on: LogOn) -> None:
        self._conversation = conversation
        self._log_on = log_on
        self._session: Optional[Session] = None

    def answer(self) -> bool:
        """Answer one command; False when the session is over."""
        line = self._conversation.hear()
        if line is None:
            return False
        tag, command, *arguments = words(line) + ["", ""]
        command = command.upper()
        say = self._conversation.say
        if command == "CAPABILITY":
            say(f"* CAPABILITY {_CAPABILITIES}", f"{tag} OK CAPABILITY Completed")
        elif command == "NOOP":
            say(f"{tag} OK NOOP completed")
        elif command == "LOGIN" and len(arguments) >= 4:
            self._log_in(tag, arguments[0], arguments[1])
        elif command == "LOGOUT":
            say("* BYE server logging out", f"{tag} OK LOGOUT completed")
            return False
        elif self._session is None:
            say(f"{tag} NO Command not allowed without login")
        elif command in ("SELECT", "EXAMINE"):
            self._select(tag, command)
        elif command == "IDLE":
            return self._idle(tag)
        else:
            say(f"{tag} BAD Command not supported")
        return True

    def _log_in(self, tag: str, user: str, password: str) -> None:
        try:
            self._session = self._log_on(user, password)
        except ServerRefused:
            self._conversation.say(f"{tag} NO LOGIN wrong username or password")
        except ServerUnreachable:
            self._conversation.say(f"{tag} BAD Internal error: OpenECSession failed")
        else:
            self._conversation.say(f"{tag} OK LOGIN completed")

    def _select(self, tag: str, command: str) -> None:
        assert self._session is not None
        try:
            count = len(self._session.items())
        except (ServerRefused, ServerUnreachable):
            self._conversation.say(f"{tag} NO {command} error opening folder")
            return
        self._conversation.say(f"* {count} EXISTS", f"{tag} OK [READ-WRITE] {command} completed")

    def _idle(self, tag: str) -> bool:
        self._conversation.say("+ waiting for notifications")
        line = self._conversation.hear()
        if line is None:
            return False
        self._conversation.say(f"{tag} OK IDLE complete")
        return True
