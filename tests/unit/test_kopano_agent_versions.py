# SPDX-License-Identifier: GPL-2.0-or-later
"""Every version of Kopano with its own keys, and which version may open which data."""

from __future__ import annotations

from typing import Callable, Dict

import pytest
from kopano_machine import ADDRESS, NAMES, RESOURCE, unit
from kopano_node import VERSION, Node, configuration_files, old_configuration_files
from mailha.services import active
from mailha.storage import acceptance, last_run
from mailha.storage.version import Version

OLD, MIXED, NEW = "old keys", "old keys but server_listen", "new keys"


def files(style: str, data: str) -> Dict[str, str]:
    """Return configuration files in the keys of one time."""
    if style == NEW:
        return configuration_files(data)
    old = old_configuration_files(data)
    return {**old, "server": configuration_files(data)["server"]} if style == MIXED else old


def configure(node: Node, style: str) -> None:
    """Write the files; a server that was told one address listens on no other."""
    for name, text in files(style, str(node.data)).items():
        node.write(name, text)


# Keys

@pytest.mark.parametrize("version, style", [
    ("8.0.0.1166-1", OLD), ("8.1.1-1.1", OLD), ("8.4.5.0-1", OLD),
    ("8.5.0.0-1", OLD), ("8.5.0.0-1", MIXED), ("8.6.9.0-1", OLD), ("8.6.9.0-1", MIXED),
    ("8.7.0.0-1", NEW), (VERSION, NEW), ("8.7.81-1", NEW), ("9.0.3.0-1", NEW), ("9.1.0-1", NEW),
    ("10.0.7.387-1", NEW), ("11.0.2.51-1", NEW)])
def test_a_configuration_in_the_keys_of_its_version_starts(
        node: Node, version: str, style: str) -> None:
    node.install(version)
    configure(node, style)
    node.started()
    assert sorted(node.launched()) == sorted(NAMES)
    assert node.monitor(10).code == 0
    assert node.stop().code == 0 and node.alive() == []


@pytest.mark.parametrize("version, style, words", [
    ("8.4.5.0-1", MIXED, ["server.cfg", "server_listen", "8.5", f"server_bind = {ADDRESS}"]),
    ("8.4.5.0-1", NEW, ["server.cfg", "server_listen"]),
    ("8.6.9.0-1", NEW, ["gateway.cfg", "imap_listen", "8.7", f"server_bind = {ADDRESS}"]),
    ("8.7.0.0-1", MIXED, ["gateway.cfg", "server_bind", f"imap_listen = {ADDRESS}:143"]),
    (VERSION, OLD, ["server.cfg", "server_bind", f"server_listen = {ADDRESS}:236"]),
    ("9.0.3.0-1", OLD, ["server.cfg", "server_bind", "server_listen"]),
    ("10.0.7-1", OLD, ["server.cfg", "server_bind", "server_listen"]),
    ("11.0.2.51-1", OLD, ["server.cfg", "server_bind", "server_listen"])])
def test_keys_of_another_version_are_refused_with_the_right_ones(
        node: Node, version: str, style: str, words: list[str]) -> None:
    node.install(version)
    configure(node, style)
    before = node.state()
    answer = node.start()
    assert answer.code == 5
    for word in [*words, "line 1"]:
        assert word in answer.reason
    assert node.launched() == [] and node.state() == before


def test_a_dagent_that_ignores_an_old_key_is_expected_where_it_really_listens(node: Node) -> None:
    """Measured: it says nothing and binds every address."""
    node.write("dagent", f"server_bind = {ADDRESS}\n")
    its = unit(node.machine, "dagent").program
    assert its is not None
    its.listens = {("*", 2003): its.listens[(ADDRESS, 2003)]}
    answer = node.start()
    assert answer.code == 0
    assert "WARNING: /etc/kopano/dagent.cfg line 1: server_bind" in answer.log


@pytest.mark.parametrize("version, has_them", [("8.7.25-1", True), ("9.0.3-1", True),
                                               ("10.0.7-1", False), ("11.0.2-1", False)])
def test_pid_files_of_a_version_that_has_them(node: Node, version: str, has_them: bool) -> None:
    node.install(version)
    for name in NAMES:
        its = unit(node.machine, name).program
        assert its is not None
        its.pid_file = its.pid_file if has_them else ""
    node.started()
    record = active.read(node.machine, RESOURCE)  # type: ignore[arg-type]
    assert record is not None
    assert {bool(service.pid_file) for service in record.services} == {has_them}
    assert node.monitor(10).code == 0 and node.stop().code == 0


# Which version may open the data

def ran(node: Node, version: str) -> None:
    """Let this version have run on the data, on the other node."""
    last_run.write(node.machine, str(node.data),  # type: ignore[arg-type]
                   last_run.Record("kopano", Version(version), "bob", 1_600_000_000.0), 5.0)


def recorded(node: Node) -> str:
    """Return the version that last ran on the data, as it is written there."""
    record = last_run.read(node.machine, str(node.data), 5.0)  # type: ignore[arg-type]
    return record.version.text if record else ""


def accept(node: Node, version: str) -> None:
    acceptance.accept(node.machine, RESOURCE, Version(version))  # type: ignore[arg-type]


@pytest.mark.parametrize("before", ["8.7.26.0-0+1.1", "8.8.0-1", "11.0.2-1", "8.7.25.1-0+1"])
def test_older_software_never_opens_newer_data(node: Node, before: str) -> None:
    ran(node, before)
    accept(node, VERSION)
    state = node.state()
    answer = node.start()
    assert answer.code == 5
    for word in (VERSION, before, "older", "'bob'", "update this node"):
        assert word in answer.reason
    assert node.launched() == [] and node.state() == state


@pytest.mark.parametrize("before", ["8.7.25.0-0+122.9", "8.7.24.0-1", "8.7.9-1", "1:8.7.0-1"])
def test_a_newer_build_of_the_same_release_starts(node: Node, before: str) -> None:
    ran(node, before)
    node.started()
    assert recorded(node) == VERSION


@pytest.mark.parametrize("before", ["8.6.9.0-1", "8.6.82-1", "8.0.0-1"])
def test_a_newer_release_waits_for_the_word_of_the_administrator(node: Node, before: str) -> None:
    ran(node, before)
    state = node.state()
    answer = node.start()
    assert answer.code == 5
    # crm_mon shows the first 128 characters.
    assert f"'mailha accept-version {RESOURCE}'" in answer.reason[:128]
    for word in (VERSION, before, "newer release"):
        assert word in answer.reason
    assert node.launched() == [] and node.state() == state
    accept(node, VERSION)
    node.started()
    assert recorded(node) == VERSION


@pytest.mark.parametrize("word", ["8.7.24.0-1", "8.7.25.0-0+124.1", "8.7.25", "9.0.0"])
def test_the_word_is_for_exactly_one_version(node: Node, word: str) -> None:
    ran(node, "8.6.9.0-1")
    accept(node, word)
    assert node.start().code == 5
    assert node.launched() == []
    assert node.machine.files.exists(acceptance.path_of(RESOURCE))


def test_the_word_is_used_up_by_the_start_that_relies_on_it(node: Node) -> None:
    ran(node, "8.6.9.0-1")
    accept(node, VERSION)
    node.started()
    assert not node.machine.files.exists(acceptance.path_of(RESOURCE))
    assert node.stop().code == 0
    node.started()
    assert node.stop().code == 0
    ran(node, "8.6.9.0-1")      # a backup is played back
    assert node.start().code == 5


def test_the_word_is_not_used_up_by_a_start_that_is_refused(node: Node) -> None:
    ran(node, "8.6.9.0-1")
    accept(node, VERSION)
    node.database.die()
    assert node.start(timeout=60).code == 1
    assert node.machine.files.exists(acceptance.path_of(RESOURCE))
    assert recorded(node) == "8.6.9.0-1"


def test_a_word_that_cannot_be_understood(node: Node) -> None:
    ran(node, "8.6.9.0-1")
    node.machine.files.put(acceptance.path_of(RESOURCE), b"yes\n")
    answer = node.start()
    assert answer.code in (1, 5) and "accept-version" in answer.reason
    assert node.launched() == []


def test_data_without_a_record_warns_and_starts(node: Node) -> None:
    answer = node.start()
    assert answer.code == 0
    assert f"WARNING: {node.data} has no record of the version that last ran" in answer.log
    assert recorded(node) == VERSION


@pytest.mark.parametrize("damage", [b"", b"format 2\nend\n", b"\xff\xfe", b"format 1\nend\n",
                                    b"format 1\nsoftware kopano\nversion x\nnode a\n"
                                    b"time 2024-01-01T00:00:00Z\nend\n", b"x" * 9000])
def test_a_damaged_record_waits_for_the_word(node: Node, damage: bytes) -> None:
    """What ran last is unknown, and a later mailha may have written it for later software."""
    (node.data / last_run.NAME).write_bytes(damage)
    answer = node.start()
    assert answer.code == 5 and node.launched() == []
    assert answer.reason.startswith(
        f"it needs 'mailha accept-version {RESOURCE}': the record of the")
    assert (node.data / last_run.NAME).read_bytes() == damage
    accept(node, VERSION)
    answer = node.start()
    assert answer.code == 0 and "the word of the administrator" in answer.log
    assert recorded(node) == VERSION
    assert not node.machine.files.exists(acceptance.path_of(RESOURCE)), "it counts once"


def test_a_record_that_is_a_link_to_somewhere_is_not_followed(node: Node) -> None:
    """The directory belongs to Kopano's user, who could point it at /etc/shadow."""
    target = node.data.parent / "target"
    target.write_text("mine")
    (node.data / last_run.NAME).symlink_to(target)
    answer = node.start()
    assert answer.code == 5 and "symbolic link" in answer.reason
    accept(node, VERSION)
    assert node.start().code == 0
    assert target.read_text() == "mine" and recorded(node) == VERSION


def test_the_version_is_recorded_before_the_server_can_touch_the_data(node: Node) -> None:
    seen = []
    start = node.machine.systemd.start

    def spy(name: str, **more: object) -> str:
        seen.append((name, recorded(node)))
        return start(name, **more)  # type: ignore[arg-type]

    node.machine.systemd.start = spy  # type: ignore[assignment]
    node.started()
    assert seen[0] == ("kopano-server.service", VERSION)


def test_the_record_names_the_node(node: Node) -> None:
    node.started()
    assert "node alice\n" in (node.data / last_run.NAME).read_text()


def test_leaves_alone_neither_read_nor_write_the_record(make_node: Callable[..., Node]) -> None:
    node = make_node(names=("gateway", "ical"))
    ran(node, "11.0.0-1")
    node.started()
    assert recorded(node) == "11.0.0-1"


@pytest.mark.parametrize("before", ["", "8.7.24.0-1"])
def test_a_server_whose_log_says_that_the_data_is_newer_bans_the_node(
        node: Node, before: str) -> None:
    """It ends with exit code 0 then; only a lost record, or a restored database, lets us try it.

    The record must not say then that this version ran: the newer one, on the other node, would wait
    for somebody's word to open its own data.
    """
    if before:
        ran(node, before)
    its = unit(node.machine, "server").program
    assert its is not None
    its.exit_after, its.listen_after = 0.5, 60.0
    node.machine.children.answer(["journalctl"], stdout=(
        b"[crit   ] WARNING: Database version (9,0,0,0,119) is newer than the server version "
        b"(8,7,25,0,118)\n[warning] You can force the server to start with a flag\n"))
    answer = node.start()
    assert answer.code == 5
    assert "9,0,0,0,119" in answer.reason and "update Kopano on this node" in answer.reason
    assert recorded(node) == before
    assert node.stop().code == 0 and not node.is_marked()
