# SPDX-License-Identifier: GPL-2.0-or-later
"""What has to be done on the passive node after configuration has arrived.

A command is known by a short text ("postmap /etc/postfix/virtual", "daemon-reload", "reload
postfix"), so that what is due can be remembered; which program that is, is decided here and not by
the sender. None of them ever writes a file that is replicated, or the two nodes would differ
because of it: where the sender's virtual.db is replicated, nothing makes another one here.

A service is reloaded only if it runs here and nobody but systemd manages it: one that belongs to
the cluster is the cluster's, and is not running on the passive node anyway.
"""

from __future__ import annotations

import os
import re
from typing import Collection, Iterable, NamedTuple

from mailha import errors
from mailha.sync.files.selection import Selection
from mailha.sync.manifest import Manifest
from mailha.system.machine import Machine

TIMEOUT = 60.0
"""Seconds for one command."""

DAEMON_RELOAD, SYSCTL, NEWALIASES = "daemon-reload", "sysctl", "newaliases"
POSTMAP, RELOAD = "postmap ", "reload "

_TYPES = (".db", ".lmdb", ".cdb", ".dbm")
_UNITS = ("/etc/systemd/system/", "/usr/local/lib/systemd/system/", "/usr/lib/systemd/system/",
          "/lib/systemd/system/")
_SYSCTL = ("/etc/sysctl.conf", "/etc/sysctl.d/")
_POSTFIX = "/etc/postfix/"
_ALIASES = ("/etc/aliases", "/etc/mail/aliases", "/etc/postfix/aliases")
_NO_MAPS = ("main.cf", "master.cf", "dynamicmaps.cf", "makedefs.out", "postfix-files")
# Who writes such a drop-in manages the unit: our guard, and Pacemaker's for its class "systemd".
_MANAGED = ("/zz-mailha.conf", "pacemaker.conf")


class Service(NamedTuple):
    """A service that runs on both nodes.

    units: its names. paths: what it reads. check: the command that must find its configuration
    right before it is reloaded; the first program that is there.
    """

    units: tuple[str, ...]
    paths: tuple[str, ...]
    check: tuple[tuple[str, ...], ...]


SERVICES = {
    "postfix": Service(("postfix.service",), (_POSTFIX,), (("postfix", "check"),)),
    "apache": Service(("apache2.service", "httpd.service"), (
        "/etc/apache2/", "/etc/httpd/", "/etc/kopano/webapp/", "/etc/kopano/web/"),
        (("apache2ctl", "configtest"), ("apachectl", "configtest"))),
    "nginx": Service(("nginx.service",), ("/etc/nginx/",), (("nginx", "-t"),)),
}


class Hooks:
    """Decides what is due after changes, and does it.

    services: names of SERVICES that run on both nodes. sysctl: whether kernel settings are to be
    loaded. replicated: what decides whether a file that a command makes is replicated.
    """

    def __init__(self, machine: Machine, selection: Selection, manifest: Manifest,
                 services: Collection[str], *, sysctl: bool) -> None:
        self._machine = machine
        self._selection = selection
        self._manifest = manifest
        self._services = [name for name in SERVICES if name in services]
        self._sysctl = sysctl
        self._end: float | None = None

    def due(self, paths: Iterable[str]) -> set[str]:
        """Return what is due once these paths have changed."""
        found = set()
        for path in paths:
            if path.startswith(_UNITS):
                found.add(DAEMON_RELOAD)
            elif path.startswith(_SYSCTL):
                if self._sysctl:
                    found.add(SYSCTL)
            elif path in _ALIASES:
                found.add(NEWALIASES)
            elif path.startswith(_POSTFIX) and not path.endswith(_TYPES) \
                    and os.path.basename(path) not in _NO_MAPS:
                found.add(POSTMAP + path)
            for name in self._services:
                if path.startswith(SERVICES[name].paths):
                    found.add(RELOAD + name)
        return found

    def run(self, names: Iterable[str], timeout: float | None = None) -> dict[str, str]:
        """Do what is due, in the right order; return why something failed, by name.

        timeout: seconds for all of it together, None for as long as each may take.
        """
        failures = {}
        self._end = None if timeout is None else self._machine.clock.monotonic() + timeout
        for name in sorted(names, key=_rank):
            if self._left() <= 0.0:
                failures[name] = "there was no time left for it"
                continue
            try:
                self._run(name)
            except errors.MailhaError as error:
                failures[name] = str(error)
        return failures

    def _run(self, name: str) -> None:
        if name == DAEMON_RELOAD:
            if self._machine.systemd.running():
                self._machine.systemd.reload(timeout=max(0.1, self._left()))
        elif name == SYSCTL:
            self._command("sysctl", "--system")
        elif name == NEWALIASES:
            if any(self._makes(path) for path in _ALIASES):
                self._command("newaliases")
        elif name.startswith(POSTMAP):
            self._postmap(name[len(POSTMAP):])
        elif name.startswith(RELOAD) and name[len(RELOAD):] in SERVICES:
            self._reload(SERVICES[name[len(RELOAD):]])

    def _postmap(self, path: str) -> None:
        """Make the table of a map, if this node has one that is its own."""
        if self._makes(path) and os.path.isfile(self._machine.root + path):
            kind = self._kind_of_map(path)
            self._command("postmap", f"{kind}:{path}" if kind else path)

    def _makes(self, path: str) -> bool:
        """Tell whether a table made from a path is this node's own to make."""
        tables = [path + ending for ending in _TYPES if path + ending not in self._manifest]
        if any(os.path.exists(self._machine.root + table) for table in tables):
            return True
        # None yet, and none will come. Of a README or a key nobody wants a table.
        return any(self._selection.why_not(table) for table in tables) \
            and os.path.exists(self._machine.root + path) \
            and (path in _ALIASES or self._kind_of_map(path) is not None)

    def _kind_of_map(self, path: str) -> str | None:
        """Return the kind of table that Postfix reads ("hash"), "" for its usual one.

        None if its configuration does not name the path as a map.
        """
        expression = re.compile(r"(?:\b(hash|btree|lmdb|cdb|dbm|sdbm)|default_database_type\}?):"
                                + re.escape(path) + r"(?=[\s,}]|$)")
        for file in ("main.cf", "master.cf"):
            try:
                text = os.fsdecode(self._machine.files.read(_POSTFIX + file))
            except (OSError, errors.Failed):
                continue
            for line in text.splitlines():
                if not line.lstrip().startswith("#"):
                    found = expression.search(line)
                    if found:
                        return found.group(1) or ""
        return None

    def _reload(self, service: Service) -> None:
        """Reload a service that runs here and is nobody else's, if its configuration is right."""
        if not self._machine.systemd.running():
            return
        units = self._machine.systemd.units(service.units, timeout=max(0.1, self._left()))
        running = [unit for unit in service.units if units[unit].active == "active"]
        for unit in running:
            properties = self._machine.systemd.properties(unit, timeout=max(0.1, self._left()))
            drop_ins = properties.get("DropInPaths", ())
            paths = drop_ins.split() if isinstance(drop_ins, str) else list(drop_ins)
            if any(path.endswith(_MANAGED) for path in paths):
                continue
            self._check(service)
            self._command("systemctl", "reload", unit)

    def _check(self, service: Service) -> None:
        from mailha.system.child_failures import ChildMissing
        for number, command in enumerate(service.check):
            try:
                self._command(*command)
                return
            except ChildMissing:
                if number == len(service.check) - 1:
                    raise

    def _left(self) -> float:
        """Return how many seconds the next command may take."""
        if self._end is None:
            return TIMEOUT
        return min(TIMEOUT, self._end - self._machine.clock.monotonic())

    def _command(self, *argv: str) -> None:
        self._machine.children.run(argv, timeout=max(0.1, self._left()))


def _rank(name: str) -> tuple[int, str]:
    """Order: systemd and the kernel first, services last, when all that they read is there."""
    if name in (DAEMON_RELOAD, SYSCTL):
        return 0, name
    return (2 if name.startswith(RELOAD) else 1), name
