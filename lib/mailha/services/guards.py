# SPDX-License-Identifier: GPL-2.0-or-later
"""The drop-in that keeps a managed unit from running outside the cluster.

A unit that is enabled at boot, pulled in by another one, started by an upgrade of its package or by
a hurried administrator would run beside the cluster's copy and damage the data. With the guard it
runs only where the record of an active group exists (see active.py). systemd skips a start whose
condition does not hold, and calls that a success; so start proves that the guard is in force and
that its condition holds, lest the guard itself stop a healthy start.
"""

from __future__ import annotations

from mailha import errors
from mailha.services import active
from mailha.services.service import Service

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from mailha.system.machine import Machine

# Permanent, because the node must be safe right after a boot. The name sorts behind those that
# administrators choose (override.conf), because the last word on Restart= must be ours.
DIRECTORY = "/etc/systemd/system"
NAME = "zz-mailha.conf"
MARK = "# mailha guard of the cluster resource "
INFINITY = 2 ** 64 - 1


class GuardNotInForce(errors.Failed):
    """The guard was written and systemd does not obey it."""


def path_of(unit: str) -> str:
    """Return the guard's path for a unit, by the unit's own name and not an alias."""
    return f"{DIRECTORY}/{unit}.d/{NAME}"


def text(resource: str) -> str:
    """Return the drop-in for a resource."""
    # "%" begins a specifier in unit files.
    marker = active.path_of(resource).replace("%", "%%")
    return f"""{MARK}{resource}
# Only the cluster starts this unit: 'crm resource start' or 'pcs resource enable'.
# To take the unit out of the cluster's hands: 'mailha guards off'.
[Unit]
ConditionPathExists={marker}
# At shutdown Pacemaker stops first, and stops this unit by its own order.
Before=pacemaker.service pacemaker_remote.service
[Service]
# Pacemaker recovers; two that restart the same service work against each other.
Restart=no
# The agent escalates to SIGKILL itself: systemd's 90 s would cut a database upgrade.
TimeoutStopSec=infinity
"""


def owner(machine: Machine, unit: str) -> str:
    """Return the resource whose guard the unit carries, "" if it carries none.

    Raises errors.Failed if a guard cannot be read.
    """
    path = path_of(unit)
    try:
        content = machine.files.read(path).decode("utf-8", "replace")
    except (FileNotFoundError, NotADirectoryError):
        return ""
    except OSError as error:
        raise errors.Failed(f"cannot read {path}: {error.strerror}") from None
    first = content.partition("\n")[0]
    return first[len(MARK):] if first.startswith(MARK) else "?"


def set_up(machine: Machine, unit: str, resource: str) -> bool:
    """Write the guard of a unit; False if it is there already. systemd has to be reloaded then.

    One that another resource has left is replaced: who may run a service is decided before, see
    active.refuse_sharing(). Raises errors.Failed.
    """
    path = path_of(unit)
    wanted = text(resource).encode("utf-8")
    if owner(machine, unit) == resource and machine.files.read(path) == wanted:
        return False
    machine.files.make_directory(path.rpartition("/")[0], 0o755)
    machine.files.write_atomic(path, wanted, 0o644)
    return True


def take_down(machine: Machine, unit: str) -> bool:
    """Remove the guard of a unit; False if it had none. systemd has to be reloaded then.

    Raises errors.Failed.
    """
    return machine.files.remove(path_of(unit))


def flaw(properties: dict[str, Any], resource: str) -> str:
    """Return what the guard of a unit lacks in systemd's eyes, "" if it is in force.

    properties: of the unit, as systemd has read it. Where D-Bus cannot be used, systemctl shows no
    conditions ("[unprintable]"); then it has to do that systemd has read the drop-in.
    """
    if isinstance(properties.get("Conditions"), str):
        return _flaw_as_text(properties)
    marker = active.path_of(resource)
    conditions = [row for row in properties.get("Conditions", [])
                  if row[0] == "ConditionPathExists" and row[3] == marker]
    if not conditions:
        return "systemd does not see its condition"
    # A condition with "|" is one of several of which any will do, one with "!" the opposite.
    if any(row[1] or row[2] for row in conditions):
        return "its condition is weakened by '|' or '!'"
    if properties.get("Restart", "no") != "no":
        return f"Restart={properties['Restart']} is in force"
    if properties.get("TimeoutStopUSec", INFINITY) != INFINITY:
        return "its TimeoutStopSec=infinity is not in force"
    return ""


def _flaw_as_text(properties: dict[str, Any]) -> str:
    """Do what flaw() does, with the texts of `systemctl show`."""
    read = str(properties.get("DropInPaths", "")).split()
    if path_of(str(properties.get("Id", ""))) not in read:
        return "systemd has not read it"
    if properties.get("NeedDaemonReload") == "yes":
        return "systemd has read an older version of it"
    if properties.get("Restart", "no") != "no":
        return f"Restart={properties['Restart']} is in force"
    if properties.get("TimeoutStopUSec", "infinity") != "infinity":
        return "its TimeoutStopSec=infinity is not in force"
    return ""


def prepare(machine: Machine, services: list[Service], resource: str, *,
            timeout: float) -> dict[str, dict[str, Any]]:
    """Guard the units of the services and prove it; return the properties of each unit.

    timeout: seconds for systemd, all calls together. Raises errors.Failed, GuardNotInForce,
    errors.NotAllowedHere (see set_up), and what mailha.system.systemd raises.
    """
    deadline = machine.clock.monotonic() + timeout
    # The list has to be complete: a condition that somebody edits is in force after a reload only.
    changed = [set_up(machine, service.unit, resource) for service in services]
    if any(changed):
        machine.systemd.reload(timeout=_left(machine, deadline))
    properties, flaws = _examine(machine, services, resource, deadline)
    if flaws:
        # Somebody wrote our drop-in, or another one, and did not reload.
        machine.systemd.reload(timeout=_left(machine, deadline))
        properties, flaws = _examine(machine, services, resource, deadline)
    if flaws:
        unit, what = sorted(flaws.items())[0]
        raise GuardNotInForce(f"the guard {path_of(unit)} is not in force: {what}",
                              remedy=f"see which drop-in overrides it with 'systemctl cat {unit}'")
    return properties


def _examine(machine: Machine, services: list[Service], resource: str, deadline: float
             ) -> tuple[dict[str, dict[str, Any]], dict[str, str]]:
    """Return the properties of every unit, and the flaws of the guards that have one."""
    properties = {service.unit: machine.systemd.properties(
        service.unit, timeout=_left(machine, deadline)) for service in services}
    flaws = {unit: flaw(known, resource) for unit, known in properties.items()}
    return properties, {unit: what for unit, what in flaws.items() if what}


def _left(machine: Machine, deadline: float) -> float:
    return max(0.5, deadline - machine.clock.monotonic())
