# SPDX-License-Identifier: GPL-2.0-or-later
"""BlueMind 3 to 5: its services in the order of their start, its directories, its files.

3.x has init scripts; systemd makes units of them. 4.0 and 4.1 have units and no bluemind.target;
4.2 brought the target, which is never used here: 'systemctl start bluemind.target' answers 0 while
members are dead, and 'systemctl stop bluemind.target' answers before one of them has ended. 5.x has
no Cyrus: bm-core speaks IMAP, POP and LMTP itself.

The real set is what is listed here, cut down to the units that exist, less what the administrator
has disabled. bm-pimp (sizes the memory of the Java machines and ends), bm-iptables, memcached and
telegraf run on every node and are nobody's business here.
"""

from __future__ import annotations

from mailha.profiles import ServiceProfile
from mailha.system.addresses import ANYWHERE

CONFIGURATION_DIRECTORY = "/etc/bm"
DATA_DIRECTORY = "/var/spool/bm-docs"
"""Where the version that last ran is recorded: a directory that every version shares."""
SOFTWARE = "bluemind"
PACKAGE = "bm-core"
TARGET = "bluemind.target"
PIMP = "bm-pimp.service"
STATE_PORT = 8090


def _java(name: str, main: str, *ports: int, protocol: str = "http", needs: tuple[str, ...] = (),
          role: str = "application", touches_data: bool = False, optional: bool = False
          ) -> ServiceProfile:
    """Return one of BlueMind's own Java services."""
    return ServiceProfile(
        f"bm-{name}.service", main=main, needs=needs, touches_data=touches_data, role=role,
        configured=False, listens=tuple((protocol, ANYWHERE, port) for port in ports),
        optional=optional)


_POSTGRESQL = ServiceProfile(
    "bm-postgresql.service", others=("postgresql.service",), role="database", touches_data=True,
    configured=False, listens=(("postgresql", ANYWHERE, 5432),))
# It answers to whoever has the certificate of the node only, in TLS.
_NODE = _java("node", "net.bluemind.node.server.nodelauncher", 8022, protocol="tls")
# Every search and every webmail asks it, and it writes on the shared disk.
_ELASTICSEARCH = ServiceProfile(
    "bm-elasticsearch.service", main="org.elasticsearch.bootstrap.Elasticsearch", role="index",
    touches_data=True, configured=False, listens=(("http", ANYWHERE, 9200),))
_LOCATOR = _java("locator", "net.bluemind.locator.app", 8084, needs=("postgresql",))
_CORE_MAIN = "net.bluemind.application.launcher.coreLauncher"
_CORE = _java("core", _CORE_MAIN, 8090, touches_data=True,
              needs=("postgresql", "elasticsearch", "node", "locator", "mq", "kafka"))
_CORE_5 = ServiceProfile(
    "bm-core.service", main=_CORE_MAIN, role="application", touches_data=True, configured=False,
    needs=_CORE.needs, listens=(("http", ANYWHERE, STATE_PORT),), asked=(
        ("imap", ANYWHERE, 1143), ("pop3", ANYWHERE, 1110), ("lmtp", ANYWHERE, 2400)))
# It makes the socket through which Cyrus and Postfix ask for passwords, on Postfix's own spool.
_YSNP = _java("ysnp", "net.bluemind.ysnp.ysnp", 25250, protocol="connect", needs=("core",),
              role="authentication", touches_data=True)
_MILTER = _java("milter", "net.bluemind.milter.milter", 2500, protocol="milter", needs=("ysnp",),
                role="mail")
_CYRUS = ServiceProfile(
    "bm-cyrus-imapd.service", role="mail", touches_data=True, configured=False,
    needs=("core", "ysnp"), listens=(("imap", ANYWHERE, 1143), ("lmtp", ANYWHERE, 24)))
_LMTPD = _java("lmtpd", "net.bluemind.lmtp.id1", 2400, protocol="lmtp", role="mail",
               needs=("ysnp", "cyrus"), touches_data=True)
_POSTFIX = ServiceProfile(
    "postfix.service", role="mail", touches_data=True, configured=False,
    needs=("ysnp", "milter", "lmtpd"), listens=(("smtp", ANYWHERE, 25),), leader="master")
_HPS = _java("hps", "net.bluemind.proxy.http.launcher.hpslauncher", 8079, needs=("core",),
             role="web")
_WEBSERVER = _java("webserver", "net.bluemind.webmodules.launcher.webLauncher", 8080,
                   protocol="ping", needs=("core",), role="web")
_EAS = _java("eas", "net.bluemind.eas.push", 8082, needs=("core",), role="web", optional=True)
_MAPI = _java("mapi", "exchange.http", 5001, protocol="tcp", needs=("core",), role="web",
              touches_data=True, optional=True)
_TIKA = _java("tika", "net.bluemind.tika.server.tika", 8087, role="helper", optional=True)
_XMPP = _java("xmpp", "net.bluemind.xmpp.server.launcher.tigase", 5222, protocol="tcp",
              needs=("core",), role="helper", optional=True)
_IPS = _java("ips", "net.bluemind.ips.vertx.ips", 144, protocol="tcp", needs=("core",),
             role="helper", optional=True)
_SDS = _java("sds-proxy", "net.bluemind.sds.proxy.launcher.sds-proxy", 8091, needs=("core",),
             role="helper", touches_data=True, optional=True)
_XIVO = _java("xivobridge", "net.bluemind.xivo", needs=("core",), role="helper", optional=True)
_PHP = ServiceProfile("bm-php-fpm.service", role="web", configured=False, needs=("core",),
                      optional=True)
_NGINX = ServiceProfile(
    "bm-nginx.service", others=("nginx.service",), role="web", configured=False,
    needs=("webserver", "hps", "cyrus"), listens=(("http", ANYWHERE, 443),))
_MQ = _java("mq", "net.bluemind.hornetq.mqsrv")
_KEYCLOAK = ServiceProfile("bm-keycloak.service", role="authentication", configured=False,
                           needs=("postgresql",), listens=(("tcp", ANYWHERE, 8099),), optional=True)
_KEYDB = ServiceProfile("bm-keydb.service", role="helper", configured=False, optional=True)
_ZOOKEEPER = ServiceProfile("bm-kafka-zookeeper.service", role="helper", configured=False,
                            touches_data=True)
_KAFKA = ServiceProfile("bm-kafka-broker.service", role="helper", configured=False,
                        needs=("zookeeper",), touches_data=True)

_3 = {
    "postgresql": _POSTGRESQL, "node": _NODE, "elasticsearch": _ELASTICSEARCH,
    "locator": _LOCATOR, "mq": _MQ, "tika": _TIKA, "core": _CORE, "ysnp": _YSNP,
    "milter": _MILTER, "cyrus": _CYRUS, "lmtpd": _LMTPD, "postfix": _POSTFIX, "hps": _HPS,
    "webserver": _WEBSERVER, "eas": _EAS, "xmpp": _XMPP, "ips": _IPS, "php-fpm": _PHP,
    "nginx": _NGINX,
}
_4_0 = {
    "postgresql": _POSTGRESQL, "node": _NODE, "elasticsearch": _ELASTICSEARCH,
    "locator": _LOCATOR, "tika": _TIKA, "core": _CORE, "ysnp": _YSNP, "milter": _MILTER,
    "cyrus": _CYRUS, "lmtpd": _LMTPD, "postfix": _POSTFIX, "hps": _HPS, "webserver": _WEBSERVER,
    "eas": _EAS, "mapi": _MAPI, "xmpp": _XMPP, "sds-proxy": _SDS, "xivobridge": _XIVO,
    "php-fpm": _PHP, "nginx": _NGINX,
}
# They carry what Cyrus gets to bm-core, which shows no new mail without them; late 4.x has them.
_4_2 = {**_4_0, **{
    f"syncclient{number}": ServiceProfile(
        f"bm-cyrus-syncclient@{number}.service", role="mail", configured=False, touches_data=True,
        needs=("core", "cyrus"), optional=True, wanted=True) for number in range(4)}}
_5 = {
    "postgresql": _POSTGRESQL, "node": _NODE, "elasticsearch": _ELASTICSEARCH, "tika": _TIKA,
    "keydb": _KEYDB, "zookeeper": _ZOOKEEPER, "kafka": _KAFKA, "core": _CORE_5, "ysnp": _YSNP,
    "milter": _MILTER, "postfix": _POSTFIX, "webserver": _WEBSERVER, "eas": _EAS, "mapi": _MAPI,
    "keycloak": _KEYCLOAK, "xivobridge": _XIVO, "php-fpm": _PHP, "nginx": _NGINX,
}

_SPOOL: dict[str, tuple[str, ...]] = {
    "/var/spool/bm-docs": ("core",), "/var/spool/bm-elasticsearch": ("elasticsearch",),
    "/var/spool/bm-hsm": ("core",), "/var/spool/postfix": ("postfix", "ysnp"),
    "/var/lib/postgresql": ("postgresql",)}
# The archive partitions of Cyrus are in bm-hsm.
_WITH_CYRUS: dict[str, tuple[str, ...]] = {
    **_SPOOL, "/var/spool/bm-hsm": ("core", "cyrus"), "/var/spool/cyrus": ("cyrus",),
    "/var/spool/sieve": ("cyrus",), "/var/lib/cyrus": ("cyrus",)}
_SINCE_4: dict[str, tuple[str, ...]] = {
    "/var/spool/bm-hollowed": ("core",), "/var/spool/bm-mapi": ("mapi",)}


class ReleaseProfile:
    """What is fixed about some releases of BlueMind.

    name: of them, for people. first: the lowest release that it is for. services: in the order of
    their start. directories: those that the documents want on shared storage, each with the
    services of which one must be in the group for it to matter. files: without which nothing may be
    started, beside the directory of the configuration. sysv: whether its units are init scripts.
    target: whether it has bluemind.target.
    """

    __slots__ = ("name", "first", "services", "directories", "files", "sysv", "target")

    def __init__(self, name: str, first: tuple[int, int], services: dict[str, ServiceProfile],
                 directories: dict[str, tuple[str, ...]], files: tuple[str, ...], *,
                 sysv: bool = False, target: bool = False) -> None:
        self.name = name
        self.first = first
        self.services = services
        self.directories = directories
        self.files = files
        self.sysv = sysv
        self.target = target


# An absent bm-core.tok makes core say that it is not installed, and then whoever comes first may
# initialise it. mcast.id names the installation in the database.
_FILES = ("bm.ini", "bm-core.tok", "mcast.id")

RELEASES = (
    ReleaseProfile("3.x", (3, 0), _3, _WITH_CYRUS, _FILES, sysv=True),
    ReleaseProfile("4.0 and 4.1", (4, 0), _4_0, {**_WITH_CYRUS, **_SINCE_4},
                   (*_FILES, "server.uid")),
    ReleaseProfile("4.2 to 4.9", (4, 2), _4_2, {**_WITH_CYRUS, **_SINCE_4},
                   (*_FILES, "server.uid"), target=True),
    ReleaseProfile("5.x", (5, 0), _5, {**_SPOOL, "/var/spool/cyrus": ("core",), **_SINCE_4},
                   (*_FILES, "server.uid"), target=True),
)
"""By age, the oldest first."""

FURTHER = ("/var/spool/bm-filehosting", "/var/backups/bluemind")
"""Directories with data of users that no list in BlueMind's documents has."""

SERVICES = {name: profile for release in reversed(RELEASES)
            for name, profile in release.services.items()}
"""Every service of every release."""

CORE = "core"

POSTFIX_PROGRAMS = ("/usr/lib/postfix/sbin/master", "/usr/libexec/postfix/master",
                    "/usr/lib/postfix/master", "/usr/lib/postfix/bin/master")
POSTGRESQL_PROGRAMS = (("/usr/lib/postgresql", "{}/{}/bin/postgres"),
                       ("/usr", "{}/{}/bin/postgres"))
"""Directories with one directory for each version (/usr/pgsql-15), and where its program is."""
POSTGRESQL_DATA = "/var/lib/postgresql"
CYRUS_FILE = "/etc/imapd.conf"

NOT_EVERYWHERE = ("locator", "mq", "zookeeper", "kafka")
"""Services without which mail does not go on where they are, and that not every build has."""


def of_release(release: tuple[int, int]) -> ReleaseProfile:
    """Return the profile for a release such as (4, 9); the last one for what is newer."""
    found = RELEASES[0]
    for profile in RELEASES:
        if profile.first <= release:
            found = profile
    return found
