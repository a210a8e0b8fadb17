# SPDX-License-Identifier: GPL-2.0-or-later
"""How the Kopano stand-in starts and stops: every measured habit that can mislead an agent."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Iterator

import pytest

from standin_machine import DAEMONS, KOPANO_IP, Conversation, Machine
from waiting import wait_for

# Leaves the pid of a process in /tmp/zombie that has ended and is never reaped.
ZOMBIE = ["python3", "-c",
          "import os, time\n"
          "pid = os.fork()\n"
          "if pid == 0: os._exit(0)\n"
          "open('/tmp/zombie', 'w').write(str(pid))\n"
          "time.sleep(1000)"]


@pytest.fixture(scope="module")
def node(image: Path) -> Iterator[Machine]:
    with Machine(image) as machine:
        yield machine


@pytest.fixture(autouse=True)
def fresh(node: Machine) -> None:
    node.reset()


def pid_file(node: Machine, service: str) -> Path:
    return node.path(f"/run/kopano/{service}.pid")


def leave_pid_file(node: Machine, service: str, pid: object) -> None:
    """Leave a pid file as an earlier run of the service would have."""
    node.run(f"echo {pid} >/run/kopano/{service}.pid; chown kopano /run/kopano/{service}.pid")


@pytest.mark.parametrize("service", DAEMONS)
def test_sigterm_ends_a_service_at_once_with_code_0_and_leaves_its_pid_file(
        node: Machine, service: str) -> None:
    process = node.serve(service)[service]
    wait_for("the handlers", lambda: _handles_sigterm(node, process.pid))
    before = time.monotonic()
    process.kill("TERM")
    assert process.code() == 0
    # 70 ms on an idle machine; with a limit that a busy one keeps too.
    assert time.monotonic() - before < 5
    assert int(pid_file(node, service).read_text()) == process.pid
    wait_for("its children's end", lambda: not node.pids(service))


def _handles_sigterm(node: Machine, pid: int) -> bool:
    caught = node.run(f"awk '/^SigCgt/ {{print $2}}' /proc/{pid}/status")
    return bool(int(caught, 16) & 1 << 14)


@pytest.mark.parametrize("service", DAEMONS)
def test_without_f_the_caller_gets_code_0_and_the_service_another_pid(
        node: Machine, service: str) -> None:
    caller = node.start(f"/usr/sbin/kopano-{service}", *(["-d"] if service == "dagent" else []))
    assert caller.code() == 0
    wait_for("the pid file", lambda: pid_file(node, service).exists()
             and pid_file(node, service).read_text())
    pid = int(pid_file(node, service).read_text())
    assert pid != caller.pid and pid in node.pids(service)


def test_services_run_as_kopano_under_their_scripts_name(node: Machine) -> None:
    process = node.serve("server")["server"]
    found = node.run(f"ps -o user=,args= -p {process.pid}").split()
    assert found == ["kopano", "/usr/bin/python3", "/usr/sbin/kopano-server", "-F"]


def test_pid_files_and_sockets_stay_after_kill_9_and_everything_starts_over_them(
        node: Machine) -> None:
    first = node.serve()
    modes = {service: pid_file(node, service).stat().st_mode & 0o777 for service in DAEMONS}
    assert modes == {"server": 0o644, "spooler": 0o600, "dagent": 0o600, "monitor": 0o644,
                     "gateway": 0o644, "ical": 0o644}
    for process in first.values():
        process.kill("KILL")
        process.code()
    left = sorted(path.name for path in node.path("/run/kopano").iterdir())
    assert left == sorted([f"{service}.pid" for service in DAEMONS]
                          + ["server.sock", "prio.sock"])
    node.run("rm /var/log/kopano/server.log")
    second = node.serve()
    for service, process in second.items():
        wait_for(f"{service}'s pid", lambda: int(pid_file(node, service).read_text())
                 == process.pid)
    assert node.deliver("again@test").startswith("250 ")


def test_the_sockets_have_the_measured_modes(node: Machine) -> None:
    node.serve("server")
    assert node.path("/run/kopano/server.sock").stat().st_mode & 0o777 == 0o666
    assert node.path("/run/kopano/prio.sock").stat().st_mode & 0o777 == 0o660


@pytest.mark.parametrize("service", ["spooler", "monitor"])
def test_a_zombie_in_the_pid_file_blocks_spooler_and_monitor(node: Machine, service: str) -> None:
    node.run("rm -f /tmp/zombie")
    parent = node.start(*ZOMBIE)
    wait_for("the zombie", lambda: node.path("/tmp/zombie").exists()
             and node.path("/tmp/zombie").read_text())
    leave_pid_file(node, service, node.path("/tmp/zombie").read_text())
    blocked = node.daemon(service)
    assert blocked.code() == 1
    assert "is probably already running" in blocked.output
    assert node.start(f"/usr/sbin/kopano-{service}").code() == 0
    wait_for("the refusal", lambda: node.log(service).count("is probably already running") == 2)
    wait_for("its end", lambda: not node.pids(service))
    parent.kill("KILL")


@pytest.mark.parametrize("service", ["spooler", "monitor"])
def test_a_process_whose_command_line_contains_the_name_blocks_spooler_and_monitor(
        node: Machine, service: str) -> None:
    other = node.start("sleep", "1000")
    tail = node.start("tail", "-f", "/dev/null", f"/usr/sbin/kopano-{service}")
    leave_pid_file(node, service, tail.pid)
    assert node.daemon(service).code() == 1
    leave_pid_file(node, service, other.pid)
    node.daemon(service)
    wait_for("a new pid", lambda: pid_file(node, service).read_text().strip()
             not in ("", str(other.pid)))
    tail.kill("KILL")
    other.kill("KILL")


@pytest.mark.parametrize("service", ["server", "gateway", "dagent", "ical"])
def test_the_others_go_on_over_a_pid_file_of_a_live_namesake(node: Machine, service: str) -> None:
    tail = node.start("tail", "-f", "/dev/null", f"/usr/sbin/kopano-{service}")
    leave_pid_file(node, service, tail.pid)
    process = node.daemon(service)
    wait_for("the new pid", lambda: pid_file(node, service).read_text().strip()
             == str(process.pid))
    tail.kill("KILL")


def test_a_server_that_cannot_write_its_pid_file_runs_all_the_same(node: Machine) -> None:
    node.configure("server", pid_file="/nowhere/server.pid")
    node.serve("server")
    assert "Unable to open pidfile '/nowhere/server.pid'" in node.log("server")
    assert not pid_file(node, "server").exists()


def test_a_server_that_cannot_bind_kills_its_whole_process_group(node: Machine) -> None:
    node.configure("server", server_listen="198.51.100.99:236")
    shell = node.start("/bin/sh", "-c", "/usr/sbin/kopano-server -F; exit 42")
    assert shell.code() == -15
    assert "Unable to bind to 198.51.100.99:236" in node.log("server")


def test_a_server_without_its_run_directory_kills_its_whole_process_group(node: Machine) -> None:
    node.run("rm -r /run/kopano")
    assert node.start("/bin/sh", "-c", "/usr/sbin/kopano-server; exit 42").code() == -15


def test_since_9_a_server_that_cannot_bind_just_ends(node: Machine) -> None:
    node.set_version("9.1.0")
    node.configure("server", server_listen="198.51.100.99:236")
    assert node.start("/bin/sh", "-c", "/usr/sbin/kopano-server -F").code() == 255


@pytest.mark.parametrize("service, key, code", [
    ("dagent", "lmtp_listen", 0), ("gateway", "imap_listen", 1), ("ical", "ical_listen", 1)])
def test_the_exit_code_of_a_failed_bind_depends_on_the_service(
        node: Machine, service: str, key: str, code: int) -> None:
    node.configure(service, **{key: "198.51.100.99:4000"})
    assert node.daemon(service).code() == code


@pytest.mark.parametrize("service, code", [("server", 255), ("gateway", 1), ("ical", 0)])
def test_an_old_key_ends_the_start_with_the_services_own_exit_code(
        node: Machine, service: str, code: int) -> None:
    node.configure(service, server_bind=KOPANO_IP)
    process = node.daemon(service)
    assert process.code() == code
    assert 'Config error: Unknown option "server_bind" found!' in process.output


def test_dagent_shrugs_an_old_key_off_and_binds_every_address(node: Machine) -> None:
    node.path("/etc/kopano/dagent.cfg").write_text(
        f"server_bind = {KOPANO_IP}\nlmtp_port = 2003\n")
    node.serve("dagent")
    wait_for("the port", lambda: "0.0.0.0:2003" in node.run("ss -ltn"))


def test_old_releases_take_the_old_keys_only(node: Machine) -> None:
    node.set_version("8.3.0")
    assert node.daemon("gateway").code() == 1
    node.path("/etc/kopano/gateway.cfg").write_text(
        f"server_bind = {KOPANO_IP}\nimap_port = 1143\npop3_enable = no\n")
    node.serve("gateway")
    wait_for("the port", lambda: f"{KOPANO_IP}:1143" in node.run("ss -ltn"))
    assert ":110 " not in node.run("ss -ltn")


def test_since_9_a_service_stays_in_the_foreground_and_since_10_writes_no_pid_file(
        node: Machine) -> None:
    node.set_version("10.0.0")
    process = node.start("/usr/sbin/kopano-ical")
    wait_for("the port", lambda: ":8080" in node.run("ss -ltn"))
    assert node.pids("ical") == [process.pid]
    assert not pid_file(node, "ical").exists()


def test_dagent_and_spooler_are_two_processes_and_the_second_dies_with_the_first(
        node: Machine) -> None:
    for service in ("dagent", "spooler"):
        process = node.serve(service)[service]
        wait_for("two processes", lambda: len(node.pids(service)) == 2)
        process.kill("KILL")
        wait_for("no process", lambda: not node.pids(service))


def test_sighup_is_survived_and_reopens_the_log(node: Machine) -> None:
    started = node.serve("server", "gateway", "ical", "monitor")
    for service, process in started.items():
        wait_for("the handlers", lambda: _handles_sigterm(node, process.pid))
        process.kill("HUP")
        wait_for("the line", lambda: "Log connection was reset" in node.log(service))
        assert not process.ended()


def test_a_gateway_with_two_clients_takes_ten_seconds_to_stop(node: Machine) -> None:
    gateway = node.serve("server", "gateway")["gateway"]
    with Conversation(node.connect(143)) as imap, Conversation(node.connect(110)) as pop3:
        imap.hear()
        imap.ask("a LOGIN test1 test1")
        assert imap.ask("b IDLE").startswith("+")
        pop3.hear()
        before = time.monotonic()
        gateway.kill("TERM")
        assert gateway.code() == 0
        assert time.monotonic() - before > 9.5
    assert "Forced shutdown with 2 processes/threads left" in node.log("gateway")


def test_a_forking_gateway_has_a_process_for_each_client_and_takes_them_along(
        node: Machine) -> None:
    node.configure("gateway", process_model="fork")
    gateway = node.serve("gateway")["gateway"]
    with Conversation(node.connect(143)) as client:
        client.hear()
        assert len(node.pids("gateway")) == 2
        gateway.kill("TERM")
        assert gateway.code() == 0
        assert client.hear() == ""
    assert node.pids("gateway") == []


def test_dagent_with_an_open_session_stops_at_once_and_takes_its_children_along(
        node: Machine) -> None:
    node.serve("server")
    shell = node.start("/bin/sh", "-c", "/usr/sbin/kopano-dagent -l; exit 42")
    node.await_ready("dagent")
    with node.lmtp() as client:
        client.hear()
        assert len(node.pids("dagent")) == 3    # itself, its log child, the session
        before = time.monotonic()
        node.run("kill -TERM $(cat /run/kopano/dagent.pid)")
        # It signals its whole group, but as the user kopano: root's processes are out of reach.
        assert shell.code() == 42
        assert time.monotonic() - before < 5
        assert client.hear() == ""
    assert not node.pids("dagent")


@pytest.mark.parametrize("service", ["search", "presence"])
def test_search_and_presence_are_idle_and_stop_at_once(node: Machine, service: str) -> None:
    process = node.serve(service)[service]
    process.kill("TERM")
    assert process.code() == 0


def test_the_log_goes_to_standard_error_where_no_file_is_named(node: Machine) -> None:
    node.configure("ical", log_file="-")
    process = node.serve("ical")["ical"]
    assert "STAND-IN" in process.output


@pytest.mark.parametrize("service", DAEMONS)
def test_every_program_says_that_it_is_a_stand_in(node: Machine, service: str) -> None:
    code, text = node.answer(f"/usr/sbin/kopano-{service}", "--help")
    assert code == 0 and "STAND-IN" in text
    assert node.answer(f"/usr/sbin/kopano-{service}", "-V") == (0, f"kopano-{service} 8.7.25\n")
    node.serve(service)
    assert "STAND-IN" in node.log(service)


def test_systemd_finds_nothing_wrong_with_the_units(node: Machine) -> None:
    units = [f"/usr/lib/systemd/system/kopano-{service}.service" for service in DAEMONS]
    code, text = node.answer("systemd-analyze", "verify", "--man=no", *units)
    assert code == 0 and "kopano" not in text


def test_nothing_of_kopano_mariadb_or_apache_is_enabled(node: Machine) -> None:
    for unit in ("mariadb", "apache2", *(f"kopano-{service}" for service in DAEMONS)):
        assert "disabled" in node.answer("systemctl", "is-enabled", f"{unit}.service")[1]


def test_files_on_the_shared_disk_belong_to_the_same_number_on_every_node(node: Machine) -> None:
    assert os.stat(node.path("/var/lib/kopano/attachments")).st_uid == 990
    assert node.run("id -u kopano; id -g kopano").split() == ["990", "990"]
