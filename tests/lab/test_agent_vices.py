# SPDX-License-Identifier: GPL-2.0-or-later
"""The agent against Kopano's bad habits: upgrades, silence, deafness, deaths and lies."""

from __future__ import annotations

import socket

import pytest

from agent_node import ALL, KOPANO_IP, Node
from waiting import wait_for

MANAGERS = ["systemd", "direct"]

# Takes a port of the floating address away from a service.
SQUATTER = """python3 -c "
import socket, sys, time
taken = socket.socket()
taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
taken.bind(('""" + KOPANO_IP + """', %d))
taken.listen()
open('/run/squatting', 'w').close()
time.sleep(60)
" """


# Holds up whoever wants to change the table, as a backup of the database does.
READER = """exec mariadb kopano -e "LOCK TABLES settings READ; SELECT SLEEP(600)" """


@pytest.mark.parametrize("manager", MANAGERS)
def test_start_waits_until_an_upgraded_server_truly_serves(node: Node, manager: str) -> None:
    node.vices("server: slow_upgrade=3")
    start = node.begin("start", manager=manager, services="server dagent")
    node.await_log("server", "Start: Database upgrade")
    # Open, and mute.
    connection = node.lab.connect(KOPANO_IP, 236, 30)
    assert node.pids("dagent") == []
    connection.settimeout(1)
    with pytest.raises(socket.timeout):
        connection.recv(1)
    connection.close()
    assert node.probe(manager=manager, services="server dagent").code == 1
    answer = start.answer()
    assert answer.code == 0 and answer.seconds > 3
    assert "Startup succeeded" in node.log("server")
    assert node.monitor(20, manager=manager, services="server dagent").code == 0
    node.stopped(manager=manager, services="server dagent")


@pytest.mark.parametrize("manager", MANAGERS)
def test_an_upgrade_is_told_once_to_end_and_never_cut(node: Node, manager: str) -> None:
    """The second SIGTERM would kill the server in its upgrade, and its log would end there."""
    node.database("8.6.9")
    reader = node.begin_sh(READER)
    wait_for("the lock", lambda: "SLEEP" in node.sh("mariadb -e 'SHOW PROCESSLIST'"))
    start = node.begin("start", manager=manager, services="server")
    # It waits for the lock of the reader, in the middle of an ALTER TABLE.
    wait_for("the wait", lambda: "ALTER" in node.sh("mariadb -e 'SHOW PROCESSLIST'"))
    assert start.kill().killed
    for _ in range(3):
        stop = node.stop(manager=manager, services="server", killed_after=1)
        assert stop.killed and node.pids("server"), str(stop)
        monitor = node.monitor(manager=manager, services="server")
        assert monitor.code != 7, str(monitor)
    last = node.begin("stop", manager=manager, services="server")
    node.sh("pkill -f '[L]OCK TABLES'")
    reader.answer()
    answer = last.answer()
    assert answer.code == 0 and "is killed" not in answer.stderr, str(answer)
    node.stopped(manager=manager, services="server")
    log = node.log("server")
    assert "Done: Database upgrade" in log and "Server shutdown complete" in log
    assert node.sh("ls /tmp/kopano-upgrade-lock 2>&1 || :").endswith("No such file or directory\n")


def test_an_upgrade_that_systemctl_was_told_to_stop_is_not_told_again(node: Node) -> None:
    node.vices("server: slow_upgrade=4")
    start = node.begin("start", services="server", timeout=60)
    node.await_log("server", "Start: Database upgrade")
    node.sh("systemctl stop --no-block kopano-server")
    answer = start.answer()
    assert answer.code == 1 and "server" in answer.reason
    node.stopped(services="server")
    assert "Server shutdown complete" in node.log("server")


@pytest.mark.parametrize("manager", MANAGERS)
def test_what_needs_its_time_to_end_is_not_killed(node: Node, manager: str) -> None:
    node.vices("server: slow_stop=1.5", "spooler: send_for=5")
    services = "server spooler"
    node.started(manager=manager, services=services)
    wait_for("the sending child", lambda: len(node.pids("spooler")) == 3)
    answer = node.stopped(manager=manager, services=services)
    assert "is killed" not in answer.stderr and answer.seconds > 1.5
    assert "Server shutdown complete" in node.log("server")


@pytest.mark.parametrize("manager", MANAGERS)
def test_what_does_not_end_is_killed_inside_the_budget(node: Node, manager: str) -> None:
    node.vices("*: ignore_term", "gateway: ignore_term_child", "server: ignore_term_child")
    services = "server dagent gateway"
    node.started(manager=manager, services=services)
    answer = node.stopped(manager=manager, services=services, timeout=6)
    assert answer.seconds < 6
    for service in services.split():
        assert f"{service} has not ended in time and is killed" in answer.stderr
    assert node.monitor(manager=manager, services=services).code == 7


@pytest.mark.parametrize("manager, service", [
    ("systemd", "gateway"), ("systemd", "spooler"), ("direct", "spooler"), ("direct", "server")])
def test_a_child_that_outlives_its_parent_is_no_clean_stop(
        node: Node, manager: str, service: str) -> None:
    node.vices(f"{service}: ignore_term_child")
    services = "server" if service == "server" else f"server {service}"
    node.started(manager=manager, services=services)
    wait_for("the child", lambda: len(node.pids(service)) == (3 if service == "spooler" else 2))
    parent = node.parent(service)
    stop = node.begin("stop", manager=manager, services=services, timeout=6)
    wait_for("the end of the parent", lambda: parent not in node.pids(service))
    # Without unit, record and port, a process that runs the program is all that can be seen.
    assert node.probe(manager=manager, services=services).code in (0, 1)
    unclear = (0, 1) if (manager, service) == ("direct", "spooler") else (1,)
    assert node.monitor(manager=manager, services=services).code in unclear
    answer = stop.answer()
    assert answer.code == 0 and answer.seconds < 6 and "is killed" in answer.stderr
    node.stopped(manager=manager, services=services)


def test_gateways_ten_seconds_with_open_sessions_are_left_to_it(node: Node) -> None:
    services = "server gateway"
    node.started(services=services)
    with node.lab.connect(KOPANO_IP, 143, 30) as imap, node.lab.connect(KOPANO_IP, 110, 30) as pop:
        assert imap.recv(100).startswith(b"* OK") and pop.recv(100).startswith(b"+OK")
        answer = node.stopped(services=services)
    assert 10 <= answer.seconds and "is killed" not in answer.stderr
    assert "Forced shutdown with" in node.log("gateway")


@pytest.mark.parametrize("manager", MANAGERS)
def test_a_crash_is_found_with_its_last_words(node: Node, manager: str) -> None:
    services = "server gateway"
    node.vices("gateway: crash_after=3")
    node.started(manager=manager, services=services)
    wait_for("the crash", lambda: not node.pids("gateway"))
    answer = node.monitor(manager=manager, services=services)
    assert answer.code == 1 and "gateway" in answer.reason
    node.configure("gateway", run_as_user="nobody-of-that-name")
    answer = node.start(manager=manager, services=services)
    assert answer.code == 1 and answer.seconds < 30
    assert "gateway ended right after its start; its last words: Fatal: run_as_user or " \
        "run_as_group is unknown" in answer.reason
    node.vices()
    node.configure("gateway", run_as_user="kopano")
    node.started(manager=manager, services=services)
    node.stopped(manager=manager, services=services)


@pytest.mark.parametrize("manager", MANAGERS)
def test_exit_code_0_proves_nothing(node: Node, manager: str) -> None:
    for service in ALL.split():
        node.vices(f"{service}: dead_but_exit_0")
        services = "server" if service == "server" else f"server {service}"
        answer = node.start(manager=manager, services=services)
        assert answer.code == 1 and answer.seconds < 20
        assert f"{service} ended right after its start" in answer.reason
    node.stopped(manager=manager)


@pytest.mark.parametrize("manager", MANAGERS)
@pytest.mark.parametrize("service, port", [("server", 236), ("dagent", 2003), ("gateway", 143)])
def test_a_port_that_is_taken_ends_with_the_reason_and_not_the_agent(
        node: Node, manager: str, service: str, port: int) -> None:
    """kopano-server up to 8.7 kills its whole process group then, and kopano-dagent says 0."""
    services = "server" if service == "server" else f"server {service}"
    squatter = node.begin_sh("rm -f /run/squatting; exec " + SQUATTER % port)
    wait_for("the squatter", lambda: node.sh("ls /run/squatting 2>&1 || :") == "/run/squatting\n")
    answer = node.start(manager=manager, services=services)
    node.sh("pkill -f '[t]aken.listen' || :")
    squatter.answer()
    assert answer.code == 1 and answer.seconds < 20
    # Whichever is seen first: who has the port, or that the service is dead.
    assert f"{service} is broken: {KOPANO_IP}:{port} is listened on by another" in answer.reason \
        or f"Unable to bind to {KOPANO_IP}:{port}: Address already in use" in answer.reason
    node.started(manager=manager, services=services)
    node.stopped(manager=manager, services=services)


@pytest.mark.parametrize("manager", MANAGERS)
def test_a_server_that_hangs_is_waited_for_to_the_end_and_found_by_stop(
        node: Node, manager: str) -> None:
    """It has no pid file and no handler of SIGTERM, as one that waits for MySQL."""
    node.vices("server: hang_on_start")
    answer = node.start(manager=manager, services="server", timeout=6)
    assert answer.code == 1 and 3 < answer.seconds < 6
    assert "server" in answer.reason and "says nothing" in answer.reason
    assert node.sh("ls /run/kopano/server.pid 2>&1 || :").endswith("No such file or directory\n")
    assert len(node.pids("server")) == 1
    node.stopped(manager=manager, services="server")


def test_who_falls_silent_has_failed_and_recovers(node: Node) -> None:
    node.started()
    node.vices("*: mute")
    assert node.monitor().code == 0
    answer = node.monitor(10, timeout=6)
    assert answer.code == 1 and answer.seconds < 6
    for service in ("server", "dagent", "gateway", "ical"):
        assert f"{service} at {KOPANO_IP}:" in answer.reason
    assert "says nothing within" in answer.reason and "the database answers" in answer.reason
    node.vices("ical: mute")
    assert node.monitor(10, timeout=10, optional_services="ical").code == 190
    node.vices()
    assert node.monitor(10).code == 0
    node.stopped()


def test_an_optional_service_that_fails_in_any_way_does_not_fail_the_start(node: Node) -> None:
    options = {"services": "server ical", "optional_services": "ical"}
    for vice in ("dead_but_exit_0", "hang_on_start"):
        node.vices(f"ical: {vice}")
        answer = node.start(timeout=8, **options)
        assert answer.code == 0 and "optional service ical does not serve" in answer.stderr
        level = 0 if vice == "dead_but_exit_0" else 10
        assert node.monitor(level, timeout=6, **options).code == 190
        node.stopped(**options)


@pytest.mark.parametrize("manager", MANAGERS)
def test_a_stopped_process_is_no_service_and_can_be_stopped_for_good(
        node: Node, manager: str) -> None:
    """SIGTERM waits for SIGCONT (state T), so a server held by SIGSTOP would never end."""
    node.started(manager=manager, services="server dagent")
    node.kill(*node.pids("server"), signal="STOP")
    answer = node.monitor(manager=manager, services="server dagent")
    assert answer.code == 1 and "state T" in answer.reason
    assert node.probe(manager=manager, services="server dagent").code == 1
    start = node.start(manager=manager, services="server dagent", timeout=6)
    assert start.code == 1 and "state T" in start.reason
    answer = node.stopped(manager=manager, services="server dagent")
    assert answer.seconds < 20
    assert "Server shutdown complete" in node.log("server"), "it was not let end by itself"


@pytest.mark.parametrize("manager", MANAGERS)
def test_a_server_that_is_asked_for_its_version_is_no_server(node: Node, manager: str) -> None:
    """Every start asks, and so does crm or pcs through validate-all, beside whatever runs."""
    # Its answer finds no room in the pipe, so it stays.
    asked = node.begin_sh("rm -f /run/full; mkfifo /run/full; exec 3<>/run/full;"
                          " head -c 65536 /dev/zero >&3; exec kopano-server -V >&3")
    asking = "pgrep -fx '.*kopano-server -V' || :"      # not the shell that becomes it
    before = wait_for("the question", lambda: node.sh(asking))
    assert node.probe(manager=manager, services="server").code == 7
    node.started(manager=manager, services="server")
    assert node.probe(manager=manager, services="server").code == 0
    node.stopped(manager=manager, services="server")
    assert before.strip() in node.sh(asking).split(), "it was taken for the service"
    assert node.monitor(manager=manager, services="server").code == 7
    node.kill(int(before))
    assert asked.answer().code == -9
