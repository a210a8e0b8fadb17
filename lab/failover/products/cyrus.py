# SPDX-License-Identifier: GPL-2.0-or-later
"""Two Cyrus servers, each the other's buddy, both Debian's own: examples/cyrus-buddies.

server1 is at home on alice and server2 on bob, each with its disk and its address. An administrator
moves server1 to its buddy and home again; alice loses its power, and bob serves for both until the
administrator sends server1 home.
"""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Callable, Dict, List, Mapping, NamedTuple, Set

from failover import mailboxes
from failover.mail import Postman
from failover.product import EXAMPLES, CannotLook, Connect, Move, Product
from mailserver.recipe import MAIL
from twonode.lab import Lab, LabError
from twonode.plan import Plan


class Server(NamedTuple):
    """One instance. home: its node. address: its own, floating. users: its mailboxes."""

    name: str
    home: str
    address: str
    users: "tuple[str, ...]"

    @property
    def root(self) -> str:
        """Where its disk is mounted."""
        return f"/usr/local/cyrus-{self.name}"

    @property
    def resource(self) -> str:
        """The resource that runs it."""
        return f"{self.name}_cyrus"

    @property
    def unit(self) -> str:
        """The unit that it runs in."""
        return f"mailha-cyrus@{self.resource}.service"

    @property
    def device(self) -> str:
        """Its disk, as the nodes see it."""
        return f"/dev/san-{self.name}"


SERVERS = (Server("server1", "alice", "198.51.100.100", ("anna", "boris", "clara")),
           Server("server2", "bob", "198.51.100.101", ("dora", "emil", "frida")))

IMAP_PORT, LMTP_PORT = 143, 24
LETTERS_PER_SECOND = 5.0
PASSWORD = "lab"

NODE_FILES = EXAMPLES / "cyrus-buddies/nodes"

FOR_THE_LAB = """
# The laboratory's own: users log in without TLS, and a mailbox begins with its first letter.
allowplaintext: yes
autocreate_quota: 0
autocreate_post: yes
"""

# What an administrator does once for each new instance, with its disk mounted.
NEW_INSTANCE = r"""
blkid {device} >/dev/null 2>&1 || mkfs.ext4 -q {device}
mount {device} {root}
trap 'umount {root}' EXIT
install -d -m 0755 {root}/etc {root}/data
install -d -m 0750 -o cyrus -g mail {root}/data/conf {root}/data/partition1 {root}/data/sieve
cat > {root}/etc/imapd.conf <<'END_OF_FILE'
{imapd_conf}
END_OF_FILE
cat > {root}/etc/cyrus.conf <<'END_OF_FILE'
{cyrus_conf}
END_OF_FILE
openssl req -x509 -newkey rsa:2048 -nodes -days 30 -subj /CN={name}.example.com \
    -keyout {root}/etc/{name}.key -out {root}/etc/{name}.crt 2>/dev/null
for user in cyrus {users}; do
    echo {password} | saslpasswd2 -p -c -f {root}/etc/sasldb2 -u {name}.example.com $user
done
chown cyrus:mail {root}/etc/sasldb2 {root}/etc/{name}.key
sync -f {root}
"""


class Cyrus(Product):
    """See above."""

    name = "cyrus"
    introduction = """\
mailha keeps two Cyrus servers available, each of which is the other's buddy. Here are two real
systems on this machine, alice and bob: systemd, Corosync, Pacemaker, fencing and both Cyrus servers
are Debian's own. server1 is at home on alice, server2 on bob.
"""
    example = "cyrus-buddies"
    disks = {server.name: 256 for server in SERVERS}
    layers = (MAIL,)
    differences = {
        "ip=192.168.122.111": f"ip={SERVERS[0].address}",
        "ip=192.168.122.112": f"ip={SERVERS[1].address}",
        "/dev/mapper/cyrus-server1": SERVERS[0].device,
        "/dev/mapper/cyrus-server2": SERVERS[1].device,
    }
    main = SERVERS[0].resource
    killed = tuple(server.unit for server in SERVERS)
    moves_before = (Move(SERVERS[0].name, SERVERS[0].resource, "bob"),
                    Move(SERVERS[0].name, SERVERS[0].resource, "alice"))
    moves_after = (Move(SERVERS[0].name, SERVERS[0].resource, "alice"),)

    def provision(self, node: str, disk: Path, plan: Plan) -> None:
        """Make the mount points."""
        for server in SERVERS:
            (disk / server.root.lstrip("/")).mkdir(parents=True)

    def prepare_shared(self, lab: Lab, say: Callable[[str], None]) -> None:
        """Make both instances, from one node."""
        say("filling the shared disks: two instances of Cyrus, each with its users")
        for server in SERVERS:
            files = configuration_files(server)
            script = NEW_INSTANCE.format(
                device=server.device, root=server.root, name=server.name,
                users=" ".join(server.users), password=PASSWORD,
                imapd_conf=files["imapd.conf"], cyrus_conf=files["cyrus.conf"])
            lab.execute(lab.plan.nodes[0], ["/bin/sh", "-eu"], timeout=120, input=script.encode())

    def postmen(self, connect: Connect) -> List[Postman]:
        """Return one for each instance, who delivers by LMTP to its address."""
        return [_postman(server, connect) for server in SERVERS]

    def look_for(self, wanted: Set[str], lab: Lab, places: Mapping[str, str], connect: Connect,
                 say: Callable[[str], None]) -> Set[str]:
        """Return the messages whose text the users of both instances can read by IMAP."""
        say(f"looking for {len(wanted)} acknowledged messages by IMAP, at both addresses")
        found: Set[str] = set()
        for server in SERVERS:
            try:
                read = by_imap(server, connect)
            except (OSError, mailboxes.Refused, LabError, subprocess.SubprocessError) as error:
                raise CannotLook(f"{server.name}: {error}") from error
            say(f"{len(wanted & read)} can be read at {server.name}")
            found |= read
        return found

    def resource_of(self, service: str) -> str:
        """Return the resource that runs a unit."""
        return next(server.resource for server in SERVERS if server.unit == service)

    def load(self, lab: Lab, node: str) -> str:
        """Return how many processes each instance has on a node, and what they have used."""
        found = []
        for server in SERVERS:
            # A template has a slice of its own for all of its instances.
            group = ("/sys/fs/cgroup/system.slice/"
                     f"system-mailha\\x2dcyrus.slice/{server.unit}")
            said = lab.execute(node, ["cat", f"{group}/cgroup.procs", f"{group}/cpu.stat"],
                               timeout=20, check=False).stdout
            processes = re.findall(r"^\d+$", said, re.MULTILINE)
            used = re.search(r"^usage_usec (\d+)$", said, re.MULTILINE)
            if processes:
                cpu = f" ({int(used.group(1)) / 1e6:.1f} s of CPU so far)" if used else ""
                found.append(f"{server.name} with {len(processes)} processes{cpu}")
        letters = LETTERS_PER_SECOND * len(found)
        return f"{node} now carries {' and '.join(found)}, {letters:.0f} letters a second"


def product() -> Product:
    """Return Cyrus."""
    return Cyrus()


def configuration_files(server: Server) -> Dict[str, str]:
    """Return the example's files for an instance, with the laboratory's values."""
    found = {}
    for name in ("imapd.conf", "cyrus.conf"):
        text = (NODE_FILES / name).read_text().replace("server1", server.name)
        text = text.replace("192.168.122.111", server.address)
        found[name] = text
    found["imapd.conf"] = found["imapd.conf"].replace("allowplaintext: no\n", "") + FOR_THE_LAB
    return found


def by_imap(server: Server, connect: Connect) -> Set[str]:
    """Return the Message-ID of every message that an instance's users can read."""
    return mailboxes.by_imap(lambda timeout: connect(server.address, IMAP_PORT, timeout),
                             [(user, PASSWORD) for user in server.users])


def _postman(server: Server, connect: Connect) -> Postman:
    return Postman(lambda timeout: connect(server.address, LMTP_PORT, timeout),
                   list(server.users), LETTERS_PER_SECOND)
