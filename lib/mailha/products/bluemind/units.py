# SPDX-License-Identifier: GPL-2.0-or-later
"""Under which name systemd knows a service of BlueMind on this node, and whether at all.

Debian's postgresql.service and postfix.service run nothing but /bin/true and stay "active (exited)"
whatever becomes of the daemons; those run in postgresql@VERSION-main.service and, up to Debian 12,
postfix@-.service. A resource that watched the first would never notice anything.
"""

from __future__ import annotations

from mailha import errors
from mailha.system.units import Unit

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Mapping

    from mailha.profiles import ServiceProfile
    from mailha.system.machine import Machine

PORT = 5432
# Who may want an instance, and where links for that are.
_WHO = ("bluemind.target", "bm-cyrus-imapd.service", "multi-user.target")
_PLACES = ("/etc/systemd/system", "/lib/systemd/system", "/usr/lib/systemd/system")
_CLUSTERS = "/etc/postgresql"
_INSTANCES = {"postfix.service": ("postfix@-.service",)}
# What a unit runs that only groups others.
_NOTHING = ("/bin/true", "/usr/bin/true")


def find(machine: Machine, services: Mapping[str, ServiceProfile], timeout: float
         ) -> dict[str, Unit]:
    """Return the unit of each service; load "not-found" where there is none under any name.

    timeout: seconds for each question to systemd. Raises units.SystemdUnavailable.
    """
    names = {name: candidates(machine, profile) for name, profile in services.items()}
    seen = machine.systemd.units(list(dict.fromkeys(
        each for candidate in names.values() for each in candidate)), timeout=timeout)
    found = {name: _first(machine, each, seen, timeout) for name, each in names.items()}
    for name, profile in services.items():
        if profile.wanted and not _is_wanted(machine, profile.unit):
            found[name] = Unit(profile.unit, "not-found", "inactive", "dead")
    return found


def _is_wanted(machine: Machine, unit: str) -> bool:
    """Tell whether another unit wants this instance of a template, and not only could."""
    return any(unit in machine.files.names(f"{place}/{who}.wants")
               for place in _PLACES for who in _WHO)


def candidates(machine: Machine, profile: ServiceProfile) -> list[str]:
    """Return the names that a service's unit may have, the best first."""
    found: list[str] = []
    for unit in (profile.unit, *profile.others):
        if unit == "postgresql.service":
            found += [f"postgresql@{version}-{cluster}.service"
                      for version, cluster in _clusters(machine)]
        found += [*_INSTANCES.get(unit, ()), unit]
    return found


def _clusters(machine: Machine) -> list[tuple[str, str]]:
    """Return version and name of Debian's clusters of PostgreSQL, the newest first.

    Those on BlueMind's port stand before all others: Debian makes a new cluster, on the next free
    port, when the package of a new version is installed.
    """
    versions = sorted((each for each in machine.files.names(_CLUSTERS)
                       if each.replace(".", "", 1).isdigit()),
                      key=lambda text: [int(part) for part in text.split(".")], reverse=True)
    found = [(version, cluster) for version in versions
             for cluster in machine.files.names(f"{_CLUSTERS}/{version}")]
    return sorted(found, key=lambda each: _port(machine, *each) != PORT)


def _port(machine: Machine, version: str, cluster: str) -> int:
    """Return the port of a cluster; PostgreSQL's own where its file names none, or is not there."""
    try:
        content = machine.files.read(f"{_CLUSTERS}/{version}/{cluster}/postgresql.conf")
    except (OSError, errors.MailhaError):
        return PORT
    found = PORT
    for line in content.decode("utf-8", "replace").splitlines():
        words = line.partition("#")[0].replace("=", " ").split()
        if words[:1] == ["port"] and len(words) > 1 and words[1].isascii() and words[1].isdigit():
            found = int(words[1][:6])
    return found


def _first(machine: Machine, names: list[str], seen: dict[str, Unit], timeout: float) -> Unit:
    """Return the first of a service's units that is there and is more than a bracket."""
    present = [seen[name] for name in names if seen[name].load != "not-found"]
    for unit in present:
        if "@" not in unit.name:
            return unit
        # A template has an instance of every name; it counts where the plain unit runs nothing.
        plain = next((each for each in present if each.name
                      == unit.name.partition("@")[0] + ".service"), None)
        if plain is None or _runs_nothing(machine, plain, timeout):
            return unit
    return present[0] if present else seen[names[-1] if "@" in names[0] else names[0]]


def _runs_nothing(machine: Machine, unit: Unit, timeout: float) -> bool:
    """Tell whether a unit only groups others."""
    if unit.load != "loaded":
        return False
    rows = machine.systemd.properties(unit.name, timeout=timeout).get("ExecStart") or []
    if isinstance(rows, str):
        # From systemctl, where D-Bus cannot be used: a text for people.
        return any(f"path={program} " in rows for program in _NOTHING)
    return bool(rows) and all(str(row[0]) in _NOTHING for row in rows)
