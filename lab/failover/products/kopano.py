# SPDX-License-Identifier: GPL-2.0-or-later
"""Kopano with MariaDB and Apache: the two tests of its manual's chapter on high availability.

11.6, node failure: the node that runs Kopano loses its power. 11.7, resource failure: a service of
Kopano is killed; here one after the other, because each of them has to be noticed.
"""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Callable, List, Mapping, Set

from failover import mailboxes
from failover.mail import Postman
from failover.product import CannotLook, Connect, NodeFile, Product
from kopano import provision
from kopano.layout import SERVICES
from kopano.provision import USERS
from twonode.lab import Lab, LabError
from twonode.plan import Plan

KOPANO_ADDRESS = "198.51.100.100"
MYSQL_ADDRESS = "198.51.100.101"

LMTP_PORT = 2003
POP3_PORT = 110

DATABASE = "mysqld"
KOPANO = "kopano_services"

LETTERS_PER_SECOND = 5.0

QUERY = "SELECT message_id FROM kopano.messages"


class Kopano(Product):
    """See above."""

    name = "kopano"
    introduction = """\
mailha keeps a mail server available on two nodes. Here they are two real systems on this machine,
alice and bob: systemd, Corosync, Pacemaker, fencing, MariaDB and Apache are Debian's own. Only the
six services of Kopano are a stand-in, because Debian has no Kopano: programs of the same names that
behave as Kopano 8.7 does and keep their mail in MariaDB and on the shared disk.
"""
    example = "kopano-shared-storage"
    disks = {"kopano": 512, "mysql": 512}
    differences = {
        "ip=192.168.122.100": f"ip={KOPANO_ADDRESS}",
        "ip=192.168.122.101": f"ip={MYSQL_ADDRESS}",
        "/dev/mapper/mysql": "/dev/san-mysql",
        "/dev/mapper/kopano": "/dev/san-kopano",
    }
    node_files = (
        NodeFile("kopano-shared-storage/nodes/mariadb.cnf",
                 "etc/mysql/mariadb.conf.d/99-cluster.cnf", 0o644,
                 {"192.168.122.101": MYSQL_ADDRESS}),
        NodeFile("kopano-shared-storage/nodes/mariadb-needs-mount.conf",
                 "etc/systemd/system/mariadb.service.d/needs-mount.conf", 0o644),
    )
    main = KOPANO
    everywhere = frozenset({"apache"})
    # The manual kills the server; the others follow in the order in which they start.
    killed = tuple(f"kopano-{service}" for service in SERVICES)
    node_failure = "Node failure (11.6 in Kopano's manual)"
    resource_failure = "Resource failure (11.7)"

    def provision(self, node: str, disk: Path, plan: Plan) -> None:
        """Lay the stand-in on a node's disk."""
        provision.provision(node, disk, image=Path(plan.image), kopano_ip=KOPANO_ADDRESS,
                            mysql_ip=MYSQL_ADDRESS)

    def prepare_shared(self, lab: Lab, say: Callable[[str], None]) -> None:
        """Make MariaDB's first database, with Kopano's users."""
        say("filling the shared disks: MariaDB's first database, Kopano's users")
        provision.prepare_shared(lab.execute, lab.plan.nodes[0])

    def postmen(self, connect: Connect) -> List[Postman]:
        """Return one that delivers by LMTP to the floating address."""
        return [Postman(lambda timeout: connect(KOPANO_ADDRESS, LMTP_PORT, timeout),
                        [user.email for user in USERS], LETTERS_PER_SECOND)]

    def look_for(self, wanted: Set[str], lab: Lab, places: Mapping[str, str], connect: Connect,
                 say: Callable[[str], None]) -> Set[str]:
        """Return the messages that are both in the database and to be read by POP3."""
        if DATABASE not in places:
            raise CannotLook("the database runs nowhere")
        say(f"looking for {len(wanted)} acknowledged messages in the database on "
            f"{places[DATABASE]}, and by POP3")
        try:
            stored = in_database(lab, places[DATABASE])
            read = by_pop3(connect)
        except (OSError, mailboxes.Refused, LabError, subprocess.SubprocessError) as error:
            raise CannotLook(str(error)) from error
        say(f"{len(wanted & stored)} are in the database, {len(wanted & read)} can be read")
        return stored & read

    def kill(self, lab: Lab, node: str, service: str) -> None:
        """Kill every process of a service with signal 9."""
        lab.execute(node, ["killall", "-9", service], timeout=20)

    def processes(self, lab: Lab, node: str, service: str) -> Set[str]:
        """Return the process numbers of a service."""
        return set(lab.execute(node, ["pgrep", "-x", service], timeout=20,
                               check=False).stdout.split())


def product() -> Product:
    """Return Kopano."""
    return Kopano()


def in_database(lab: Lab, node: str) -> Set[str]:
    """Return the Message-ID of every message in the database that runs on a node."""
    said = lab.execute(node, ["mariadb", "--batch", "--skip-column-names", "-e", QUERY],
                       timeout=60).stdout
    return set(said.split())


def by_pop3(connect: Connect) -> Set[str]:
    """Return the Message-ID of every message that Kopano's users can read."""
    return mailboxes.by_pop3(lambda timeout: connect(KOPANO_ADDRESS, POP3_PORT, timeout),
                             [(user.login, user.password) for user in USERS])
