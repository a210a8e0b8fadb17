# SPDX-License-Identifier: GPL-2.0-or-later
"""Changeovers that an administrator asks for: nothing fails, nobody is fenced, no mail is lost."""

from __future__ import annotations

from serving_cluster import ServingCluster


def test_standby_moves_everything_and_nothing_moves_back_by_itself(
        cluster: ServingCluster) -> None:
    before = cluster.active
    after = cluster.other(before)
    cluster.bring_to(before)
    cluster.play("maintenance.away.crm", on=after, bob=before)
    assert f"Node {before}: standby" in cluster.play("maintenance.wait", on=before)
    cluster.survivor_runs(after)
    cluster.mail_is_accepted()
    assert cluster.processes(before) == {}
    assert cluster.mounts(before) == []

    cluster.play("maintenance.back.pcs", on=after, bob=before)
    cluster.all_run(on=after)
    assert cluster.happenings("failed", "found", "fenced") == []


def test_kopano_can_be_moved_away_from_its_database(cluster: ServingCluster) -> None:
    database = cluster.place_of("mysqld")
    cluster.bring_to(database)
    cluster.run("crm_resource", "-r", "kopano", "--move", "--node", cluster.other(database))
    cluster.wait_until("Kopano runs on the other node", lambda: cluster.state().only_place(
        "kopano_services") == cluster.other(database))
    assert cluster.place_of("mysqld") == database
    cluster.mail_is_accepted()
    assert cluster.happenings("failed", "found", "fenced") == []


def test_crm_resource_restart_restarts_kopano_where_it_is(cluster: ServingCluster) -> None:
    node = cluster.active
    before = cluster.processes(node)
    cluster.play("night.restart", on=node)
    cluster.all_run()
    assert cluster.active == node
    after = cluster.processes(node)
    assert after.keys() == before.keys()
    assert not set(after.values()) & set(before.values())
    assert cluster.happenings("failed", "found", "fenced") == []
