# SPDX-License-Identifier: GPL-2.0-or-later
"""Services and databases that die are recovered where they were, or moved where that is no help."""

from __future__ import annotations

import time

from cluster_view import UNITS
from serving_cluster import DEEP_INTERVAL, ServingCluster


def await_recovery(cluster: ServingCluster, node: str, *, since: float) -> None:
    """Wait until Kopano has been started again on a node and everything runs."""
    cluster.wait_until(f"Kopano is started again on {node}", lambda: [
        each for each in cluster.happenings("started")
        if each.subject == "kopano_services" and each.node == node and each.when >= since])
    cluster.all_run()


def test_killed_services_are_recovered_in_place_twice_and_then_move(
        cluster: ServingCluster) -> None:
    node = cluster.active
    cluster.disable_deep_monitor()
    for number, killed in enumerate((("server",), ("dagent", "spooler")), start=1):
        since = time.time()
        before = cluster.processes(node)
        cluster.kill(node, *[f"kopano-{service}" for service in killed])
        await_recovery(cluster, node, since=since)
        assert cluster.active == node
        after = cluster.processes(node)
        assert after.keys() == before.keys()
        assert all(after[f"kopano-{service}"] != before[f"kopano-{service}"] for service in killed)
        # Every one of them was missed, and not only the first.
        reasons = cluster.reasons("kopano_services", "monitor", node)
        assert all(f"{service}: " in reasons for service in killed), reasons
        assert cluster.fail_count("kopano_services", node) == number
        cluster.mail_is_accepted()

    # The third time it is the migration-threshold's turn.
    cluster.kill(node, *UNITS)
    cluster.wait_until("Kopano has moved", lambda: cluster.state().only_place(
        "kopano_services") == cluster.other(node))
    cluster.all_run()
    cluster.mail_is_accepted()
    assert cluster.processes(node) == {}
    assert cluster.happenings("failed", "fenced") == []


def test_each_of_the_other_services_is_missed_and_recovered(cluster: ServingCluster) -> None:
    node = cluster.active
    before, since = cluster.processes(node), time.time()
    killed = ("monitor", "gateway", "ical")
    cluster.kill(node, *[f"kopano-{service}" for service in killed])
    await_recovery(cluster, node, since=since)
    reasons = cluster.reasons("kopano_services", "monitor", node)
    assert all(f"{service}: " in reasons for service in killed), reasons
    after = cluster.processes(node)
    assert after.keys() == before.keys()
    assert all(after[f"kopano-{service}"] != before[f"kopano-{service}"] for service in killed)
    look_at_night(cluster, node)


def look_at_night(cluster: ServingCluster, node: str) -> None:
    """Play the runbook of the first failure at night, after one of Kopano's services on a node."""
    shown = cluster.play("night.look", on=cluster.other(node))
    assert "partition with quorum" in shown and "kopano_services: migration-threshold" in shown
    assert "Failed Resource Actions" in shown and "kopano-monitor.service" in shown
    log = cluster.play("night.log", on=node)
    assert "ocf-exit-reason:" in log and "kopano(kopano_services)" in log
    assert "fence_ipmi[" in cluster.play("night.fencing", on=node)
    links = cluster.play("night.links", on=node)
    assert "connected" in links and "Quorate:          Yes" in links
    below = cluster.play("night.below", on=node)
    assert "/var/lib/kopano" in below and "kopano-server.service   kopano_services" in below
    forgiven = cluster.play("night.forgive", on=node)
    assert "kopano_services: migration-threshold" not in forgiven


def test_a_database_that_dies_is_recovered_and_kopano_restarts_once_for_the_order_alone(
        cluster: ServingCluster) -> None:
    node, database = cluster.active, cluster.place_of("mysqld")
    since = time.time()
    cluster.kill(database, "mariadbd")
    await_recovery(cluster, node, since=since)
    cluster.mail_is_accepted()
    assert cluster.place_of("mysqld") == database and cluster.active == node
    ends = [each for each in cluster.happenings("stopped", "started", "failed")
            if each.subject == "kopano_services" and each.when >= since]
    assert [each.kind for each in ends] == ["stopped", "started"]
    assert cluster.fail_count("kopano_services", node) == 0


def test_kopano_without_its_database_is_degraded_and_heals_by_itself(
        cluster: ServingCluster) -> None:
    node, database = cluster.active, cluster.place_of("mysqld")
    # The cluster does not look after the database now, so that nobody but Kopano misses it.
    cluster.set_meta("mysqld", "maintenance", "true")
    cluster.settle()
    before = cluster.processes(node)
    cluster.kill(database, "mariadbd")
    failure = cluster.await_failure("kopano_services", "monitor", node=node, code=190)
    assert "198.51.100.101" in failure.reason, failure
    assert cluster.place_of("kopano_services") == node
    assert cluster.processes(node) == before

    cluster.run("systemctl", "start", "mariadb", node=database)
    cluster.mail_is_accepted()
    # crm_mon goes on listing what has been, until somebody cleans it up.
    cluster.wait_until("the monitor is content", lambda: cluster.last_result(
        "kopano_services", DEEP_INTERVAL, node) == 0)
    assert cluster.processes(node) == before
    assert cluster.fail_count("kopano_services", node) == 0
    assert not [each for each in cluster.happenings("stopped", "started")
                if each.subject == "kopano_services"]
