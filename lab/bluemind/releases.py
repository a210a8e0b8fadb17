# SPDX-License-Identifier: GPL-2.0-or-later
"""Which services a release of BlueMind has, in which order, and what is fixed about their units."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Dict, List, Tuple

SYSV, UNITS, TARGET = "init scripts", "units without a target", "units with bluemind.target"


@dataclass(frozen=True)
class Service:
    """One Java service.

    name: of its unit and of its package.
    main: its class, as it stands in the command line.
    after: units that systemd starts before it.
    start_limit: crashes in half a minute after which 5.x gives it up.
    account: who runs it, and its group.
    oneshot: it does its work and ends, and counts as active from then on.
    """

    name: str
    main: str
    after: Tuple[str, ...] = ()
    start_limit: int = 2
    account: Tuple[str, str] = ("root", "root")
    oneshot: bool = False


_ALL = {service.name: service for service in (
    Service("bm-pimp", "net.bluemind.pimp", oneshot=True),
    Service("bm-elasticsearch", "org.elasticsearch.bootstrap.Elasticsearch"),
    Service("bm-node", "net.bluemind.node.server.nodelauncher", ("bm-pimp",)),
    Service("bm-locator", "net.bluemind.locator.app", ("postgresql",)),
    Service("bm-mq", "net.bluemind.hornetq.mqsrv"),
    Service("bm-core", "net.bluemind.application.launcher.coreLauncher",
            ("bm-node", "postgresql", "bm-postgresql")),
    Service("bm-ysnp", "net.bluemind.ysnp.ysnp", ("bm-core",), start_limit=3),
    Service("bm-milter", "net.bluemind.milter.milter", ("bm-ysnp",)),
    Service("bm-lmtpd", "net.bluemind.lmtp.id1", ("bm-ysnp",)),
    Service("bm-hps", "net.bluemind.proxy.http.launcher.hpslauncher", ("bm-core",)),
    Service("bm-webserver", "net.bluemind.webmodules.launcher.webLauncher", ("bm-node",)),
    Service("bm-eas", "net.bluemind.eas.push", ("bm-core",)),
    Service("bm-mapi", "exchange.http", ("bm-core",)),
    Service("bm-tika", "net.bluemind.tika.server.tika", ("bm-pimp",)),
    Service("bm-xmpp", "net.bluemind.xmpp.server.launcher.tigase", ("bm-core",)),
    Service("bm-ips", "net.bluemind.ips.vertx.ips", ("bm-core",)),
    Service("bm-sds-proxy", "net.bluemind.sds.proxy.launcher.sds-proxy", ("bm-core",),
            account=("cyrus", "mail")),
    Service("bm-php-fpm", "php-fpm: master process"),
    Service("bm-keycloak", "org.keycloak.quarkus"),
)}


@dataclass(frozen=True)
class Release:
    """One release, as "4.9.2".

    manner: how its services are started, one of SYSV, UNITS and TARGET.
    names: its Java services.
    """

    version: str
    manner: str
    names: Tuple[str, ...]
    has_cyrus: bool = True

    @property
    def services(self) -> List[Service]:
        """Its Java services, as their bmctl starts them."""
        return [_ALL[name] for name in self.names]

    @property
    def restarts(self) -> bool:
        """Whether systemd restarts what crashes, behind everybody's back."""
        return self.version.startswith("5.")

    @property
    def core_start_seconds(self) -> int:
        """What the unit of bm-core gives it to start: 90 s, and 300 s from 4.8 on."""
        major, minor = (int(part) for part in self.version.split(".")[:2])
        return 300 if (major, minor) >= (4, 8) else 90

    @property
    def database(self) -> str:
        """The unit of PostgreSQL: Debian's own, and in 5.x BlueMind's."""
        return "bm-postgresql" if self.restarts else "postgresql"

    @property
    def own_units(self) -> List[str]:
        """Names of the units that its packages bring, the real services' among them."""
        real = ["bm-nginx", *(["bm-cyrus-imapd"] if self.has_cyrus else []),
                *(["bm-postgresql"] if self.restarts else [])]
        return [*self.names, *real]

    def successors(self) -> List[str]:
        """Return the next build of this release, and the next release."""
        major, minor, patch = (int(part) for part in self.version.split("."))
        return [f"{major}.{minor}.{patch + 1}", f"{major}.{minor + 1}.0"]


_COMMON_4 = ("bm-pimp", "bm-node", "bm-elasticsearch", "bm-core", "bm-ysnp", "bm-milter",
             "bm-lmtpd", "bm-hps", "bm-eas", "bm-mapi", "bm-tika", "bm-webserver", "bm-xmpp",
             "bm-php-fpm")

RELEASES: Dict[str, Release] = {release.version: release for release in (
    Release("3.5.19", SYSV, ("bm-node", "bm-elasticsearch", "bm-locator", "bm-mq", "bm-core",
                             "bm-ysnp", "bm-milter", "bm-lmtpd", "bm-hps", "bm-eas", "bm-tika",
                             "bm-webserver", "bm-xmpp", "bm-ips", "bm-php-fpm")),
    Release("4.1.6", UNITS, (*_COMMON_4, "bm-locator")),
    Release("4.9.2", TARGET, (*_COMMON_4, "bm-sds-proxy")),
    Release("5.1.0", TARGET, ("bm-pimp", "bm-node", "bm-elasticsearch", "bm-core", "bm-ysnp",
                              "bm-milter", "bm-eas", "bm-mapi", "bm-tika", "bm-webserver",
                              "bm-keycloak", "bm-php-fpm"), has_cyrus=False),
)}

DEFAULT = "4.9.2"
