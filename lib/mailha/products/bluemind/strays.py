# SPDX-License-Identifier: GPL-2.0-or-later
"""By which programs Cyrus, Postfix and PostgreSQL are found outside of their units.

Somebody starts them by hand, or an init script without systemd does. Only where the data is
mounted: elsewhere they are the node's own, which cannot touch it. BlueMind's Java services are
known by their class.
"""

from __future__ import annotations

from mailha import errors
from mailha.profiles import bluemind as profile
from mailha.profiles import cyrus
from mailha.services.service import Searched
from mailha.storage import mounted

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Mapping

    from mailha.system.machine import Machine

_CYRUS = [f"{home}/{name}" for home in (*cyrus.PROGRAM_DIRECTORIES, "/usr/sbin")
          for name in (*cyrus.MASTERS, *cyrus.DAEMONS)]


def programs(machine: Machine, name: str) -> list[Searched]:
    """Return the programs of a service; none for one that has none of its own."""
    if name == "cyrus":
        # Another Cyrus on this node has a file of its own.
        return [Searched(path, "-C", profile.CYRUS_FILE, profile.CYRUS_FILE) for path in _CYRUS]
    if name == "postfix":
        return [Searched(path) for path in profile.POSTFIX_PROGRAMS]
    if name == "postgresql":
        paths = ["/usr/bin/postgres", *(
            form.format(base, version) for base, form in profile.POSTGRESQL_PROGRAMS
            for version in machine.files.names(base)
            if base != "/usr" or version.startswith("pgsql"))]
        return [Searched(path, "-D", "", profile.POSTGRESQL_DATA) for path in paths]
    return []


def mounted_here(machine: Machine, directories: Mapping[str, tuple[str, ...]],
                 timeout: float) -> frozenset[str]:
    """Return the shared directories whose data is there, and not merely their place.

    timeout: seconds for all of them. Where that cannot be told it is taken to be there: a writer
    that is overlooked is worse than one that is doubted. One silent disk is waited for, and then
    nothing more is asked: a probe has a minute for all that it does.
    """
    deadline = machine.clock.monotonic() + timeout
    found = set()
    for path in directories:
        left = deadline - machine.clock.monotonic()
        try:
            if left > 0:
                mounted.require(machine, path, timeout=left)
        except mounted.NotMounted:
            continue
        except errors.MailhaError:
            deadline = machine.clock.monotonic()
        found.add(path)
    return frozenset(found)


def may_touch(directories: Mapping[str, tuple[str, ...]], here: frozenset[str], name: str) -> bool:
    """Tell whether a service may work on data that are here; one in no list may on any."""
    own = [path for path, users in directories.items() if name in users] or list(directories)
    return any(path in here for path in own)
