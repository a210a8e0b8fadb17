# SPDX-License-Identifier: GPL-2.0-or-later
"""The monitor of ocf:mailha:kopano: what it loads is loaded every few seconds for years.

Depth 0 needs the record that start has left, and no configuration file. The other depths begin with
it.
"""

from __future__ import annotations

from mailha import errors
from mailha.services import active, evidence, monitoring
from mailha.services.service import Group
from mailha.system.addresses import is_local

TYPE_CHECKING = False
if TYPE_CHECKING:
    from mailha.ocf import Call
    from mailha.system.machine import Machine

# The part of the budget that systemd may take for its answer.
SHARE_OF_SYSTEMD = 0.4
# Seconds that an address may be away: an IPv6 address is for a moment after a link has come back.
PATIENCE_WITH_ADDRESS = 3.0
PAUSE = 0.5


def monitor(call: Call, machine: Machine) -> None:
    """Return if the group runs here; raises as mailha.services.monitoring tells."""
    marked = False
    record = None
    try:
        record = active.read(machine, call.resource)
        marked = record is not None
    except active.RecordUnreadable as error:
        marked = True
        call.log.warning(str(error))
    if record is not None:
        group = Group(call.resource, record.manager, record.services,
                      call.parameters["optional_services"], record.mount_point)
    else:
        from mailha.agents.kopano import unrecorded
        group = unrecorded.group(call, machine)
    seen = evidence.look(machine, group, timeout=call.left() * SHARE_OF_SYSTEMD,
                         known=record.processes if record is not None else None)
    if call.is_probe:
        try:
            monitoring.probe(machine, group, seen, active=marked)
        except monitoring.LeftOver as finding:
            call.log.warning(str(finding))
            raise
        return
    degraded = None
    try:
        monitoring.judge(machine, group, seen)
        _miss(call, group)
    except errors.Degraded as finding:
        degraded = finding
    _require_ground(call, machine, group)
    if record is None:
        call.log.warning(f"{call.resource} serves, but {active.path_of(call.resource)} is gone: "
                         "its units could not be started again without a stop of the resource")
    if call.check_level >= 10:
        from mailha.agents.kopano import conversation
        conversation.hold(call, machine, group, seen)
    if degraded is not None:
        raise degraded


def _require_ground(call: Call, machine: Machine, group: Group) -> None:
    """Raise errors.Failed if data or address has gone from under services that run.

    They do not notice: what is written goes to a disk that nobody sees any more, and the address
    may be on another node by now.
    """
    if group.mount_point and call.parameters["require_mount"]:
        from mailha.storage import mountinfo
        mount = mountinfo.mount_of(machine, group.mount_point)
        if mount.mount_point != group.mount_point:
            raise errors.Failed(f"the disk with {call.parameters['data_dir']} is no longer mounted "
                                f"at {group.mount_point}", remedy="see who has unmounted it")
        if mount.read_only:
            raise errors.Failed(f"the disk with {call.parameters['data_dir']}, {mount.source}, has "
                                "become read-only", remedy="see the kernel's log for errors of it")
    hosts = {listening.host for service in group.services if group.required(service)
             for listening in service.listens if not is_local(listening.host, set())}
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


def _miss(call: Call, group: Group) -> None:
    """Raise errors.Degraded if start has left out a service that the parameters name.

    It leaves out only optional ones that could not run here, and has said why.
    """
    names = {service.name for service in group.services}
    missing = [name for name in call.parameters["services"] if name not in names]
    if missing:
        raise errors.Degraded(
            f"optional services were left out at the start: {', '.join(missing)}",
            remedy="the log of the start says why; 'crm_resource --restart' tries again")
