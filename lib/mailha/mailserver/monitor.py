# SPDX-License-Identifier: GPL-2.0-or-later
"""The monitor of a mail server: what it loads is loaded every few seconds for years.

Depth 0 needs the record that start has left, and no configuration file. The other depths begin with
it.

A recurring monitor loads this module.
"""

from __future__ import annotations

from mailha import errors
from mailha.services import active, evidence
from mailha.services.service import Group
from mailha.system.addresses import is_local

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Callable

    from mailha.ocf import Call
    from mailha.services.active import Active
    from mailha.services.evidence import Sight
    from mailha.system.machine import Machine

    Unrecorded = Callable[[Call, Machine], Group]
    Watch = Callable[[Call, Machine, Group, list[Sight]], "errors.Degraded | None"]
    Converse = Callable[[Call, Machine, Group, list[Sight]], None]
    Excuse = Callable[[Call, Machine, Group, list[Sight]], "errors.Degraded | None"]

# The part of the budget that systemd may take for its answer.
SHARE_OF_SYSTEMD = 0.4
# Seconds that an address may be away: an IPv6 address is for a moment after a link has come back.
PATIENCE_WITH_ADDRESS = 3.0
PAUSE = 0.5


def monitor(call: Call, machine: Machine, *, unrecorded: Unrecorded, converse: Converse,
            watch: Watch | None = None, excuse: Excuse | None = None) -> None:
    """Return if the group runs here; raises as mailha.services.monitoring tells.

    unrecorded: returns the group on a node where no start has left its record: the passive node, or
    a lost record. For a probe its programs are enough. converse: talks to every service that serves
    by all other evidence, at depth 10 and deeper; raises errors.Degraded and errors.Failed. watch:
    what is asked at every depth of a group that is faultless otherwise; returns what degrades it,
    or raises. excuse: returns why a group of which something is missing is degraded and not to be
    recovered, if there is such a reason; None if there is none.
    """
    damaged = False
    record = None
    try:
        record = active.read(machine, call.resource)
    except active.RecordUnreadable as error:
        damaged = True
        call.log.warning(str(error))
    group = _group(call, record) if record is not None else unrecorded(call, machine)
    seen = evidence.look(machine, group, timeout=call.left() * SHARE_OF_SYSTEMD,
                         known=record.processes if record is not None else None,
                         leaders=not call.is_probe)
    if call.is_probe:
        _probe(call, machine, group, seen, active=damaged or record is not None)
        return
    degraded = _judge(call, machine, group, seen, record, excuse)
    _require_ground(call, machine, group)
    if record is None:
        call.log.warning(f"{call.resource} serves, but {active.path_of(call.resource)} is gone: "
                         "its units could not be started again without a stop of the resource")
    if watch is not None:
        degraded = watch(call, machine, group, seen) or degraded
    if call.check_level >= 10:
        converse(call, machine, _with_optional(call, group), seen)
    if degraded is not None:
        raise degraded


def _group(call: Call, record: Active) -> Group:
    """Return what start has recorded.

    Which services are optional matters once one of them does not serve, and is read then.
    """
    return Group(call.resource, record.manager, record.services, (), record.mount_points)


def _with_optional(call: Call, group: Group) -> Group:
    """Return the group with what the parameters say of today about optional services."""
    return Group(group.resource, group.manager, group.services,
                 call.parameters.get("optional_services", ()), group.mount_points)


def _probe(call: Call, machine: Machine, group: Group, seen: list[Sight], *,
           active: bool) -> None:
    """Answer a probe; what is odd about a node where nothing runs goes to the log."""
    from mailha.services import monitoring
    try:
        monitoring.probe(machine, _with_optional(call, group), seen, active=active)
    except monitoring.LeftOver as finding:
        call.log.warning(str(finding))
        raise


def _judge(call: Call, machine: Machine, group: Group, seen: list[Sight],
           record: Active | None, excuse: Excuse | None) -> errors.Degraded | None:
    """Return None if everything serves, or what degrades it; raises all that is worse."""
    try:
        if not evidence.faultless(seen):
            from mailha.services import monitoring
            try:
                monitoring.judge(machine, _with_optional(call, group), seen)
            except (errors.Failed, errors.NotRunning):
                excused = excuse(call, machine, _with_optional(call, group), seen) \
                    if excuse is not None and record is not None else None
                if excused is None:
                    raise
                return excused
        if record is not None and record.left_out:
            raise errors.Degraded(
                f"optional services were left out at the start: {', '.join(record.left_out)}",
                remedy="the log of the start says why; 'crm_resource --restart' tries again")
    except errors.Degraded as finding:
        return finding
    return None


def _require_ground(call: Call, machine: Machine, group: Group) -> None:
    """Raise errors.Failed if data or address has gone from under services that run.

    They do not notice: what is written goes to a disk that nobody sees any more, and the address
    may be on another node by now.
    """
    if group.mount_points and not evidence.are_plainly_mounted(machine, group.mount_points) \
            and call.parameters["require_mount"]:
        for place in group.mount_points:
            _require_mount(machine, place)
    hosts = {listening.host for service in group.services for listening in service.listens}
    here = machine.sockets.local_addresses()
    if not all(is_local(host, here) for host in hosts):
        _require_addresses(call, machine, _with_optional(call, group))


def _require_mount(machine: Machine, mount_point: str) -> None:
    """Raise errors.Failed unless a disk that can be written to is visible at the mount point."""
    from mailha.storage import mountinfo
    mount = mountinfo.mount_of(machine, mount_point)
    if mount.mount_point != mount_point:
        raise errors.Failed(f"the disk with its data is no longer mounted at {mount_point}",
                            remedy="see who has unmounted it")
    if mount.read_only:
        raise errors.Failed(f"the disk with its data, {mount.source} at {mount_point}, has become "
                            "read-only", remedy="see the kernel's log for errors of it")


def _require_addresses(call: Call, machine: Machine, group: Group) -> None:
    """Raise errors.Failed unless each address of a required service is here, or comes back soon."""
    hosts = {listening.host for service in group.services if group.required(service)
             for listening in service.listens}
    end = machine.clock.monotonic() + min(PATIENCE_WITH_ADDRESS, call.left() / 4)
    while hosts:
        here = machine.sockets.local_addresses()
        hosts = {host for host in hosts if not is_local(host, here)}
        if hosts and machine.clock.monotonic() >= end:
            raise errors.Failed(f"{', '.join(sorted(hosts))}, on which it listens, is no longer an "
                                "address of this node", remedy="see who has taken it away; the "
                                "cluster brings it up with ocf:heartbeat:IPaddr2")
        if hosts:
            machine.clock.sleep(PAUSE)
