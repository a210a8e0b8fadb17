# SPDX-License-Identifier: GPL-2.0-or-later
"""What is there at the end, as a mail client sees it by POP3 or by IMAP."""

from __future__ import annotations

import imaplib
import poplib
import re
import socket
from typing import Callable, Sequence, Set, Tuple, Union

Connect = Callable[[float], socket.socket]
"""Called with a timeout in seconds; returns a connection to the server, or raises OSError."""

ANSWER_LIMIT = 30.0


class Refused(Exception):
    """A server does not do what a mail client asks for; the text is its answer."""


class _Pop3(poplib.POP3):
    """poplib's POP3 over a connection that somebody else makes."""

    def __init__(self, connect: Connect) -> None:
        self._connect = connect
        super().__init__("the floating address", timeout=ANSWER_LIMIT)

    def _create_socket(self, timeout: object) -> socket.socket:
        return self._connect(ANSWER_LIMIT)


class _Imap(imaplib.IMAP4):
    """imaplib's IMAP over a connection that somebody else makes."""

    def __init__(self, connect: Connect) -> None:
        self._dial = connect        # _connect is a method of imaplib's
        super().__init__("the floating address", timeout=ANSWER_LIMIT)

    def _create_socket(self, timeout: object) -> socket.socket:
        return self._dial(ANSWER_LIMIT)


def by_pop3(connect: Connect, users: Sequence[Tuple[str, str]]) -> Set[str]:
    """Return the Message-ID of every message that the users can read.

    users: login and password of each.
    Raises OSError and Refused.
    """
    found: Set[str] = set()
    try:
        for login, password in users:
            client = _Pop3(connect)
            client.user(login)
            client.pass_(password)
            for number in range(1, client.stat()[0] + 1):
                found.update(_message_ids(client.retr(number)[1]))
            client.quit()
    except poplib.error_proto as error:
        raise Refused(str(error)) from error
    return found


def by_imap(connect: Connect, users: Sequence[Tuple[str, str]]) -> Set[str]:
    """Return the Message-ID of every message whose whole text the users can read in their INBOX.

    users, errors: as of by_pop3().
    """
    found: Set[str] = set()
    try:
        for login, password in users:
            client = _Imap(connect)
            client.login(login, password)
            answer, counted = client.select("INBOX", readonly=True)
            if answer != "OK":
                raise Refused(f"{login} cannot open the inbox: {counted}")
            if int(counted[0] or 0):
                for part in client.fetch("1:*", "(RFC822)")[1]:
                    found.update(_message_ids(_lines(part)))
            client.logout()
    except imaplib.IMAP4.error as error:
        raise Refused(str(error)) from error
    return found


def _lines(part: Union[bytes, Tuple[bytes, bytes], None]) -> Sequence[bytes]:
    """Return the lines of a message in one part of imaplib's answer, of which some are none."""
    return re.split(rb"\r?\n", part[1]) if isinstance(part, tuple) else ()


def _message_ids(lines: Sequence[bytes]) -> Set[str]:
    """Return the Message-ID in the head of a message, given as lines."""
    for line in lines:
        name, _, value = line.decode(errors="replace").partition(":")
        if name.lower() == "message-id":
            return {value.strip()}
        if not line:
            break
    return set()
