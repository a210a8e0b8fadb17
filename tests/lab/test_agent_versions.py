# SPDX-License-Identifier: GPL-2.0-or-later
"""The agent with every generation of Kopano, and with data that another one has written."""

from __future__ import annotations

from typing import Iterator

import pytest

from agent_node import KOPANO_IP, MYSQL_IP, VERSION, Node
from kopano import layout, provision
from kopano.standin.release import Release

FEW = "server ical"

VERSIONS = {
    "8.4.5": "server_bind and its kin only",
    "8.6.9": "server_listen beside the old keys of the others",
    "8.7.25": "the new keys only",
    "9.1.0": "always in the foreground",
    "10.0.7": "no pid files",
    "11.0.2": "as 10",
}


@pytest.fixture(autouse=True)
def old_database(node: Node) -> Iterator[None]:
    """Give the database back what a newer release has made of it."""
    yield
    node.stop()
    node.database(VERSION)


def install(node: Node, version: str) -> None:
    """Put another release of the stand-in on the node, with its own spelling of configurations."""
    node.set_version(version)
    addresses = layout.Addresses(KOPANO_IP, MYSQL_IP, provision.MYSQL_PASSWORD)
    listen_keys = Release(version).has_listen_key("dagent")
    for service, text in layout.configuration(addresses, listen_keys=listen_keys).items():
        node.write(f"/etc/kopano/{service}.cfg", text)


@pytest.mark.parametrize("version", VERSIONS)
def test_each_generation_lives_its_life(node: Node, version: str) -> None:
    services = "server dagent gateway ical"
    install(node, version)
    node.database(version)
    assert node.probe(services=services).code == 7
    node.started(services=services)
    before = node.living()
    for level in (0, 10, 20):
        answer = node.monitor(level, services=services)
        assert answer.code == 0 and answer.stderr == "", str(answer)
    node.started(services=services)
    assert node.living() == before
    pid_files = node.sh("ls /run/kopano | grep -c pid || :").strip()
    assert pid_files == ("4" if Release(version).writes_pid_files else "0")
    node.stopped(services=services)
    assert node.sh("ls /run/kopano") == ""
    if version in ("8.4.5", "10.0.7"):
        node.started(manager="direct", services=services)
        assert node.monitor(10, manager="direct", services=services).code == 0
        node.stopped(manager="direct", services=services)
    assert f"Starting kopano-server version {version} " in node.log("server")


@pytest.mark.parametrize("version, service, key, value, why", [
    ("8.7.25", "server", "server_bind", KOPANO_IP, "unknown to Kopano since 8.7"),
    ("8.7.25", "gateway", "imap_port", "143", "unknown to Kopano since 8.7"),
    ("8.7.25", "ical", "server_bind", KOPANO_IP, "unknown to Kopano since 8.7"),
    ("8.4.5", "server", "server_listen", f"{KOPANO_IP}:236", "unknown to Kopano before 8.5"),
    ("8.4.5", "gateway", "imap_listen", f"{KOPANO_IP}:143", "unknown to Kopano before 8.7"),
])
def test_a_key_of_another_version_is_named_with_its_file_and_the_right_one(
        node: Node, version: str, service: str, key: str, value: str, why: str) -> None:
    install(node, version)
    node.configure(service, **{key: value})
    answer = node.start()
    assert answer.code == 5, str(answer)
    for part in (f"/etc/kopano/{service}.cfg line ", key, why):
        assert part in answer.reason, str(answer)
    assert node.living() == {} and node.marks() == ""
    assert node.probe().code == 7
    node.stopped()


def test_a_key_that_the_dagent_silently_ignores_is_a_warning(node: Node) -> None:
    node.configure("dagent", server_bind=KOPANO_IP)
    answer = node.started(services="server dagent")
    for part in ("WARNING: /etc/kopano/dagent.cfg line ", "server_bind", "lmtp_listen"):
        assert part in answer.stderr
    node.stopped(services="server dagent")


def test_older_software_never_opens_newer_data(node: Node) -> None:
    install(node, "9.1.0")
    node.database("9.1.0")
    node.started(services=FEW)
    node.stopped(services=FEW)
    install(node, VERSION)
    answer = node.start(services=FEW)
    assert answer.code == 5 and node.living() == {} and node.marks() == ""
    for part in ("8.7.25", "9.1.0", "alice", "older"):
        assert part in answer.reason
    assert node.probe(services=FEW).code == 7
    # Without the record the server itself refuses, and its exit code may be 0.
    node.sh("rm /var/lib/kopano/.mailha-last-run")
    for manager in ("systemd", "direct"):
        answer = node.start(services=FEW, manager=manager)
        assert answer.code == 5 and answer.seconds < 20
        assert "is newer than the server version" in answer.reason
        node.stopped(services=FEW, manager=manager)


def test_a_newer_release_waits_for_the_administrators_word_and_a_newer_build_does_not(
        node: Node) -> None:
    node.started(services=FEW)
    node.stopped(services=FEW)
    node.set_version("8.7.26")
    node.started(services=FEW)
    node.stopped(services=FEW)
    node.set_version("9.1.0")
    answer = node.start(services=FEW)
    assert answer.code == 5 and "mailha accept-version kopano" in answer.reason
    assert node.living() == {} and "version 9.1.0" not in node.log("server")
    node.sh("mailha accept-version kopano")
    node.started(services=FEW)
    assert "Done: Database upgrade" in node.log("server")
    node.stopped(services=FEW)
    node.started(services=FEW)
    node.stopped(services=FEW)


def test_a_missing_record_of_the_version_warns_and_a_damaged_one_waits_for_the_word(
        node: Node) -> None:
    node.sh("rm -f /var/lib/kopano/.mailha-last-run")
    assert "WARNING: " in node.started(services="server").stderr
    node.stopped(services="server")
    assert "WARNING: " not in node.started(services="server").stderr
    node.stopped(services="server")
    for damage in ("", "\\0\\377\\1", "format 99\\n", "format 1\\nversion \\n"):
        node.sh(f"printf '{damage}' >/var/lib/kopano/.mailha-last-run")
        answer = node.start(services="server")
        assert answer.code == 5 and "'mailha accept-version kopano'" in answer.reason, str(answer)
    node.sh("mailha accept-version kopano")
    node.started(services="server")
    node.stopped(services="server")
    node.started(services="server")
    node.stopped(services="server")


def test_a_running_group_survives_the_update_of_its_package(node: Node) -> None:
    """The files below it are new, and its own program is called "(deleted)" by the kernel."""
    services = "server dagent ical"
    node.started(services=services)
    before = node.living()
    node.sh("cp -a /usr/lib/kopano-standin /root/kept; rm -r /usr/lib/kopano-standin/standin;"
            " cp -a /root/kept/standin /usr/lib/kopano-standin; rm -r /root/kept")
    node.set_version("8.7.26")
    for level in (0, 10, 20):
        assert node.monitor(level, services=services).code == 0
    node.started(services=services)
    assert node.living() == before
    node.stopped(services=services)
