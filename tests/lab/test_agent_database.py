# SPDX-License-Identifier: GPL-2.0-or-later
"""The database is down, dies, comes back, is far away: what is Kopano's fault and what is not."""

from __future__ import annotations

from typing import Iterator

import pytest

from agent_node import MYSQL_IP, Node
from waiting import wait_for

FEW = "server dagent"

# An address whose packets nobody answers: a neighbour that is known and does not exist.
HOLE = "198.51.100.77"
DIG = f"ip neigh replace {HOLE} lladdr 02:00:00:00:00:77 dev eth0"


@pytest.fixture(autouse=True)
def database_back(node: Node) -> Iterator[None]:
    """Let the next test have a database, whatever became of it in this one."""
    yield
    node.sh("systemctl start mariadb")


def kill_database(node: Node) -> None:
    """End MariaDB as a crash does."""
    node.sh("systemctl kill -s KILL mariadb; while pgrep -x mariadbd >/dev/null; do sleep 0.05;"
            " done; systemctl reset-failed mariadb || :")


@pytest.mark.parametrize("manager", ["systemd", "direct"])
def test_start_waits_for_the_database_and_starts_nothing_before(node: Node, manager: str) -> None:
    node.sh("systemctl stop mariadb")
    start = node.begin("start", services=FEW, manager=manager, log="/run/start.log")
    wait_for("the question", lambda: "waiting for it" in node.sh("cat /run/start.log || :"))
    assert node.probe(services=FEW, manager=manager).code == 7
    node.sh("systemctl start mariadb")
    answer = start.answer()
    assert answer.code == 0, node.sh("cat /run/start.log")
    assert "Unable to connect" not in node.log("server"), "the server did the waiting"
    node.stopped(services=FEW, manager=manager)


def test_start_without_database_ends_in_time_and_names_it(node: Node) -> None:
    node.sh("systemctl stop mariadb")
    answer = node.start(services=FEW, timeout=5)
    assert answer.code == 1 and 1 < answer.seconds < 5
    assert f"database 'kopano' at {MYSQL_IP}:3306 cannot be reached" in answer.reason
    assert "waited" in answer.reason and node.living() == {} and node.marks() == ""
    node.sh(DIG)
    node.configure("server", mysql_host=HOLE)
    answer = node.start(services=FEW, timeout=5)
    assert answer.code == 1 and 1 < answer.seconds < 5
    assert f"database 'kopano' at {HOLE}:3306 cannot be reached: no answer in time" \
        in answer.reason
    assert node.living() == {} and node.marks() == ""


def test_a_database_that_dies_degrades_and_heals(node: Node) -> None:
    node.started(services=FEW)
    kill_database(node)
    assert node.monitor(services=FEW).code == 0
    for level in (10, 20):
        answer = node.monitor(level, services=FEW)
        assert answer.code == 190 and answer.seconds < 30
        assert f"database 'kopano' at {MYSQL_IP}:3306 cannot be reached" in answer.reason
        assert "serves again by itself" in answer.reason
    assert node.probe(services=FEW).code == 0
    before = node.living()
    node.sh("systemctl start mariadb")
    wait_for("the healing", lambda: node.monitor(20, services=FEW).code == 0)
    assert node.living() == before
    node.stopped(services=FEW)


def test_a_server_whose_database_is_gone_stops_cleanly(node: Node) -> None:
    node.started(services=FEW)
    kill_database(node)
    answer = node.stopped(services=FEW)
    assert "is killed" not in answer.stderr and answer.seconds < 30
    assert "Server shutdown complete" in node.log("server")


@pytest.mark.parametrize("level", [10, 20])
def test_a_database_behind_a_black_hole_costs_no_more_than_the_budget(
        node: Node, level: int) -> None:
    node.started(services=FEW)
    kill_database(node)
    node.sh(DIG)
    node.configure("server", mysql_host=HOLE)
    answer = node.monitor(level, services=FEW, timeout=10)
    assert answer.code == 190 and answer.seconds < 9
    assert HOLE in answer.reason and "no answer in time" in answer.reason
    node.stopped(services=FEW)


def test_a_database_that_answers_leaves_the_fault_to_kopano(node: Node) -> None:
    node.started(services=FEW)
    node.kill(*node.pids("server"), signal="STOP")
    answer = node.monitor(10, services=FEW, timeout=6)
    assert answer.code == 1 and "state T" in answer.reason
    node.kill(*node.pids("server"), signal="CONT")
    node.vices("server: mute")
    answer = node.monitor(10, services=FEW, timeout=6)
    assert answer.code == 1 and "the database answers" in answer.reason
    node.vices()
    wait_for("the server", lambda: node.monitor(20, services=FEW).code == 0)
    node.stopped(services=FEW)


def test_a_server_that_waits_for_its_database_is_found_without_pid_file(node: Node) -> None:
    """It has none yet, retries for 90 s, and would come up behind the cluster's back."""
    node.sh("systemctl stop mariadb")
    node.sh("echo 1 >/run/kopano/server.pid;"
            " setsid /usr/sbin/kopano-server -F </dev/null >/dev/null 2>&1 &")
    node.await_log("server", "Unable to connect, retrying in 10s")
    assert node.sh("cat /run/kopano/server.pid") == "1\n"
    for manager in ("direct", "systemd"):
        assert node.probe(services=FEW, manager=manager).code in (0, 1)
    answer = node.start(services=FEW, timeout=5)
    assert answer.code == 1
    answer = node.stopped(services=FEW, timeout=20)
    assert answer.seconds < 10
