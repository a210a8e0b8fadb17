# SPDX-License-Identifier: GPL-2.0-or-later
"""The parameters of ocf:mailha:kopano, and what two of them cannot mean at once."""

from __future__ import annotations

from mailha.mailserver.parameters import MANUAL_NODE, REQUIRE_MOUNT, require_stonith
from mailha.ocf import Parameter
from mailha.validation.text import Choice, Path, Words

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Iterable, Mapping

# Those of mailha.profiles.kopano; a test keeps the two equal.
SERVICES = ("server", "search", "spooler", "dagent", "monitor", "gateway", "ical", "presence",
            "spamd", "statsd", "grapi", "kapid", "konnect")
USUAL = "server spooler dagent monitor gateway ical"


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


PARAMETERS = (
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
    REQUIRE_MOUNT,
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
    require_stonith("Kopano has no protection of\nits own: two servers on the same data destroy "
                    "it."),
    MANUAL_NODE,
)
