# SPDX-License-Identifier: GPL-2.0-or-later
"""What the Kopano stand-in does to data: creates, upgrades and refuses as was measured."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Iterator

import pytest

from standin_machine import Machine, http
from waiting import wait_for

LOCK = "/tmp/kopano-upgrade-lock"
GUID = "SELECT HEX(value) FROM kopano.settings WHERE name = 'server_guid'"
OLDER = ("UPDATE kopano.versions SET major = 8, minor = 4, micro = 0, databaserevision = 70")
NEWER = ("UPDATE kopano.versions SET major = 9, minor = 0, micro = 0, databaserevision = 119")


@pytest.fixture(scope="module")
def node(image: Path) -> Iterator[Machine]:
    with Machine(image) as machine:
        yield machine


@pytest.fixture(autouse=True)
def fresh(node: Machine) -> None:
    node.reset()


def assert_open_but_mute(node: Machine) -> None:
    for address in ("198.51.100.100", "127.0.0.1"):
        with node.connect(236, address, timeout=1) as connection:
            connection.sendall(http("HEAD"))
            with pytest.raises(socket.timeout):
                connection.recv(1)
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(str(node.path("/run/kopano/server.sock")))


def test_a_missing_database_is_created_with_a_new_guid_and_without_a_question(
        node: Machine) -> None:
    before = node.sql(GUID)
    node.sql("DROP DATABASE kopano")
    node.serve("server")
    assert "Creating database" in node.log("server")
    assert node.sql(GUID) != before


def test_missing_attachments_become_210_directories_on_whatever_disk_is_there(
        node: Machine) -> None:
    node.run("rm -rf /var/lib/kopano/attachments")
    node.serve("server")
    found = node.run("find /var/lib/kopano/attachments -mindepth 1 -type d | wc -l")
    assert int(found) == 210


def test_only_the_top_directory_of_attachments_is_given_to_kopano(node: Machine) -> None:
    node.run("install -d /var/lib/kopano/attachments/1; chown -R root /var/lib/kopano/attachments")
    process = node.daemon("server")
    assert process.code() == 255
    assert "Unable to write attachments" in node.log("server")
    owners = node.run("stat -c %U /var/lib/kopano/attachments /var/lib/kopano/attachments/1")
    assert owners.split() == ["kopano", "root"]


def test_attachments_that_cannot_be_written_are_refused_after_the_daemon_said_0(
        node: Machine) -> None:
    node.run("rm -rf /var/lib/kopano/attachments; install -d /var/lib/kopano/attachments/1")
    assert node.start("/usr/sbin/kopano-server").code() == 0
    wait_for("the refusal", lambda: "Unable to write attachments" in node.log("server"))
    wait_for("its end", lambda: not node.pids("server"))


def test_another_way_of_storing_attachments_is_refused(node: Machine) -> None:
    node.configure("server", attachment_storage="files_v2")
    assert node.daemon("server").code() == 255
    assert "is selected" in node.log("server")
    node.run("rm /var/log/kopano/server.log")
    node.daemon("server", "--ignore-attachment-storage-conflict")
    node.await_ready("server")


def test_a_newer_database_is_refused_with_255_in_the_foreground_and_0_as_a_daemon(
        node: Machine) -> None:
    node.sql(NEWER)
    assert node.daemon("server").code() == 255
    assert "WARNING: Database version (9,0,0,0,119) is newer than the server version" in (
        node.log("server"))
    assert node.start("/usr/sbin/kopano-server").code() == 0
    wait_for("the refusal", lambda: node.log("server").count("is newer than") == 2)
    wait_for("its end", lambda: not node.pids("server"))


def test_two_servers_on_the_same_data_both_start(node: Machine) -> None:
    node.serve("server")
    path = node.path("/etc/kopano/second.cfg")
    path.write_text(
        node.path("/etc/kopano/server.cfg").read_text()
        + "server_listen = 127.0.0.1:1236\nserver_pipe_name = /run/kopano/second.sock\n"
        "server_pipe_priority = /run/kopano/second-prio.sock\n"
        "pid_file = /run/kopano/second.pid\nlog_file = /var/log/kopano/second.log\n")
    node.daemon("server", "-c", "/etc/kopano/second.cfg")
    wait_for("the second start", lambda: "Startup succeeded" in node.log("second"))
    assert len(node.pids("server")) == 2


def test_without_mariadb_the_ports_are_open_and_mute_and_one_sigterm_kills(node: Machine) -> None:
    node.kill_database()
    node.run("echo 12345 >/run/kopano/server.pid; chown kopano /run/kopano/server.pid")
    server = node.daemon("server")
    wait_for("the first try", lambda: "Unable to connect, retrying in 10s" in node.log("server"))
    assert_open_but_mute(node)
    assert node.path("/run/kopano/server.pid").read_text() == "12345\n"
    server.kill("TERM")
    assert server.code() == -15


def test_a_server_that_waited_for_mariadb_comes_up_behind_everybodys_back(node: Machine) -> None:
    node.kill_database()
    server = node.daemon("server")
    wait_for("the first try", lambda: "Unable to connect" in node.log("server"))
    node.start_database()
    node.await_ready("server")
    assert int(node.path("/run/kopano/server.pid").read_text()) == server.pid


def test_dagent_waits_mutely_for_an_upgrading_server(node: Machine) -> None:
    node.serve("dagent")
    node.vices("server: slow_upgrade=600")
    node.daemon("server")
    wait_for("the upgrade", lambda: "Start: Database upgrade" in node.log("server"))
    with node.connect(2003, timeout=1) as connection:
        with pytest.raises(socket.timeout):
            connection.recv(1)


def test_an_older_database_is_upgraded_step_by_step_and_the_lock_goes(node: Machine) -> None:
    node.sql(OLDER)
    node.serve("server")
    assert node.sql("SELECT MAX(databaserevision) FROM kopano.versions") == "118"
    assert not node.path(LOCK).exists()


def test_the_first_sigterm_lets_an_upgrade_go_on_and_then_ends_the_server(node: Machine) -> None:
    node.vices("server: slow_upgrade=3")
    server = node.daemon("server")
    wait_for("the upgrade", lambda: "Start: Database upgrade" in node.log("server"))
    assert_open_but_mute(node)
    assert node.path(LOCK).stat().st_mode & 0o777 == 0o600
    server.kill("TERM")
    assert server.code() == 0
    assert "Done: Database upgrade" in node.log("server")


def test_a_second_sigterm_kills_an_upgrade_that_waits_for_a_table_and_its_lock_stays_for_ever(
        node: Machine) -> None:
    node.sql(OLDER)
    locker = node.start("mariadb", "-e", "LOCK TABLES kopano.settings READ; SELECT SLEEP(1000)")
    wait_for("the table's lock", lambda: "SLEEP" in node.sql("SHOW FULL PROCESSLIST"))
    server = node.daemon("server")
    wait_for("the upgrade", lambda: "ALTER TABLE" in node.sql("SHOW FULL PROCESSLIST"))
    server.kill("TERM")
    wait_for("the flag", lambda: node.run(
        f"awk '/^SigCgt/ {{print $2}}' /proc/{server.pid}/status") and not _catches_sigterm(
            node, server.pid))
    assert not server.ended()
    server.kill("TERM")
    assert server.code() == -15
    assert node.path(LOCK).exists()
    locker.kill("KILL")
    locker.code()
    wait_for("the end of the lock", lambda: "SLEEP" not in node.sql("SHOW FULL PROCESSLIST"))
    node.run("rm /var/log/kopano/server.log")
    node.serve("server")
    assert "WARNING: Unable to place upgrade lockfile: File exists" in node.log("server")
    assert node.sql("SELECT MAX(databaserevision) FROM kopano.versions") == "118"
    assert node.path(LOCK).exists()


def _catches_sigterm(node: Machine, pid: int) -> bool:
    caught = node.run(f"awk '/^SigCgt/ {{print $2}}' /proc/{pid}/status")
    return bool(int(caught, 16) & 1 << 14)


def test_kopano_admin_hangs_on_an_upgrading_server(node: Machine) -> None:
    node.vices("server: slow_upgrade=600")
    node.daemon("server")
    wait_for("the upgrade", lambda: "Start: Database upgrade" in node.log("server"))
    assert node.answer("timeout", "2", "kopano-admin", "-l")[0] == 124


def test_a_kill_between_file_and_commit_loses_nothing_that_was_acknowledged(
        node: Machine) -> None:
    server = node.serve("server", "dagent")["server"]
    acknowledged = []
    for number in range(20):
        if number == 10:
            server.kill("KILL")
            server.code()
            node.run("rm /var/log/kopano/server.log")
            node.serve("server")
        if node.deliver(f"{number}@test").startswith("250 "):
            acknowledged.append(f"<{number}@test>")
    kept = node.sql("SELECT message_id FROM kopano.messages").split()
    assert len(acknowledged) == 20 and sorted(acknowledged) == sorted(kept)
