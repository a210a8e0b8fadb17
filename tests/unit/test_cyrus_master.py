# SPDX-License-Identifier: GPL-2.0-or-later
"""The running Cyrus is found, and nobody else is taken for it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from cyrus_node import CyrusNode
from mailha.products.cyrus import master, reading
from mailha.storage import mountinfo


@pytest.fixture
def node(tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
         capfd: pytest.CaptureFixture[str]) -> CyrusNode:
    """A node on which nothing runs."""
    return CyrusNode(tmp_path, monkeypatch, capfd)


def found(node: CyrusNode, configuration: str = "/etc/imapd.conf") -> int:
    """Return the pid of the master, 0 for none."""
    process = master.find(node.machine, configuration, real=lambda path: reading.real(
        node.machine, mountinfo.mounts(node.machine), path))
    return process.pid if process is not None else 0


@pytest.mark.parametrize("executable", [
    "/usr/lib/cyrus/bin/master", "/usr/libexec/cyrus-imapd/cyrus-master", "/usr/sbin/cyrmaster",
    "/usr/lib/cyrus-imapd/master (deleted)"])
@pytest.mark.parametrize("pid_file", ["/run/cyrus-master.pid", ""])
def test_it_is_found_by_its_pid_file_or_by_its_program(
        node: CyrusNode, executable: str, pid_file: str) -> None:
    assert found(node) == 0
    node.run_cyrus(executable=executable, pid_file=pid_file)
    assert found(node) == 4711


@pytest.mark.parametrize("arguments, configuration", [
    ("master\0-d\0", "/etc/imapd.conf"), ("", "/etc/imapd.conf"),
    ("master\0-C\0/etc/imapd-b.conf\0", "/etc/imapd-b.conf"),
    ("master\0-dC/etc/imapd-b.conf\0", "/etc/imapd-b.conf"),
    ("master\0-p\0-C\0-C\0/etc/imapd-b.conf\0", "/etc/imapd-b.conf"),
    ("master\0-l\x0032\0-M\0/etc/cyrus.conf\0-D\0", "/etc/imapd.conf"),
    ("master\0--\0-C\0/etc/imapd-b.conf\0", "/etc/imapd.conf"),
    ("master\0-C\0", "")])
def test_of_two_servers_on_one_node_each_finds_its_own(
        node: CyrusNode, arguments: str, configuration: str) -> None:
    """Two buddies run one configuration each, and both on one node while the other is down."""
    node.run_cyrus(arguments=arguments)
    for asked in ("/etc/imapd.conf", "/etc/imapd-b.conf"):
        assert found(node, asked) == (4711 if asked == configuration else 0)


@pytest.mark.parametrize("told", ["/etc//imapd-b.conf", "/etc/./imapd-b.conf", "./imapd-b.conf",
                                  "imapd-b.conf", "/etc/cyrus/b.conf"])
def test_the_same_file_by_another_name_is_the_same_server(node: CyrusNode, told: str) -> None:
    node.put("/etc/imapd-b.conf", "")
    node.link("/etc/cyrus/b.conf", "../imapd-b.conf")
    node.run_cyrus(arguments=f"cyrmaster\0-C\0{told}\0")
    node.link("/proc/4711/cwd", "/etc")
    assert found(node, "/etc/imapd-b.conf") == 4711
    assert found(node) == 0


def test_two_masters_of_two_files_are_never_taken_for_each_other(node: CyrusNode) -> None:
    """Each monitor finds its own, and remembers it; who gets its number later is not believed."""
    node.run_cyrus(pid=4711, arguments="cyrmaster\0-C\0/etc/imapd-a.conf\0")
    node.run_cyrus(pid=4712, arguments="cyrmaster\0-C\0/etc/imapd-b.conf\0", pid_file="")
    for _ in range(2):
        for name, pid in (("a", 4711), ("b", 4712)):
            process = master.find(node.machine, f"/etc/imapd-{name}.conf",
                                  f"/run/remembered-{name}")
            assert process is not None and process.pid == pid
    node.put("/proc/4712/cmdline", "cyrmaster\0-C\0/etc/imapd-c.conf\0")
    assert master.find(node.machine, "/etc/imapd-b.conf", "/run/remembered-b") is None


def test_a_pid_file_that_names_somebody_else_is_not_believed(node: CyrusNode) -> None:
    node.run_cyrus(pid=300, executable="/usr/sbin/cron")
    assert found(node) == 0
    node.run_cyrus(pid=4711, pid_file="")
    assert found(node) == 4711
    for text in ("4711x\n", "", "-1\n", "9" * 100, b"\xff\n"):
        node.put("/run/cyrus-master.pid", text)
        assert found(node) == 4711


def test_a_master_that_writes_no_pid_file_is_looked_for_once(
        node: CyrusNode, monkeypatch: pytest.MonkeyPatch) -> None:
    """Debian's unit starts it in the foreground, and then it writes none."""
    node.run_cyrus(pid_file="")
    searched = []
    search = master._search

    def counted(*arguments: Any) -> Any:
        searched.append(1)
        return search(*arguments)

    monkeypatch.setattr(master, "_search", counted)
    for _ in range(3):
        process = master.find(node.machine, "/etc/imapd.conf", "/run/remembered")
        assert process is not None and process.pid == 4711
    assert len(searched) == 1
    node.run_cyrus(pid=5000, pid_file="")
    (node.root / "proc/4711/stat").unlink()
    process = master.find(node.machine, "/etc/imapd.conf", "/run/remembered")
    assert process is not None and process.pid == 5000 and len(searched) == 2


def test_it_is_found_where_nothing_can_be_remembered(node: CyrusNode) -> None:
    node.run_cyrus(pid_file="")
    process = master.find(node.machine, "/etc/imapd.conf", "/no/such/directory")
    assert process is not None and process.pid == 4711


def test_postfix_s_master_is_not_cyrus_s(node: CyrusNode) -> None:
    node.run_cyrus(executable="/usr/lib/postfix/sbin/master", arguments="master\0-w\0")
    assert found(node) == 0


def test_a_cyrus_in_a_container_is_nobody_s_business(node: CyrusNode) -> None:
    node.run_cyrus(pid_file="")
    namespace = node.root / "proc/4711/ns/pid"
    namespace.unlink()
    node.link("/proc/4711/ns/pid", "pid:[2]")
    assert found(node) == 0


def test_only_a_namespace_that_is_not_ours_has_other_mounts(node: CyrusNode) -> None:
    node.run_cyrus()
    process = master.find(node.machine, "/etc/imapd.conf")
    assert process is not None and not master.sees_other_mounts(node.machine, process)
    (node.root / "proc/4711/ns/mnt").unlink()
    assert not master.sees_other_mounts(node.machine, process)      # it has gone
    node.link("/proc/4711/ns/mnt", "mnt:[2]")
    assert master.sees_other_mounts(node.machine, process)
