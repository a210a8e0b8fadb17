# SPDX-License-Identifier: GPL-2.0-or-later
"""Where the other node cannot be fenced nothing starts, and what runs is not disturbed."""

from __future__ import annotations

from failover.products import kopano
from serving_cluster import ServingCluster


def stop(cluster: ServingCluster) -> None:
    """Stop both groups."""
    for group in ("kopano", "mysql"):
        cluster.set_meta(group, "target-role", "Stopped")
    cluster.settle()


def let_start(cluster: ServingCluster) -> None:
    """Let the groups start, with all failures forgiven."""
    cluster.clean_up()
    for group in ("kopano", "mysql"):
        cluster.run("crm_resource", "-r", group, "--meta", "--delete-parameter", "target-role")


def is_untouched(cluster: ServingCluster, node: str) -> bool:
    """Say whether a node has mounted nothing, has no address and runs nothing."""
    addresses = cluster.run("ip", "-o", "address", node=node)
    return (cluster.mounts(node) == [] and cluster.processes(node) == {}
            and kopano.KOPANO_ADDRESS not in addresses
            and kopano.MYSQL_ADDRESS not in addresses)


def nothing_is_touched_anywhere(cluster: ServingCluster) -> None:
    """Assert that when the cluster has done all it can, no node has touched anything."""
    cluster.settle()
    assert [each for each in cluster.nodes if not is_untouched(cluster, each)] == []


def test_without_working_fencing_what_runs_goes_on_and_nothing_starts_any_more(
        cluster: ServingCluster) -> None:
    node = cluster.active
    before = cluster.processes(node)
    cluster.set_property("stonith-enabled", "false")
    cluster.settle()
    cluster.mail_is_accepted()
    assert cluster.processes(node) == before
    assert cluster.refused() == []

    stop(cluster)
    let_start(cluster)
    for each in cluster.nodes:
        # The groups are ordered, so that of Kopano does not even try.
        failure = cluster.await_failure("mysql_guard", "start", node=each, code=5)
        assert "STONITH is off" in failure.reason and "stonith-enabled=true" in failure.reason
    nothing_is_touched_anywhere(cluster)
    assert "STONITH is off" in cluster.run("crm_mon", "-1")

    for each in cluster.nodes:
        cluster.set_meta(f"fence_{each}", "target-role", "Stopped")
    cluster.set_property("stonith-enabled", "true")
    cluster.settle()
    cluster.clean_up()
    for each in cluster.nodes:
        cluster.await_failure("mysql_guard", "start", node=each, code=5,
                              reason=f"'{cluster.other(each)}' cannot be fenced")
    nothing_is_touched_anywhere(cluster)

    # Bob is where the groups would rather be, and alice whom only bob could fence.
    cluster.set_meta("fence_bob", "target-role", "Started")
    cluster.settle()
    cluster.clean_up()
    cluster.all_run(on="alice")
    cluster.await_failure("mysql_guard", "start", node="bob", code=5,
                          reason="'alice' cannot be fenced")
    cluster.mail_is_accepted()
    assert is_untouched(cluster, "bob")


def test_manual_changeover_runs_on_the_named_node_and_moves_by_the_name_alone(
        cluster: ServingCluster) -> None:
    before, after = "bob", "alice"
    stop(cluster)
    cluster.load("manual-changeover/cluster.crm")
    cluster.settle()
    let_start(cluster)
    cluster.all_run(on=before)
    cluster.mail_is_accepted()

    # As the runbook says.
    cluster.play("maintenance.away.pcs", on=after, bob=before)
    for each in cluster.nodes:
        cluster.wait_until(f"nothing runs on {each}",
                           lambda: is_untouched(cluster, each))
    failure = cluster.await_failure("mysql_guard", "start", node=after, code=5)
    assert f"only '{before}' may run this" in failure.reason
    cluster.play("by-hand.name", on=after, alice=after)
    cluster.survivor_runs(after)
    cluster.mail_is_accepted()
    cluster.play("maintenance.back.crm", on=after, bob=before)
    cluster.settle()
    cluster.all_run(on=after)
    assert is_untouched(cluster, before)
