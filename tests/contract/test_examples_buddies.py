# SPDX-License-Identifier: GPL-2.0-or-later
"""Cyrus servers that are each other's buddies: what the scheduler does when nodes are lost.

Every single and every double loss, with the quorum that votequorum would give to those that are
left.
"""

from __future__ import annotations

import itertools
from typing import Dict, Iterator, Sequence, Tuple

import pytest

import clusterplan
from test_examples import RING, Examples, machine_with_examples
from twonode.sandbox import Sandbox

BUDDY_ORDER = ("guard", "disk", "storage", "ip", "cyrus")
"""What must happen one after the other to bring up one instance."""


@pytest.fixture(scope="module")
def machine() -> Iterator[Sandbox]:
    """A machine with the cluster's tools, the suite and the examples."""
    with machine_with_examples() as sandbox:
        yield sandbox


@pytest.fixture(scope="module")
def loaded(machine: Sandbox) -> Examples:
    """The examples, as crm and as pcs have loaded them."""
    return Examples(machine, (2, 1))


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


@pytest.mark.parametrize("example, nodes", [("cyrus-buddies", ("alice", "bob")), ("ring", RING)])
def test_each_instance_comes_up_at_home_with_cyrus_last(
        machine: Sandbox, loaded: Examples, example: str, nodes: Tuple[str, ...]) -> None:
    plan = clusterplan.plan(machine, loaded[example].crm)
    for instance, home in homes(nodes).items():
        assert plan.in_order(*(f"{instance}_{name}_start_0 {home}" for name in BUDDY_ORDER))
    assert plan.fenced() == set()


@pytest.mark.parametrize("example, nodes, lost", [
    *(("cyrus-buddies", ("alice", "bob"), (node,)) for node in ("alice", "bob")),
    *(("ring", RING, (node,)) for node in RING)],
    ids=lambda value: value if isinstance(value, str) else "+".join(value))
def test_the_buddy_takes_over_and_gives_nothing_back_by_itself(
        machine: Sandbox, loaded: Examples, example: str, nodes: Tuple[str, ...],
        lost: Tuple[str, ...]) -> None:
    whole = clusterplan.plan(machine, loaded[example].crm).after
    # Two nodes have two_node in corosync.conf.
    plan = after_loss(machine, whole, lost, quorum=len(nodes) == 2 or has_quorum(len(nodes), 1))
    assert plan.fenced() == set(lost)
    (instance, buddy), = taken_over(nodes, lost).items()
    assert plan.in_order(f"stonith 'reboot' {lost[0]}",
                         *(f"{instance}_{name}_start_0 {buddy}" for name in BUDDY_ORDER))
    others = {name for name in homes(nodes) if name != instance}
    assert not any(change.startswith(other + "_") for change in plan.changed() for other in others)
    back = clusterplan.plan(machine, plan.after, "--node-up", lost[0])
    assert not any(change.startswith("server") for change in back.changed())


@pytest.mark.parametrize("lost", list(itertools.combinations(RING, 2)), ids="+".join)
def test_two_of_four_lost_at_once_stop_everything_unless_there_is_a_qdevice(
        machine: Sandbox, loaded: Examples, lost: Tuple[str, str]) -> None:
    whole = clusterplan.plan(machine, loaded["ring"].crm).after
    assert not has_quorum(4, 2) and has_quorum(4, 2, qdevice=True)
    alone = after_loss(machine, whole, lost, quorum=has_quorum(4, 2))
    assert alone.fenced() == set() and not any(" start" in each and each.startswith("server")
                                               for each in alone.changed())
    for instance, home in homes(RING).items():
        if home not in lost:
            assert f"{instance}_cyrus stop" in alone.changed()
    plan = after_loss(machine, whole, lost, quorum=has_quorum(4, 2, qdevice=True))
    check_taken_over(plan, lost)


@pytest.mark.parametrize("lost", list(itertools.permutations(RING, 2)), ids="+".join)
def test_two_of_four_lost_one_after_the_other_are_stood_by_last_man_standing(
        machine: Sandbox, loaded: Examples, lost: Tuple[str, str]) -> None:
    whole = clusterplan.plan(machine, loaded["ring"].crm).after
    first = after_loss(machine, whole, lost[:1], quorum=has_quorum(4, 1))
    # Three nodes are all that is expected by then.
    second = after_loss(machine, first.after, lost[1:], quorum=has_quorum(3, 1))
    assert second.fenced() == {lost[1]}
    moved = {instance for instance, home in homes(RING).items()
             if home == lost[1] or home == lost[0] and taken_over(RING, lost[:1])[instance]
             == lost[1]}
    for instance in moved:
        assert second.placed("start", f"{instance}_cyrus") not in lost


def check_taken_over(plan: clusterplan.Plan, lost: Sequence[str]) -> None:
    """Find each instance of a lost node on its buddy, or on a node that is left."""
    assert plan.fenced() == set(lost)
    for instance, buddy in taken_over(RING, lost).items():
        place = plan.placed("start", f"{instance}_cyrus")
        assert place == buddy if buddy else place not in lost
        for node in lost:
            if node == homes(RING)[instance]:
                assert plan.in_order(f"stonith 'reboot' {node}",
                                     f"{instance}_guard_start_0 {place}")
