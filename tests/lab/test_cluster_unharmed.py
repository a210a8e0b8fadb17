# SPDX-License-Identifier: GPL-2.0-or-later
"""What must not disturb mail: an administrator's maintenance, a cluster that loses its memory or
its daemons, and things that run where they should not."""

from __future__ import annotations

import time
from typing import List

from serving_cluster import ServingCluster


def probes(cluster: ServingCluster, node: str) -> List[str]:
    """Return the lines of a node's journal that tell of the probes of Kopano in this test."""
    return [line for line in cluster.journal(node, "pacemaker").splitlines()
            if "Result of probe operation for kopano_services" in line]


def test_in_maintenance_mode_nothing_is_touched_neither_then_nor_afterwards(
        cluster: ServingCluster) -> None:
    node = cluster.active
    before = cluster.processes(node)
    for block in ("hands.off.crm", "hands.off.pcs"):
        cluster.play(block, on=node)
    cluster.settle()
    cluster.kill(node, "kopano-ical", "kopano-gateway")
    cluster.wait_until("they are dead", lambda: cluster.processes(node).keys().isdisjoint(
        ("kopano-ical", "kopano-gateway")))
    # The cluster looks again, finds them dead, and leaves that to the administrator.
    known = len(probes(cluster, node))
    cluster.run("crm_resource", "-r", "kopano_services", "--refresh")
    cluster.wait_until("Kopano has been probed", lambda: len(probes(cluster, node)) > known)
    cluster.settle()
    assert cluster.processes(node).keys() == before.keys() - {"kopano-ical", "kopano-gateway"}

    cluster.run("systemctl", "start", "kopano-ical", "kopano-gateway", node=node)
    for block in ("hands.on.crm", "hands.on.pcs"):
        cluster.play(block, on=node)
    cluster.settle()
    cluster.kopano_runs(on=node)
    after = cluster.processes(node)
    assert after.keys() == before.keys()
    assert {name for name in after if after[name] != before[name]} == {
        "kopano-ical", "kopano-gateway"}
    assert cluster.refused() == []


def test_refresh_forgets_all_and_finds_kopano_running_without_touching_it(
        cluster: ServingCluster) -> None:
    node = cluster.active
    before = cluster.processes(node)
    cluster.run("crm_resource", "--refresh", timeout=120)
    for each in cluster.nodes:
        cluster.wait_until(f"Kopano has been probed on {each}", lambda: probes(cluster, each))
    cluster.settle()
    cluster.kopano_runs(on=node)
    assert cluster.processes(node) == before
    assert cluster.refused() == []


def test_mail_survives_the_death_of_pacemakers_executor(cluster: ServingCluster) -> None:
    # The controller ends with it. Where another node is in charge it may call that the loss of a
    # node, and fence it before the controller is back; so the node in charge is the active one.
    node = cluster.in_charge()
    cluster.bring_to(node)
    before, since = cluster.processes(node), time.time()
    cluster.kill(node, "pacemaker-execd")
    # It knows of nothing any more, and finds out.
    cluster.wait_until("Kopano has been probed", lambda: probes(cluster, node))
    cluster.settle()
    cluster.kopano_runs(on=node)
    assert cluster.processes(node) == before
    assert cluster.refused(since) == []
    assert cluster.fenced() == []


def test_mail_survives_the_death_of_pacemakerd(cluster: ServingCluster) -> None:
    node = cluster.active
    before, old = cluster.processes(node), cluster.pids(node, "pacemakerd")
    cluster.kill(node, "pacemakerd")
    cluster.wait_until("pacemakerd runs again",
                       lambda: cluster.pids(node, "pacemakerd") not in ([], old))
    cluster.settle()
    cluster.kopano_runs(on=node)
    assert cluster.processes(node) == before
    assert cluster.refused() == []
    assert cluster.fenced() == []


def test_a_left_over_spooler_on_the_passive_node_neither_restarts_kopano_nor_keeps_it_from_moving(
        cluster: ServingCluster) -> None:
    node = cluster.active
    passive = cluster.other(node)
    before = cluster.processes(node)
    cluster.run("systemd-run", "--unit=left-over", "/usr/sbin/kopano-spooler", "-F", node=passive)
    cluster.wait_until("it runs", lambda: cluster.pids(passive, "kopano-spooler"))
    cluster.run("crm_resource", "-r", "kopano_services", "--refresh")
    cluster.wait_until("Kopano has been probed", lambda: probes(cluster, passive))
    cluster.settle()
    cluster.kopano_runs(on=node)
    assert cluster.processes(node) == before
    assert cluster.refused() == []
    assert cluster.pids(passive, "kopano-spooler")
    cluster.wait_until("it is told", lambda: "spooler runs on this node although"
                       in cluster.journal(passive, "pacemaker"))

    cluster.run("crm_resource", "-r", "kopano", "--move", "--node", passive)
    cluster.wait_until("Kopano runs there", lambda: cluster.state().only_place(
        "kopano_services") == passive)
    cluster.mail_is_accepted()
    assert cluster.processes(passive).keys() == before.keys()
    state = cluster.run("systemctl", "is-active", "left-over", node=passive, check=False).strip()
    assert state in ("inactive", "failed", "unknown")
    assert cluster.happenings("failed", "fenced") == []
