# SPDX-License-Identifier: GPL-2.0-or-later
"""Which Kopano is installed here."""

from __future__ import annotations

import re
from typing import Iterable

from mailha import errors
from mailha.mailserver import packages
from mailha.storage.version import Version
from mailha.system.child_failures import ChildFailed
from mailha.system.machine import Machine

SERVER = "/usr/sbin/kopano-server"

PACKAGE = "kopano-server"

_PROGRAMS = {"statsd": "/usr/libexec/kopano/kopano-statsd"}
# "kopano-server 8.7.25" is what 8.x to 11.x print; "Product version: 8,0,0,1" some before.
_PRINTED = (re.compile(r"[Pp]roduct version:\s*v?([0-9][0-9A-Za-z.,+~^_-]*)"),
            re.compile(r"kopano-server\s+v?([0-9][0-9A-Za-z.,+~^_-]*)"))


def installed_version(machine: Machine, timeout: float) -> Version:
    """Return the version of kopano-server on this machine.

    The package database is asked first, because it knows the build too; a Kopano that did not come
    as a package is asked itself. timeout: seconds for all of it. Raises errors.NotInstalled, and
    errors.Failed if the program is there and does not say.
    """
    deadline = machine.clock.monotonic() + timeout
    try:
        found = packages.version(machine, PACKAGE, _share(machine, deadline, 3) * 2)
    except packages.Silent:
        found = None
    if found is not None:
        return found
    if not machine.files.exists(SERVER):
        raise errors.NotInstalled(
            f"Kopano is not installed here: neither a package kopano-server nor {SERVER}",
            remedy="install the version that the other node has")
    try:
        # Some builds end with a code other than 0 after -V; what counts is what they print.
        printed = machine.children.run([SERVER, "-V"], timeout=_share(machine, deadline, 1),
                                       accept=range(256)).stdout
    except ChildFailed as error:
        raise errors.Failed(f"'{SERVER} -V' does not tell its version: {error.reason}",
                            remedy="run it by hand; libraries may be missing") from None
    return _printed(printed.decode("utf-8", "replace"))


def program(service: str) -> str:
    """Return the path of a service's program."""
    return _PROGRAMS.get(service, f"/usr/sbin/kopano-{service}")


def absent(machine: Machine, services: Iterable[str]) -> tuple[str, ...]:
    """Return those of the services whose program is not on this machine."""
    return tuple(each for each in services if not machine.files.exists(program(each)))


def _printed(text: str) -> Version:
    for pattern in _PRINTED:
        match = pattern.search(text)
        if match:
            try:
                return Version(match.group(1).rstrip(".,").replace(",", "."))
            except errors.MailhaError:
                break
    first = "".join(char if char.isprintable() else " " for char in text[:80]).strip()
    raise errors.Failed(f"'{SERVER} -V' does not tell its version but '{first}'",
                        remedy="look whether that is really Kopano's server")


def _share(machine: Machine, deadline: float, questions: int) -> float:
    """Return how long the next of so many questions may take."""
    return max(0.1, (deadline - machine.clock.monotonic()) / questions)
