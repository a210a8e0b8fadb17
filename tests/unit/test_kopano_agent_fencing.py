# SPDX-License-Identifier: GPL-2.0-or-later
"""ocf:mailha:kopano starts only where no other node can run it at the same time."""

from __future__ import annotations

import pytest
from kopano_machine import NAMES
from kopano_node import Node
from mailha.cluster.cib import QUERY


def questions(node: Node) -> int:
    """Return how often Pacemaker was asked for its configuration."""
    return sum(ran.argv[0] == QUERY[0] for ran in node.machine.children.ran)


def hang_cib(node: Node) -> None:
    node.machine.children.answer([QUERY[0]], takes=10_000)


def test_a_start_in_the_cluster_asks_and_nothing_else_does(node: Node) -> None:
    node.started()
    assert questions(node) == 1
    for answer in (node.monitor(), node.monitor(10), node.monitor(20), node.probe(),
                   node.call("validate-all", level=10), node.call("reload-agent"), node.stop()):
        assert answer.code == 0, answer
    assert questions(node) == 1


def test_by_hand_nothing_changes_over_by_itself_so_nobody_is_asked(node: Node) -> None:
    node.in_cluster = False
    node.answer_cib("crm_stonith_off.xml")
    node.started()
    assert questions(node) == 0


def test_without_stonith_nothing_starts(node: Node) -> None:
    node.answer_cib("crm_stonith_off.xml")
    node.refuses(5, "STONITH is off", "stonith-enabled=true", "manual_node")
    assert node.probe().code == 7 and node.stop().code == 0


def test_devices_that_are_switched_off_do_not_count(node: Node) -> None:
    node.answer_cib("pcs_disabled.xml")
    node.refuses(5, "cannot be fenced", "device")


@pytest.mark.parametrize("requires", ["nothing", "quorum"])
def test_a_resource_that_pacemaker_starts_without_fencing(
        node: Node, monkeypatch: pytest.MonkeyPatch, requires: str) -> None:
    whole = node.environment
    monkeypatch.setattr(node, "environment", lambda **more: {
        **whole(**more), "OCF_RESKEY_CRM_meta_requires": requires})
    node.refuses(5, f"requires={requires}")


def test_without_stonith_the_named_node_may_start_it(node: Node) -> None:
    node.answer_cib("crm_stonith_off.xml")
    node.started(manual_node="alice")
    assert node.alive() == sorted(NAMES)


def test_without_stonith_no_other_node_may(node: Node) -> None:
    node.answer_cib("crm_stonith_off.xml")
    node.refuses(5, "'bob'", "make certain that 'bob' is off", manual_node="bob")


def test_a_named_node_that_does_not_exist(node: Node) -> None:
    node.answer_cib("crm_stonith_off.xml")
    node.refuses(5, "'carol'", "no node of this cluster", manual_node="carol")


def test_a_guard_in_front_may_answer_for_it(node: Node) -> None:
    node.answer_cib("crm_stonith_off.xml")
    node.started(require_stonith="false")
    assert questions(node) == 0


def test_a_silent_cib_without_a_verdict_of_this_boot(node: Node) -> None:
    hang_cib(node)
    node.refuses(1, "whether STONITH protects this cluster is unknown", "did not end within")


def test_a_silent_cib_costs_a_bounded_part_of_the_budget(node: Node) -> None:
    hang_cib(node)
    assert node.start().seconds <= 30.0
    assert node.start(timeout=60).seconds <= 12.0


def test_a_silent_cib_and_the_verdict_of_this_boot(node: Node) -> None:
    node.started()
    node.stop()
    hang_cib(node)
    node.started()
    node.stop()
    node.machine.reboot()
    hang_cib(node)
    assert node.start().code == 1


def test_a_silent_cib_and_a_refusal_of_this_boot(node: Node) -> None:
    node.answer_cib("crm_stonith_off.xml")
    assert node.start().code == 5
    hang_cib(node)
    node.refuses(5, "STONITH is off")


def test_a_node_without_pacemakers_tools(node: Node) -> None:
    node.machine.children.answer([QUERY[0]], code=127, stderr=b"not found")
    node.refuses(1, "STONITH")


def test_stonith_that_is_switched_off_later_disturbs_nobody(node: Node) -> None:
    node.started()
    node.answer_cib("crm_stonith_off.xml")
    assert node.monitor().code == node.monitor(10).code == node.probe().code == 0
    assert node.stop().code == 0
