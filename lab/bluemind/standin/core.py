# SPDX-License-Identifier: GPL-2.0-or-later
"""bm-core: the states of an installation, the interface on 8090, and in 5.x the mail protocols."""

from __future__ import annotations

import os
import socket
import threading
import time

from . import installed, settings, talks
from .life import Life, give_up, say

STATE_PORT = 8090
STATE_PATH = "/api/system/installation/state"
HAZELCAST_PORT = 5701
DATABASE_PORT = 5432
DISABLED = "/etc/bm/bm-core.disabled"

FOLDERS = ("/var/spool/bm-docs/lab", "/var/spool/bm-hsm/data", "/var/spool/bm-filehosting/lab",
           "/var/spool/bm-hollowed/directory", "/var/spool/bm-hollowed/tokens",
           "/var/backups/bluemind/lab")
"""What core makes where it does not find it, mounted or not."""

BODIES = "/var/spool/cyrus/data/by_hash"
"""Where core keeps mail in 5.x, which has no Cyrus."""


class Core:
    """The state of one bm-core."""

    def __init__(self, life: Life) -> None:
        """Be in STARTING."""
        self._life = life
        self._started = False
        self._lock = threading.Lock()
        self._letters = 0

    def begin(self) -> None:
        """Join Hazelcast and take the ports; what follows after READY happens in the background.

        The ports are there before core is of any use: it takes connections in every state.
        """
        address = installed.member_address()
        try:
            talks.listen(HAZELCAST_PORT, talks.connect_only, address=address)
        except OSError as error:
            give_up(f"Hazelcast cannot bind to {address}:{HAZELCAST_PORT}, from bm.ini: {error}")
        for folder in FOLDERS:
            os.makedirs(folder, exist_ok=True)

    def become_running(self) -> None:
        """Wait for the database, then be RUNNING, or in UPGRADE where the data are older."""
        self._life.before_serving()
        while not self._life.stopping.is_set():
            try:
                socket.create_connection(("127.0.0.1", DATABASE_PORT), 2).close()
                break
            except OSError:
                self._life.stopping.wait(0.2)
        if installed.is_installed() and not installed.text(installed.SCHEMA):
            self._write_schema()
        self._started = True
        with open("/var/spool/bm-hollowed/tokens/session", "w", encoding="utf-8") as file:
            file.write(f"{time.time()}\n")

    def state(self) -> str:
        """Return the state, as in CORE_STATE_RUNNING without the beginning."""
        ordered = settings.read("bm-core").get("state", "").replace("CORE_STATE_", "")
        if ordered == "DEMOTED" and not os.path.exists(DISABLED):
            open(DISABLED, "w", encoding="utf-8").close()
        if ordered:
            return ordered
        if not installed.is_installed():
            return "NOT_INSTALLED"
        if self._life.stopping.is_set():
            return "STOPPING"
        if not self._started:
            return "STARTING"
        ours = installed.release(installed.text(installed.VERSION))
        theirs = installed.release(installed.text(installed.SCHEMA))
        return "UPGRADE" if theirs < ours else "RUNNING"

    def is_running(self) -> bool:
        """Say whether IMAP, POP and LMTP may be used."""
        return self.state() == "RUNNING"

    def answer(self, method: str, path: str, body: bytes) -> "tuple[int, str]":
        """Answer on 8090."""
        if path == STATE_PATH and method == "GET":
            return 200, f'"CORE_STATE_{self.state()}"'
        if path == "/api/system/installation/_upgrade" and method == "POST":
            # What the setup wizard asks for, once the administrator has said yes.
            self._write_schema()
            say("the database is upgraded")
            return 200, '"done"'
        return 404, '{"errorCode":"NOT_FOUND"}'

    def _write_schema(self) -> None:
        with open(installed.SCHEMA, "w", encoding="utf-8") as file:
            file.write(installed.text(installed.VERSION))

    def imap(self, line: bytes) -> bytes:
        """Answer a line of IMAP; no mail is shown."""
        tag, _, command = line.partition(b" ")
        word = command.split(b" ")[0].upper()
        if word == b"CAPABILITY":
            return b"* CAPABILITY IMAP4rev1\r\n" + tag + b" OK done\r\n"
        if word == b"LOGOUT":
            return b""
        return tag + (b" OK done\r\n" if word == b"NOOP" else b" BAD not played\r\n")

    def pop3(self, line: bytes) -> bytes:
        """Answer a line of POP3; no mail is shown."""
        return b"" if line.upper() == b"QUIT" else b"-ERR not played\r\n"

    def lmtp(self, connection: socket.socket) -> None:
        """Take mail and keep it, each in a file that is on the disk before it is acknowledged."""
        if not self.is_running():
            time.sleep(2)
            return
        connection.sendall(b"220 bm-core LMTP (stand-in)\r\n")
        recipients = 0
        with connection.makefile("rb") as lines:
            for line in lines:
                word = line.strip().upper()
                if word.startswith(b"QUIT"):
                    return
                recipients += word.startswith(b"RCPT")
                if word != b"DATA":
                    connection.sendall(b"250 ok\r\n")
                    continue
                connection.sendall(b"354 go on\r\n")
                text = b"".join(iter(lines.readline, b".\r\n"))
                self._keep(text)
                connection.sendall(b"250 kept\r\n" * recipients)
                recipients = 0

    def _keep(self, text: bytes) -> None:
        os.makedirs(BODIES, exist_ok=True)
        with self._lock:
            self._letters += 1
            path = f"{BODIES}/{os.getpid()}-{time.time_ns()}-{self._letters}"
        with open(path, "wb") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        folder = os.open(BODIES, os.O_RDONLY)
        os.fsync(folder)
        os.close(folder)
