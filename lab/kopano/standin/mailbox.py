# SPDX-License-Identifier: GPL-2.0-or-later
"""What kopano-server does with mail: users and messages in MariaDB, contents in files."""

from __future__ import annotations

import email.parser
import email.policy
import hmac
from typing import List, Tuple

from .attachments import Attachments
from .configuration import Settings
from .database import Connection


class NoSuchThing(Exception):
    """There is no such user or message."""


class Mailboxes:
    """All mailboxes of the server.

    Each operation has a connection of its own, so that the server heals by itself when MariaDB
    comes back (measured). Every method may raise ``database.DatabaseDown``.
    """

    def __init__(self, settings: Settings, attachments: Attachments) -> None:
        self._settings = settings
        self._attachments = attachments

    def check(self) -> None:
        """Do nothing but need the database."""
        with Connection(self._settings) as connection:
            connection.run("SELECT COUNT(*) FROM users")

    def authenticate(self, login: str, password: str) -> bool:
        """Return whether ``password`` is that of ``login``."""
        with Connection(self._settings) as connection:
            rows = connection.run("SELECT password FROM users WHERE login = %s", (login,))
        return bool(rows) and hmac.compare_digest(str(rows[0][0]), password)

    def resolve(self, address: str) -> str:
        """Return the login for a mail address or login; NoSuchThing if it is nobody's."""
        with Connection(self._settings) as connection:
            rows = connection.run(
                "SELECT login FROM users WHERE email = %s OR login = %s", (address, address))
        if not rows:
            raise NoSuchThing(address)
        return str(rows[0][0])

    def users(self) -> List[str]:
        """Return all login names."""
        with Connection(self._settings) as connection:
            return [str(row[0]) for row in connection.run("SELECT login FROM users ORDER BY id")]

    def deliver(self, login: str, message: bytes) -> int:
        """Store ``message`` and return its number; on return it is durable.

        First the file and its directory entry, flushed to the disk, then the COMMIT: a power
        failure between the two leaves a file that nobody refers to, never a row without its file.
        OSError is raised when the file cannot be written; then there is no row either.
        """
        headers = email.parser.BytesHeaderParser(policy=email.policy.compat32).parsebytes(message)
        message_id = str(headers.get("Message-ID", "")).strip()[:255]
        with Connection(self._settings) as connection:
            rows = connection.run("SELECT id FROM users WHERE login = %s", (login,))
            if not rows:
                raise NoSuchThing(login)
            connection.run(
                "INSERT INTO messages (user_id, message_id, size) VALUES (%s, %s, %s)",
                (rows[0][0], message_id, len(message)))
            number = connection.last_id
            self._attachments.store(number, message)
        return number

    def items(self, login: str) -> List[Tuple[int, int]]:
        """Return number and size of every message of ``login``, oldest first."""
        with Connection(self._settings) as connection:
            rows = connection.run(
                "SELECT messages.id, messages.size FROM messages JOIN users"
                " ON users.id = user_id WHERE login = %s ORDER BY messages.id", (login,))
        return [(int(row[0]), int(row[1])) for row in rows]

    def fetch(self, login: str, number: int) -> bytes:
        """Return one message; NoSuchThing if ``login`` has none of that number."""
        with Connection(self._settings) as connection:
            rows = connection.run(
                "SELECT 1 FROM messages JOIN users ON users.id = user_id"
                " WHERE login = %s AND messages.id = %s", (login, number))
        if not rows:
            raise NoSuchThing(str(number))
        return self._attachments.fetch(number)
