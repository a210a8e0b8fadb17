# SPDX-License-Identifier: GPL-2.0-or-later
"""What a dead Kopano leaves behind, and what a new one expects to find.

Pid files and sockets are never removed by Kopano, neither at a clean end nor after kill -9
(measured). A stale pid file keeps spooler and monitor from starting if its pid is that of a zombie
or of a kernel thread, and a stale upgrade lock made the init scripts refuse every stop. So both go,
but only after it is proven that no process of that service lives.
"""

from __future__ import annotations

import errno
import re
from typing import Iterable

from mailha import errors
from mailha.products.kopano.installed import SERVER
from mailha.products.kopano.last_words import last_words
from mailha.services.service import Service
from mailha.system.child_failures import ChildFailed
from mailha.system.machine import Machine
from mailha.system.processes import Process

__all__ = ["clear", "environment", "last_words", "make_run_directory", "upgrading"]

UPGRADE_LOCK = "/tmp/kopano-upgrade-lock"
RUN_DIRECTORY = "/run/kopano"
DEFAULTS = ("/etc/default/kopano", "/etc/sysconfig/kopano")
"""Debian's and Red Hat's place of the same file; SUSE has the latter."""

_TIMEOUT = 10.0
_LONGEST_PID = 32
# Processes are dated in ticks of 10 ms and files in jiffies, and clocks are slewed.
_CLOCK_TOLERANCE = 0.5
_LOCALE = re.compile(r"[A-Za-z0-9_.@-]{1,64}")
_ASSIGNMENT = re.compile(r"\s*(?:export\s+)?(KOPANO_[A-Z_]*LOCALE)=(\"[^\"]*\"|'[^']*'|[^\s#]*)")


def clear(machine: Machine, services: Iterable[Service], *, timeout: float = _TIMEOUT
          ) -> list[str]:
    """Remove what dead services left: pid files, sockets, the upgrade lock. Return their paths.

    What belongs to a living process stays, and so does a file that is something else than its
    name in the configuration says. timeout: seconds for all files that are not in /run. Raises
    errors.Failed for what cannot be removed.
    """
    deadline = machine.clock.monotonic() + timeout
    wanted = [service for service in services if service.program]
    running = machine.processes.find_each({service.program for service in wanted})
    sockets = {_short(path) for path in machine.sockets.unix_listeners()}
    removed = []
    for service in wanted:
        living = [process for process in running[service.program] if service.claims(process)]
        if service.pid_file and _is_stale(machine, service, living, deadline):
            removed.append(service.pid_file)
        if living:
            continue
        removed += [path for path in service.pipes
                    if _short(path) not in sockets and _is_socket(machine, path, deadline)]
        if service.name == "server" and not running[service.program]:
            removed.append(UPGRADE_LOCK)
    return [path for path in removed if machine.files.remove(path)]


def upgrading(machine: Machine, program: str = SERVER) -> bool:
    """Tell whether a living server holds the upgrade lock.

    To be asked about a server that does not answer: the ports of one that upgrades its database are
    open and mute. A lock older than the server was left by one that was killed. The lock is looked
    at as the server sees it, because with PrivateTmp (9.1 and later) its /tmp is its own.
    """
    for process in machine.processes.find(program):
        held_since = machine.files.modified(f"/proc/{process.pid}/root{UPGRADE_LOCK}")
        started = machine.clock.wall() - machine.processes.age(process)
        if held_since is not None and held_since >= started - _CLOCK_TOLERANCE:
            return True
    return False


def make_run_directory(machine: Machine, user: str = "kopano", group: str = "kopano") -> None:
    """Make /run/kopano as Kopano's init scripts do, if it is missing.

    Without it the server cannot bind its sockets, and up to 8.7 then kills its process group
    (measured). Raises errors.Failed.
    """
    if machine.files.exists(RUN_DIRECTORY):
        return
    # In a child, because looking up the user may ask a directory service that is dead.
    try:
        machine.children.run(["install", "-d", "-m", "0775", "-o", user, "-g", group,
                              RUN_DIRECTORY], timeout=_TIMEOUT)
    except ChildFailed as error:
        raise errors.Failed(f"cannot make {RUN_DIRECTORY} for user {user}: {error.reason}",
                            remedy="see whether /run can be written and the user exists") from None


def environment(machine: Machine) -> dict[str, str]:
    """Return the environment that Kopano's init scripts give to the services.

    KOPANO_LOCALE and KOPANO_USERSCRIPT_LOCALE come from the distribution's file of defaults, and
    are "C" where that says nothing. For services that systemd does not start.
    """
    found: dict[str, str] = {}
    for path in DEFAULTS:
        try:
            content = machine.files.read(path)
        except OSError:
            continue
        for line in content.decode("utf-8", "replace").splitlines():
            match = _ASSIGNMENT.match(line)
            if match and _LOCALE.fullmatch(match.group(2).strip("\"'")):
                found[match.group(1)] = match.group(2).strip("\"'")
    locale = found.get("KOPANO_LOCALE", "C")
    return {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            "LC_ALL": locale, "LANG": locale,
            "KOPANO_USERSCRIPT_LOCALE": found.get("KOPANO_USERSCRIPT_LOCALE", "C")}


def _is_stale(machine: Machine, service: Service, living: list[Process],
              deadline: float) -> bool:
    """Tell whether a service's pid file names no living process of it.

    Kopano's own test is the command line, which is empty for a zombie and for a kernel thread, and
    these it takes for itself (measured with pid 2). Ours is the program that runs.
    """
    content = _content(machine, service.pid_file, _LONGEST_PID, deadline)
    if content is None:
        return False
    text = content.strip(b" \t\r\n\0")
    if text and not text.isdigit():
        return False
    return int(text or 0) not in [process.pid for process in living]


def _is_socket(machine: Machine, path: str, deadline: float) -> bool:
    """Tell whether a path is a socket: it cannot be opened as a file."""
    return _content(machine, path, 0, deadline) == b""


def _content(machine: Machine, path: str, limit: int, deadline: float) -> bytes | None:
    """Return a small file's content, b"" for a socket, None for what is large, no file, or absent.

    In a child unless it is in /run: the configuration may name any path, also one on the shared
    disk.
    """
    def read_leftover() -> bytes:
        # "pid_file = /dev/null" is a way to have none, and reads like an empty one.
        if machine.files.is_device(path):
            return b"-"
        try:
            return b"+" + machine.files.read(path, limit)
        except OSError as error:
            return b"+" if error.errno == errno.ENXIO else b"-"
        except errors.MailhaError:
            return b"-"

    if path.startswith(("/run/", "/var/run/")):
        found = read_leftover()
    else:
        try:
            left = deadline - machine.clock.monotonic()
            found = machine.children.bounded(read_leftover, timeout=max(0.1, left))
        except ChildFailed:
            return None
    return found[1:] if found[:1] == b"+" else None


def _short(path: str) -> str:
    """Return the one spelling of a path in /run, which /var/run leads to."""
    return path[len("/var"):] if path.startswith("/var/run/") else path
