# SPDX-License-Identifier: GPL-2.0-or-later
"""ocf:mailha:kopano, the services of a Kopano groupware server as one resource.

This is its declaration. What each action does stands in the module of that name, which is loaded
when the action is called.
"""

from __future__ import annotations

from mailha.ocf import Action, Agent, Parameter
from mailha.validation.text import Boolean, Choice, Name, Path, Words

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Iterable, Mapping

    from mailha.errors import MailhaError
    from mailha.ocf.call import Call
    from mailha.system.machine import Machine

# Those of mailha.profiles.kopano, which a monitor does not load; a test keeps the two equal.
SERVICES = ("server", "search", "spooler", "dagent", "monitor", "gateway", "ical", "presence",
            "spamd", "statsd", "grapi", "kapid", "konnect")
USUAL = "server spooler dagent monitor gateway ical"


def start(call: Call, machine: Machine | None = None) -> None:
    """Start the group on this node."""
    from mailha.agents.kopano.start import start as act
    act(call, machine or _machine())


def stop(call: Call, machine: Machine | None = None) -> None:
    """Stop the group on this node."""
    from mailha.agents.kopano.stop import stop as act
    act(call, machine or _machine())


def monitor(call: Call, machine: Machine | None = None) -> None:
    """Probe the group, or watch it."""
    from mailha.agents.kopano.monitor import monitor as act
    act(call, machine or _machine())


def reload_agent(call: Call, machine: Machine | None = None) -> None:
    """Take over changed parameters: each action reads them anew, so there is nothing to do."""
    call.log.info("the changed parameters are in force")


def findings(call: Call, machine: Machine | None = None) -> Iterable[MailhaError]:
    """Return what a start would find wrong on this node."""
    from mailha.agents.kopano.validate import findings as find
    return find(call, machine or _machine())


def contradictions(parameters: Mapping[str, Any]) -> Iterable[str]:
    """Return which parameters contradict each other."""
    strangers = [name for name in parameters["optional_services"]
                 if name not in parameters["services"]]
    if strangers:
        yield (f"optional_services names {', '.join(strangers)}, which services does not; name "
               "there only what the resource runs")
    if set(parameters["services"]) == set(parameters["optional_services"]):
        yield ("optional_services names all services of the resource, so that nothing would ever "
               "be recovered; leave out at least one")
    if parameters["manager"] == "direct":
        unit_only = [name for name in parameters["services"]
                     if name in ("statsd", "grapi", "kapid", "konnect")]
        if unit_only:
            yield (f"{', '.join(unit_only)} can only be run by systemd; use manager=systemd, or "
                   "leave it out of services")


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
    parameters=(
        Parameter("services", Words(allowed=SERVICES), default=USUAL,
                  short="services that this resource runs",
                  long=f"""\
The services that this resource runs, separated by blanks, in any order: {' '.join(SERVICES)}.
Several resources may share the work, for example one for the server and one with critical=false
for gateway and ical, but two resources must not name the same service."""),
        Parameter("optional_services", Words(allowed=SERVICES), default="", reloadable=True,
                  short="services whose failure only degrades",
                  long="""\
Those of services without which mail goes on. When one of them fails, monitor reports "degraded" and
nothing is restarted; a start does not fail because of it."""),
        Parameter("data_dir", Path(), default="/var/lib/kopano",
                  short="directory of Kopano's data",
                  long="""\
The directory with Kopano's data: attachments, search index. The version that last ran is recorded
here, too. Kopano would silently make an empty one in place of one that is not mounted."""),
        Parameter("require_mount", Boolean(), default="true", reloadable=True,
                  short="require that data_dir is mounted",
                  long="""\
Whether start insists that data_dir is a mount point, or has a file called .mailha-data in it. Put
that file there, with the disk mounted, if data_dir is a directory on a larger mounted disk. Say
false only if the data is on the node's own disk."""),
        Parameter("config_dir", Path(), default="/etc/kopano",
                  short="directory of Kopano's configuration files",
                  long="The directory with server.cfg, gateway.cfg and the others."),
        Parameter("binary_dir", Path(), default="/usr/sbin",
                  short="directory of Kopano's programs",
                  long="The directory with kopano-server, kopano-gateway and the others."),
        Parameter("manager", Choice("systemd", "direct"), default="systemd",
                  short="who runs the services",
                  long="""\
systemd runs the units kopano-SERVICE.service and is right wherever Kopano brought units. direct
lets the agent run the programs itself, for a Kopano without units."""),
        Parameter("require_stonith", Boolean(), default="true", reloadable=True,
                  short="require that the other nodes can be fenced",
                  long="""\
Whether start insists that STONITH is on and covers every other node. Kopano has no protection of
its own: two servers on the same data destroy it. Say false only if a fencing-guard in front of it
asks the same."""),
        Parameter("manual_node", Name(), default="", reloadable=True,
                  short="the only node that may run it without STONITH",
                  long="""\
For changeover by hand in a cluster without STONITH: the name of the one node that may run the
resource. To change over, make certain that this node is off, then name the other one."""),
    ),
    actions=(
        Action("start", start, timeout=600),
        Action("stop", stop, timeout=600),
        Action("monitor", monitor, timeout=60, interval=30, depth=0),
        Action("monitor", monitor, timeout=60, interval=120, depth=10),
        Action("reload-agent", reload_agent, timeout=20),
    ),
    check=contradictions,
    findings=findings,
)
