# SPDX-License-Identifier: GPL-2.0-or-later
"""Nodes with different releases of Kopano: old software never opens newer data."""

from __future__ import annotations

import base64
from pathlib import Path

from serving_cluster import ServingCluster

DATABASE, FILES = Path("/root/backup/kopano.sql"), Path("/root/backup/kopano.tar")
"""The backup, where the runbook has it."""

DUMP = f"mariadb-dump --single-transaction --databases kopano >{DATABASE}"
PACK = f"tar -C /var/lib/kopano -cpf {FILES} attachments"

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

    cluster.run("/bin/sh", "-ec", f"mkdir {FILES.parent}; {DUMP}; {PACK}", node=node)
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

    cluster.run("crm_resource", "-r", "kopano", "--clear")
    cluster.clean_up()
    said = cluster.play("update.accept", on=other)
    assert f"Accepted: Kopano {NEWER}" in said
    cluster.play("update.move", on=node, alice=other)
    await_kopano(cluster, other)

    # Now the other one is behind.
    install(cluster, node, NEWER)
    assert cluster.fenced() == []
    assert cluster.place_of("mysqld") == node
    restore(cluster, begin, database=node, files=other)


def restore(cluster: ServingCluster, version: str, *, database: str, files: str) -> None:
    """Play the runbook: back to the release before, of which there is a backup.

    database, files: the nodes where MariaDB runs, which has the backup, and where Kopano's disk is.
    """
    packed = cluster.run("base64", str(FILES), node=database)
    cluster.lab.copy_in(files, str(FILES), base64.b64decode(packed))
    for block in ("restore.stop.crm", "restore.stop.pcs"):
        cluster.play(block, on=files)
    assert cluster.processes(files) == {} and "/var/lib/kopano" in cluster.mounts(files)
    cluster.forget_mail()
    for each in cluster.nodes:
        install(cluster, each, version)

    cluster.play("restore.database", on=database)
    cluster.play("restore.files", on=files)
    said = cluster.play("restore.accept", on=files)
    assert f"Accepted: Kopano {version}" in said and f"still names {NEWER}" in said
    for block in ("restore.start.crm", "restore.start.pcs"):
        cluster.play(block, on=files)
    await_kopano(cluster, files)
    assert cluster.failures() == []
    cluster.run("rm", "-r", str(FILES.parent), node=database)
    cluster.run("rm", "-r", str(FILES.parent), node=files)


def await_kopano(cluster: ServingCluster, node: str) -> None:
    """Wait until Kopano serves on a node."""
    cluster.settle()
    cluster.wait_until(f"Kopano runs on {node}", lambda: cluster.state().only_place(
        "kopano_services") == node)
    cluster.mail_is_accepted()
