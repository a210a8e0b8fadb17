# SPDX-License-Identifier: GPL-2.0-or-later
"""The parameters of ocf:mailha:bluemind, and what two of them cannot mean at once."""

from __future__ import annotations

from mailha.mailserver.parameters import MANUAL_NODE, REQUIRE_MOUNT, require_stonith
from mailha.ocf import Parameter
from mailha.validation.numbers import Seconds
from mailha.validation.text import Path, Paths, Release, Words

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Iterable, Mapping

# Those of mailha.profiles.bluemind; a test keeps them equal.
SERVICES = ("postgresql", "node", "elasticsearch", "locator", "mq", "tika", "keydb", "zookeeper",
            "kafka", "core", "ysnp", "milter", "cyrus", "lmtpd", "postfix", "hps", "webserver",
            "eas", "mapi", "xmpp", "ips", "sds-proxy", "keycloak", "xivobridge", "php-fpm",
            "nginx", "syncclient0", "syncclient1", "syncclient2", "syncclient3")
OPTIONAL = ("tika keydb eas mapi xmpp ips sds-proxy keycloak xivobridge php-fpm syncclient0 "
            "syncclient1 syncclient2 syncclient3")
RELEASES = (3, 4, 5)
NONE = "none"


def contradictions(parameters: Mapping[str, Any]) -> Iterable[str]:
    """Return which parameters contradict each other."""
    optional = parameters["optional_services"]
    if NONE in optional and len(optional) > 1:
        yield f"optional_services says {NONE} and names services; say one of the two"
    if parameters["services"] and set(parameters["services"]) <= set(optional):
        yield ("optional_services covers all services of the resource, so that nothing would ever "
               f"be recovered; leave out at least one of them, or say optional_services={NONE}")


PARAMETERS = (
    Parameter("services", Words(allowed=SERVICES), default="",
              short="services that this resource runs",
              long=f"""\
The services that this resource runs, separated by blanks, in any order: {' '.join(SERVICES)}.
Not set, it runs all services of the installed release of BlueMind whose units exist on the node,
without those that the administrator has disabled with /etc/bm/UNIT.disabled. Several resources may
share the work, but two resources must not name the same service."""),
    Parameter("optional_services", Words(allowed=(*SERVICES, NONE)), default=OPTIONAL,
              reloadable=True,
              short="services whose failure only degrades",
              long=f"""\
Services without which mail goes on. When one of them fails, monitor reports "degraded" and nothing
is restarted; a start does not fail because of it. Those that the resource does not run are of no
account. Say {NONE} if each of its services matters."""),
    Parameter("version", Release(*RELEASES), default="auto",
              short="release of BlueMind",
              long="""\
The release of BlueMind, which decides which services there are and how they are asked. auto reads
the version of the package bm-core. Name one, as in 4.9, where BlueMind did not come as a package;
which version last ran on the data is then compared with this."""),
    Parameter("data_dir", Path(), default="/var/spool/bm-docs",
              short="shared directory for the record of versions",
              long="""\
The directory on the shared disk in which the version that last ran is recorded. It has to be there
wherever bm-core runs."""),
    Parameter("shared_dirs", Paths(), default="", reloadable=True,
              short="directories that must be mounted",
              long="""\
The directories that start insists on to be mounted (see require_mount), separated by blanks. Not
set, they are those that BlueMind's documents on high availability list for the release, as far as
the resource runs a service that uses them. BlueMind would silently make empty ones in place of
those that are not mounted."""),
    REQUIRE_MOUNT,
    Parameter("config_dir", Path(), default="/etc/bm",
              short="directory of BlueMind's configuration",
              long="The directory with bm.ini, bm-core.tok and mcast.id."),
    Parameter("update_timeout", Seconds(), default="30min", reloadable=True,
              short="how long an update of packages excuses",
              long="""\
For so long missing services are "degraded" rather than recovered while the package manager holds
its lock and a package of BlueMind is half configured. 0 means that nothing is an excuse."""),
    require_stonith("BlueMind has no protection of\nits own: two servers on the same data destroy "
                    "it."),
    MANUAL_NODE,
)
