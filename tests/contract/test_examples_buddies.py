# SPDX-License-Identifier: GPL-2.0-or-later
"""Cyrus servers that are each other's buddies: what the scheduler does when nodes are lost.

Every single and every double loss, with the quorum that votequorum would give to those that are
left.
"""

from __future__ import annotations

import itertools
import re
from typing import Dict, Iterator, Sequence, Tuple

import pytest

import clusterplan
from clusterplan import LIMIT
from test_examples import EXAMPLES, RING, machine_with_examples
from twonode.sandbox import Sandbox

PAIR = ("alice", "bob")
NODES = {"cluster": PAIR, "ring": RING}
"""The nodes of each configuration: instance n is at home on node n, its buddy is the next one."""

BUDDY_ORDER = ("guard", "disk", "storage", "ip", "cyrus")
"""What must happen one after the other to bring up one instance."""


@pytest.fixture(scope="module")
def machine() -> Iterator[Sandbox]:
    """A machine with the cluster's tools, the suite and the examples."""
    with machine_with_examples() as sandbox:
        yield sandbox


class Cibs:
    """The configurations by name, each loaded, started and spoilt when that is first asked for."""

    def __init__(self, machine: Sandbox) -> None:
        """Take the machine to load them on."""
        self._machine = machine
        self._plans: Dict[Tuple[str, ...], clusterplan.Plan] = {}

    def start(self, name: str) -> clusterplan.Plan:
        """Return how it comes up on all of its nodes."""
        if (name,) not in self._plans:
            clusterplan.write(self._machine, "/crm.xml",
                              clusterplan.empty_cib(self._machine, NODES[name]))
            self._machine.run(["crm", "-F", "configure", "load", "update",
                               f"/examples/cyrus-buddies/{name}.crm"], timeout=5 * LIMIT,
                              check=True, environment={"CIB_file": "/crm.xml"})
            cib = self._machine.path("/crm.xml").read_text()
            self._plans[(name,)] = clusterplan.plan(self._machine, cib)
        return self._plans[(name,)]

    def loss(self, name: str, lost: str) -> clusterplan.Plan:
        """Return what is done when one node vanishes; two_node keeps a pair's survivor quorate."""
        if (name, lost) not in self._plans:
            quorum = NODES[name] == PAIR or has_quorum(len(NODES[name]), 1)
            self._plans[(name, lost)] = after_loss(self._machine, self.start(name).after, [lost],
                                                   quorum=quorum)
        return self._plans[(name, lost)]


@pytest.fixture(scope="module")
def cibs(machine: Sandbox) -> Cibs:
    """The configurations, as crm has loaded them; test_examples compares them with pcs's."""
    return Cibs(machine)


def homes(nodes: Sequence[str]) -> Dict[str, str]:
    """Return the home of each instance."""
    return {f"server{number}": node for number, node in enumerate(nodes, start=1)}


def has_quorum(votes: int, lost: int, *, qdevice: bool = False) -> bool:
    """Say what votequorum says after a loss at once: more than half of all votes are there."""
    expected = votes + (1 if qdevice else 0)
    return expected - lost >= expected // 2 + 1


def after_loss(machine: Sandbox, cib: str, lost: Sequence[str], *, quorum: bool
               ) -> clusterplan.Plan:
    """Return what the scheduler does when nodes vanish at once."""
    events = [word for node in lost for word in ("--node-fail", node)]
    return clusterplan.plan(machine, cib, *events, f"--quorum={int(quorum)}")


def taken_over(nodes: Sequence[str], lost: Sequence[str]) -> Dict[str, str]:
    """Return the instances whose home is lost, and the buddy if that is there, else ""."""
    found = {}
    for instance, home in homes(nodes).items():
        if home in lost:
            buddy = nodes[(nodes.index(home) + 1) % len(nodes)]
            found[instance] = "" if buddy in lost else buddy
    return found


@pytest.mark.parametrize("name", NODES)
def test_each_instance_comes_up_at_home_with_cyrus_last(cibs: Cibs, name: str) -> None:
    plan = cibs.start(name)
    for instance, home in homes(NODES[name]).items():
        assert plan.in_order(*(f"{instance}_{each}_start_0 {home}" for each in BUDDY_ORDER))
    assert plan.fenced() == set()


@pytest.mark.parametrize("name, lost", [(name, node) for name in NODES for node in NODES[name]])
def test_the_buddy_takes_over_and_gives_nothing_back_by_itself(
        machine: Sandbox, cibs: Cibs, name: str, lost: str) -> None:
    plan = cibs.loss(name, lost)
    assert plan.fenced() == {lost}
    (instance, buddy), = taken_over(NODES[name], [lost]).items()
    assert plan.in_order(f"stonith 'reboot' {lost}",
                         *(f"{instance}_{each}_start_0 {buddy}" for each in BUDDY_ORDER))
    others = set(homes(NODES[name])) - {instance}
    assert not any(change.startswith(f"{other}_") for change in plan.changed() for other in others)
    back = clusterplan.plan(machine, plan.after, "--node-up", lost)
    assert not any(change.startswith("server") for change in back.changed())


@pytest.mark.parametrize("lost", list(itertools.combinations(RING, 2)), ids="+".join)
def test_two_of_four_lost_at_once_stop_everything_unless_there_is_a_qdevice(
        machine: Sandbox, cibs: Cibs, lost: Tuple[str, str]) -> None:
    whole = cibs.start("ring").after
    assert not has_quorum(4, 2) and has_quorum(4, 2, qdevice=True)
    alone = after_loss(machine, whole, lost, quorum=has_quorum(4, 2))
    assert alone.fenced() == set()
    assert not any(change.startswith("server") and change.endswith(" start")
                   for change in alone.changed())
    for instance, home in homes(RING).items():
        assert (f"{instance}_cyrus stop" in alone.changed()) is (home not in lost)
    plan = after_loss(machine, whole, lost, quorum=has_quorum(4, 2, qdevice=True))
    assert plan.fenced() == set(lost)
    for instance, buddy in taken_over(RING, lost).items():
        place = plan.placed("start", f"{instance}_cyrus")
        assert place == buddy if buddy else place not in lost
        assert plan.in_order(f"stonith 'reboot' {homes(RING)[instance]}",
                             f"{instance}_guard_start_0 {place}")


@pytest.mark.parametrize("first, second", list(itertools.permutations(RING, 2)))
def test_two_of_four_lost_one_after_the_other_are_stood_by_last_man_standing(
        machine: Sandbox, cibs: Cibs, first: str, second: str) -> None:
    # Three nodes are all that is expected by then.
    plan = after_loss(machine, cibs.loss("ring", first).after, [second], quorum=has_quorum(3, 1))
    assert plan.fenced() == {second}
    moved = {instance for instance, home in homes(RING).items() if home == second}
    moved |= {instance for instance, buddy in taken_over(RING, [first]).items() if buddy == second}
    for instance in moved:
        assert plan.placed("start", f"{instance}_cyrus") not in (first, second)


RING_CONF = """
totem {{
    version: 2
    cluster_name: mail
    transport: knet
}}
nodelist {{
{nodes}
}}
{quorum}
logging {{
    to_stderr: yes
}}
"""


def test_corosync_accepts_both_ways_to_count_the_votes_of_the_ring(machine: Sandbox) -> None:
    page = (EXAMPLES / "cyrus-buddies/README.md").read_text()
    blocks = re.findall(r"```\n(quorum \{.*?\n\})\n```", page, re.DOTALL)
    assert ["device" in block for block in blocks] == [False, True]
    machine.run(["ip", "address", "add", "192.168.122.21/24", "dev", "lo"], timeout=LIMIT,
                check=True)
    nodes = "\n".join(f"node {{\n nodeid: {number}\n name: {name}\n "
                      f"ring0_addr: 192.168.122.2{number}\n}}"
                      for number, name in enumerate(RING, start=1))
    for quorum in blocks:
        clusterplan.write(machine, "/etc/corosync/corosync.conf",
                          RING_CONF.format(nodes=nodes, quorum=quorum))
        done = machine.run(["corosync", "-t"], timeout=LIMIT)
        assert done.returncode == 0, done.stdout + done.stderr
