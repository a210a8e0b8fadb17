# SPDX-License-Identifier: GPL-2.0-or-later
"""The tables in MariaDB.

``settings`` and ``versions`` are Kopano's by name and meaning; the mail itself is kept in two
invented tables, which a test may read and count:

    users     id, login, email, password
    messages  id, user_id -> users.id, message_id (the header Message-ID, with its brackets),
              size (bytes), received

``SELECT message_id FROM kopano.messages`` lists every message that was ever acknowledged, and
possibly some whose acknowledgement was lost on the way.
"""

from __future__ import annotations

import uuid
from typing import Iterable, List, NamedTuple

from .release import Release

TABLES = (
    "CREATE TABLE IF NOT EXISTS settings ("
    "name VARCHAR(255) NOT NULL PRIMARY KEY, value BLOB NOT NULL) ENGINE=InnoDB",
    "CREATE TABLE IF NOT EXISTS versions ("
    "major INT NOT NULL, minor INT NOT NULL, micro INT NOT NULL, revision INT NOT NULL,"
    " databaserevision INT NOT NULL, updatetime DATETIME NOT NULL,"
    " PRIMARY KEY (major, minor, micro, revision, databaserevision)) ENGINE=InnoDB",
    "CREATE TABLE IF NOT EXISTS users ("
    "id INT NOT NULL AUTO_INCREMENT PRIMARY KEY, login VARCHAR(255) NOT NULL UNIQUE,"
    " email VARCHAR(255) NOT NULL UNIQUE, password VARCHAR(255) NOT NULL) ENGINE=InnoDB",
    "CREATE TABLE IF NOT EXISTS messages ("
    "id BIGINT NOT NULL AUTO_INCREMENT PRIMARY KEY, user_id INT NOT NULL,"
    " message_id VARCHAR(255) NOT NULL, size BIGINT NOT NULL,"
    " received TIMESTAMP(6) NOT NULL DEFAULT CURRENT_TIMESTAMP(6),"
    " KEY (message_id), FOREIGN KEY (user_id) REFERENCES users (id)) ENGINE=InnoDB",
)


class User(NamedTuple):
    """Somebody with a mailbox."""

    login: str
    email: str
    password: str


def quote(text: str) -> str:
    """Return ``text`` as a literal of SQL."""
    return "'" + text.replace("\\", "\\\\").replace("'", "''") + "'"


def statements(release: Release, users: Iterable[User] = ()) -> List[str]:
    """Return what fills an empty database, with a new server GUID, at the state of ``release``."""
    guid = f"INSERT INTO settings VALUES ('server_guid', X'{uuid.uuid4().hex}')"
    kind = "INSERT INTO settings VALUES ('attachment_storage', 'files')"
    people = [
        "INSERT INTO users (login, email, password) VALUES "
        f"({quote(user.login)}, {quote(user.email)}, {quote(user.password)})" for user in users]
    return [*TABLES, guid, kind, version(release, release.database_revision), *people]


def version(release: Release, revision: int) -> str:
    """Return the statement that records one upgraded revision in the history."""
    numbers = ", ".join(str(number) for number in (*release.numbers, revision))
    return f"REPLACE INTO versions VALUES ({numbers}, NOW())"
