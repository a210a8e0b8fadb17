# SPDX-License-Identifier: GPL-2.0-or-later
"""Whether Kopano's database can be reached from this node.

Asked when Kopano itself says that it has no database, to tell "wait, it heals by itself" from
"restart it". It proves that MySQL or MariaDB greets, not that it lets Kopano in: for that one would
have to send Kopano's password about.
"""

from __future__ import annotations

import struct

from mailha import errors
from mailha.products.kopano.configuration import Database
from mailha.system.child_failures import ChildFailed
from mailha.system.connection import Connection, ConnectionFailed
from mailha.system.machine import Machine
from mailha.system.addresses import canonical

TYPE_CHECKING = False
if TYPE_CHECKING:
    from mailha.system.addresses import Endpoint

USER = b"mailha-probe"
"""As whom the probe introduces itself: nobody, but MySQL's administrator sees in the log who asks.

Measured on MariaDB 10.11 with max_connect_errors = 3, name resolution on, from a remote address:

    left how                                           after five times
    close without reading the greeting                 host blocked, Kopano on it too
    close after the greeting                           host blocked
    COM_QUIT instead of an answer                      host blocked
    request for TLS, then close                        host blocked
    answer naming an unknown plugin                    host blocked
    answer as Kopano's user without password           no connect error, 5 authentication errors
    answer as an unknown user without password         no connect error, no authentication error

Kopano's own user would do, but failed logins may lock an account (MariaDB's max_password_errors,
MySQL's FAILED_LOGIN_ATTEMPTS), and a check must never harm.
"""

_SOCKETS = ("/run/mysqld/mysqld.sock", "/var/run/mysqld/mysqld.sock", "/var/lib/mysql/mysql.sock",
            "/run/mysql/mysql.sock", "/tmp/mysql.sock")
"""Where the client libraries of Debian, RHEL, SUSE and Oracle look for "localhost"."""

# Names and values as in MySQL's protocol.
_PROTOCOL_10 = 10
_OK, _MORE_DATA, _SWITCH, _ERROR = 0x00, 0x01, 0xfe, 0xff
_COM_QUIT = b"\x01"
_CLIENT_LONG_PASSWORD = 0x1
_CLIENT_PROTOCOL_41 = 0x200
_CLIENT_SECURE_CONNECTION = 0x8000
_CLIENT_PLUGIN_AUTH = 0x80000
_UTF8 = 33
_LONGEST = 1 << 16
_MOST_ROUNDS = 5

_REMEDIES = {
    1040: "raise max_connections, or find who takes them all",
    1129: "unblock this node with 'mariadb-admin flush-hosts', and find who breaks off connections",
    1130: "grant Kopano's user the access from this node's addresses",
}


class DatabaseUnreachable(errors.Failed):
    """Kopano's database does not answer. Kopano heals by itself when it is back."""


def reach(machine: Machine, database: Database, timeout: float) -> None:
    """Raise DatabaseUnreachable unless MySQL greets at the database's address.

    timeout: seconds for all of it, name resolution included. Less than 5 s can do harm: a MySQL
    that looks up the names of its clients greets late when the name servers are dead, and a
    connection broken off before that counts against this node.
    """
    deadline = machine.clock.monotonic() + timeout
    last: DatabaseUnreachable | None = None
    endpoints = _endpoints(machine, database, timeout)
    for number, endpoint in enumerate(endpoints):
        # Each gets its part of what is left, so that a silent one leaves some for the next.
        share = (deadline - machine.clock.monotonic()) / (len(endpoints) - number)
        try:
            _greet(machine, database, endpoint, machine.clock.monotonic() + share)
            return
        except DatabaseUnreachable as error:
            last = error
    assert last is not None, "there is always something to ask"
    raise last


def name_of(database: Database) -> str:
    """Return the database as an administrator calls it."""
    host = f"[{database.host}]" if ":" in database.host else database.host
    where = database.socket if host == "localhost" and database.socket else \
        host if host == "localhost" else f"{host}:{database.port}"
    return f"database '{database.name}' at {where}"


def _endpoints(machine: Machine, database: Database, timeout: float) -> list[Endpoint]:
    """Return where to ask, best first.

    "localhost" is the unix socket to MySQL's client library, and the socket's path counts then
    only.
    """
    if database.host == "localhost":
        if database.socket:
            return [database.socket]
        found: list[Endpoint] = [path for path in _SOCKETS if machine.files.exists(path)]
        if not found:
            raise _unreachable(database, "there is no socket of MySQL at any usual place",
                               "start it, or set mysql_host or mysql_socket in server.cfg")
        return found
    if canonical(database.host):
        return [(database.host, database.port)]
    # The resolver's own deadlines are long and not ours, so it works in a child.
    try:
        finished = machine.children.run(["getent", "ahosts", database.host],
                                        timeout=max(0.1, timeout / 2))
    except ChildFailed as error:
        why = "unknown host name" if error.exit_code == 2 else error.reason
        raise _unreachable(database, f"its host name cannot be resolved ({why})",
                           "write its address as mysql_host in server.cfg") from None
    words = [line.split() for line in finished.stdout.decode("ascii", "replace").splitlines()]
    addresses = dict.fromkeys(each[0] for each in words if each and canonical(each[0]))
    if not addresses:
        raise _unreachable(database, "its host name has no address",
                           "write its address as mysql_host in server.cfg")
    return [(address, database.port) for address in addresses]


def _greet(machine: Machine, database: Database, endpoint: Endpoint, deadline: float) -> None:
    """Read the greeting and take leave without leaving an error behind."""
    try:
        with machine.sockets.connect(endpoint, _left(machine, deadline)) as connection:
            conversation = _Conversation(machine, connection, deadline)
            greeting = conversation.hear()
            if greeting[:1] == bytes([_ERROR]):
                number, text = _error(greeting)
                raise _unreachable(database, f"it says '{text}'", _REMEDIES.get(number, ""))
            if greeting[:1] != bytes([_PROTOCOL_10]):
                raise _unreachable(database, "what answers there is not MySQL",
                                   "correct mysql_host and mysql_port in server.cfg")
            _take_leave(conversation, greeting)
    except ConnectionFailed as error:
        if error.cause == "timeout":
            raise _unreachable(database, f"no answer in time ({error.reason})",
                               "see whether its node and its disk are well") from None
        raise _unreachable(database, error.reason, "see whether it runs") from None


def _take_leave(conversation: _Conversation, greeting: bytes) -> None:
    """End the handshake as a client does that is not let in; see USER.

    The greeting was right, so whatever happens now is of no interest.
    """
    try:
        conversation.say(_introduction(greeting))
        for _ in range(_MOST_ROUNDS):
            answer = conversation.hear()
            if answer[:1] == bytes([_OK]):
                # Somebody may be let in without password; then this is how one leaves.
                conversation.say(_COM_QUIT, fresh=True)
                return
            if answer[:1] not in (bytes([_SWITCH]), bytes([_MORE_DATA])):
                return
            conversation.say(b"")
    except ConnectionFailed:
        pass


def _introduction(greeting: bytes) -> bytes:
    """Return the answer to the greeting: USER, no password, the server's favourite plugin."""
    # version\0, thread 4, salt 8, 0, capabilities 2, character set 1, status 2, capabilities 2,
    # length of salt 1, reserved 10, rest of salt (at least 13), plugin\0
    _, _, rest = greeting[1:].partition(b"\0")
    capabilities = _CLIENT_LONG_PASSWORD | _CLIENT_PROTOCOL_41 | _CLIENT_SECURE_CONNECTION
    plugin = b""
    if len(rest) >= 31:
        low, high, length = struct.unpack_from("<13xH3xHB", rest)
        if (low | high << 16) & _CLIENT_PLUGIN_AUTH:
            capabilities |= _CLIENT_PLUGIN_AUTH
            plugin = rest[31 + max(13, length - 8):].partition(b"\0")[0] + b"\0"
    return struct.pack("<IIB23x", capabilities, 1 << 24, _UTF8) + USER + b"\0\0" + plugin


def _error(packet: bytes) -> tuple[int, str]:
    """Return number and text of an error packet."""
    number = int.from_bytes(packet[1:3], "little")
    text = packet[9:] if packet[3:4] == b"#" else packet[3:]
    readable = text[:300].decode("utf-8", "replace")
    return number, "".join(char if char.isprintable() else "?" for char in readable)


class _Conversation:
    """Packets of MySQL over a connection: three bytes of length, one of sequence, the rest."""

    def __init__(self, machine: Machine, connection: Connection, deadline: float) -> None:
        self._machine = machine
        self._connection = connection
        self._deadline = deadline
        self._buffer = b""
        self._sequence = 0

    def hear(self) -> bytes:
        """Return the next packet's content. Raises ConnectionFailed."""
        head = self._exactly(4)
        length = int.from_bytes(head[:3], "little")
        if length > _LONGEST:
            # Not MySQL, which greets with some 100 bytes.
            return b""
        self._sequence = head[3]
        return self._exactly(length)

    def say(self, content: bytes, *, fresh: bool = False) -> None:
        """Send a packet, as the answer to the last one or, fresh, as a new command."""
        self._sequence = 0 if fresh else (self._sequence + 1) & 0xff
        packet = len(content).to_bytes(3, "little") + bytes([self._sequence]) + content
        self._connection.send(packet, _left(self._machine, self._deadline))

    def _exactly(self, count: int) -> bytes:
        while len(self._buffer) < count:
            piece = self._connection.receive(4096, _left(self._machine, self._deadline))
            if not piece:
                raise ConnectionFailed("it closed the connection without a greeting", "closed")
            self._buffer += piece
        found, self._buffer = self._buffer[:count], self._buffer[count:]
        return found


def _left(machine: Machine, deadline: float) -> float:
    """Return the seconds left, never nothing: the connection itself reports the timeout."""
    return max(0.05, deadline - machine.clock.monotonic())


def _unreachable(database: Database, what: str, remedy: str) -> DatabaseUnreachable:
    return DatabaseUnreachable(f"{name_of(database)} cannot be reached: {what}", remedy=remedy)
