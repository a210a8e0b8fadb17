# SPDX-License-Identifier: GPL-2.0-or-later
"""Greetings of protocols that are not made of lines: PostgreSQL's and a mail filter's (milter)."""

from __future__ import annotations

from mailha.system.connection import ConnectionFailed

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Callable

    from mailha.system.connection import Connection

    Left = Callable[[], float]

# PostgreSQL's protocol 3.0 (protocol-message-formats.html): the first message has no type.
_VERSION_3 = 196608
# Who is named here exists wherever PostgreSQL does, so that no failed login gets into its log:
# when it asks for the password we hang up, which it takes for a user who thought better of it.
_USER = b"postgres"
_STARTING_UP = b"57P03"
_LONGEST = 1 << 16

# The milter protocol as Postfix speaks it (mfdef.h): version 6 with all actions and steps.
_NEGOTIATE, _QUIT = b"O", b"Q"
_OFFER = (6).to_bytes(4, "big") + (0x1ff).to_bytes(4, "big") + (0x1fffff).to_bytes(4, "big")


def postgresql(connection: Connection, left: Left) -> str:
    """Say hello to PostgreSQL and leave; return what is wrong with its answer, "" if nothing.

    Its request for a password is as good as an open door, and so is its refusal of this user or
    address; only "the database system is starting up" (SQLSTATE 57P03: or shutting down, or
    recovering) means that nobody is let in. Raises ConnectionFailed.
    """
    names = b"user\0" + _USER + b"\0database\0" + _USER + b"\0application_name\0mailha\0\0"
    connection.send((8 + len(names)).to_bytes(4, "big") + _VERSION_3.to_bytes(4, "big") + names,
                    left())
    head = _exactly(connection, 5, left)
    kind, length = head[:1], int.from_bytes(head[1:], "big")
    if kind not in (b"R", b"E") or not 4 <= length <= _LONGEST:
        return f"answers {head!r}, which is not PostgreSQL's"
    body = _exactly(connection, length - 4, left)
    if kind == b"R":
        if body[:4] == bytes(4):
            # Let in without a password: then one says goodbye (Terminate).
            connection.send(b"X" + (4).to_bytes(4, "big"), left())
        return ""
    fields = {field[:1]: field[1:] for field in body.split(b"\0") if field}
    if fields.get(b"C") == _STARTING_UP:
        said = fields.get(b"M", b"the database system is starting up")
        text = said[:200].decode("utf-8", "replace")
        return "says '" + "".join(char if char.isprintable() else "?" for char in text) + "'"
    return ""


def milter(connection: Connection, left: Left) -> str:
    """Negotiate as Postfix does and leave; return what is wrong with the answer, "" if nothing.

    Raises ConnectionFailed.
    """
    connection.send(_packet(_NEGOTIATE + _OFFER), left())
    length = int.from_bytes(_exactly(connection, 4, left), "big")
    if not 1 <= length <= _LONGEST:
        return "answers with something that is not the milter protocol"
    answer = _exactly(connection, length, left)
    if answer[:1] != _NEGOTIATE:
        return f"answers {answer[:1]!r} to the opening of the milter protocol"
    connection.send(_packet(_QUIT), left())
    return ""


def _packet(content: bytes) -> bytes:
    return len(content).to_bytes(4, "big") + content


def _exactly(connection: Connection, count: int, left: Left) -> bytes:
    """Return so many bytes. Raises ConnectionFailed, also when the service hangs up before."""
    found = b""
    while len(found) < count:
        piece = connection.receive(count - len(found), left())
        if not piece:
            raise ConnectionFailed("it closed the connection without an answer", "closed")
        found += piece
    return found
