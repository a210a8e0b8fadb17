# SPDX-License-Identifier: GPL-2.0-or-later
"""ocf:mailha:fencing-guard in a running cluster, as Pacemaker calls it and shows its answers."""

from __future__ import annotations

import re
from typing import Callable, List, Tuple
from xml.etree import ElementTree

import pytest

from twonode.lab import Lab
from waiting import wait_for

GUARD = """
property stonith-enabled=false
primitive guard ocf:mailha:fencing-guard op start timeout=60s op stop timeout=20s \
    op monitor interval=3s timeout=20s
"""

MARK = "/run/mailha/fencing-guard/guard"


@pytest.fixture(scope="module")
def lab(make_lab: Callable[..., Lab]) -> Lab:
    """Two nodes without any fencing, and a guard."""
    lab = make_lab()
    lab.wait_online()
    lab.execute("alice", ["crm", "-F", "configure", "load", "update", "-"], input=GUARD,
                timeout=90)
    return lab


def crm(lab: Lab, *words: str) -> str:
    """Give an order to the cluster."""
    return lab.execute("alice", list(words), timeout=90).stdout


def state(lab: Lab) -> ElementTree.Element:
    """Return what crm_mon shows."""
    return ElementTree.fromstring(crm(lab, "crm_mon", "--output-as=xml"))


def places(lab: Lab) -> List[str]:
    """Return the nodes on which the guard runs without having failed there."""
    return [str(node.get("name")) for resource in state(lab).iter("resource")
            if resource.get("id") == "guard" and resource.get("failed") == "false"
            for node in resource.iter("node")]


def refusals(lab: Lab) -> List[str]:
    """Return the reasons that crm_mon shows for failed starts, each with its node."""
    return [f"{failure.get('node')}: {failure.get('exitstatus')}: {failure.get('exitreason')}"
            for failure in state(lab).iter("failure") if failure.get("task") == "start"]


def logged(lab: Lab, pattern: str) -> bool:
    """Say whether alice's journal has a line that fits."""
    return lab.execute("alice", ["journalctl", "--quiet", "--grep", pattern], timeout=90,
                       check=False).returncode == 0


def pacemaker(lab: Lab) -> Tuple[int, ...]:
    """Return the version of Pacemaker."""
    found = re.search(r"Pacemaker (\d+)\.(\d+)", crm(lab, "pacemakerd", "--version"))
    assert found
    return int(found.group(1)), int(found.group(2))


def set_manual_node(lab: Lab, node: str) -> None:
    """Name another node, as an administrator does."""
    crm(lab, "crm_resource", "--resource", "guard", "--set-parameter", "manual_node",
        "--parameter-value", node)


def test_manual_changeover_from_the_first_refusal_to_the_other_node(lab: Lab) -> None:
    # Nothing is named: no node may.
    wait_for("both refusals", lambda: len(refusals(lab)) == 2)
    assert places(lab) == []
    for refusal in refusals(lab):
        assert "ot installed: STONITH is off" in refusal
    # Pacemaker keeps 128 characters of a reason; what to do stands in the log.
    wait_for("the remedy in the log", lambda: logged(
        lab, "STONITH is off.*name the one node that may run it in manual_node"))

    # A name, and a cleanup as the meta-data tell: it starts there and nowhere else.
    set_manual_node(lab, "alice")
    crm(lab, "crm_resource", "--cleanup", "--resource", "guard")
    wait_for("the guard on alice", lambda: places(lab) == ["alice"])
    crm(lab, "crm_resource", "--wait")      # a start that is under way is shown as a place

    # Running, it is not disturbed by another name: Pacemaker calls reload-agent, from 2.1 on.
    if pacemaker(lab) >= (2, 1):
        written = ["stat", "--format=%y", MARK]
        before = crm(lab, *written)
        set_manual_node(lab, "bob")
        wait_for("the reload",
                 lambda: logged(lab, "the next start will allow for manual_node=bob"))
        assert crm(lab, *written) == before and places(lab) == ["alice"]
        set_manual_node(lab, "alice")

    # Nor by STONITH being switched on without a device: only a start asks.
    crm(lab, "crm_attribute", "--name", "stonith-enabled", "--update", "true")
    assert "ok" in crm(lab, "crm_resource", "--resource", "guard", "--force-check").lower()
    assert places(lab) == ["alice"]
    crm(lab, "crm_attribute", "--name", "stonith-enabled", "--update", "false")

    # It does not go elsewhere by itself, not even when its node cannot have it.
    crm(lab, "crm_standby", "--node", "alice", "--update", "on")
    wait_for("bob's refusal", lambda: any(
        refusal.startswith("bob") and "changeover is by hand" in refusal
        for refusal in refusals(lab)))
    assert places(lab) == []
    assert lab.execute("alice", ["test", "-e", MARK], timeout=90, check=False).returncode == 1

    # It does when the administrator changes the name.
    set_manual_node(lab, "bob")
    crm(lab, "crm_resource", "--cleanup", "--resource", "guard")
    wait_for("the guard on bob", lambda: places(lab) == ["bob"])


def test_validate_all_warns_of_what_the_cluster_would_refuse(lab: Lab) -> None:
    agent = "/usr/lib/ocf/resource.d/mailha/fencing-guard"
    said = lab.execute("alice", [agent, "validate-all"], timeout=90).stderr
    assert "WARNING: STONITH is off" in said
    said = lab.execute("alice", ["env", "OCF_RESKEY_manual_node=alcie", agent, "validate-all"],
                       timeout=90).stderr
    assert "WARNING: manual_node names 'alcie', which is no node of this cluster" in said
    strict = lab.execute("alice", ["env", "OCF_CHECK_LEVEL=10", agent, "validate-all"],
                         timeout=90, check=False)
    assert strict.returncode == 5
