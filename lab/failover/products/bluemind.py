# SPDX-License-Identifier: GPL-2.0-or-later
"""BlueMind 4: mail comes in by SMTP through Postfix and LMTP into Cyrus, and is read by IMAP."""

from __future__ import annotations

import subprocess
import time
from pathlib import Path
from typing import Callable, List, Mapping, Set

from bluemind.layout import DOMAIN, USERS
from bluemind.provision import ADDRESS, Provision
from bluemind.releases import DEFAULT
from failover import mailboxes
from failover.mail import Postman, accepts
from failover.product import CannotLook, Connect, Product
from mailserver.recipe import MAIL
from twonode.lab import Lab, LabError
from twonode.plan import Plan

SMTP_PORT = 25
IMAP_PORT = 143

SERVICES = "bluemind_services"

NEW_MAILBOX = f"new@{DOMAIN}"
"""What Postfix is told to take mail for on the active node, just before that loses its power."""

LETTERS_PER_SECOND = 4.0

QUEUE_LIMIT = 60.0
"""Seconds until what Postfix has acknowledged and kept in its queue must be in the mailboxes."""

OPTIONAL = frozenset({"bm-tika", "bm-eas", "bm-mapi", "bm-xmpp", "bm-sds-proxy", "bm-php-fpm"})
"""Services without which mail goes on: the resource is then degraded and nothing is stopped."""


class BlueMind(Product):
    """See above.

    release: the BlueMind that is played, one of bluemind.releases.RELEASES.
    """

    name = "bluemind"
    introduction = """\
mailha keeps a mail server available on two nodes. Here they are two real systems on this machine,
alice and bob: systemd, Corosync, Pacemaker and fencing are Debian's own, and so are PostgreSQL,
Cyrus IMAP, Postfix and nginx, under BlueMind's unit names and paths, with one shared disk. Only the
Java services of BlueMind 4.9 are a stand-in, because Debian has no BlueMind: bm-core and a dozen
others, which say READY, listen, answer, write and fail as theirs do.
"""
    example = "bluemind-shared-storage"
    disks = {"bluemind": 1024}
    layers = (MAIL,)
    differences = {"ip=192.168.122.100": f"ip={ADDRESS}",
                   "/dev/mapper/bluemind": "/dev/san-bluemind"}
    main = SERVICES
    # PostgreSQL and Postfix by the units in which Debian really runs them.
    killed = ("postgresql@15-main", "bm-node", "bm-elasticsearch", "bm-core", "bm-ysnp",
              "bm-milter", "bm-cyrus-imapd", "bm-lmtpd", "postfix@-", "bm-hps", "bm-webserver",
              "bm-nginx", *sorted(OPTIONAL))

    def __init__(self, release: str = DEFAULT) -> None:
        """Choose a release; what is said and tested of the demonstration is about the default."""
        self.release = release
        self._made = Provision(release)

    def provision(self, node: str, disk: Path, plan: Plan) -> None:
        """Lay BlueMind on a node's disk."""
        self._made.node(disk, Path(plan.image), [Path(layer) for layer in plan.layers])

    def prepare_shared(self, lab: Lab, say: Callable[[str], None]) -> None:
        """Make the directories, PostgreSQL's first databases and Postfix's queue."""
        say("filling the shared disk: PostgreSQL's databases, Postfix's queue, room for Cyrus")
        self._made.fill(lab.execute, lab.plan.nodes[0])

    def postmen(self, connect: Connect) -> List[Postman]:
        """Return one that delivers by SMTP to the floating address."""
        return [Postman(lambda timeout: connect(ADDRESS, SMTP_PORT, timeout),
                        [user.email for user in USERS], LETTERS_PER_SECOND, smtp=True)]

    def look_for(self, wanted: Set[str], lab: Lab, places: Mapping[str, str], connect: Connect,
                 say: Callable[[str], None]) -> Set[str]:
        """Return the messages that can be read by IMAP, once Postfix has emptied its queue.

        What Postfix acknowledges it has on the shared disk; it is mail when Cyrus has it.
        """
        say(f"looking for {len(wanted)} acknowledged messages in Cyrus, by IMAP")
        deadline = time.monotonic() + QUEUE_LIMIT
        while True:
            try:
                read = by_imap(connect)
            except (OSError, mailboxes.Refused, LabError, subprocess.SubprocessError) as error:
                if time.monotonic() > deadline:
                    raise CannotLook(str(error)) from error
                read = set()
            if wanted <= read or time.monotonic() > deadline:
                say(f"{len(wanted & read)} can be read")
                return read
            time.sleep(1)

    def is_optional(self, service: str) -> bool:
        """Say whether mail goes on without a service."""
        return service in OPTIONAL

    def kill(self, lab: Lab, node: str, service: str) -> None:
        """Kill a service's main process with signal 9.

        Postfix's unit does not know its main process, but the kernel does.
        """
        for process in self.processes(lab, node, service):
            lab.execute(node, ["kill", "-9", process], timeout=20)

    def processes(self, lab: Lab, node: str, service: str) -> Set[str]:
        """Return the number of a service's main process."""
        if service.startswith("postfix"):
            said = lab.execute(node, ["cat", "/var/spool/postfix/pid/master.pid"], timeout=20,
                               check=False).stdout
            return set(said.split())
        return super().processes(lab, node, service)


class ReplicatedBlueMind(BlueMind):
    """BlueMind whose configuration follows the active node."""

    over = ("config-sync.crm",)

    def change_configuration(self, lab: Lab, node: str) -> str:
        """Give Postfix a mailbox more to accept mail for."""
        lab.execute(node, ["/bin/sh", "-euc", f"echo '{NEW_MAILBOX} x' >>/etc/postfix/mailboxes; "
                           "mailha sync push"], timeout=60)
        return f"the map /etc/postfix/mailboxes has got {NEW_MAILBOX}"

    def serves_with_it(self, connect: Connect) -> bool:
        """Say whether Postfix takes mail for the new mailbox; none is sent."""
        try:
            return accepts(lambda timeout: connect(ADDRESS, SMTP_PORT, timeout), NEW_MAILBOX)
        except (OSError, LabError):
            return False


def product() -> Product:
    """Return BlueMind."""
    return ReplicatedBlueMind()


def by_imap(connect: Connect) -> Set[str]:
    """Return the Message-ID of every message that BlueMind's users can read."""
    return mailboxes.by_imap(lambda timeout: connect(ADDRESS, IMAP_PORT, timeout),
                             [(user.email, user.password) for user in USERS])
