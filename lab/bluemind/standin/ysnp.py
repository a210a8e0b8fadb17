# SPDX-License-Identifier: GPL-2.0-or-later
"""bm-ysnp: the sockets, on Postfix's spool, by which Cyrus and Postfix have passwords checked."""

from __future__ import annotations

import os
import shutil
import socket
import struct
from typing import BinaryIO

from . import installed, talks
from .life import give_up

SOCKETS = "/var/spool/postfix/var/run/saslauthd"
LINK = "/var/run/saslauthd"
USERS = "/etc/bluemind-standin/users"
"""Lines "login password" of those that the laboratory's BlueMind knows."""


def begin() -> None:
    """Make the sockets, as YSNPConfiguration does; end where there is no token."""
    if not installed.text(installed.TOKEN):
        give_up(f"{installed.TOKEN} is missing")
    shutil.rmtree(SOCKETS, ignore_errors=True)
    os.makedirs(SOCKETS)
    if os.path.islink(LINK):
        os.unlink(LINK)
    elif os.path.isdir(LINK):
        shutil.rmtree(LINK)
    os.symlink(SOCKETS, LINK)
    for name in ("mux", "expireok", "archivedok"):
        talks.listen_unix(f"{SOCKETS}/{name}", check)


def check(connection: socket.socket) -> None:
    """Answer one question of saslauthd's protocol: login, password, service and realm."""
    with connection.makefile("rb") as stream:
        login, password, _, realm = (_read(stream) for _ in range(4))
    known = {installed.text(installed.TOKEN).strip(): "admin0@global.virt"}
    is_right = known.get(password, "").split("@")[0] == login.split("@")[0]
    for line in installed.text(USERS).splitlines():
        name, _, secret = line.partition(" ")
        is_right = is_right or (secret == password and name in (login, f"{login}@{realm}"))
    answer = b"OK" if is_right else b"NO"
    connection.sendall(struct.pack("!H", len(answer)) + answer)


def _read(stream: BinaryIO) -> str:
    """Return one string, which comes after its length. Raises ValueError at the stream's end."""
    head = stream.read(2)
    if len(head) < 2:
        raise ValueError("the question ends early")
    return stream.read(struct.unpack("!H", head)[0]).decode()
