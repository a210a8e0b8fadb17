# SPDX-License-Identifier: GPL-2.0-or-later
"""ocf:mailha:kopano, the services of a Kopano groupware server as one resource.

This is its declaration. What each action does stands in the module of that name, which is loaded
when the action is called; so do the parameters.
"""

from __future__ import annotations

from mailha.ocf import Action, Agent

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Iterable, Mapping

    from mailha.errors import MailhaError
    from mailha.ocf import Parameter
    from mailha.ocf.call import Call
    from mailha.services.evidence import Sight
    from mailha.services.service import Group
    from mailha.system.machine import Machine


def _start(call: Call, machine: Machine | None = None) -> None:
    """Start the group on this node."""
    from mailha.agents.kopano.start import KopanoStart
    KopanoStart(call, machine or _machine()).run()


def _stop(call: Call, machine: Machine | None = None) -> None:
    """Stop the group on this node."""
    from mailha.agents.kopano.plan import bare_group
    from mailha.mailserver.stop import stop
    stop(call, machine or _machine(), bare=bare_group, tidy_up=_tidy_up)


def _monitor(call: Call, machine: Machine | None = None) -> None:
    """Probe the group, or watch it."""
    from mailha.mailserver.monitor import monitor
    monitor(call, machine or _machine(), unrecorded=_unrecorded, converse=_converse)


def _reload_agent(call: Call, machine: Machine | None = None) -> None:
    """Take over changed parameters: each action reads them anew, so there is nothing to do."""
    call.log.info("the changed parameters are in force")


def _findings(call: Call, machine: Machine | None = None) -> Iterable[MailhaError]:
    """Return what a start would find wrong on this node."""
    from mailha.agents.kopano.validate import findings as find
    return find(call, machine or _machine())


def _contradictions(values: Mapping[str, Any]) -> Iterable[str]:
    from mailha.agents.kopano.parameters import contradictions
    return contradictions(values)


def _parameters() -> tuple[Parameter, ...]:
    from mailha.agents.kopano.parameters import PARAMETERS
    return PARAMETERS


def _tidy_up(call: Call, machine: Machine, group: Group) -> None:
    """Remove what dead services have left, as far as there is time for it."""
    from mailha.products.kopano import leftovers
    leftovers.clear(machine, list(group.services), timeout=call.left() / 2)


def _unrecorded(call: Call, machine: Machine) -> Group:
    """Return the group on a node where no start has left its record."""
    from mailha.agents.kopano.unrecorded import group
    return group(call, machine)


def _converse(call: Call, machine: Machine, group: Group, seen: list[Sight]) -> None:
    """Talk to every service that serves by all other evidence."""
    from mailha.agents.kopano.conversation import hold
    hold(call, machine, group, seen)


def _machine() -> Machine:
    from mailha.system.machine import Machine
    return Machine()


AGENT = Agent(
    "kopano",
    short="Runs the services of a Kopano groupware server",
    long="""\
Runs the services of Kopano Core 8.x to 11.x (server, spooler, dagent, monitor, gateway, ical and
others) as one resource. Put it last into a group behind ocf:mailha:fencing-guard, the Filesystem
with /var/lib/kopano and the IPaddr2 with the address that Kopano listens on; its database has to be
reachable, which an order constraint ensures.

start returns when every service truly serves. It refuses to start without working STONITH, over a
data directory that is not mounted, without the address that the configuration names, with
configuration keys of another version of Kopano, and with software that is older than what last ran
on the data. A newer release waits for 'mailha accept-version RESOURCE', because Kopano upgrades its
database then and there is no way back.

monitor looks at units, processes and listening sockets without connecting (depth 0), reads the
greeting of every service (depth 10), or logs on and opens a store (depth 20). A database that
cannot be reached is reported as "degraded" and does not make Kopano fail over: it finds its
database again by itself.

stop sends one SIGTERM to each service, is patient, kills only at the end of its time, and proves
that nothing is left. The timeouts of start and stop are long because the first start after an
update upgrades the database, which must not be interrupted.

Units are run by systemd, guarded by a drop-in against every start outside the cluster. They need
not be disabled, but disabling them spares a warning.""",
    parameters=_parameters,
    actions=(
        Action("start", _start, timeout=600),
        Action("stop", _stop, timeout=600),
        Action("monitor", _monitor, timeout=60, interval=30, depth=0),
        Action("monitor", _monitor, timeout=60, interval=120, depth=10),
        Action("reload-agent", _reload_agent, timeout=20),
    ),
    check=_contradictions,
    findings=_findings,
)
