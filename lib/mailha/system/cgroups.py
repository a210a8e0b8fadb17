# SPDX-License-Identifier: GPL-2.0-or-later
"""Which control groups have processes.

systemd puts every process of a unit in the unit's control group, and nothing but a deliberate act
of root takes one out. So it shows what systemd's own state hides: a unit that is "active (exited)"
with all daemons dead, or one that is "inactive" with a child left behind (KillMode=process).
"""

from __future__ import annotations

import errno
import os

from mailha import errors

# A group that vanishes while we look gives ENODEV; a threaded one lists its processes in its
# parent and answers EOPNOTSUPP (Documentation/admin-guide/cgroup-v2.rst, "Threads").
_GONE = (errno.ENOENT, errno.ENODEV, errno.EOPNOTSUPP)


def usual(unit: str) -> str:
    """Return where systemd puts a service that names no slice of its own.

    If that group is populated, it is the unit's; else systemd has to be asked (ControlGroup). So
    a monitor of healthy services saves a question for each. Instances of a template have a slice
    for all of them (systemd.unit(5)), named with whatever is no letter or digit escaped.
    """
    prefix, is_instance, _ = unit.partition("@")
    if not is_instance:
        return "/system.slice/" + unit
    name = "".join(char if char.isalnum() and char.isascii() or char in ":_." else
                   "".join(f"\\x{byte:02x}" for byte in char.encode()) for char in prefix)
    return f"/system.slice/system-{name}.slice/{unit}"


class Cgroups:
    """The hierarchy in which systemd keeps its units: unified, hybrid or the old one.

    A path is a unit's ControlGroup as systemd says it ("/system.slice/x.service"). An empty path
    is what systemd says for a unit that has none: nothing is in it.
    """

    def __init__(self, root: str = "") -> None:
        self._mount = root + "/sys/fs/cgroup"
        self._base: str | None = None
        self._unified = True

    def populated(self, path: str) -> bool:
        """Tell whether a live process is in the group or below it; zombies do not count.

        False also when the group is gone. Raises errors.Failed when the kernel does not say.
        """
        base = self._base or self._find_base()
        if not path.strip("/"):
            return False
        if not self._unified:
            return bool(self.processes(path))
        data = self._content(f"{base}/{path.strip('/')}/cgroup.events")
        return b"populated 1" in data

    def processes(self, path: str) -> list[int]:
        """Return the pids in the group and all groups below it, sorted; empty when it is gone."""
        base = self._base or self._find_base()
        if not path.strip("/"):
            return []
        found: set[int] = set()
        waiting = [f"{base}/{path.strip('/')}"]
        while waiting:
            directory = waiting.pop()
            data = self._content(directory + "/cgroup.procs")
            # 0 stands for a process of another pid namespace: it has no number here.
            found.update(int(line) for line in data.split() if line != b"0")
            try:
                # As for find(1): with 2 links it has no directory below it, and most have none.
                if os.stat(directory).st_nlink != 2:
                    with os.scandir(directory) as entries:
                        waiting += [entry.path for entry in entries
                                    if entry.is_dir(follow_symlinks=False)]
            except OSError as error:
                if error.errno not in _GONE:
                    raise self._failure(directory, error) from None
        return sorted(found)

    def number(self, path: str) -> int:
        """Return the number by which the kernel knows the group of a socket; 0 if it has none."""
        base = self._base or self._find_base()
        if not self._unified or not path.strip("/"):
            return 0
        try:
            return os.stat(f"{base}/{path.strip('/')}").st_ino
        except OSError:
            return 0

    def _find_base(self) -> str:
        """Find where systemd's hierarchy is mounted, as systemd.io/CGROUP_DELEGATION tells it."""
        for directory, mark, unified in (("", "cgroup.controllers", True),
                                         ("/unified", "cgroup.controllers", True),
                                         ("/systemd", "cgroup.procs", False)):
            if os.access(f"{self._mount}{directory}/{mark}", os.F_OK):
                self._base, self._unified = self._mount + directory, unified
                return self._base
        raise errors.Failed(f"no control groups of systemd under {self._mount}",
                            remedy="mount cgroup2 there, or boot with systemd")

    def _content(self, path: str) -> bytes:
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError as error:
            if error.errno in _GONE:
                return b""
            raise self._failure(path, error) from None
        try:
            data = piece = os.read(descriptor, 65536)
            while piece:
                piece = os.read(descriptor, 65536) if len(piece) > 4000 else b""
                data += piece
            return data
        except OSError as error:
            if error.errno in _GONE:
                return b""
            raise self._failure(path, error) from None
        finally:
            os.close(descriptor)

    @staticmethod
    def _failure(path: str, error: OSError) -> errors.Failed:
        return errors.Failed(f"cannot tell which processes are in {path}: {error.strerror}")
