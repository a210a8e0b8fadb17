# SPDX-License-Identifier: GPL-2.0-or-later
"""Parameters that change while mail runs, and services that mail can do without."""

from __future__ import annotations

import time

from serving_cluster import ServingCluster

LEAVES = ("kopano_gateway", "kopano_ical")


def test_an_optional_service_that_dies_only_degrades(cluster: ServingCluster) -> None:
    node = cluster.active
    before = cluster.processes(node)
    cluster.set_parameter("kopano_services", "optional_services", "gateway ical")
    cluster.wait_until("the agent has been told", lambda: "Result of reload-agent operation for "
                       f"kopano_services on {node}: ok" in cluster.journal(node, "pacemaker"))
    cluster.settle()
    assert cluster.processes(node) == before

    cluster.kill(node, "kopano-ical")
    failure = cluster.await_failure("kopano_services", "monitor", node=node, code=190)
    assert "ical" in failure.reason
    assert "ical" in cluster.run("crm_mon", "-1")
    cluster.settle()
    assert cluster.place_of("kopano_services") == node
    del before["kopano-ical"]
    assert cluster.processes(node) == before
    assert cluster.refused() == []

    # It is needed again: now its absence is a failure, and is recovered.
    cluster.run("crm_resource", "-r", "kopano_services", "--delete-parameter",
                "optional_services")
    cluster.wait_until("ical runs again", lambda: "kopano-ical" in cluster.processes(node))
    cluster.settle()
    cluster.kopano_runs(on=node)
    assert cluster.fail_count("kopano_services", node) > 0


def test_a_service_that_is_taken_out_is_stopped_by_the_restart_that_this_needs(
        cluster: ServingCluster) -> None:
    node = cluster.active
    before = cluster.processes(node)
    cluster.set_parameter("kopano_services", "services", "server spooler dagent monitor gateway")
    cluster.wait_until("Kopano runs without ical", lambda: cluster.processes(node).keys()
                       == before.keys() - {"kopano-ical"})
    cluster.settle()
    cluster.kopano_runs(on=node)
    assert not set(cluster.processes(node).values()) & set(before.values())
    assert cluster.pids(node, "kopano-ical") == []
    assert cluster.happenings("failed", "found") == []
    assert [each.kind for each in cluster.happenings("stopped", "started")
            if each.subject == "kopano_services"] == ["stopped", "started"]


def test_a_leaf_of_its_own_that_dies_again_and_again_disturbs_nobody(
        cluster: ServingCluster) -> None:
    node = cluster.active
    cluster.load("kopano-shared-storage/split-leaves.crm")
    cluster.wait_until("the leaves run", lambda: all(
        cluster.state().only_place(leaf) == node for leaf in LEAVES))
    cluster.settle()
    cluster.mail_is_accepted()
    before, since = cluster.processes(node), time.time()

    cluster.lab.copy_in(node, "/etc/kopano/standin.vices", b"ical: crash_after=0.3\n")
    cluster.kill(node, "kopano-ical")
    cluster.wait_until("ical is given up", lambda: not cluster.state().active["kopano_ical"]
                       and cluster.fail_count("kopano_ical", node) >= 3)
    cluster.settle()
    assert cluster.place_of("kopano_services") == cluster.place_of("kopano_gateway") == node
    del before["kopano-ical"]
    assert cluster.processes(node) == before
    assert cluster.refused(since) == []
    assert cluster.fenced() == []

    cluster.run("rm", "/etc/kopano/standin.vices", node=node)
    # Before they are merged again; a leaf that still runs keeps its service from the others.
    for leaf in LEAVES:
        cluster.set_meta(leaf, "target-role", "Stopped")
    cluster.settle()
