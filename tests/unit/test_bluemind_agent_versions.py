# SPDX-License-Identifier: GPL-2.0-or-later
"""Old software never opens newer data, and a newer release waits for the administrator's word."""

from __future__ import annotations

import pytest
from bluemind_node import Node
from mailha.storage import acceptance
from mailha.storage.version import Version


def accept(node: Node, version: str, *, restored: bool = False) -> None:
    """Give the administrator's word."""
    node.machine.files.directories.add("/var/lib")
    acceptance.accept(node.machine, node.resource, Version(version),  # type: ignore[arg-type]
                      restored=restored)


def test_the_version_is_recorded_with_the_data(mailnode: Node) -> None:
    mailnode.started()
    assert mailnode.last_run() == "4.9.2-1"


@pytest.mark.parametrize("before, after", [("4.10.0-1", "4.9.9-1"), ("4.11.0-1", "4.9.2-1"),
                                           ("4.9.3-1", "4.9.2-1")])
def test_older_software_never_opens_newer_data(mailnode: Node, before: str, after: str) -> None:
    """4.10 is newer than 4.9: versions are compared number by number."""
    mailnode.install(before)
    mailnode.started().stops()
    mailnode.install(after)
    mailnode.refuses(5, after, "older", before, "--restored")


@pytest.mark.parametrize("before, after", [("4.9.2-1", "4.10.0-1"), ("4.1.6-1", "4.9.0-1"),
                                           ("4.9.2-1", "5.1.0-1")])
def test_a_newer_release_waits_for_the_administrator_s_word(mailnode: Node, before: str,
                                                            after: str) -> None:
    mailnode.install(before)
    mailnode.started().stops()
    mailnode.install(after)
    mailnode.refuses(5, after, "newer release", "mailha accept-version bluemind_services")
    accept(mailnode, after)
    if after.startswith("4"):
        mailnode.started()
        assert mailnode.last_run() == after
        assert acceptance.accepted(mailnode.machine, mailnode.resource) is None  # type: ignore


@pytest.mark.parametrize("after", ["4.9.3-1", "4.9.2-2", "4.9.10-1"])
def test_a_newer_build_of_the_same_release_starts(mailnode: Node, after: str) -> None:
    mailnode.started().stops()
    mailnode.install(after)
    mailnode.started()
    assert mailnode.last_run() == after


def test_the_word_is_for_one_version_alone(mailnode: Node) -> None:
    mailnode.started().stops()
    mailnode.install("4.11.0-1")
    accept(mailnode, "4.10.0-1")
    mailnode.refuses(5, "newer release")


def test_a_word_for_restored_data_lets_the_older_version_start(mailnode: Node) -> None:
    mailnode.install("4.10.0-1")
    mailnode.started().stops()
    mailnode.install("4.9.2-1")
    accept(mailnode, "4.9.2-1")
    mailnode.refuses(5, "older")
    accept(mailnode, "4.9.2-1", restored=True)
    answer = mailnode.start()
    assert answer.code == 0 and "backup" in answer.log
    assert mailnode.last_run() == "4.9.2-1"


def test_without_core_versions_do_not_matter(mailnode: Node) -> None:
    mailnode.install("4.10.0-1")
    mailnode.started().stops()
    mailnode.install("4.9.2-1")
    mailnode.resource = "web"
    mailnode.started(services="nginx webserver")


# What runs is recorded, too

def unpack(node: Node, version: str) -> None:
    """Let dpkg unpack a newer version now."""
    node.install(version)
    node.machine.files.put("/var/lib/dpkg/info/bm-core.list", b"")


def test_the_deep_monitor_records_what_runs_after_an_update(mailnode: Node) -> None:
    """The wizard starts the new version; the other node must not take over with the old one."""
    mailnode.started()
    mailnode.machine.clock.sleep(100.0)
    unpack(mailnode, "4.10.0-1")
    assert mailnode.monitor(10).code == 0
    assert mailnode.last_run() == "4.9.2-1", "the one that runs is still the old one"
    mailnode.main("core").die()
    mailnode.machine.clock.sleep(5.0)
    mailnode.machine.systemd.start("bm-core.service")
    mailnode.machine.clock.sleep(5.0)
    assert mailnode.monitor().code == 0 and mailnode.last_run() == "4.9.2-1"
    answer = mailnode.monitor(10)
    assert answer.code == 0 and mailnode.last_run() == "4.10.0-1"
    assert "4.10.0-1 runs on this data now" in answer.log
    assert "runs on this data now" not in mailnode.monitor(10).log


@pytest.mark.parametrize("level", [0, 10])
def test_an_update_that_went_wrong_is_recorded_before_another_node_takes_over(mailnode: Node,
                                                                              level: int) -> None:
    """The new core has upgraded the database; whatever else fails, older software must not come."""
    mailnode.started()
    mailnode.machine.clock.sleep(100.0)
    unpack(mailnode, "4.10.0-1")
    mailnode.main("core").die()
    mailnode.machine.clock.sleep(5.0)
    mailnode.machine.systemd.start("bm-core.service")
    mailnode.machine.clock.sleep(5.0)
    if level:
        mailnode.script("webserver", 8080).mood = "mute"
    else:
        mailnode.main("cyrus").die()
    assert mailnode.monitor(level).code == 1
    assert mailnode.last_run() == "4.10.0-1"


def test_a_monitor_never_forgets_that_newer_software_ran(mailnode: Node) -> None:
    """Else whoever installs an old package makes way for old software over newer data."""
    mailnode.started()
    mailnode.install("4.8.1-1")
    answer = mailnode.monitor(10)
    assert answer.code == 0 and mailnode.last_run() == "4.9.2-1"
    assert "4.8.1-1 is installed on this node, which is older than 4.9.2-1" in answer.log


def test_a_package_database_that_does_not_answer_bans_no_node(mailnode: Node) -> None:
    """Under the load of a changeover that says nothing about the package."""
    mailnode.machine.children.answer(["dpkg-query"], takes=1e6)
    assert "bm-core cannot be found out" in mailnode.refuses(1)


def test_a_record_that_cannot_be_written_takes_no_mail_down(mailnode: Node) -> None:
    mailnode.started()
    unpack(mailnode, "4.9.3-1")
    mailnode.machine.children.hanging.add("*")
    assert mailnode.monitor(10).code == 0


def test_a_release_that_is_not_known_yet_is_run_as_the_last_one_and_that_is_said(
        mailnode: Node) -> None:
    mailnode.install("6.0.1")
    answer = mailnode.start()
    assert "BlueMind 6.0.1 is newer than what this mailha knows, and is run as 5.x" in answer.log
