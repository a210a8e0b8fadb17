# SPDX-License-Identifier: GPL-2.0-or-later
"""kopano-dagent's LMTP. The greeting proves dagent, server and database (measured)."""

from __future__ import annotations

import socket
from typing import Callable, List, NamedTuple, Optional

from . import soap
from .lines import Conversation
from .link import ServerRefused, ServerUnreachable, Session

# MAPI's number for a broken connection, as the reply to RCPT shows it.
_NETWORK_ERROR = 0x80040115


class Recipient(NamedTuple):
    """A mail address as the client gave it, and whose it is."""

    address: str
    login: str


def talk(connection: socket.socket, log_on: Callable[[], Session]) -> None:
    """Receive mail from one client until it leaves.

    log_on: opens a SYSTEM session on the server; this happens before the greeting, hence the 421
    that is all a client hears when server or database are down.
    """
    conversation = Conversation(connection)
    try:
        try:
            session = log_on()
            session.open_store()
        except (ServerUnreachable, ServerRefused):
            conversation.say("421 internal error: GetSession failed")
            return
        conversation.say("220 2.1.5 LMTP server is ready")
        Dialogue(conversation, session).run()
        session.close()
    except OSError:
        return  # the client has gone


class Dialogue:
    """The commands of one client after the greeting (replies measured, or of DAgent.cpp)."""

    def __init__(self, conversation: Conversation, session: Session) -> None:
        self._conversation = conversation
        self._session = session
        self._recipients: List[Recipient] = []

    def run(self) -> None:
        """Answer commands until QUIT or until the client has gone."""
        while True:
            line = self._conversation.hear()
            if line is None:
                return
            command = line.upper()
            if command.startswith("LHLO"):
                self._greet(line)
            elif command.startswith("MAIL FROM:"):
                self._conversation.say("250 2.1.0 Ok")
            elif command.startswith("RCPT TO:"):
                self._add_recipient(line[len("RCPT TO:"):])
            elif command == "DATA":
                if not self._receive():
                    return
            elif command == "RSET":
                self._recipients.clear()
                self._conversation.say("250 2.1.0 Ok")
            elif command == "QUIT":
                self._conversation.say("221 2.0.0 Bye")
                return
            else:
                # There is no NOOP either (measured).
                self._conversation.say("555 5.5.4 Command not recognized")

    def _greet(self, line: str) -> None:
        if len(line.split()) != 2:
            self._conversation.say("501 5.5.4 Syntax: LHLO hostname")
            return
        self._conversation.say("250-SERVER ready", "250-PIPELINING", "250-8BITMIME",
                               "250-ENHANCEDSTATUSCODE", "250-RSET", "250 SMTPUTF8")

    def _add_recipient(self, argument: str) -> None:
        address = _address(argument)
        if not address:
            self._conversation.say("503 5.1.3 Bad destination mailbox address syntax")
            return
        try:
            login = self._session.resolve(address)
        except ServerRefused as refusal:
            if refusal.code == soap.NOT_FOUND:
                self._conversation.say("503 5.1.1 User does not exist")
            else:
                self._conversation.say(f"503 5.1.1 Connection error: 0x{refusal.code:08x}")
            return
        except ServerUnreachable:
            self._conversation.say(f"503 5.1.1 Connection error: 0x{_NETWORK_ERROR:08x}")
            return
        self._recipients.append(Recipient(address, login))
        self._conversation.say("250 2.1.5 Ok")

    def _receive(self) -> bool:
        """Take one message; False when the client left in the middle of it."""
        if not self._recipients:
            self._conversation.say("503 5.1.1 No recipients")
            return True
        self._conversation.say("354 2.1.5 Start mail input; end with <CRLF>.<CRLF>")
        message = self._conversation.hear_message()
        if message is None:
            return False
        # One reply for each recipient, in their order: what distinguishes LMTP from SMTP.
        for recipient in self._recipients:
            self._conversation.say(self._deliver(recipient, message))
        self._recipients.clear()
        return True

    def _deliver(self, recipient: Recipient, message: bytes) -> str:
        """Return the reply for one recipient; 250 only for mail that is on the disk."""
        try:
            self._session.deliver(recipient.login, message)
        except (ServerRefused, ServerUnreachable):
            return f"450 4.2.0 {recipient.address} Mailbox temporarily unavailable"
        return f"250 2.1.5 {recipient.address} Ok"


def _address(argument: str) -> Optional[str]:
    start, end = argument.find("<"), argument.find(">")
    if start < 0 or end < start:
        return None
    return argument[start + 1:end].strip()
