# SPDX-License-Identifier: GPL-2.0-or-later
"""The agent killed by Pacemaker at any instant, and clients of systemd killed half way.

At its timeout an operation's whole process group gets SIGKILL. Whatever it was doing then, the stop
that Pacemaker sends next has to find and end everything, and the start after that has to work.
"""

from __future__ import annotations

import json
from typing import List

import pytest

from agent_node import Node
from calling import Answer
from waiting import wait_for

MANAGERS = ["systemd", "direct"]
FEW = "server dagent ical"


def instants(answer: Answer, count: int, first: float = 0.0) -> List[float]:
    """Return instants, in seconds, that are spread over the time that an action took.

    A busy machine takes longer for all of it. first: which part of a step the first one is at.
    """
    return [answer.seconds * (number + first) / count for number in range(count + 1)]


@pytest.mark.parametrize("manager, first", [("systemd", 0.0), ("direct", 0.5)])
def test_stop_cleans_up_after_a_start_that_was_killed_at_any_instant(
        node: Node, manager: str, first: float) -> None:
    whole = node.started(manager=manager)
    node.stopped(manager=manager)
    begun = 0
    # Every 150 ms on a machine at rest; the two managers have theirs in between.
    for number, instant in enumerate(instants(whole, 12, first)):
        killed = node.start(manager=manager, killed_after=instant)
        assert killed.killed or killed.code == 0, str(killed)
        begun += bool(node.living())
        node.stopped(manager=manager)
        assert node.probe(manager=manager).code == 7
        if number % 8 == 7:
            node.started(manager=manager)
            assert node.monitor(10, manager=manager).code == 0
            node.stopped(manager=manager)
    assert begun > 2, "nearly every start was killed before it began anything"


def test_start_completes_what_a_killed_start_has_left(node: Node) -> None:
    whole = node.started(services=FEW)
    node.stopped(services=FEW)
    for instant in instants(whole, 3)[1:]:
        node.start(services=FEW, killed_after=instant)
        before = node.living()
        node.started(services=FEW)
        after = node.living()
        # The dagent may have been about to fork when it was looked at.
        assert all(set(pids) <= set(after[service]) for service, pids in before.items()), (
            "what ran already was disturbed")
        assert node.monitor(10, services=FEW).code == 0
        node.stopped(services=FEW)


@pytest.mark.parametrize("manager", MANAGERS)
def test_a_stop_that_was_killed_at_any_instant_is_ended_by_the_next(
        node: Node, manager: str) -> None:
    left = 0
    node.started(manager=manager, services=FEW)
    whole = node.stopped(manager=manager, services=FEW)
    for number, instant in enumerate(instants(whole, 4)[1:]):
        node.started(manager=manager, services=FEW)
        killed = node.stop(manager=manager, services=FEW, killed_after=instant)
        assert killed.killed or killed.code == 0, str(killed)
        left += bool(node.living())
        if number % 2:
            # "Not running" only where it is true.
            answer = node.monitor(manager=manager, services=FEW)
            assert answer.code != 7 or not node.living(), str(answer)
        node.stopped(manager=manager, services=FEW)
        assert node.monitor(manager=manager, services=FEW).code == 7
    assert left, "nearly every stop was done before it was killed"


def test_a_start_after_a_killed_stop_starts_anew(node: Node) -> None:
    node.vices("server: slow_stop=0.5", "ical: slow_stop=0.5")
    for unit in ("kopano-ical", "kopano-server"):
        node.started(services=FEW)
        before = node.living()
        stop = node.begin("stop", services=FEW)
        wait_for(f"the end of {unit}", lambda: node.sh(
            f"systemctl show -P ActiveState {unit}") != "active\n")
        stop.kill()
        node.started(services=FEW)
        after = node.living()
        assert not set(after["ical"]) & set(before["ical"])
        assert node.monitor(10, services=FEW).code == 0
        node.stopped(services=FEW)


def test_a_killed_client_of_systemctl_leaves_a_unit_that_is_still_being_stopped(
        node: Node) -> None:
    node.vices("server: slow_stop=4")
    node.started(services="server")
    client = node.begin_sh("exec systemctl stop kopano-server")
    state = "systemctl show -P ActiveState kopano-server"
    wait_for("the stop", lambda: node.sh(state) == "deactivating\n")
    assert client.kill().killed
    for level in (0, 10):
        answer = node.monitor(level, services="server")
        assert answer.code == 1 and "deactivating (stop-sigterm)" in answer.reason
    assert node.probe(services="server").code == 1
    answer = node.stopped(services="server")
    assert "is killed" not in answer.stderr
    assert "Server shutdown complete" in node.log("server")


def test_nothing_is_left_of_a_killed_monitor(node: Node) -> None:
    node.started(services=FEW)
    node.vices("*: mute")
    before = node.sh("ls -A /run/mailha/* | sort")
    for instant in (0.01, 0.03, 0.05, 0.1, 0.2, 0.4, 0.8):
        assert node.monitor(10, services=FEW, killed_after=instant).killed
    node.vices()
    assert node.sh("ls -A /run/mailha/* | sort") == before
    assert node.monitor(10, services=FEW).code == 0
    node.stopped(services=FEW)


@pytest.mark.parametrize("manager", MANAGERS)
def test_a_record_survives_a_write_that_was_killed(node: Node, manager: str) -> None:
    """What is written is there whole or not at all, and no half of it bothers anybody."""
    node.started(manager=manager, services=FEW)
    node.sh("touch /run/mailha/active/.kopano.4711.new /run/mailha/told/.kopano.1.new 2>&1 || :;"
            " mkdir -p /run/mailha/told; echo 'format 1' >/run/mailha/told/.kopano.4711.new")
    assert node.monitor(manager=manager, services=FEW).code == 0
    node.started(manager=manager, services=FEW)
    node.stopped(manager=manager, services=FEW)
    found = json.loads(node.sh("python3 -c 'import json, os;"
                               " print(json.dumps(os.listdir(\"/run/mailha/active\")))'"))
    assert [name for name in found if not name.startswith(".")] == []
    wait_for("nothing", lambda: not node.living())
