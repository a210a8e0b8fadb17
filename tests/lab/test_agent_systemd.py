# SPDX-License-Identifier: GPL-2.0-or-later
"""The agent while systemd is busy with itself, has a long queue, or does not answer at all."""

from __future__ import annotations

import contextlib
from typing import Iterator

import pytest

from agent_node import Node
from waiting import wait_for

FEW = "server dagent ical"

# A unit whose start, or stop, lasts until it is told.
BLOCKER = """[Service]
Type=oneshot
RemainAfterExit=yes
TimeoutStartSec=infinity
TimeoutStopSec=infinity
ExecStart=/bin/sh -c 'while [ -e /run/block-start ]; do sleep 0.1; done'
ExecStop=/bin/sh -c 'while [ -e /run/block-stop ]; do sleep 0.1; done'
"""

# Takes the place of both sockets of systemd, accepts whoever comes, and says nothing.
MUTE = """exec python3 -c "
import select, socket
taken = []
for path in ('/run/systemd/private', '/run/dbus/system_bus_socket'):
    taken.append(socket.socket(socket.AF_UNIX))
    taken[-1].bind(path)
    taken[-1].listen(100)
open('/run/mute', 'w').close()
while True:
    for ready in select.select(taken[:2], [], [])[0]:
        taken.append(ready.accept()[0])
" """


@contextlib.contextmanager
def systemd_gone(node: Node, how: str) -> Iterator[None]:
    """Let nobody reach systemd for a while: its sockets are away, or mute ones are in their place.

    PID 1 itself cannot be stopped by SIGSTOP.
    """
    sockets = ("/run/systemd/private", "/run/dbus/system_bus_socket")
    node.sh("".join(f"mv {path} {path}.away; " for path in sockets) + "rm -f /run/mute")
    mute = node.begin_sh(MUTE, timeout=200) if how == "mute" else None
    try:
        if mute:
            wait_for("the mute sockets", lambda: node.sh("ls /run/mute 2>&1 || :") == "/run/mute\n")
        yield
    finally:
        if mute:
            node.sh("pkill -f 'taken[.]append'")
            mute.answer()
        node.sh("".join(f"mv {path}.away {path}; " for path in sockets))


@pytest.mark.parametrize("order", ["daemon-reexec", "daemon-reload"])
def test_neither_reexec_nor_reload_makes_a_monitor_or_a_start_fail(node: Node, order: str) -> None:
    node.started(services=FEW)
    storm = node.begin_sh(f"rm -f /run/calm; until [ -e /run/calm ]; do systemctl {order} || :;"
                          " sleep 0.05; done", timeout=120)
    try:
        for level in [0, 0, 10] * 2:
            answer = node.monitor(level, services=FEW)
            assert answer.code == 0, str(answer)
        node.stopped(services=FEW)
        node.started(services=FEW)
    finally:
        node.sh("touch /run/calm")
        storm.answer()
    node.stopped(services=FEW)


def test_start_does_not_wait_for_a_queued_job_for_ever_and_takes_it_back(node: Node) -> None:
    with node.unit("blocker", BLOCKER), node.drop_in("ical", "[Unit]\nAfter=blocker.service"):
        node.sh("touch /run/block-start; systemctl start --no-block blocker")
        answer = node.start(services="server ical", timeout=7)
        assert answer.code == 1 and 4 < answer.seconds < 7
        assert "ical: systemd has queued its start and not begun it" in answer.reason
        assert node.jobs() == "" and node.pids("ical") == []
        # Optional services are not waited for as long.
        answer = node.start(services="server ical", optional_services="ical", timeout=8)
        assert answer.code == 0 and "systemd has queued its start" in answer.stderr
        node.stopped(services="server ical")
        node.sh("rm /run/block-start")
        wait_for("the blocker", lambda: node.sh("systemctl is-active blocker || :") == "active\n")
        assert node.living() == {}


def test_a_job_that_a_killed_start_has_left_in_the_queue_goes_with_the_stop(node: Node) -> None:
    with node.unit("blocker", BLOCKER), node.drop_in("ical", "[Unit]\nAfter=blocker.service"):
        node.sh("touch /run/block-start; systemctl start --no-block blocker")
        start = node.begin("start", services="server ical")
        wait_for("the queued job", lambda: "kopano-ical" in node.jobs())
        assert start.kill().killed and "kopano-ical" in node.jobs()
        node.stopped(services="server ical")
        node.sh("rm /run/block-start")
        wait_for("the blocker", lambda: node.sh("systemctl is-active blocker || :") == "active\n")
        assert node.living() == {}


def test_start_goes_on_when_the_queue_does(node: Node) -> None:
    with node.unit("blocker", BLOCKER), node.drop_in("ical", "[Unit]\nAfter=blocker.service"):
        node.sh("touch /run/block-start; systemctl start --no-block blocker")
        start = node.begin("start", services="server ical")
        wait_for("the queued job", lambda: "kopano-ical" in node.jobs())
        node.sh("rm /run/block-start")
        assert start.answer().code == 0
        assert node.monitor(10, services="server ical").code == 0
        node.stopped(services="server ical")


def test_stop_does_not_wait_for_a_queue_that_waits_for_it(node: Node) -> None:
    """At the shutdown of a node the stop of our units waits for Pacemaker, which waits for us."""
    node.started(services=FEW)
    with node.unit("blocker", BLOCKER), node.drop_in("server", "[Unit]\nBefore=blocker.service"):
        node.sh("touch /run/block-stop; systemctl start blocker; systemctl stop --no-block blocker")
        answer = node.stop(services=FEW, timeout=30)
        assert answer.code == 0 and answer.seconds < 15, str(answer)
        assert node.living() == {} and "is killed" not in answer.stderr
        assert "Server shutdown complete" in node.log("server")
        assert node.monitor(services=FEW).code in (1, 7)
        node.sh("rm /run/block-stop")
        wait_for("the end of the queue", lambda: node.jobs() == "")
    node.started(services=FEW)
    node.stopped(services=FEW)


def test_a_node_that_shuts_down_starts_nothing_more(node: Node) -> None:
    with node.unit("blocker", BLOCKER):
        node.sh("touch /run/block-stop; systemctl start blocker")
        # As far as systemd can say: the job of the shutdown is there, and waits for the blocker.
        with node.unit("leaving", "[Unit]\nDefaultDependencies=no\nAfter=blocker.service\n"
                                  "Conflicts=blocker.service\n[Service]\nExecStart=/bin/true\n"):
            node.sh("systemctl start --no-block leaving")
            assert "stop" in node.sh("systemctl list-jobs --no-legend --plain")
            node.started(services="server")
            node.stopped(services="server")
            node.sh("rm /run/block-stop")


def test_who_gets_no_answer_of_systemd_looks_for_himself(node: Node) -> None:
    services = "server ical"
    node.started(services=services)
    with systemd_gone(node, "mute"):
        answer = node.monitor(10, services=services, timeout=5)
        assert answer.code == 0 and answer.seconds < 5, str(answer)
        node.kill(*node.pids("ical"))
        wait_for("its end", lambda: not node.pids("ical"))
        answer = node.start(services=services, timeout=5)
        assert answer.code == 1 and answer.seconds < 5 and "systemd" in answer.reason
        answer = node.stop(services=services, timeout=12)
        assert answer.code == 0 and answer.seconds < 11 and "is killed" not in answer.stderr
        assert node.living() == {}
    assert node.monitor(services=services).code == 7
    node.started(services=services)
    node.stopped(services=services)


def test_who_does_not_reach_systemd_at_all_looks_for_himself(node: Node) -> None:
    services = "server ical"
    node.started(services=services)
    with systemd_gone(node, "away"):
        assert node.monitor(services=services, timeout=5).code == 0
        answer = node.stop(services=services, timeout=12)
        assert answer.code == 0 and answer.seconds < 11 and "is killed" not in answer.stderr
        assert node.living() == {} and "Server shutdown complete" in node.log("server")
        assert node.monitor(services=services, timeout=5).code == 7
        answer = node.start(services=services, timeout=5)
        assert answer.code == 1 and answer.seconds < 5 and "systemd" in answer.reason
        assert node.living() == {} and node.marks() == ""


def test_a_stop_by_hand_is_found_and_a_restart_by_hand_is_fine(node: Node) -> None:
    node.started(services=FEW)
    node.sh("systemctl restart kopano-server")
    wait_for("the server", lambda: node.monitor(10, services=FEW).code == 0)
    node.sh("systemctl stop kopano-ical")
    answer = node.monitor(services=FEW)
    assert answer.code == 1 and "kopano-ical.service is inactive" in answer.reason
    node.sh("systemctl stop kopano-server kopano-dagent")
    assert node.monitor(services=FEW).code == 7
    node.stopped(services=FEW)
