# SPDX-License-Identifier: GPL-2.0-or-later
"""Names of users and groups, from this node's own files.

Numbers differ from node to node (the group bluemind has 841 on RPM and any number on Debian), so
owners travel by name. Names are looked up in /etc/passwd and /etc/group alone: the libraries would
ask LDAP or SSSD too, and wait for a server that may be dead. An owner that only LDAP knows travels
by number, which LDAP gives out for all nodes alike.
"""

from __future__ import annotations

import os

from mailha import errors
from mailha.system.machine import Machine

LARGEST = 16 << 20
"""Bytes of /etc/passwd; beyond is no such file."""


class OwnerUnknown(errors.Failed):
    """An owner of the other node has no equal here."""


class Owners:
    """The users and groups of a node; read again when the files change."""

    def __init__(self, machine: Machine) -> None:
        self._users = _Table(machine, "/etc/passwd", "user")
        self._groups = _Table(machine, "/etc/group", "group")

    def refresh(self) -> None:
        """Look whether the files have changed. Raises errors.Failed if they cannot be read."""
        self._users.refresh()
        self._groups.refresh()

    def user_name(self, number: int) -> str:
        """Return the name of a user, "" if this node's files have none."""
        return self._users.names.get(number, "")

    def group_name(self, number: int) -> str:
        """Return the name of a group, "" if this node's files have none."""
        return self._groups.names.get(number, "")

    def user(self, name: str, number: int) -> int:
        """Return the number here of a user of the other node, who has the number there.

        Raises OwnerUnknown.
        """
        return self._users.here(name, number)

    def group(self, name: str, number: int) -> int:
        """Return the number here of a group of the other node, which has the number there.

        Raises OwnerUnknown.
        """
        return self._groups.here(name, number)


class _Table:
    """One of the two files. names: by number. numbers: by name; the first line counts."""

    def __init__(self, machine: Machine, path: str, what: str) -> None:
        self._machine = machine
        self._path = path
        self._what = what
        self._seen: object = None
        self.names: dict[int, str] = {}
        self.numbers: dict[str, int] = {}
        self.refresh()

    def refresh(self) -> None:
        try:
            found = os.stat(self._machine.root + self._path)
            seen = (found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)
            if seen == self._seen:
                return
            text = os.fsdecode(self._machine.files.read(self._path, LARGEST))
        except OSError as error:
            raise errors.Failed(f"cannot read {self._path}: {error.strerror}",
                                remedy="owners of files are mapped by it") from None
        self.names, self.numbers = {}, {}
        for line in text.split("\n"):
            fields = line.split(":")
            # "+" and "-" are NIS; a number that is none is a broken line, as getpwent(3) has it.
            if len(fields) < 3 or not fields[2].isdecimal() or fields[0][:1] in ("", "+", "-"):
                continue
            self.names.setdefault(int(fields[2]), fields[0])
            self.numbers.setdefault(fields[0], int(fields[2]))
        self._seen = seen

    def here(self, name: str, number: int) -> int:
        if name:
            known = self.numbers.get(name)
            if known is None:
                raise OwnerUnknown(f"there is no {self._what} '{name}' here",
                                   remedy="install the same packages on both nodes")
            return known
        taken = self.names.get(number)
        if taken is not None:
            # The file would belong to somebody whom the active node never meant.
            raise OwnerUnknown(f"the {self._what} {number} has no name on the active node and is "
                               f"'{taken}' here",
                               remedy=f"give the {self._what} a name on the active node")
        return number
