# SPDX-License-Identifier: GPL-2.0-or-later
"""Nodes with different releases of Kopano: old software never opens newer data."""

from __future__ import annotations

from serving_cluster import ServingCluster

OLDER, NEWER = "8.7.20", "9.0.2"
"""Than what the cluster begins with. The newer one upgrades the database."""


def install(cluster: ServingCluster, node: str, version: str) -> None:
    """Bring another release to a node, as its package manager would."""
    cluster.lab.copy_in(node, "/usr/lib/kopano-standin/version", f"{version}\n".encode())


def test_a_node_with_older_software_is_refused_and_a_newer_release_waits_for_the_word(
        cluster: ServingCluster) -> None:
    node = cluster.active
    other = cluster.other(node)
    begin = cluster.run("cat", "/usr/lib/kopano-standin/version", node=node).strip()

    install(cluster, other, OLDER)
    cluster.run("crm_resource", "-r", "kopano", "--move", "--node", other)
    failure = cluster.await_failure("kopano_services", "start", node=other, code=5)
    assert f"Kopano {OLDER} on this node is older than {begin}" in failure.reason
    await_kopano(cluster, node)

    install(cluster, other, NEWER)
    cluster.clean_up()
    failure = cluster.await_failure("kopano_services", "start", node=other, code=5,
                                    reason="newer release")
    assert f"Kopano {NEWER} on this node is a newer release than {begin}" in failure.reason
    cluster.wait_until("the remedy is in the log", lambda:
                       "mailha accept-version kopano_services" in cluster.journal(
                           other, "pacemaker"))
    await_kopano(cluster, node)

    cluster.run("mailha", "accept-version", "kopano_services", node=other)
    cluster.clean_up()
    await_kopano(cluster, other)

    # Now the other one is behind.
    install(cluster, node, NEWER)
    assert cluster.fenced() == []


def await_kopano(cluster: ServingCluster, node: str) -> None:
    """Wait until Kopano serves on a node."""
    cluster.settle()
    cluster.wait_until(f"Kopano runs on {node}", lambda: cluster.state().only_place(
        "kopano_services") == node)
    cluster.mail_is_accepted()
