# SPDX-License-Identifier: GPL-2.0-or-later
"""kopano-server's side of MariaDB: connecting, creating, upgrading, and the mail in it."""

from __future__ import annotations

import importlib
from typing import Any, Dict, List, Optional, Tuple

from . import schema
from .configuration import Settings
from .release import Release

# PyMySQL brings no types, hence Any. Its name is looked up late, so that what never talks to the
# database (and the unit tests) does not need it.
_UNKNOWN_DATABASE = 1049
_CONNECT_SECONDS = 10

Row = Tuple[Any, ...]


class DatabaseDown(Exception):
    """MariaDB cannot be reached, refuses, or broke off."""


class DatabaseMissing(Exception):
    """MariaDB answers, but has no such database."""


class DatabaseNewer(Exception):
    """The data was written by a newer release than this one."""


class Connection:
    """One connection to MariaDB; a transaction per ``with`` block.

    DatabaseDown is raised for every failure of the database, DatabaseMissing by the constructor
    where the database is not there; both are so for any cause that a client can see.
    """

    def __init__(self, settings: Settings, *, without_database: bool = False) -> None:
        self._driver: Any = importlib.import_module("pymysql")
        self.last_id = 0
        where: Dict[str, Any] = {
            "host": settings["mysql_host"], "port": settings.number("mysql_port")}
        if settings["mysql_socket"]:
            where = {"unix_socket": settings["mysql_socket"]}
        if not without_database:
            where["database"] = settings["mysql_database"]
        try:
            self._connection = self._driver.connect(
                user=settings["mysql_user"], password=settings["mysql_password"],
                charset="utf8mb4", connect_timeout=_CONNECT_SECONDS, **where)
        except self._driver.err.MySQLError as error:
            if error.args and error.args[0] == _UNKNOWN_DATABASE:
                raise DatabaseMissing(str(error)) from error
            raise DatabaseDown(str(error)) from error

    def __enter__(self) -> Connection:
        return self

    def __exit__(self, kind: object, value: object, trace: object) -> None:
        try:
            if kind is None:
                self._connection.commit()
        except (self._driver.err.MySQLError, OSError) as error:
            raise DatabaseDown(str(error)) from error
        finally:
            # Closing without commit rolls back.
            try:
                self._connection.close()
            except (self._driver.err.MySQLError, OSError):
                pass

    def run(self, statement: str, values: Row = ()) -> List[Row]:
        """Run one statement and return its rows."""
        try:
            with self._connection.cursor() as cursor:
                cursor.execute(statement, values or None)
                rows: List[Row] = list(cursor.fetchall())
                self.last_id = int(cursor.lastrowid or 0)
                return rows
        except (self._driver.err.MySQLError, OSError) as error:
            raise DatabaseDown(str(error)) from error

    def commit(self) -> None:
        """Make what was done so far durable: MariaDB runs with flush at every commit."""
        try:
            self._connection.commit()
        except (self._driver.err.MySQLError, OSError) as error:
            raise DatabaseDown(str(error)) from error


def create(settings: Settings, release: Release) -> None:
    """Create the database with a new server GUID, without asking anybody (measured).

    Over an unmounted or wrong disk this is how all mail seems to have vanished.
    """
    name = settings["mysql_database"].replace("`", "")
    with Connection(settings, without_database=True) as connection:
        connection.run(f"CREATE DATABASE IF NOT EXISTS `{name}` CHARACTER SET utf8mb4")
        connection.run(f"USE `{name}`")
        for statement in schema.statements(release):
            connection.run(statement)


def newest_version(connection: Connection) -> Tuple[int, ...]:
    """Return release and revision that last upgraded the database, as five numbers."""
    rows = connection.run(
        "SELECT major, minor, micro, revision, databaserevision FROM versions"
        " ORDER BY databaserevision DESC, major DESC, minor DESC, micro DESC, revision DESC"
        " LIMIT 1")
    return tuple(int(number) for number in rows[0]) if rows else (0, 0, 0, 0, 0)


def pending_upgrade(connection: Connection, release: Release) -> bool:
    """Return whether ``release`` has to upgrade the database; DatabaseNewer if it cannot."""
    found = newest_version(connection)
    own = (*release.numbers, release.database_revision)
    if found > own:
        raise DatabaseNewer(
            f"Database version ({','.join(map(str, found))}) is newer than the server version "
            f"({','.join(map(str, own))})")
    return found < own


def upgrade(connection: Connection, release: Release) -> None:
    """Upgrade step by step, each one committed; TABLE locks of others are waited for."""
    found = newest_version(connection)[4]
    for revision in range(found + 1, release.database_revision + 1):
        connection.run(f"ALTER TABLE settings COMMENT = 'revision {revision}'")
        connection.commit()
    connection.run(schema.version(release, release.database_revision))
    connection.commit()


def setting(connection: Connection, name: str) -> Optional[bytes]:
    """Return a value of the table ``settings``."""
    rows = connection.run("SELECT value FROM settings WHERE name = %s", (name,))
    return bytes(rows[0][0]) if rows else None
