# SPDX-License-Identifier: GPL-2.0-or-later
"""What a dead Kopano leaves behind: pid files, sockets, an upgrade lock; and what it needs to find.

Kopano removes neither pid files nor sockets. A stale pid file keeps its spooler and its monitor
from starting where the number belongs to a zombie, or to anybody whose command line has its name in
it.
"""

from __future__ import annotations

from typing import Tuple

import pytest

from agent_node import Node
from waiting import wait_for

FEW = "server spooler monitor"
RUN = "/run/kopano"

# A zombie: a child that its parent never asks about.
ZOMBIE = """exec python3 -c "
import os, time
child = os.fork()
if not child:
    os._exit(0)
with open('/run/zombie', 'w') as file:
    file.write(str(child))
time.sleep(600)
" """


def test_nothing_is_left_after_a_stop(node: Node) -> None:
    for manager in ("systemd", "direct"):
        node.started(manager=manager, services="server dagent gateway ical")
        assert {f"{name}.pid" for name in ("server", "dagent", "gateway", "ical")} | {
            "server.sock", "prio.sock"} == set(node.sh(f"ls {RUN}").split())
        node.stopped(manager=manager, services="server dagent gateway ical")
        assert node.sh(f"ls {RUN}") == ""
        assert node.sh("find /run/mailha -type f ! -path '*/lock/*' ! -path '*/loaded/*'") == ""


@pytest.mark.parametrize("contents", [
    ("garbage", "", "0"), ("-1", "1", "9" * 23), ("4194304", "12 34\\n56", "\\0\\377"),
])
def test_no_pid_file_keeps_a_service_from_starting(node: Node, contents: Tuple[str, ...]) -> None:
    for service, content in zip(FEW.split(), contents):
        node.sh(f"printf -- '{content}' >{RUN}/{service}.pid")
    node.started(services=FEW)
    node.stopped(services=FEW)


def test_a_pid_file_of_a_zombie_or_of_a_stranger_is_removed(node: Node) -> None:
    name = "kopano-spooler-kopano-monitor"      # as another user's editor may have in its argv
    zombie = node.begin_sh(f"rm -f /run/zombie; {ZOMBIE}", timeout=120)
    stranger = node.begin_sh(f"cp /bin/sleep /run/{name}; exec /run/{name} 600", timeout=120)
    wait_for("the zombie", lambda: node.sh("cat /run/zombie 2>/dev/null || :"))
    wait_for("the stranger", lambda: node.sh(f"pgrep -f ^/run/{name} || :"))
    numbers = [node.sh(script).strip() for script in (
        "cat /run/zombie", f"pgrep -f ^/run/{name}", "pgrep -x mariadbd",
        "ls /proc/$(pgrep -x mariadbd)/task | tail -1")]
    for spoolers, monitors in (numbers[:2], reversed(numbers[:2]), numbers[2:]):
        node.sh(f"echo {spoolers} >{RUN}/spooler.pid; echo {monitors} >{RUN}/monitor.pid")
        assert node.probe(services=FEW).code == 7
        node.stopped(services=FEW)
        assert node.sh(f"ls {RUN}") == "monitor.pid\nspooler.pid\n"
        node.started(services=FEW)
        node.stopped(services=FEW)
    assert node.sh("pgrep -x mariadbd").strip() == numbers[2], "the database was killed"
    assert node.sh(f"pgrep -f ^/run/{name}").strip() == numbers[1], "a stranger was killed"
    node.sh(f"kill -KILL {numbers[1]} $(ps -o ppid= -p {numbers[0]})")
    zombie.answer()
    stranger.answer()
    node.sh(f"rm -f /run/zombie /run/{name}")


def test_a_pid_file_that_is_something_else_stays_and_does_no_harm(node: Node) -> None:
    node.sh(f"mkdir {RUN}/server.pid; echo precious >/root/precious; "
            f"ln -s /root/precious {RUN}/spooler.pid; mkfifo {RUN}/monitor.pid")
    answer = node.start(services="server monitor")
    assert answer.seconds < 30
    node.stopped(services="server monitor")
    assert node.sh("cat /root/precious") == "precious\n"


def test_stale_sockets_and_a_stale_upgrade_lock_go(node: Node) -> None:
    leave = (f"python3 -c \"import socket; [socket.socket(socket.AF_UNIX).bind('{RUN}/' + name)"
             " for name in ('server.sock', 'prio.sock')]\";"
             " install -o kopano /dev/null /tmp/kopano-upgrade-lock")
    node.sh(leave)
    assert node.probe(services="server").code == 7
    node.started(services="server")
    assert "Unable to place upgrade lockfile" not in node.log("server")
    node.stopped(services="server")
    node.sh(leave)
    node.stopped(services="server")
    # The init scripts refused every stop because of it; sockets are for the next start.
    assert node.sh("ls /tmp/kopano-upgrade-lock 2>/dev/null || :") == ""


def test_the_lock_of_a_living_upgrade_stays(node: Node) -> None:
    node.vices("server: slow_upgrade=2")
    start = node.begin("start", services="server")
    node.await_log("server", "Start: Database upgrade")
    answer = node.start(services="ical", resource="leaves")
    assert node.sh("ls /tmp/kopano-upgrade-lock") != "" or "Done" in node.log("server")
    assert start.answer().code == 0 and answer.code == 0
    node.stopped(services="ical", resource="leaves")
    node.stopped(services="server")


@pytest.mark.parametrize("manager", ["systemd", "direct"])
def test_a_missing_run_directory_is_made_as_kopanos_own(node: Node, manager: str) -> None:
    node.sh(f"rm -r {RUN}")
    node.started(manager=manager, services="server")
    assert node.sh(f"stat -c '%a %U %G' {RUN}") == "775 kopano kopano\n"
    node.stopped(manager=manager, services="server")


def test_all_six_start_at_once_after_they_were_killed(node: Node) -> None:
    node.started()
    node.kill(*[pid for pids in node.living().values() for pid in pids])
    wait_for("their end", lambda: not node.living())
    assert node.monitor().code == 7
    node.started()
    assert node.monitor(10).code == 0
    node.stopped()
