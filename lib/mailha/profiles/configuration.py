# SPDX-License-Identifier: GPL-2.0-or-later
"""What of a product is configuration and has to be equal on all nodes. No logic.

BlueMind's pages on high availability ask for /etc "in real time" and six files; four of those are
in /etc. The sixth is called ca-cert.pem there and cacert.pem in the code (NodeHook.java), so its
directory is taken. Kopano's ask for /etc/kopano and what stands around it.
"""

from __future__ import annotations

from typing import NamedTuple


class ConfigurationProfile(NamedTuple):
    """What a product's configuration consists of.

    directories: with all below. files: single ones; one that is not there does no harm. never:
    pairs of a pattern and the reason why it makes the node itself. packages: whose versions have to
    be equal, patterns of fnmatch(3). services: of mailha.sync.passive.hooks.SERVICES, those that
    run on both nodes.
    """

    directories: tuple[str, ...]
    files: tuple[str, ...] = ()
    never: tuple[tuple[str, str], ...] = ()
    packages: tuple[str, ...] = ()
    services: tuple[str, ...] = ()


_BLUEMIND_STATE = "BlueMind keeps the state of this node in it"

PROFILES = {
    "bluemind": ConfigurationProfile(
        directories=("/etc", "/var/lib/bm-ca"),
        files=("/usr/share/bm-elasticsearch/config/elasticsearch.yml",),
        never=(
            ("/etc/bm/*.disabled", "it decides which services start on this node"),
            ("/etc/bm/continuous.clone", _BLUEMIND_STATE),
            ("/etc/bm/continuous.fork", _BLUEMIND_STATE),
            ("/etc/bm/clone.state.json", _BLUEMIND_STATE),
            ("/etc/bm/mcast.id.clone", _BLUEMIND_STATE),
            ("/etc/bm/pg.need.postupgrade", "an upgrade of PostgreSQL is under way on this node"),
            ("/etc/bm/skip.restart", "an upgrade is under way on this node"),
            ("/etc/bm/usage-*.json", _BLUEMIND_STATE),
            ("/etc/bm/bm.ini.*", "it belongs to one address"),
            ("/etc/init.d/bm-iptables", "BlueMind generates it with the addresses of this node"),
        ),
        packages=("bm-*", "postfix*", "postgresql-[0-9]*", "nginx*", "cyrus-*"),
    ),
    "kopano": ConfigurationProfile(
        directories=("/etc/kopano", "/etc/mysql", "/etc/my.cnf.d", "/etc/postfix", "/etc/apache2",
                     "/etc/httpd", "/etc/z-push"),
        files=("/etc/my.cnf", "/etc/aliases", "/etc/aliases.db", "/etc/default/kopano",
               "/etc/sysconfig/kopano"),
        packages=("kopano-*", "postfix*", "mariadb-server*", "mysql-server*", "apache2*",
                  "httpd*", "z-push*"),
        services=("postfix", "apache"),
    ),
    "cyrus": ConfigurationProfile(
        directories=("/etc/postfix", "/etc/sasl2"),
        files=("/etc/imapd.conf", "/etc/cyrus.conf", "/etc/cyrus-partitions",
               "/etc/cyrus-admins", "/etc/cyrus-annotations", "/etc/cyrus-hsm",
               "/etc/saslauthd.conf", "/etc/default/saslauthd", "/etc/sysconfig/saslauthd",
               "/etc/default/cyrus-imapd", "/etc/sysconfig/cyrus-imapd", "/etc/aliases",
               "/etc/aliases.db"),
        packages=("cyrus-*", "postfix*", "sasl2-bin"),
    ),
}
