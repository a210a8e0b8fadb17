# SPDX-License-Identifier: GPL-2.0-or-later
"""Where the other node cannot be fenced nothing starts, and what runs is not disturbed."""

from __future__ import annotations

from typing import Iterator

import pytest

from failover import configuration
from serving_cluster import ServingCluster

GUARDS = ("mysql_guard", "kopano_guard")


@pytest.fixture
def stopped(cluster: ServingCluster) -> Iterator[ServingCluster]:
    """Return the cluster with both groups stopped; they start when target-role is removed."""
    stop(cluster)
    yield cluster


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


def nothing_is_touched(cluster: ServingCluster, node: str) -> bool:
    """Say whether a node has mounted nothing, has no address and runs nothing."""
    addresses = cluster.run("ip", "-o", "address", node=node)
    return (cluster.mounts(node) == [] and cluster.processes(node) == {}
            and configuration.KOPANO_ADDRESS not in addresses
            and configuration.MYSQL_ADDRESS not in addresses)


def test_without_stonith_what_runs_goes_on_and_nothing_starts_any_more(
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
    cluster.settle()
    assert all(nothing_is_touched(cluster, each) for each in cluster.nodes)


def test_a_node_starts_only_if_the_other_one_has_a_fence_device(stopped: ServingCluster) -> None:
    cluster = stopped
    for each in cluster.nodes:
        cluster.set_meta(f"fence_{each}", "target-role", "Stopped")
    cluster.settle()
    let_start(cluster)
    for each in cluster.nodes:
        failure = cluster.await_failure("mysql_guard", "start", node=each, code=5)
        assert f"'{cluster.other(each)}' cannot be fenced" in failure.reason
    cluster.settle()
    assert all(nothing_is_touched(cluster, each) for each in cluster.nodes)
    assert "cannot be fenced" in cluster.run("crm_mon", "-1")

    # Bob is where the groups would rather be, and alice whom only bob could fence.
    cluster.set_meta("fence_bob", "target-role", "Started")
    cluster.settle()
    cluster.clean_up()
    cluster.all_run(on="alice")
    failure = cluster.await_failure("mysql_guard", "start", node="bob", code=5)
    assert "'alice' cannot be fenced" in failure.reason
    cluster.mail_is_accepted()
    assert nothing_is_touched(cluster, "bob")


def test_manual_changeover_runs_on_the_named_node_and_moves_by_the_name_alone(
        stopped: ServingCluster) -> None:
    cluster = stopped
    before, after = "bob", "alice"
    cluster.load("manual-changeover/cluster.crm")
    cluster.settle()
    let_start(cluster)
    cluster.all_run(on=before)
    cluster.mail_is_accepted()

    # As the example's README says.
    cluster.run("crm_standby", "-N", before, "-v", "on")
    for each in cluster.nodes:
        cluster.wait_until(f"nothing runs on {each}",
                           lambda: nothing_is_touched(cluster, each))
    failure = cluster.await_failure("mysql_guard", "start", node=after, code=5)
    assert f"only '{before}' may run this" in failure.reason
    for resource in ("kopano_services", *reversed(GUARDS)):
        cluster.set_parameter(resource, "manual_node", after)
    cluster.clean_up()
    cluster.survivor_runs(after)
    cluster.mail_is_accepted()
    cluster.run("crm_standby", "-N", before, "-D")
    cluster.settle()
    cluster.all_run(on=after)
    assert nothing_is_touched(cluster, before)
