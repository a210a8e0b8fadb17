# SPDX-License-Identifier: GPL-2.0-or-later
"""Whether services are missing because the package manager is at work on them.

An update of packages on the active node stops services, and starts them when it has configured
them. Whoever recovers in between works against it, and a changeover then meets a node with the old
version. So for a while that is "degraded". Only for a while: an update may hang at a question that
nobody answers.

Loaded by a monitor that would otherwise have failed.
"""

from __future__ import annotations

from mailha import errors
from mailha.system.child_failures import ChildFailed
from mailha.system.files import of_resource

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Sequence

    from mailha.system.machine import Machine

DIRECTORY = "/run/mailha/updating"
FORMAT = 1
LOCKS = ("/var/lib/dpkg/lock", "/var/lib/dpkg/lock-frontend", "/var/lib/rpm/.rpm.lock",
         "/usr/lib/sysimage/rpm/.rpm.lock")
"""Files that dpkg, apt and rpm lock (fcntl) for as long as they change something."""

FORGOTTEN_AFTER = 600.0
"""Seconds without an excuse after which the next one begins a new account."""

_WHOLE = ("installed", "config-files", "not-installed")
_DPKG = ("dpkg-query", "-W", "-f", "${db:Status-Status} ${Package}\\n")
_RPM = ("rpm", "-qa", "--qf", "%{NAME}\\n")


def excuse(machine: Machine, resource: str, packages: Sequence[str], *, patience: float,
           timeout: float) -> str:
    """Return what is being updated, if that excuses missing services; "" if nothing does.

    packages: patterns of those that the resource runs. patience: seconds for which one update is
    an excuse. timeout: seconds for asking the databases of packages. Never raises
    errors.MailhaError.
    """
    try:
        if not locked(machine):
            return ""
        names = half_done(machine, packages, timeout)
        if not names:
            return ""
        since = _begin(machine, resource)
    except errors.MailhaError:
        return ""
    passed = max(0.0, machine.clock.wall() - since)
    if passed > patience:
        return ""
    return (f"the package manager is at work on {', '.join(names[:4])}"
            f"{'...' if len(names) > 4 else ''} (since {passed:.0f} s, an excuse for "
            f"{patience:.0f} s)")


def locked(machine: Machine) -> bool:
    """Tell whether a package manager holds its lock. Raises errors.Failed."""
    inodes = {machine.files.inode(path) for path in LOCKS} - {0}
    if not inodes:
        return False
    try:
        table = machine.files.read("/proc/locks")
    except OSError:
        return False
    return any(_inode(line) in inodes for line in table.split(b"\n"))


def half_done(machine: Machine, packages: Sequence[str], timeout: float) -> list[str]:
    """Return the packages that are neither in place as a whole nor gone.

    rpm has no word for it: in the middle of an update it knows both versions of a package.
    """
    found: list[str] = []
    # Exit code 1 means that one of the patterns fits nothing.
    for line in _lines(machine, (*_DPKG, *packages), timeout / 2):
        state, _, name = line.partition(" ")
        if name and state not in _WHOLE:
            found.append(name)
    names = _lines(machine, (*_RPM, *packages), timeout / 2)
    return found + sorted({name for name in names if names.count(name) > 1})


def _lines(machine: Machine, command: tuple[str, ...], timeout: float) -> list[str]:
    try:
        finished = machine.children.run(command, timeout=timeout, accept=(0, 1))
    except ChildFailed:
        return []
    return finished.stdout.decode("utf-8", "replace").splitlines()


def _inode(line: bytes) -> int:
    """Return the inode of a line of /proc/locks, 0 if it has none (a lock that is waited for)."""
    # "1: POSIX  ADVISORY  WRITE 1234 fe:01:131 0 EOF"
    fields = line.split()
    if len(fields) < 6 or fields[1] not in (b"POSIX", b"OFDLCK") or fields[3] != b"WRITE":
        return 0
    number = fields[5].rpartition(b":")[2]
    return int(number) if number.isdigit() else 0


def _begin(machine: Machine, resource: str) -> float:
    """Return since when this update has been an excuse, and take note that it still is."""
    path = of_resource(DIRECTORY, resource)
    now = machine.clock.wall()
    begin = now
    try:
        lines = machine.files.read(path).decode("ascii").split("\n")
        if lines[0] == f"format {FORMAT}":
            first, last = float(lines[1]), float(lines[2])
            if first <= last <= now and now - last <= FORGOTTEN_AFTER:
                begin = first
    except (OSError, ValueError, IndexError):
        pass
    machine.files.make_directory(DIRECTORY, 0o755)
    machine.files.write_atomic(path, f"format {FORMAT}\n{begin:.3f}\n{now:.3f}\n".encode("ascii"))
    return begin
