# SPDX-License-Identifier: GPL-2.0-or-later
"""Cut cables between the nodes."""

from __future__ import annotations

from serving_cluster import ServingCluster

FAVOURED = "bob"
"""Whom the example's pcmk_delay_base lets survive when both nodes fire."""


def test_a_cut_link_of_two_changes_nothing(cluster: ServingCluster) -> None:
    node = cluster.active
    passive = cluster.other(node)
    before = cluster.processes(node)
    # The LAN of the passive node and not of the active one: there the mail comes in.
    for link in ("lan", "interconnect"):
        cluster.lab.cut(passive, link)
        cluster.wait_until(f"corosync misses the {link}", lambda: cluster.links_down(node))
        cluster.settle()
        cluster.mail_is_accepted()
        cluster.lab.heal(passive, link)
        cluster.wait_until(f"corosync has the {link} again",
                           lambda: not cluster.links_down(node))
    cluster.all_run()
    assert cluster.processes(node) == before
    assert cluster.refused() == []
    assert cluster.happenings("missed", "lost", "fenced", "stopped", "started") == []


def test_of_two_nodes_that_lose_sight_of_each_other_exactly_one_survives_and_serves(
        cluster: ServingCluster) -> None:
    survivor, victim = FAVOURED, cluster.other(FAVOURED)
    cluster.bring_to(victim)
    corosync = cluster.run("pidof", "corosync", node=survivor)
    cluster.lab.cut(victim)
    cluster.survivor_runs(survivor)
    cluster.mail_is_accepted()
    before = cluster.processes(survivor)

    # It comes back, is still alone, and therefore neither starts anything nor fences anybody.
    cluster.wait_until(f"{victim} has booted and sees nobody", lambda: "without quorum" in
                       cluster.run("crm_mon", "-1", node=victim).lower())
    assert cluster.mounts(victim) == []
    cluster.lab.heal(victim)
    cluster.all_run(on=survivor)
    assert cluster.processes(survivor) == before
    assert cluster.fenced() == [victim]
    assert cluster.run("pidof", "corosync", node=survivor) == corosync
