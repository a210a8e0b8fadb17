# SPDX-License-Identifier: GPL-2.0-or-later
"""Which packages a node has, and whether they are just being changed.

Formats of configuration change between releases. While dpkg or rpm works, files are there that
the other node must not have; and while the versions differ, what is right here may be wrong there.
Both are read from the package manager's own files and locks, without starting it where that can be.
"""

from __future__ import annotations

import fnmatch
import os
from typing import Sequence

from mailha import errors
from mailha.system import locks
from mailha.system.machine import Machine

DPKG_STATUS = "/var/lib/dpkg/status"
RPM_DATABASES = ("/usr/lib/sysimage/rpm", "/var/lib/rpm")
LOCKS = {"dpkg": ("/var/lib/dpkg/lock", "/var/lib/dpkg/lock-frontend"),
         "rpm": tuple(f"{directory}/.rpm.lock" for directory in RPM_DATABASES)}
LARGEST = 256 << 20
RPM_TIMEOUT = 20.0


def busy(machine: Machine) -> str:
    """Return why packages are not to be trusted now ("dpkg is working"), "" if they are.

    Raises nothing: a lock that cannot be looked at is not held.
    """
    for name, paths in LOCKS.items():
        for path in paths:
            if held(machine.root + path):
                return f"{name} is working on this node"
    return ""


def held(path: str) -> bool:
    """Tell whether another process holds a lock on a file; one that cannot be asked is not held."""
    try:
        return locks.holder(path) is not None
    except OSError:
        return False


class Packages:
    """The installed packages; read again when their database changes."""

    def __init__(self, machine: Machine) -> None:
        self._machine = machine
        self._seen: object = None
        self._versions: dict[str, str] = {}

    def changed(self) -> bool:
        """Tell whether the database is another one than when it was last read."""
        return self._signature() != self._seen

    def versions(self, patterns: Sequence[str]) -> dict[str, str]:
        """Return the version of each installed package that a pattern of fnmatch(3) matches.

        On a node with neither dpkg nor rpm there are none. Raises errors.Failed if they cannot be
        listed.
        """
        signature = self._signature()
        if signature != self._seen or signature is None:
            self._versions = self._read()
            self._seen = signature
        return {name: version for name, version in self._versions.items()
                if any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns)}

    def _signature(self) -> object:
        found = []
        for path in (DPKG_STATUS, *(f"{directory}/{name}" for directory in RPM_DATABASES
                                    for name in ("rpmdb.sqlite", "Packages.db", "Packages"))):
            try:
                seen = os.stat(self._machine.root + path)
            except OSError:
                continue
            found.append((path, seen.st_ino, seen.st_size, seen.st_mtime_ns))
        return tuple(found)

    def _read(self) -> dict[str, str]:
        try:
            return dpkg_versions(self._machine.files.read(DPKG_STATUS, LARGEST))
        except FileNotFoundError:
            pass
        except OSError as error:
            raise errors.Failed(f"cannot read {DPKG_STATUS}: {error.strerror}") from None
        root = self._machine.root
        if not any(os.path.isdir(root + directory) for directory in RPM_DATABASES):
            return {}
        output = self._machine.children.run(
            ["rpm", "-qa", "--queryformat", "%{NAME} %{EPOCHNUM}:%{VERSION}-%{RELEASE}\\n"],
            timeout=RPM_TIMEOUT).stdout
        pairs = (line.partition(" ") for line in output.decode("utf-8", "replace").splitlines())
        return {name: version for name, _, version in pairs if name}


def dpkg_versions(status: bytes) -> dict[str, str]:
    """Return the version of each package that is installed, from the text of dpkg's status."""
    found = {}
    for paragraph in status.split(b"\n\n"):
        name = version = state = b""
        for line in paragraph.split(b"\n"):
            if line.startswith(b"Package: "):
                name = line[9:]
            elif line.startswith(b"Version: "):
                version = line[9:]
            elif line.startswith(b"Status: "):
                state = line[8:]
        # "half-configured" and the like are versions too: dpkg stopped in the middle.
        if name and version and not state.endswith((b" config-files", b" not-installed")):
            found[os.fsdecode(name)] = os.fsdecode(version)
    return found


def difference(ours: dict[str, str], theirs: dict[str, str]) -> list[str]:
    """Return what differs, a line for each package: "postfix 3.7.6-1 and 3.7.11-1"."""
    return [f"{name} {ours.get(name, 'missing')} and {theirs.get(name, 'missing')}"
            for name in sorted({*ours, *theirs}) if ours.get(name) != theirs.get(name)]
