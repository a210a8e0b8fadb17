# SPDX-License-Identifier: GPL-2.0-or-later
"""The files that tell a BlueMind who it is."""

from __future__ import annotations

DIRECTORY = "/etc/bm"
TOKEN = f"{DIRECTORY}/bm-core.tok"
IDENTITY = f"{DIRECTORY}/mcast.id"
INI = f"{DIRECTORY}/bm.ini"

VERSION = "/usr/share/bm-core/version"
SCHEMA = "/var/spool/bm-hollowed/schema.version"
"""Which release last opened the data. The real one asks PostgreSQL."""


def text(path: str) -> str:
    """Return what is in a file, "" where there is none."""
    try:
        with open(path, encoding="utf-8") as file:
            return file.read()
    except OSError:
        return ""


def value(key: str) -> str:
    """Return a value of bm.ini, "" for one that is not there."""
    for line in text(INI).splitlines():
        name, equals, found = line.partition("=")
        if equals and name.strip() == key:
            return found.strip()
    return ""


def member_address() -> str:
    """Return the address that Hazelcast binds to, as ClusterNode.memberAddress() does."""
    return value("hz-member-address") or value("host") or "127.0.0.1"


def is_installed() -> bool:
    """Say whether core would find its installation."""
    return bool(text(TOKEN)) and bool(text(IDENTITY))


def release(version: str) -> "tuple[int, ...]":
    """Return the numbers of "4.9.2" that the schema of the database depends on: (4, 9)."""
    return tuple(int(part) for part in version.strip().split(".")[:2] if part.isdigit())
