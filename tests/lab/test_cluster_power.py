# SPDX-License-Identifier: GPL-2.0-or-later
"""Nodes that shut down, lose their power, or come back without their cluster."""

from __future__ import annotations

import time

from kopano.layout import SERVICES
from cluster_view import UNITS
from serving_cluster import ServingCluster

CLEAN_STOP = 85.0
"""Seconds that a shutdown with mail running may take here; 9 are usual. Where a queued stop of
systemd waits for Pacemaker and Pacemaker for it, it takes minutes."""

SHORT_FENCING = 4
"""Seconds for one attempt to fence. fence_ipmi asks for 25 before it says that nobody answers, and
after a confirmation the cluster waits for the end of the attempt that is under way."""

WITHOUT_SYSV = ("env", "SYSTEMCTL_SKIP_SYSV=1")
"""Debian's cluster has init scripts as well, and the nodes no runlevels to take them out of."""


def test_a_shutdown_stops_mail_cleanly_and_nobody_is_fenced(cluster: ServingCluster) -> None:
    node = cluster.active
    survivor = cluster.other(node)
    cluster.bring_to(node)
    begin = time.monotonic()
    cluster.lab.shutdown(node)
    assert time.monotonic() - begin < CLEAN_STOP
    cluster.survivor_runs(survivor)
    cluster.mail_is_accepted()

    cluster.lab.poweron(node)
    cluster.all_run(on=survivor)
    # Now that it is back, its own journal says how it stopped.
    assert {each.subject for each in cluster.happenings("stopped") if each.node == node} >= {
        "kopano_services", "mysqld", "kopano_fs", "mysql_fs"}
    assert cluster.happenings("failed", "fenced") == []
    assert cluster.fenced() == []
    unclean = [line for line in cluster.journal(node, *UNITS).splitlines()
               if "SIGKILL" in line or "timed out" in line]
    assert unclean == []


def test_a_node_that_boots_without_the_cluster_starts_nothing_although_all_is_enabled(
        cluster: ServingCluster) -> None:
    node = cluster.active
    survivor = cluster.other(node)
    cluster.bring_to(node)
    cluster.run("systemctl", "enable", *UNITS, node=node)
    cluster.run(*WITHOUT_SYSV, "systemctl", "disable", "corosync", "pacemaker", node=node)
    # A node without Corosync does not know what it may do: it loses its power.
    cluster.kill(node, "corosync")
    cluster.survivor_runs(survivor)
    cluster.mail_is_accepted()
    assert cluster.fenced() == [node]

    cluster.wait_until(f"{node} has booted", lambda: "running" in cluster.run(
        "systemctl", "is-system-running", node=node, check=False))
    assert cluster.run("systemctl", "is-active", "pacemaker", node=node, check=False
                       ).strip() == "inactive"
    for unit in UNITS:
        # The journal of Debian 11 names neither the unit nor the condition.
        said = cluster.run("systemctl", "show", "-p", "ConditionResult,ConditionTimestampMonotonic",
                           unit, node=node)
        facts = dict(line.split("=", 1) for line in said.split())
        assert facts["ConditionResult"] == "no", (unit, facts)
        assert facts["ConditionTimestampMonotonic"] != "0", f"nobody wanted to start {unit}"
    # Neither does a hurried administrator, and systemd says that all is well.
    cluster.run("systemctl", "start", *UNITS, node=node)
    assert cluster.processes(node) == {}
    for service in SERVICES:
        assert cluster.pids(node, f"kopano-{service}") == []
    assert cluster.mounts(node) == []

    cluster.run("systemctl", "disable", *UNITS, node=node)
    cluster.run(*WITHOUT_SYSV, "systemctl", "enable", "--now", "corosync", "pacemaker", node=node)
    cluster.all_run(on=survivor)


def test_without_power_and_controller_nothing_starts_until_somebody_confirms(
        cluster: ServingCluster) -> None:
    node = cluster.active
    survivor = cluster.other(node)
    cluster.bring_to(node)
    for name, value in (("pcmk_reboot_timeout", f"{SHORT_FENCING}s"), ("pcmk_reboot_retries", "1"),
                        ("pcmk_delay_base", "0s")):
        cluster.set_parameter(f"fence_{node}", name, value)
    cluster.settle()
    pulled = time.time()
    cluster.lab.pull_plug(node)
    cluster.wait_until("an attempt to fence has failed",
                       lambda: "failed" in cluster.fencings(node, seen_by=survivor))
    assert cluster.mounts(survivor) == []
    assert cluster.processes(survivor) == {}
    assert {each.subject for each in cluster.happenings("started") if each.when >= pulled} == set()
    shown = cluster.play("no-power.look", on=survivor, bob=node)
    assert f"Node {node}: UNCLEAN (offline)" in shown and f"of {node} " in shown

    assert cluster.play("no-power.confirm", on=survivor, bob=node) == ""
    cluster.survivor_runs(survivor)
    cluster.mail_is_accepted()
    cluster.lab.plug_in(node)
    cluster.lab.poweron(node)
    cluster.all_run(on=survivor)
