# SPDX-License-Identifier: GPL-2.0-or-later
"""From what lies on the disk to entries."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from sync_receiver import ReceivingNode

from mailha import errors
from mailha.sync.active.emptied import Guard
from mailha.sync.files.beneath import MOST_OPEN, Beneath, NoParent, NotADirectory
from mailha.sync.files.entry import Entry
from mailha.sync.files.identity import Identity
from mailha.sync.files.scanning import Gone, LeftOut, Scanner, Unstable, Withheld
from mailha.sync.files.selection import Selection


@pytest.fixture
def alice(tmp_path: Path) -> ReceivingNode:
    """Return a node."""
    return ReceivingNode(tmp_path)


def scanner(node: ReceivingNode, *directories: str, files: Any = (), exclude: Any = (),
            **more: Any) -> Scanner:
    """Return a scanner of /etc or other directories."""
    return Scanner(node.machine, Selection(directories or ["/etc"], files, exclude),
                   Identity("mail.example.com", ["192.0.2.1"]), **more)


def test_files_links_and_directories_are_found_with_all_that_counts(alice: ReceivingNode) -> None:
    alice.write("/etc/postfix/main.cf", "x = 1\n")
    alice.path("/etc/postfix/main.cf").chmod(0o640)
    os.setxattr(alice.path("/etc/postfix/main.cf"), "user.note", b"1")
    alice.path("/etc/link").symlink_to("postfix/main.cf")
    scan = scanner(alice).scan()
    assert sorted(scan.entries) == ["/etc", "/etc/link", "/etc/postfix", "/etc/postfix/main.cf"]
    entry = scan.entries["/etc/postfix/main.cf"]
    assert (entry.mode, entry.size, entry.owner) == (0o640, 6, alice.user)
    assert entry.attributes == {"user.note": b"1"}
    assert entry.fingerprint == alice.file("/etc/postfix/main.cf", "x = 1\n", 0o640,
                                           attributes={"user.note": b"1"}).fingerprint
    assert scan.entries["/etc/link"].target == "postfix/main.cf"


def test_the_same_size_in_the_same_second_is_seen(alice: ReceivingNode) -> None:
    digests = set()
    for text in ("port 25", "port 26"):
        alice.write("/etc/a", text)
        os.utime(alice.path("/etc/a"), ns=(0, 0))
        digests.add(scanner(alice).scan().digest())
    assert len(digests) == 2


def test_sockets_fifos_and_what_is_on_the_list_are_left_out_with_a_reason(
        alice: ReceivingNode) -> None:
    os.mkfifo(alice.path("/etc/fifo"))
    alice.write("/etc/hostname", "alice")
    alice.write("/etc/network/interfaces", "x")
    scan = scanner(alice).scan()
    assert scan.left_out["/etc/fifo"] == "it is a FIFO"
    assert "names this node" in scan.left_out["/etc/hostname"]
    assert "/etc/network" in scan.left_out and "/etc/network/interfaces" not in scan.left_out


def test_a_named_file_below_a_directory_of_the_list_is_found(alice: ReceivingNode) -> None:
    alice.write("/etc/network/interfaces", "x")
    alice.write("/etc/network/other", "x")
    scan = scanner(alice, files=["/etc/network/interfaces", "/etc/not/there"]).scan()
    assert "/etc/network/interfaces" in scan.entries and "/etc/network/other" not in scan.entries


def test_a_file_with_the_node_s_name_is_withheld_unless_it_is_named(alice: ReceivingNode) -> None:
    alice.write("/etc/postfix/main.cf", "myhostname = mail.example.com\n")
    alice.path("/etc/link").symlink_to("live/mail.example.com/cert.pem")
    scan = scanner(alice).scan()
    assert scan.withheld["/etc/postfix/main.cf"] == (
        "it holds 'mail.example.com', which is this node's own")
    assert "/etc/link" in scan.withheld
    scan = scanner(alice, files=["/etc/postfix/main.cf"]).scan()
    assert "/etc/postfix/main.cf" in scan.entries


def test_what_is_mounted_below_is_not_touched(alice: ReceivingNode) -> None:
    alice.write("/etc/pve/local/x", "x")
    alice.write("/etc/my mount/x", "x")
    alice.write("/proc/self/mountinfo", "31 1 0:28 / /etc/pve rw - fuse /dev/fuse rw\n"
                                        "32 1 0:29 / /etc/my\\040mount rw - nfs4 a:/ rw\n"
                                        "33 1 8:1 / /srv/conf rw - ext4 /dev/sda rw\n")
    alice.write("/srv/conf/x", "x")
    scan = scanner(alice, "/etc", "/srv/conf").scan()
    for path in ("/etc/pve", "/etc/my mount"):
        assert scan.left_out[path] == "another file system is mounted there"
    assert "/srv/conf/x" in scan.entries, "what is named may be a mount"


def test_a_file_that_changes_while_it_is_read_is_not_half_a_file(
        alice: ReceivingNode, monkeypatch: pytest.MonkeyPatch) -> None:
    alice.write("/etc/a", "first half")
    real, changes = os.read, [0]

    def read(descriptor: int, size: int) -> bytes:
        data = real(descriptor, size)
        if data.startswith(b"first") and changes[0]:
            changes[0] -= 1
            with open(alice.path("/etc/a"), "a") as file:
                file.write("!")
        return data

    monkeypatch.setattr(os, "read", read)
    changes[0] = 1
    found, content = scanner(alice).read("/etc/a")
    assert isinstance(found, Entry) and content == b"first half!"
    changes[0] = 100
    assert isinstance(scanner(alice).look("/etc/a"), Unstable)


def test_what_somebody_is_writing_is_left_for_later(alice: ReceivingNode) -> None:
    alice.write("/etc/a", "half")
    scan = scanner(alice, written=lambda path: path.endswith("/etc/a")).scan()
    assert scan.unstable == {"/etc/a": "somebody is writing it"} and scan.unknown("/etc/a")
    assert not scan.unknown("/etc/b")


def test_what_is_not_there_and_what_is_in_the_way(alice: ReceivingNode) -> None:
    alice.write("/etc/file", "x")
    alice.path("/etc/link").symlink_to(alice.path("/srv"))
    alice.write("/srv/x", "x")
    look = scanner(alice).look
    assert isinstance(look("/etc/no"), Gone) and isinstance(look("/etc/no/such"), Gone)
    assert isinstance(look("/etc/file/x"), Gone)
    assert isinstance(look("/etc/link/x"), Gone), "a link was followed"
    assert isinstance(look("/etc/passwd"), LeftOut)


def test_withheld_when_it_is_looked_at_alone(alice: ReceivingNode) -> None:
    alice.write("/etc/a", "mail.example.com")
    found, content = scanner(alice).read("/etc/a")
    assert isinstance(found, Withheld) and content == b""


def test_one_subtree(alice: ReceivingNode) -> None:
    alice.write("/etc/d/e/f", "x")
    assert sorted(scanner(alice).walk("/etc/d").entries) == ["/etc/d", "/etc/d/e", "/etc/d/e/f"]
    assert scanner(alice).walk("/etc/none").entries == {}


def test_a_root_that_is_a_link_is_unknown_and_not_empty(alice: ReceivingNode) -> None:
    alice.write("/srv/real/conf/x", "x")
    alice.path("/opt").symlink_to(alice.path("/srv/real"))
    scan = scanner(alice, "/opt/conf").scan()
    assert scan.unknown("/opt/conf/x") and scan.entries == {}


class TestEmptied:
    """What looks as if everything was deleted."""

    def guard(self, node: ReceivingNode, *directories: str) -> Guard:
        """Return a guard that has seen everything as it is now."""
        selection = Selection(directories)
        made = Guard(node.machine, selection)
        made.take(Scanner(node.machine, selection).scan(), [])
        return made

    def test_a_root_that_lost_everything_or_vanished(self, alice: ReceivingNode) -> None:
        for path in ("/etc/a", "/etc/b", "/srv/one/a", "/srv/two/a", "/srv/three/a"):
            alice.write(path, "x")
        guard = self.guard(alice, "/etc", "/srv/one", "/srv/two", "/srv/three")
        for path in ("/etc/a", "/srv/one/a", "/srv/two/a", "/srv/three/a"):
            alice.path(path).unlink()
        alice.write("/srv/one/backup~", "what is not replicated does not make it whole")
        alice.path("/srv/two").rmdir()
        alice.path("/srv/three").rmdir()
        alice.path("/srv/three").symlink_to("one")
        held_up = guard.held_up(["/etc/a", "/srv/one/a", "/srv/two/a", "/srv/two", "/srv/three/a"])
        assert sorted(held_up) == ["/srv/one/a", "/srv/three/a", "/srv/two", "/srv/two/a"]
        assert "was emptied" in held_up["/srv/one/a"] and "is gone" in held_up["/srv/two/a"]
        assert "no directory" in held_up["/srv/three/a"]
        assert all("--force" in reason for reason in held_up.values())
        # Something is in it again: whoever looks now sees a directory and not a missing mount.
        alice.write("/srv/one/b", "x")
        assert "/srv/one/a" not in guard.held_up(["/srv/one/a"])

    def test_a_root_on_another_file_system_stays_so_until_nothing_of_it_is_held_up(
            self, alice: ReceivingNode) -> None:
        alice.write("/etc/a", "x")
        selection = Selection(["/etc"])
        guard, scan = Guard(alice.machine, selection), Scanner(alice.machine, selection).scan()
        device, inode, count = scan.roots["/etc"]
        now, scan.roots["/etc"] = dict(scan.roots), (device + 1, inode, count)
        guard.take(scan, [])
        assert "another file system" in guard.held_up(["/etc/b"])["/etc/b"]
        scan.roots = now
        guard.take(scan, ["/etc/b"])
        assert guard.held_up(["/etc/b"])
        guard.take(scan, [])
        assert not guard.held_up(["/etc/b"])

    def test_a_single_file_may_be_deleted_but_not_with_its_directory(
            self, alice: ReceivingNode) -> None:
        # Between the two commands with which /srv is moved to a larger disk.
        alice.write("/srv/other", "x")
        guard = Guard(alice.machine, Selection(["/etc"], ["/srv/one"]))
        assert not guard.held_up(["/srv/one"])
        alice.path("/srv").rename(alice.path("/moved"))
        assert "/srv is gone" in guard.held_up(["/srv/one"])["/srv/one"]


class TestBeneath:
    """Directories without links."""

    def test_no_link_is_followed_on_the_way(self, alice: ReceivingNode) -> None:
        alice.write("/srv/a/b/c", "x")
        alice.path("/srv/link").symlink_to("a")
        with Beneath(str(alice.root)) as beneath:
            assert os.listdir(beneath.directory("/srv/a/b")) == ["c"]
            with pytest.raises(NotADirectory, match="/srv/link is a symbolic link"):
                beneath.directory("/srv/link/b")
            with pytest.raises(NotADirectory, match="no directory"):
                beneath.directory("/srv/a/b/c")
            with pytest.raises(NoParent):
                beneath.directory("/srv/none")

    def test_a_directory_that_is_open_stays_the_one_that_was_opened(
            self, alice: ReceivingNode) -> None:
        alice.write("/srv/a/own", "x")
        alice.write("/evil/theirs", "x")
        with Beneath(str(alice.root)) as beneath:
            descriptor, name = beneath.parent("/srv/a/new")
            alice.path("/srv/a").rename(alice.path("/srv/moved"))
            alice.path("/srv/a").symlink_to(alice.path("/evil"))
            assert os.listdir(descriptor) == ["own"] and name == "new"
            beneath.forget()
            with pytest.raises(NotADirectory):
                beneath.directory("/srv/a")

    def test_not_more_than_so_many_are_open(self, alice: ReceivingNode) -> None:
        with Beneath(str(alice.root)) as beneath:
            before = len(os.listdir("/proc/self/fd"))
            for number in range(MOST_OPEN + 50):
                alice.path(f"/srv/{number}").mkdir(parents=True)
                beneath.directory(f"/srv/{number}")
            assert len(os.listdir("/proc/self/fd")) - before <= MOST_OPEN


def test_nothing_is_said_where_it_is_unknown_what_is_mounted(alice: ReceivingNode) -> None:
    alice.path("/proc/self/mountinfo").unlink()
    with pytest.raises(errors.Failed, match="cannot read /proc/self/mountinfo"):
        scanner(alice).scan()
