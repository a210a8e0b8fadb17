# SPDX-License-Identifier: GPL-2.0-or-later
"""What is there at the end: in the database, and as a mail client sees it by POP3."""

from __future__ import annotations

import poplib
import socket
from typing import Callable, Sequence, Set

from kopano.standin.schema import User
from twonode.lab import Lab

Connect = Callable[[float], socket.socket]

ANSWER_LIMIT = 30.0

Refused = poplib.error_proto
"""What a POP3 server's refusal is raised as."""

QUERY = "SELECT message_id FROM kopano.messages"


class _Pop3(poplib.POP3):
    """poplib's POP3 over a connection that somebody else makes."""

    def __init__(self, connect: Connect) -> None:
        self._connect = connect
        super().__init__("the floating address", timeout=ANSWER_LIMIT)

    def _create_socket(self, timeout: object) -> socket.socket:
        return self._connect(ANSWER_LIMIT)


def in_database(lab: Lab, node: str) -> Set[str]:
    """Return the Message-ID of every message in the database that runs on a node."""
    said = lab.execute(node, ["mariadb", "--batch", "--skip-column-names", "-e", QUERY],
                       timeout=60).stdout
    return set(said.split())


def by_pop3(connect: Connect, users: Sequence[User]) -> Set[str]:
    """Return the Message-ID of every message that the users can read.

    connect: called with a timeout in seconds; returns a connection to the POP3 port.
    Raises OSError, and Refused where the server refuses.
    """
    found: Set[str] = set()
    for user in users:
        client = _Pop3(connect)
        client.user(user.login)
        client.pass_(user.password)
        for number in range(1, client.stat()[0] + 1):
            found.update(_message_ids(client.retr(number)[1]))
        client.quit()
    return found


def _message_ids(lines: Sequence[bytes]) -> Set[str]:
    """Return the Message-ID in the head of a message, given as lines."""
    for line in lines:
        name, _, value = line.decode(errors="replace").partition(":")
        if name.lower() == "message-id":
            return {value.strip()}
        if not line:
            break
    return set()
