# SPDX-License-Identifier: GPL-2.0-or-later
"""ocf:mailha:bluemind, the services of a BlueMind mail server as one resource.

This is its declaration. What each action does stands in the module of that name or in the room
mailserver, and is loaded when the action is called; so are the parameters.
"""

from __future__ import annotations

from mailha.ocf import Action, Agent

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Iterable, Mapping

    from mailha.errors import Degraded, MailhaError
    from mailha.ocf import Parameter
    from mailha.ocf.call import Call
    from mailha.services.evidence import Sight
    from mailha.services.service import Group
    from mailha.system.machine import Machine

# What dpkg and rpm call the packages of the services.
_PACKAGES = ("bm-*", "postgresql*", "postfix*", "nginx*")


def _start(call: Call, machine: Machine | None = None) -> None:
    """Start the group on this node."""
    from mailha.agents.bluemind.start import BlueMindStart
    BlueMindStart(call, machine or _machine()).run()


def _stop(call: Call, machine: Machine | None = None) -> None:
    """Stop the group on this node."""
    from mailha.agents.bluemind.plan import bare_group
    from mailha.mailserver.stop import stop
    stop(call, machine or _machine(), bare=bare_group)


def _monitor(call: Call, machine: Machine | None = None) -> None:
    """Probe the group, or watch it."""
    from mailha.agents.bluemind import talk
    from mailha.mailserver.monitor import monitor
    monitor(call, machine or _machine(), unrecorded=_unrecorded, converse=talk.converse,
            watch=talk.watch, excuse=_excuse)


def _reload_agent(call: Call, machine: Machine | None = None) -> None:
    """Take over changed parameters: each action reads them anew, so there is nothing to do."""
    call.log.info("the changed parameters are in force")


def _findings(call: Call, machine: Machine | None = None) -> Iterable[MailhaError]:
    """Return what a start would find wrong on this node."""
    from mailha.agents.bluemind.validate import findings as find
    return find(call, machine or _machine())


def _unrecorded(call: Call, machine: Machine) -> Group:
    """Return the group on a node where no start has left its record."""
    from mailha.agents.bluemind.plan import probed
    return probed(call, machine)


def _excuse(call: Call, machine: Machine, group: Group, seen: list[Sight]) -> Degraded | None:
    """Return why missing services are not to be recovered, None if they are.

    Who ran out of memory is told before the recovery takes the trace away, and which version runs
    is recorded before another node may take over.
    """
    from mailha import errors
    from mailha.agents.bluemind import record
    from mailha.mailserver import updating
    from mailha.products.bluemind import memory
    for line in memory.news(machine, group.resource, seen, max(1.0, call.left() / 8)):
        call.log.warning(line)
    record.keep(call, machine, seen)
    why = updating.excuse(machine, group.resource, _PACKAGES,
                          patience=call.parameters["update_timeout"],
                          timeout=max(1.0, call.left() / 4))
    if not why:
        return None
    missing = ", ".join(sight.service.name for sight in seen if not sight.serves)
    return errors.Degraded(f"{missing} does not serve, while {why}")


def _contradictions(values: Mapping[str, Any]) -> Iterable[str]:
    from mailha.agents.bluemind.parameters import contradictions
    return contradictions(values)


def _parameters() -> tuple[Parameter, ...]:
    from mailha.agents.bluemind.parameters import PARAMETERS
    return PARAMETERS


def _machine() -> Machine:
    from mailha.system.machine import Machine
    return Machine()


AGENT = Agent(
    "bluemind",
    short="Runs the services of a BlueMind mail server",
    long="""\
Runs the services of BlueMind 3.x, 4.x and 5.x (bm-core, Cyrus or the core's own IMAP, Postfix,
PostgreSQL, Elasticsearch, nginx and all others) as one resource. Put it last into a group behind
ocf:mailha:fencing-guard, the Filesystems with the shared directories, the IPaddr2 with the address
that bm.ini names, and ocf:mailha:cyrus-storage.

start starts the units one by one in their order, never bluemind.target, and returns when every
service truly serves: bm-core by its state, the others by the greeting that is their own. A BlueMind
that an administrator has brought into UPGRADE, MAINTENANCE, CLONING or DEMOTED is a success with a
warning. It refuses to start without working STONITH, over directories that are not mounted, without
bm.ini, bm-core.tok and mcast.id (server.uid too since 4.0), without the address that bm.ini names,
on a clone of BlueMind's own replication, and with software that is older than what last ran on the
data. A newer release waits for 'mailha accept-version RESOURCE', because BlueMind upgrades its
database then and there is no way back.

monitor looks at units, processes and listening sockets and asks bm-core for its state (depth 0), or
reads the greeting of every service and the health of the index (depth 10). Administrative states,
an index that is not whole, and optional services that are down are "degraded".

stop stops the units by name, waits until each control group is empty, kills only at the end of its
time, and proves that nothing is left before the disks may go.

Units are run by systemd, guarded by a drop-in against every start outside the cluster: an update of
packages on the passive node starts nothing. They need not be disabled, but disabling them spares a
warning. bm-pimp, bm-iptables, memcached and telegraf are left to systemd on every node.""",
    parameters=_parameters,
    actions=(
        Action("start", _start, timeout=900),
        Action("stop", _stop, timeout=600),
        Action("monitor", _monitor, timeout=60, interval=30, depth=0),
        Action("monitor", _monitor, timeout=90, interval=120, depth=10),
        Action("reload-agent", _reload_agent, timeout=20),
    ),
    check=_contradictions,
    findings=_findings,
)
