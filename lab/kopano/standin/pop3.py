# SPDX-License-Identifier: GPL-2.0-or-later
"""kopano-gateway's POP3: greeting and login as measured, and reading of mail."""

from __future__ import annotations

import socket
from typing import Callable, List, Optional

from .lines import Conversation, quote_dots
from .link import Item, ServerRefused, ServerUnreachable, Session

LogOn = Callable[[str, str], Session]


def talk(connection: socket.socket, log_on: LogOn) -> None:
    """Answer one client until it leaves; the greeting does not need the server (measured)."""
    conversation = Conversation(connection)
    try:
        conversation.say("+OK POP3 gateway ready")
        dialogue = Dialogue(conversation, log_on)
        while dialogue.answer():
            pass
    except OSError:
        return  # the client has gone


class Dialogue:
    """The commands of one client."""

    def __init__(self, conversation: Conversation, log_on: LogOn) -> None:
        self._conversation = conversation
        self._log_on = log_on
        self._user = ""
        self._session: Optional[Session] = None
        self._items: List[Item] = []

    def answer(self) -> bool:
        """Answer one command; False when the session is over."""
        line = self._conversation.hear()
        if line is None:
            return False
        command, _, argument = line.partition(" ")
        command = command.upper()
        if command == "QUIT":
            self._conversation.say("+OK Bye")
            return False
        if command == "CAPA":
            self._conversation.say("+OK Capability list follows", "USER", "UIDL", ".")
        elif command == "USER":
            self._user = argument
            self._conversation.say("+OK Waiting for password")
        elif command == "PASS":
            return self._log_in(argument)
        elif self._session is None:
            self._conversation.say("-ERR Invalid command")
        else:
            self._read(command, argument, self._session)
        return True

    def _log_in(self, password: str) -> bool:
        try:
            session = self._log_on(self._user, password)
            self._items = session.items()
        except ServerRefused:
            self._conversation.say("-ERR [AUTH] Wrong username or password")
            return True
        except ServerUnreachable:
            self._conversation.say("-ERR [SYS/TEMP] Internal error: HrLogin failed")
            return False
        self._session = session
        self._conversation.say("+OK Username and password accepted")
        return True

    def _read(self, command: str, argument: str, session: Session) -> None:
        say = self._conversation.say
        if command == "STAT":
            say(f"+OK {len(self._items)} {sum(item.size for item in self._items)}")
        elif command == "LIST" and not argument:
            say("+OK", *(f"{index} {item.size}" for index, item in enumerate(self._items, 1)), ".")
        elif command == "UIDL" and not argument:
            say("+OK", *(f"{index} {item.number}"
                         for index, item in enumerate(self._items, 1)), ".")
        elif command == "NOOP":
            say("+OK")
        elif command == "RETR" and argument.isdigit() and 0 < int(argument) <= len(self._items):
            self._retrieve(self._items[int(argument) - 1], session)
        else:
            say("-ERR Invalid command")

    def _retrieve(self, item: Item, session: Session) -> None:
        try:
            message = session.fetch(item.number)
        except (ServerRefused, ServerUnreachable):
            self._conversation.say("-ERR Failed to load the message")
            return
        # In one piece: the second of two would wait 40 ms for the client's acknowledgement.
        self._conversation.send(b"+OK\r\n" + quote_dots(message))
