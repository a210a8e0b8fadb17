# SPDX-License-Identifier: GPL-2.0-or-later
"""Services that work on the data in their units although no start of the cluster has begun them.

On a node that has no guards yet, the boot starts enabled units between the probe and the start of
the resource, and before the disks are mounted. Such a PostgreSQL, Postfix or Cyrus has its files in
the directories below the mounts: it greets like any other, and all that it takes is lost with the
next changeover. So it is started anew.

What runs in a unit that was guarded before it began, on the other hand, has been started by the
cluster, and only the record of that is lost; it is left alone.
"""

from __future__ import annotations

from mailha.services import evidence, guards
from mailha.services.service import SYSTEMD, Group
from mailha.services.stopping import Stop

TYPE_CHECKING = False
if TYPE_CHECKING:
    from mailha.ocf import Call
    from mailha.services.evidence import Sight
    from mailha.services.managers import DirectManager, SystemdManager
    from mailha.system.machine import Machine

# The part of the budget that they may take to end.
SHARE = 0.4
# Seconds by which age of a process and time of a file may differ.
SLACK = 1.0


def guarded_since(machine: Machine, group: Group) -> dict[str, float]:
    """Return when each unit's guard was written, by unit; units without one of ours are left out.

    To be asked before the start writes any. In seconds since 1970. Raises errors.Failed.
    """
    found = {}
    for service in group.services:
        if group.manager == SYSTEMD and guards.owner(machine, service.unit) == group.resource:
            written = machine.files.modified(guards.path_of(service.unit))
            if written is not None:
                found[service.unit] = written
    return found


def end(call: Call, machine: Machine, group: Group, manager: SystemdManager | DirectManager,
        guarded: dict[str, float]) -> None:
    """Stop the strangers among the services, if there are any; the start then begins them anew.

    To be called where no record was, when the guards are in force. guarded: of guarded_since().
    Raises errors.Failed if one does not end.
    """
    if group.manager != SYSTEMD:
        return
    seen = evidence.look(machine, group, timeout=call.left() / 8, sockets=False)
    found = [sight.service for sight in seen if sight.service.touches_data
             and _is_stranger(machine, sight, guarded.get(sight.service.unit))]
    if not found:
        return
    call.log.warning(
        f"{', '.join(service.name for service in found)} runs already, and was not started by the "
        "cluster: it is started anew, because it may have its files below the mounts; 'mailha "
        "guards on' keeps it from being started by a boot")
    Stop(machine, Group(group.resource, group.manager, found), manager,
         deadline=machine.clock.monotonic() + call.left() * SHARE, log=call.log).run()


def _is_stranger(machine: Machine, sight: Sight, guarded: float | None) -> bool:
    """Tell whether a process of a service is older than the guard of its unit."""
    if not sight.processes or guarded is None:
        return bool(sight.processes)
    oldest = max(machine.processes.age(process) for process in sight.processes)
    return machine.clock.wall() - oldest < guarded - SLACK
