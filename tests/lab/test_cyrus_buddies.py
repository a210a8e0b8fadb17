# SPDX-License-Identifier: GPL-2.0-or-later
"""Two real Cyrus servers, each the other's buddy: moved, lost with their node, killed and crowded.

One cluster serves all tests, with mail to both instances all the while. After each test every
acknowledged message is looked for, at the address to which it was delivered.
"""

from __future__ import annotations

import os
import socket
import sys
from pathlib import Path
from typing import Callable, Generator, List, Set

import pytest

from failover.cluster import Cluster
from failover.faults import changeover, node_failure
from failover.mail import Postman
from failover.product import Move
from failover.products.cyrus import LMTP_PORT, SERVERS, Cyrus, Server
from twonode.lab import LabError

from conftest import SUITE, keep

AGENT = "/usr/lib/ocf/resource.d/mailha/cyrus"
ONE, TWO = SERVERS

STRANGER = f"""
import socket, time
with socket.create_server(("{ONE.address}", {LMTP_PORT})) as server:
    time.sleep(3600)
"""


class Buddies:
    """The cluster, the mail to both instances, and what is seen of them."""

    def __init__(self, cluster: Cluster) -> None:
        """Take over a cluster that is up."""
        self.cluster = cluster
        self.postmen: List[Postman] = []

    def begin(self) -> None:
        """Let mail run to both."""
        self.postmen = self.cluster.product.postmen(self.connect)
        for postman in self.postmen:
            postman.start()
        self.wait_until("the first letters are accepted", lambda: all(
            postman.receipts for postman in self.postmen))

    def end(self) -> None:
        """Wait until all is well, and look for every acknowledged message."""
        self.wait_until("all is well", self.cluster.all_run)
        for postman in self.postmen:
            assert postman.finish(60) == 0, postman.refusals[-1:]
        acknowledged = {receipt.message_id for postman in self.postmen
                        for receipt in postman.receipts}
        found = self.cluster.product.look_for(acknowledged, self.cluster.lab, {}, self.connect, say)
        assert acknowledged <= found, f"{len(acknowledged - found)} messages are lost"

    def connect(self, address: str, port: int, timeout: float) -> socket.socket:
        """Connect to a floating address; raises OSError."""
        try:
            return self.cluster.lab.connect(address, port, timeout)
        except LabError as error:
            raise OSError(str(error)) from error

    def run(self, node: str, *argv: str, timeout: float = 60.0, check: bool = True) -> str:
        """Run a command on a node and return what it printed."""
        return self.cluster.lab.execute(node, list(argv), timeout=timeout, check=check).stdout

    def wait_until(self, what: str, look: Callable[[], object]) -> None:
        """Wait until `look` returns something true."""
        self.cluster.wait_until(what, look)

    def place(self, server: Server) -> str:
        """Return the node on which an instance runs."""
        state = self.cluster.state()
        place = state.only_place(server.resource) if state else None
        assert place is not None, f"{server.name} does not run in one place"
        return place

    def processes(self, node: str, server: Server) -> Set[str]:
        """Return the numbers of all processes of an instance on a node, whoever started them."""
        return set(self.run(node, "pgrep", "-f", f"{server.root}/etc/imapd.conf",
                            check=False).split())

    def master(self, node: str, server: Server) -> Set[str]:
        """Return the number of an instance's master."""
        return self.cluster.product.processes(self.cluster.lab, node, server.unit)

    def move(self, server: Server, node: str) -> None:
        """Move an instance on command."""
        changeover(self.cluster, self.postmen, Move(server.name, server.resource, node), say)

    def agent(self, action: str, *, level: int = 0) -> "tuple[int, str]":
        """Call the agent by hand for the first instance, at home; return its code and words."""
        done = self.cluster.lab.execute(ONE.home, [
            "env", "OCF_ROOT=/usr/lib/ocf", f"OCF_RESOURCE_INSTANCE={ONE.resource}",
            f"OCF_RESKEY_ip={ONE.address}", f"OCF_RESKEY_instance_root={ONE.root}",
            "OCF_RESKEY_CRM_meta_timeout=120000", f"OCF_CHECK_LEVEL={level}", AGENT, action],
            timeout=150, check=False)
        return done.returncode, done.stderr


def say(text: str) -> None:
    """Tell whoever looks into a failure."""
    print(text, file=sys.stderr)


@pytest.fixture(scope="module")
def made(image: Path) -> Generator[Buddies, None, None]:
    """The cluster, up, both instances at home."""
    cluster = Cluster(Cyrus(), f"t{os.getpid()}-c", SUITE, post_seconds=5.0)
    with keep(cluster.lab):
        cluster.up(say)
        yield Buddies(cluster)


@pytest.fixture
def buddies(made: Buddies) -> Generator[Buddies, None, None]:
    """The same with mail running; nothing may be lost at the end."""
    made.begin()
    yield made
    made.end()


def test_an_instance_can_be_moved_killed_and_stopped_beside_its_buddy_who_does_not_notice(
        buddies: Buddies) -> None:
    node = TWO.home
    buddies.move(ONE, node)
    master, before = buddies.master(node, TWO), buddies.master(node, ONE)

    # A dead master is recovered in place, and its children are gone with it.
    orphans = buddies.processes(node, ONE)
    buddies.cluster.product.kill(buddies.cluster.lab, node, ONE.unit)
    buddies.wait_until("the killed one is recovered", lambda: buddies.cluster.all_run()
                       and buddies.master(node, ONE) - before)
    assert buddies.place(ONE) == node
    assert not orphans & buddies.processes(node, ONE)
    assert buddies.master(node, TWO) == master

    # A stop takes all of the one and none of the other.
    role = ["crm_resource", "--resource", ONE.name, "--meta", "--set-parameter", "target-role",
            "--parameter-value"]
    buddies.run(node, *role, "Stopped")
    buddies.wait_until("it has stopped", lambda: not buddies.processes(node, ONE))
    assert buddies.master(node, TWO) == master
    buddies.run(node, *role, "Started")
    buddies.wait_until("both run", buddies.cluster.all_run)
    buddies.cluster.clean_up()

    buddies.move(ONE, ONE.home)
    assert buddies.master(node, TWO) == master
    assert buddies.postmen[1].refusals == [], "the other instance's users have noticed"


def test_a_lost_node_leaves_both_to_the_buddy_until_an_administrator_sends_one_home(
        buddies: Buddies) -> None:
    master = buddies.master(TWO.home, TWO)
    fault = node_failure(buddies.cluster, buddies.postmen, say)
    assert "alice fenced by bob" in [each.text for each in fault.happenings]
    assert buddies.place(ONE) == buddies.place(TWO) == TWO.home
    assert buddies.master(TWO.home, TWO) == master
    buddies.move(ONE, ONE.home)
    assert buddies.place(ONE) == ONE.home and buddies.place(TWO) == TWO.home


def test_what_cyrus_would_only_log_keeps_it_from_starting_and_a_crash_does_not(
        buddies: Buddies) -> None:
    # The group's disk and address stay where they are, whatever is done by hand.
    maintenance = ["crm_resource", "--resource", ONE.name, "--meta", "--set-parameter",
                   "maintenance", "--parameter-value"]
    buddies.run(ONE.home, *maintenance, "true")
    buddies.wait_until("the cluster has let it alone", buddies.cluster.is_idle)
    assert buddies.agent("stop")[0] == 0
    assert buddies.processes(ONE.home, ONE) == set()

    # Somebody else on one of its ports.
    buddies.run(ONE.home, "systemd-run", "--unit=stranger", "python3", "-c", STRANGER)
    buddies.wait_until("the stranger listens", lambda: f":{LMTP_PORT}" in buddies.run(
        ONE.home, "ss", "-Hltn"))
    code, words = buddies.agent("start")
    assert code == 1 and f"{ONE.address}:{LMTP_PORT} is taken by /usr/bin/python3" in words
    buddies.run(ONE.home, "systemctl", "stop", "stranger")

    # A command that would work on the data of somebody else.
    conf = f"{ONE.root}/etc/cyrus.conf"
    buddies.run(ONE.home, "cp", conf, f"{conf}.whole")
    buddies.run(ONE.home, "sed", "-i", "s/pop3d -C [^ ]*/pop3d/", conf)
    code, words = buddies.agent("start")
    assert code == 5 and f"{conf} line 11: pop3: 'pop3d' has no '-C" in words
    buddies.run(ONE.home, "mv", f"{conf}.whole", conf)

    # What a crash leaves: sockets, locks, a pid file, databases that nobody has closed.
    assert buddies.agent("start")[0] == 0
    buddies.run(ONE.home, "systemctl", "kill", "--signal=KILL", ONE.unit)
    buddies.wait_until("all of it is dead", lambda: not buddies.processes(ONE.home, ONE))
    assert buddies.run(ONE.home, "find", f"{ONE.root}/data/conf/socket", "-type", "s") != ""
    code, words = buddies.agent("start")
    assert code == 0, words
    code, words = buddies.agent("monitor", level=10)
    assert code == 0, words

    assert buddies.agent("stop")[0] == 0
    done = buddies.cluster.lab.execute(ONE.home, [
        "ocf-tester", "-n", ONE.resource, "-o", f"ip={ONE.address}", "-o",
        f"instance_root={ONE.root}", AGENT], timeout=300, check=False)
    assert done.stdout.endswith(f"{AGENT} passed all tests\n"), done.stdout + done.stderr

    buddies.run(ONE.home, *maintenance, "false")
    buddies.run(ONE.home, "crm_resource", "--cleanup", timeout=60)
    buddies.wait_until("it runs again", buddies.cluster.all_run)
    assert buddies.postmen[1].refusals == [], "the other instance's users have noticed"
