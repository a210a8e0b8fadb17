# SPDX-License-Identifier: GPL-2.0-or-later
"""The receiver, spoken to over its protocol: what it applies, keeps and refuses."""

from __future__ import annotations

import errno
import fcntl
import os
import signal
import stat
from pathlib import Path
from typing import Any

import pytest
from sync_receiver import ReceivingNode
from sync_sender import PATIENCE

from mailha.sync import packages
from mailha.sync.connection import wire
from mailha.sync.files.selection import Selection
from mailha.sync.files.settings import Settings
from mailha.sync.manifest import Manifest
from mailha.sync.passive import judging, receiving, thinning
from mailha.sync.passive.crossing import common
from mailha.sync.passive.kept import Kept
from mailha.sync.places import Places
from mailha.sync.state import State, locked
from mailha.system.child_failures import ChildFailed
from mailha.system.children import Finished


@pytest.fixture
def bob(memory: Path) -> ReceivingNode:
    """Return a passive node."""
    return ReceivingNode(memory)


def codes(answer: dict[str, Any]) -> dict[str, str]:
    """Return the codes of the problems by path."""
    return {problem["path"]: problem["code"] for problem in answer["problems"]}


class TestApplying:
    """What arrives."""

    def test_a_file_arrives_with_content_mode_and_time(self, bob: ReceivingNode) -> None:
        with bob.session() as sender:
            sender.applied((bob.file("/etc/aliases", "root: alice\n", 0o640), "root: alice\n"))
        found = bob.path("/etc/aliases").stat()
        assert bob.read("/etc/aliases") == "root: alice\n"
        assert stat.S_IMODE(found.st_mode) == 0o640 and found.st_mtime == 1700000000
        assert bob.leftovers() == []

    def test_directories_links_and_files_in_one_batch_in_whatever_order(
            self, bob: ReceivingNode) -> None:
        with bob.session() as sender:
            sender.applied((bob.file("/etc/a/b/c", "x"), "x"), bob.directory("/etc/a/b"),
                           bob.directory("/etc/a", 0o700), bob.link("/etc/a/l", "b/c"))
        assert bob.read("/etc/a/l") == "x"
        assert stat.S_IMODE(bob.path("/etc/a").stat().st_mode) == 0o700

    def test_a_rewrite_of_the_same_size_in_the_same_second_arrives(
            self, bob: ReceivingNode) -> None:
        with bob.session() as sender:
            for text in ("port = 25", "port = 26", "port = 27"):
                sender.applied((bob.file("/etc/p", text), text))
                assert bob.read("/etc/p") == text

    def test_a_retargeted_link_arrives(self, bob: ReceivingNode) -> None:
        with bob.session() as sender:
            sender.applied(bob.link("/etc/l", "one"))
            sender.applied(bob.link("/etc/l", "two"))
        assert os.readlink(bob.path("/etc/l")) == "two"

    def test_a_changed_mode_arrives_alone(self, bob: ReceivingNode) -> None:
        with bob.session() as sender:
            for mode in (0o644, 0o600, 0o2755):
                sender.applied((bob.file("/etc/k", "key", mode), "key"))
                assert stat.S_IMODE(bob.path("/etc/k").stat().st_mode) == mode

    def test_attributes_come_and_go(self, tmp_path: Path) -> None:
        bob = ReceivingNode(tmp_path)
        with bob.session() as sender:
            sender.applied((bob.file("/etc/x", "x", attributes={"user.note": b"1\0\xff"}), "x"))
            assert os.getxattr(bob.path("/etc/x"), "user.note") == b"1\0\xff"
            sender.applied((bob.file("/etc/x", "x"), "x"))
            assert os.listxattr(bob.path("/etc/x")) == []

    def test_a_name_that_is_not_utf_8(self, bob: ReceivingNode) -> None:
        path = os.fsdecode(b"/etc/caf\xe9 \n~")[:-1]
        with bob.session() as sender:
            sender.applied((bob.file(path, "x"), "x"))
            assert sender.inventory()[path]["known"] == "agreed"

    def test_the_last_word_on_a_path_counts(self, bob: ReceivingNode) -> None:
        with bob.session() as sender:
            sender.applied((bob.file("/etc/a", "1"), "1"), (bob.file("/etc/a", "2"), "2"))
            assert bob.read("/etc/a") == "2"
            sender.applied((bob.file("/etc/a", "3"), "3"), "/etc/a", force=True)
            assert not bob.path("/etc/a").exists()

    def test_a_file_becomes_a_directory_and_back(self, bob: ReceivingNode) -> None:
        with bob.session() as sender:
            sender.applied((bob.file("/etc/a", "1"), "1"))
            sender.applied(bob.directory("/etc/a"), (bob.file("/etc/a/b", "2"), "2"))
            assert bob.read("/etc/a/b") == "2"
            sender.applied((bob.file("/etc/a", "3"), "3"), "/etc/a/b")
            assert bob.read("/etc/a") == "3"

    def test_a_directory_becomes_a_link_and_what_the_link_leads_to_lives(
            self, bob: ReceivingNode) -> None:
        # lsyncd issue 290: the deletions of what was in the directory followed the link.
        bob.write("/srv/real/precious", "precious")
        with bob.session() as sender:
            sender.applied(bob.directory("/etc/d"), (bob.file("/etc/d/precious", "p"), "p"))
            sender.applied("/etc/d/precious", bob.link("/etc/d", str(bob.path("/srv/real"))))
            sender.applied("/etc/d/precious")
        assert bob.read("/srv/real/precious") == "precious"
        assert bob.path("/etc/d").is_symlink()

    def test_nothing_is_written_through_a_link_that_is_there(self, bob: ReceivingNode) -> None:
        bob.write("/srv/real/passwd", "real")
        bob.path("/etc/d").symlink_to(bob.path("/srv/real"))
        with bob.session() as sender:
            answer = sender.batch((bob.file("/etc/d/passwd", "evil"), "evil"))
        assert codes(answer) == {"/etc/d/passwd": "failed"}
        assert bob.read("/srv/real/passwd") == "real"

    def test_nothing_is_written_into_what_is_mounted_below(self, bob: ReceivingNode) -> None:
        bob.write("/etc/dead/x", "x")
        bob.write("/proc/self/mountinfo", "31 1 0:28 / /etc/dead rw - nfs4 nas:/ rw\n"
                                          "32 1 0:29 / /etc rw - ext4 /dev/sda rw\n")
        with bob.session() as sender:
            answer = sender.batch((bob.file("/etc/dead/x", "y"), "y"),
                                  (bob.file("/etc/a", "y"), "y"), "/etc/dead")
        assert codes(answer) == {"/etc/dead/x": "never", "/etc/dead": "never"}
        assert bob.read("/etc/dead/x") == "x" and bob.read("/etc/a") == "y"

    def test_a_missing_directory_above_is_named_and_not_made(self, bob: ReceivingNode) -> None:
        with bob.session() as sender:
            answer = sender.batch((bob.file("/etc/no/such", "x"), "x"),
                                  (bob.file("/etc/a", "x"), "x"))
        assert codes(answer) == {"/etc/no/such": "no-parent"}
        assert "install the same packages" in answer["problems"][0]["reason"]
        assert bob.read("/etc/a") == "x", "one problem held up another change"

    def test_an_owner_that_is_not_here_is_named_and_not_made(self, bob: ReceivingNode) -> None:
        with bob.session() as sender:
            answer = sender.batch((bob.file("/etc/a", "x", owner="kopano", uid=99), "x"),
                                  (bob.file("/etc/b", "x", group="", gid=0), "x"))
        assert codes(answer) == {"/etc/a": "owner", "/etc/b": "owner"}
        assert not bob.path("/etc/a").exists() and bob.leftovers() == []

    def test_a_directory_stands_where_a_file_should_be(self, bob: ReceivingNode) -> None:
        bob.write("/etc/d/foreign", "x")
        with bob.session() as sender:
            answer = sender.batch((bob.file("/etc/d", "x"), "x"))
        assert codes(answer) == {"/etc/d": "not-empty"}
        assert "foreign" in answer["problems"][0]["reason"]
        assert bob.leftovers() == []

    def test_a_fifo_stands_where_a_file_should_be(self, bob: ReceivingNode) -> None:
        os.mkfifo(bob.path("/etc/f"))
        with bob.session() as sender:
            assert codes(sender.batch((bob.file("/etc/f", "x"), "x"))) == {"/etc/f": "never"}

    def test_a_large_file_and_many_at_once(self, bob: ReceivingNode) -> None:
        large = "0123456789abcdef" * (3 << 16)
        with bob.session() as sender:
            files = [(bob.file(f"/etc/{number}", "x"), "x") for number in range(600)]
            sender.applied((bob.file("/etc/large", large), large), *files)
            assert len(sender.inventory()) == 602
        assert bob.read("/etc/large") == large


class TestKeeping:
    """Previous copies, conflicts, and what a returning node had not sent."""

    def test_what_is_overwritten_and_deleted_is_kept(self, bob: ReceivingNode) -> None:
        bob.write("/etc/a", "the distribution's")
        with bob.session() as sender:
            sender.applied((bob.file("/etc/a", "1"), "1"))
            sender.applied("/etc/a", force=True)
        assert bob.kept() == ["/etc/a deleted", "/etc/a replaced"]
        copies = Kept(bob.machine, bob.places).listing("/etc/a")
        assert [bob.read(copy.place) for copy in copies] == ["1", "the distribution's"]
        assert stat.S_IMODE(bob.path(bob.places.kept).stat().st_mode) == 0o700

    def test_ten_copies_of_a_path_stay(self, bob: ReceivingNode) -> None:
        with bob.session() as sender:
            for number in range(14):
                sender.applied((bob.file("/etc/a", str(number)), str(number)))
        copies = Kept(bob.machine, bob.places).listing("/etc/a")
        assert [bob.read(copy.place) for copy in copies] == [str(n) for n in range(12, 2, -1)]

    def test_a_change_behind_the_sender_s_back_is_a_conflict_and_kept(
            self, bob: ReceivingNode) -> None:
        with bob.session() as sender:
            sender.applied((bob.file("/etc/a", "1"), "1"))
            bob.write("/etc/a", "tampered")
            assert sender.inventory()["/etc/a"]["known"] == "changed"
            answer = sender.applied((bob.file("/etc/a", "2"), "2"))
            assert [found["path"] for found in answer["conflicts"]] == ["/etc/a"]
            assert bob.read("/etc/a") == "2"
            assert bob.read(answer["conflicts"][0]["copy"]) == "tampered"
            assert sender.ask({"type": "digest"})["conflicts"] == 1

    def test_the_same_size_and_time_do_not_hide_a_change(self, bob: ReceivingNode) -> None:
        with bob.session() as sender:
            sender.applied((bob.file("/etc/a", "port 25"), "port 25"))
            before = sender.ask({"type": "digest"})["digest"]
            bob.write("/etc/a", "port 26")
            os.utime(bob.path("/etc/a"), ns=(1700000000 * 10 ** 9,) * 2)
            assert sender.ask({"type": "digest"})["digest"] != before
            assert sender.applied((bob.file("/etc/a", "port 25"), "port 25"))["conflicts"]

    def test_a_conflict_counts_until_an_administrator_has_seen_it(
            self, bob: ReceivingNode) -> None:
        with bob.session() as sender:
            sender.applied((bob.file("/etc/a", "1"), "1"))
            bob.write("/etc/a", "tampered")
            sender.applied((bob.file("/etc/a", "2"), "2"))
            elsewhere = Kept(bob.machine, bob.places)
            with locked(bob.machine, bob.places, PATIENCE):
                elsewhere.seen(elsewhere.listing("/etc/a")[0])
            assert sender.ask({"type": "digest"})["conflicts"] == 0
        assert bob.kept() == ["/etc/a replaced"]

    def test_a_returning_node_sets_aside_what_it_had_not_sent(self, bob: ReceivingNode) -> None:
        self.was_active(bob)
        bob.write("/etc/agreed", "changed in the last second")
        bob.write("/etc/new", "made in the last second")
        with bob.session(generation=8) as sender:
            found = sender.inventory()
            assert found["/etc/agreed"]["known"] == found["/etc/new"]["known"] == "unsent"
            answer = sender.applied((bob.file("/etc/agreed", "alice's"), "alice's"), "/etc/new")
            aside = sorted(copy["path"] for copy in answer["unsent"])
            assert aside == ["/etc/agreed", "/etc/new"]
            assert sender.ask({"type": "reconciled"})["type"] == "reconciled"
            assert sender.ask({"type": "digest"})["unsent"] == 2
            bob.write("/etc/agreed", "later")
            assert sender.inventory()["/etc/agreed"]["known"] == "changed"
        assert bob.kept() == ["/etc/agreed unsent", "/etc/new unsent"]

    def test_what_a_returning_node_had_deleted_and_not_sent_does_not_come_back_silently(
            self, bob: ReceivingNode) -> None:
        with bob.session() as sender:
            sender.applied(bob.directory("/etc/dir"), (bob.file("/etc/dir/in", "x"), "x"),
                           bob.link("/etc/link", "dir"), (bob.file("/etc/sent", "x"), "x"))
        self.was_active(bob)
        for path in ("/etc/agreed", "/etc/dir/in", "/etc/link"):
            bob.path(path).unlink()
        bob.path("/etc/dir").rmdir()
        with bob.session(generation=8) as sender:
            answer = sender.applied(
                (bob.file("/etc/agreed", "x"), "x"), bob.directory("/etc/dir"),
                (bob.file("/etc/dir/in", "x"), "x"), bob.link("/etc/link", "dir"),
                (bob.file("/etc/sent", "y"), "y"), (bob.file("/etc/brand-new", "z"), "z"))
            aside = sorted(copy["path"] for copy in answer["unsent"])
            assert aside == ["/etc/agreed", "/etc/dir", "/etc/dir/in", "/etc/link"]
            assert sender.ask({"type": "reconciled"})["type"] == "reconciled"
            # It counts until somebody has seen it, and once it is over it is no news any more.
            assert sender.ask({"type": "digest"})["unsent"] == 4
            bob.path("/etc/agreed").unlink()
            assert not sender.applied((bob.file("/etc/agreed", "x"), "x"))["unsent"]
        assert bob.read("/etc/agreed") == bob.read("/etc/dir/in") == "x"
        copies = Kept(bob.machine, bob.places)
        assert [copy.why for copy in copies.listing("/etc/agreed")] == ["undeleted"]
        with locked(bob.machine, bob.places, PATIENCE):
            for path in ("/etc/agreed", "/etc/dir", "/etc/dir/in", "/etc/link"):
                copies.seen(copies.listing(path)[0])
        assert copies.counts() == {"conflict": 0, "unsent": 0}
        assert bob.kept() == ["/etc/sent replaced"]

    def test_what_it_had_sent_is_no_finding(self, bob: ReceivingNode) -> None:
        self.was_active(bob)
        with bob.session(generation=8) as sender:
            assert sender.inventory()["/etc/agreed"]["known"] == "agreed"
            answer = sender.applied((bob.file("/etc/agreed", "alice's"), "alice's"))
            assert answer["unsent"] == answer["conflicts"] == []

    def test_a_sender_that_never_sent_all_claims_nothing_as_its_own(
            self, bob: ReceivingNode) -> None:
        bob.places.make(bob.machine)
        State.load(bob.machine, bob.places).become_sender(7, "bob")
        bob.write("/etc/new", "x")
        with bob.session(generation=8) as sender:
            assert sender.inventory()["/etc/new"]["known"] == "foreign"

    def was_active(self, bob: ReceivingNode) -> None:
        """Let the node have been the active one, and have sent everything."""
        with bob.session() as sender:
            sender.applied((bob.file("/etc/agreed", "agreed"), "agreed"))
        state = State.load(bob.machine, bob.places)
        state.become_sender(7, "bob")
        state.sender_complete()

    def test_too_many_copies_go_and_what_is_young_is_only_told(
            self, bob: ReceivingNode, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(thinning, "FIRST", 0.0)
        monkeypatch.setattr(thinning, "INTERVAL", 0.0)
        monkeypatch.setattr(thinning, "MOST_COPIES", 1)
        bob.write(bob.places.kept + "/etc/gone/mktemp.1~20200101T000000.000000Z~deleted", "old")
        bob.write(bob.places.kept + "/etc/mktemp.2~20200101T000000.000000Z~unsent", "unseen")
        bob.write("/etc/a", "0")
        with bob.session() as sender:
            for number in range(1, 3):
                sender.applied((bob.file("/etc/a", str(number)), str(number)))
            complaint = sender.ask({"type": "ping"})["kept"]
        assert bob.kept() == ["/etc/a replaced", "/etc/a replaced", "/etc/mktemp.2 unsent"]
        assert "3 copies" in complaint and "younger than 14 days" in complaint
        assert not bob.path(bob.places.kept + "/etc/gone").exists()
        with locked(bob.machine, bob.places, PATIENCE):
            copies = Kept(bob.machine, bob.places)
            copies.remove(copies.listing())
        with bob.session() as sender:
            assert sender.ask({"type": "ping"})["kept"] == ""

    def test_a_clock_that_was_ahead_does_not_make_new_copies_the_oldest(
            self, bob: ReceivingNode) -> None:
        for number in range(10):
            bob.write(f"{bob.places.kept}/etc/a~20991231T23595{number}.999999Z~replaced", "ahead")
        with bob.session() as sender:
            for number in range(4):
                sender.applied((bob.file("/etc/a", str(number)), str(number)))
        copies = Kept(bob.machine, bob.places).listing("/etc/a")
        assert [bob.read(copy.place) for copy in copies[:4]] == ["2", "1", "0", "ahead"]
        assert copies[0].when.startswith("21000101T000000")

    def test_what_cannot_be_kept_is_not_overwritten(self, bob: ReceivingNode) -> None:
        bob.write("/etc/a", "precious")
        with bob.session() as sender:
            bob.write(bob.places.kept + "/etc", "a file stands in the way")
            answer = sender.batch((bob.file("/etc/a", "1"), "1"))
        assert answer["problems"] and bob.read("/etc/a") == "precious"


class TestCrossing:
    """Two resources that carry the same path in opposite directions."""

    def other(self, bob: ReceivingNode, include: str, exclude: str = "") -> int:
        """Let bob be the sender of another resource; return the pid of who holds its lock."""
        Settings("theirs", "bob", 1, include=[include],
                 exclude=exclude.split()).write(bob.machine)
        ready, told = os.pipe()
        child = os.fork()       # fcntl(2) does not show a process its own locks
        if not child:
            lock = bob.machine.files.lock(Places("theirs").sender_lock)
            os.write(told, b"!" if lock else b"?")
            signal.pause()
        assert os.read(ready, 1) == b"!"
        os.close(ready)
        os.close(told)
        return child

    def test_what_this_node_sends_itself_is_not_taken(self, bob: ReceivingNode) -> None:
        bob.write("/etc/app/a", "bob's")
        with bob.session() as sender:
            child = self.other(bob, "/etc/app/", "*/free")
            try:
                answer = sender.batch(
                    (bob.file("/etc/app/a", "alice's"), "alice's"), "/etc/app/b",
                    (bob.file("/etc/app/free", "x"), "x"), (bob.file("/etc/else", "x"), "x"))
                assert codes(answer) == {"/etc/app/a": "never", "/etc/app/b": "never"}
                assert "sends it itself, as 'theirs'" in answer["problems"][0]["reason"]
                assert bob.read("/etc/app/a") == "bob's" and bob.read("/etc/else") == "x"
            finally:
                os.kill(child, signal.SIGKILL)
                os.waitpid(child, 0)
            sender.applied((bob.file("/etc/app/a", "alice's"), "alice's"))
        assert bob.read("/etc/app/a") == "alice's"

    def test_where_two_selections_meet(self) -> None:
        one = Selection(["/etc/postfix", "/etc/app"], ["/etc/aliases"], ["*/site/*"])
        assert common(one, Selection(["/etc"])) == ["/etc/aliases", "/etc/app", "/etc/postfix"]
        assert common(one, Selection(["/etc/app/deep"])) == ["/etc/app/deep"]
        assert common(one, Selection(["/srv"], ["/etc/aliases"])) == ["/etc/aliases"]
        assert common(one, Selection(["/etc/app/site/mine", "/srv"])) == []


class TestDeleting:
    """A deletion is what a mistake multiplies."""

    def test_only_what_was_replicated(self, bob: ReceivingNode) -> None:
        bob.write("/etc/own", "x")
        with bob.session() as sender:
            assert codes(sender.batch("/etc/own", "/etc/absent")) == {"/etc/own": "foreign"}
        assert bob.read("/etc/own") == "x"

    def test_a_directory_with_foreign_files_stays(self, bob: ReceivingNode) -> None:
        with bob.session() as sender:
            sender.applied(bob.directory("/etc/d"), (bob.file("/etc/d/a", "x"), "x"),
                           (bob.file("/etc/stays", "x"), "x"))
            bob.write("/etc/d/own", "x")
            answer = sender.batch("/etc/d", "/etc/d/a")
        assert codes(answer) == {"/etc/d": "not-empty"} and "own" in answer["problems"][0]["reason"]
        assert not bob.path("/etc/d/a").exists() and bob.read("/etc/d/own") == "x"

    def test_not_too_many_at_a_time_unless_forced(self, bob: ReceivingNode) -> None:
        with bob.session() as sender:
            paths = self.fill(sender, bob, 100)
            answer = sender.batch(*paths[:30])
            assert set(codes(answer).values()) == {"too-many-deletions"}
            assert "--force" in answer["problems"][0]["reason"]
            sender.applied(*paths[:30], force=True)
            assert not bob.path(paths[0]).exists() and bob.path(paths[40]).exists()
            sender.applied(paths[40])

    def test_many_small_batches_count_together(self, bob: ReceivingNode) -> None:
        with bob.session() as sender:
            paths = self.fill(sender, bob, 40)
            for path in paths[:judging.ALWAYS_DELETED]:
                sender.applied(path)
            assert set(codes(sender.batch(paths[20])).values()) == {"too-many-deletions"}
        with bob.session() as sender:
            assert codes(sender.batch(paths[20])), "a new connection had forgotten them"

    def test_never_all_that_a_directory_held(self, bob: ReceivingNode) -> None:
        with bob.session() as sender:
            paths = self.fill(sender, bob, 3)
            assert set(codes(sender.batch(*paths)).values()) == {"emptied"}
            sender.applied(*paths, force=True)
        assert not bob.path(paths[0]).exists()

    def test_not_even_if_that_was_a_single_file(self, bob: ReceivingNode) -> None:
        # What a small disk that is not mounted looks like.
        with bob.session() as sender:
            path = self.fill(sender, bob, 1)[0]
            assert codes(sender.batch(path)) == {path: "emptied"}
            assert bob.path(path).exists()

    def test_a_rename_of_the_only_file_empties_nothing(self, bob: ReceivingNode) -> None:
        with bob.session() as sender:
            path = self.fill(sender, bob, 1)[0]
            sender.applied(path, (bob.file("/etc/renamed", "x"), "x"))
            assert not bob.path(path).exists() and bob.read("/etc/renamed") == "x"

    def fill(self, sender: Any, bob: ReceivingNode, count: int) -> list[str]:
        files = [(bob.file(f"/etc/f{number}", "x"), "x") for number in range(count)]
        sender.applied(*files)
        return [entry.path for entry, _ in files]

    def test_what_cannot_be_replaced_or_deleted_leaves_no_copies(
            self, bob: ReceivingNode, monkeypatch: pytest.MonkeyPatch) -> None:
        # An immutable file: each further attempt would push out a copy of what it had been.
        with bob.session() as sender:
            sender.applied((bob.file("/etc/a", "old"), "old"))
            sender.applied((bob.file("/etc/a", "newer"), "newer"))
            bob.write("/etc/a", "by hand")
            before = bob.kept()
            with monkeypatch.context() as patch:
                patch.setattr(os, "rename", _refuse("a", os.rename))
                patch.setattr(os, "unlink", _refuse("a", os.unlink))
                for _ in range(3):
                    answer = sender.batch((bob.file("/etc/a", "new"), "new"))
                    assert codes(answer) == {"/etc/a": "failed"} and not answer["conflicts"]
                    assert codes(sender.batch("/etc/a", force=True)) == {"/etc/a": "failed"}
                assert bob.kept() == before
            answer = sender.batch((bob.file("/etc/a", "new"), "new"))
            assert not answer["problems"] and len(answer["conflicts"]) == 1


def _refuse(name: str, work: Any) -> Any:
    """Return a function that does its work, except on a file of this name."""
    def refuse(*names: Any, **more: Any) -> None:
        if names[-1] == name:
            raise PermissionError(errno.EPERM, "Operation not permitted")
        work(*names, **more)
    return refuse


class TestWhoMaySend:
    """The fencing token and the rest of the admission."""

    def test_an_older_generation_is_refused(self, bob: ReceivingNode) -> None:
        with bob.session(generation=5):
            pass
        with bob.connected() as sender:
            sender.hello(generation=4)
            answer = sender.hear()
        assert (answer["type"], answer["code"], answer["seen"]) == ("refused", "generation", 5)
        assert "accept-generation" in answer["remedy"]

    def test_the_generation_of_another_node_is_refused(self, bob: ReceivingNode) -> None:
        with bob.session(generation=5, node="alice"):
            pass
        with bob.connected() as sender:
            sender.hello(generation=5, node="carol")
            assert sender.hear()["code"] == "generation"

    def test_an_old_active_is_cut_off_in_the_middle(self, bob: ReceivingNode) -> None:
        with bob.session(generation=1) as old, bob.session(generation=2, node="carol") as new:
            new.applied((bob.file("/etc/a", "new"), "new"))
            answer = old.batch((bob.file("/etc/a", "old"), "old"))
            assert (answer["type"], answer["code"]) == ("refused", "generation")
        assert bob.read("/etc/a") == "new"

    def test_what_is_under_way_on_an_older_connection_is_stale(self, bob: ReceivingNode) -> None:
        with bob.session() as first, bob.session() as second:
            second.applied((bob.file("/etc/a", "new"), "new"))
            answer = first.batch((bob.file("/etc/a", "old"), "old"))
            assert (answer["type"], answer["code"]) == ("refused", "superseded")
        assert bob.read("/etc/a") == "new"

    def test_a_node_that_sends_takes_nothing(self, bob: ReceivingNode) -> None:
        # Another process holds the lock: to the one that holds it, a lock is no obstacle.
        bob.write(bob.places.sender_lock, "")
        ready, tell = os.pipe()
        life, end = os.pipe()
        child = os.fork()
        if not child:
            os.close(end)
            with open(bob.path(bob.places.sender_lock), "r+b") as file:
                fcntl.lockf(file, fcntl.LOCK_EX)
                os.write(tell, b"!")
                os.read(life, 1)        # until the test ends, however it does
            os._exit(0)
        try:
            assert os.read(ready, 1)
            with bob.connected() as sender:
                sender.hello(generation=9)
                assert sender.hear()["code"] == "active"
        finally:
            for descriptor in (ready, tell, life, end):
                os.close(descriptor)
            os.waitpid(child, 0)

    def test_this_node_s_own_start_cuts_the_other_one_off(self, bob: ReceivingNode) -> None:
        with bob.session(generation=3) as sender:
            State.load(bob.machine, bob.places).become_sender(4, "bob")
            assert sender.batch((bob.file("/etc/a", "x"), "x"))["code"] == "generation"
        assert not bob.path("/etc/a").exists()

    def test_accept_generation_repairs_after_a_restored_disk(self, bob: ReceivingNode) -> None:
        with bob.session(generation=40):
            pass
        State.load(bob.machine, bob.places).accept_generation(12)
        with bob.session(generation=12):
            pass

    def test_a_damaged_record_lets_nobody_in_until_an_administrator_has_spoken(
            self, bob: ReceivingNode) -> None:
        with bob.session(generation=3):
            pass
        bob.write(bob.places.state, '{"format": 1, "gener')
        with bob.connected() as sender:
            sender.hello(generation=4)
            answer = sender.hear()
            assert answer["code"] == "failed" and "accept-generation" in answer["remedy"]
        fresh = State(bob.machine, bob.places)
        fresh.accept_generation(4)
        with bob.session(generation=4):
            pass

    def test_versions_of_packages_that_differ_are_named(self, bob: ReceivingNode) -> None:
        self.status(bob, "3.7.11-1")
        with bob.connected() as sender:
            sender.hello(patterns=["postfix*"], packages={"postfix": "3.7.6-1"})
            answer = sender.hear()
        assert answer["code"] == "packages" and answer["differ"] == ["postfix 3.7.6-1 and 3.7.11-1"]

    def test_an_upgrade_in_the_middle_ends_the_session(self, bob: ReceivingNode) -> None:
        self.status(bob, "3.7.6-1")
        with bob.session(patterns=["postfix*"], packages={"postfix": "3.7.6-1"}) as sender:
            sender.applied((bob.file("/etc/a", "1"), "1"))
            self.status(bob, "3.7.11-1")
            assert sender.batch((bob.file("/etc/a", "2"), "2"))["code"] == "packages"
        assert bob.read("/etc/a") == "1"

    def status(self, bob: ReceivingNode, version: str) -> None:
        bob.write("/var/lib/dpkg/status.new", f"Package: postfix\nStatus: install ok installed\n"
                                              f"Version: {version}\n\nPackage: gone\n"
                                              f"Status: deinstall ok config-files\nVersion: 1\n")
        bob.path("/var/lib/dpkg/status.new").rename(bob.path("/var/lib/dpkg/status"))

    def test_a_reader_changes_nothing(self, bob: ReceivingNode) -> None:
        with bob.session(generation=9):
            pass
        with bob.session(role="reader", generation=0) as reader:
            assert reader.inventory()
            assert reader.batch((bob.file("/etc/a", "x"), "x"))["code"] == "protocol"
        assert not bob.path("/etc/a").exists()


class TestAHostileSender:
    """Whatever comes in may be wrong."""

    @pytest.mark.parametrize("path", [
        "/etc/passwd", "/etc/shadow", "/etc/hostname", "/etc/mailha/sync/key",
        "/root/.ssh/authorized_keys", "/etc/systemd/system/x.service.d/zz-mailha.conf"])
    def test_what_makes_the_node_itself_is_not_taken(self, bob: ReceivingNode, path: str) -> None:
        with bob.session() as sender:
            before = bob.read(path) if bob.path(path).exists() else None
            assert codes(sender.batch((bob.file(path, "evil"), "evil")))[path] in (
                "never", "not-selected")
        assert (bob.read(path) if bob.path(path).exists() else None) == before

    @pytest.mark.parametrize("path", ["/etc/../srv/x", "etc/x", "/etc//x", "/etc/./x", "/", "",
                                      "/etc/a\0b", "/etc/" + "a" * 300, None, 7, "/etc/\ud800"])
    def test_a_path_that_is_none_ends_the_session(self, bob: ReceivingNode, path: Any) -> None:
        with bob.session() as sender:
            sender.say({"type": "batch", "id": 1})
            sender.say({"type": "delete", "path": path})
            assert sender.hear()["code"] == "protocol"

    @pytest.mark.parametrize("change", [
        {"mode": 0o10000}, {"mode": -1}, {"mode": "0644"}, {"owner": "root"}, {"owner": ["a", -1]},
        {"owner": ["a:b", 0]}, {"kind": "device"}, {"size": 2 ** 40}, {"digest": "zz"},
        {"attributes": {"trusted.overlay.opaque": "eQ=="}}, {"attributes": {"user.x": "%%"}},
        {"mtime": 2 ** 70}, {"mtime": True}])
    def test_an_entry_that_is_none_ends_the_session(self, bob: ReceivingNode,
                                                    change: dict[str, Any]) -> None:
        with bob.session() as sender:
            sender.say({"type": "batch", "id": 1})
            sender.say({"type": "put", "length": 1,
                        "entry": {**bob.file("/etc/a", "x").to_message(), **change}})
            assert sender.hear()["code"] == "protocol"
        assert not bob.path("/etc/a").exists()

    def test_a_content_that_is_not_the_announced_one(self, bob: ReceivingNode) -> None:
        with bob.session() as sender:
            assert sender.batch((bob.file("/etc/a", "announced"), "delivered"))["code"] \
                == "protocol"
        assert not bob.path("/etc/a").exists()

    def test_half_a_batch_changes_nothing(self, bob: ReceivingNode) -> None:
        with bob.session() as sender:
            sender.stream.send({"type": "batch", "id": 1})
            sender.stream.send({"type": "put", "entry": bob.file("/etc/a", "x").to_message(),
                                "length": 1})
            sender.stream.send_data(b"x")
            sender.stream.flush(PATIENCE)
        assert not bob.path("/etc/a").exists() and bob.leftovers() == []

    def test_more_changes_than_a_batch_has(self, bob: ReceivingNode,
                                           monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(wire, "MOST_CHANGES", 3)
        with bob.session() as sender:
            assert sender.batch("/etc/a", "/etc/b", "/etc/c", "/etc/d")["code"] == "protocol"

    def test_another_protocol(self, bob: ReceivingNode) -> None:
        with bob.connected() as sender:
            sender.hello(version=2)
            assert sender.hear()["code"] == "protocol"

    @pytest.mark.parametrize("resource", ["", "../x", "a/b", ".hidden", "\n", None])
    def test_a_resource_that_is_none(self, bob: ReceivingNode, resource: Any) -> None:
        with bob.connected() as sender:
            sender.hello(resource=resource)
            assert sender.hear()["type"] == "refused"

    def test_no_copy_of_anything_else_is_fetched(self, bob: ReceivingNode) -> None:
        bob.write("/etc/mailha/sync/key", "secret")
        with bob.session(role="reader") as reader:
            answer = reader.ask({"type": "fetch", "path": "/etc/mailha/sync/key"})
            assert answer["entry"] is None
            assert reader.ask({"type": "fetch", "path": "/etc/a",
                               "copy": "/etc/mailha/sync/key"})["code"] == "protocol"


class TestAnswers:
    """What the receiver tells about its node."""

    def test_the_digest_leaves_out_what_the_sender_withholds(self, bob: ReceivingNode) -> None:
        with bob.session() as sender:
            sender.applied((bob.file("/etc/a", "x"), "x"))
            before = sender.ask({"type": "digest"})
            bob.write("/etc/withheld", "bob.example.com")
            same = sender.ask({"type": "digest", "without": ["/etc/withheld"]})
            assert same["digest"] == before["digest"] and same["count"] == before["count"]

    def test_a_kept_copy_can_be_fetched(self, bob: ReceivingNode) -> None:
        with bob.session() as sender:
            sender.applied((bob.file("/etc/a", "1"), "1"))
            sender.applied((bob.file("/etc/a", "22"), "22"))
            copies = sender.ask({"type": "kept", "path": "/etc/a"})["copies"]
            answer = sender.ask({"type": "fetch", "path": "/etc/a", "copy": copies[0]["place"]})
            assert answer["entry"]["path"] == "/etc/a"
            assert sender.stream.content(answer["length"], PATIENCE) == b"1"

    def test_a_ping_is_answered(self, bob: ReceivingNode) -> None:
        with bob.session() as sender:
            assert sender.ask({"type": "ping"}) == {"type": "pong", "hooks": {}, "kept": ""}


def test_a_full_disk_is_a_problem_of_its_own_and_harms_nothing(
        bob: ReceivingNode, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.write
    with bob.session() as sender:
        sender.applied((bob.file("/etc/a", "old"), "old"))

        def full(descriptor: int, data: Any) -> int:
            if bytes(data[:3]) == b"big":
                raise OSError(28, os.strerror(28))
            return real(descriptor, data)

        monkeypatch.setattr(os, "write", full)
        answer = sender.batch((bob.file("/etc/a", "big"), "big"), (bob.file("/etc/b", "x"), "x"))
        assert codes(answer) == {"/etc/a": "failed"}
        assert "free space" in answer["problems"][0]["reason"]
        assert (bob.read("/etc/a"), bob.read("/etc/b")) == ("old", "x") and bob.leftovers() == []
        monkeypatch.undo()
        sender.applied((bob.file("/etc/a", "big"), "big"))


def test_a_manifest_that_cannot_be_written_stops_everything(bob: ReceivingNode) -> None:
    with bob.session() as sender:
        bob.path(bob.places.manifest).mkdir()
        answer = sender.batch((bob.file("/etc/a", "x"), "x"))
        assert (answer["type"], answer["code"]) == ("refused", "failed")
    assert not bob.path("/etc/a").exists()


def test_a_defect_of_ours_is_told_in_one_line(bob: ReceivingNode,
                                              monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*arguments: Any) -> None:
        raise KeyError("oops")

    with bob.session() as sender:
        monkeypatch.setattr(judging, "standing", broken)
        bob.write("/etc/a", "x")
        answer = sender.batch((bob.file("/etc/a", "y"), "y"))
    assert answer["code"] == "failed" and "defect of mailha in the receiver" in answer["reason"]
    assert bob.read("/etc/a") == "x"


def test_a_reconcile_while_dpkg_works_is_put_off(bob: ReceivingNode,
                                                 monkeypatch: pytest.MonkeyPatch) -> None:
    with bob.session() as sender:
        monkeypatch.setattr(packages, "busy", lambda machine: "dpkg is working on this node")
        assert sender.ask({"type": "reconciled"})["code"] == "busy"
        answer = sender.batch((bob.file("/etc/a", "y"), "y"))
        assert (answer["code"], answer["id"]) == ("busy", 1) and not bob.path("/etc/a").exists()
        monkeypatch.undo()
        sender.applied((bob.file("/etc/a", "y"), "y"))


class TestHooksOfASession:
    """What has to be done afterwards is done, whatever ends first."""

    class Children:
        """Notes the commands that are run."""

        def __init__(self, fails: bool = False) -> None:
            self.commands: list[list[str]] = []
            self.fails = fails

        def run(self, argv: Any, timeout: float) -> Finished:
            """Note a command."""
            self.commands.append(list(argv))
            if self.fails:
                raise ChildFailed("sysctl ended with 255", command=list(argv), exit_code=255)
            return Finished(0)

    def test_the_connection_ends_and_it_is_done_all_the_same(self, bob: ReceivingNode) -> None:
        bob.machine.children = children = self.Children()       # type: ignore[assignment]
        with bob.session(sysctl=True) as sender:
            sender.applied((bob.file("/etc/sysctl.conf", "a = 1"), "a = 1"))
        assert children.commands == [["sysctl", "--system"]]
        assert Manifest.load(bob.machine, bob.places).hooks == set()

    def test_what_a_killed_receiver_left_is_done_by_the_next_connection(
            self, bob: ReceivingNode) -> None:
        bob.machine.children = children = self.Children()       # type: ignore[assignment]
        self.left(bob)
        with bob.session(sysctl=True):
            pass
        assert children.commands == [["sysctl", "--system"]]

    def test_or_by_the_start_of_the_resource_on_this_node(self, bob: ReceivingNode) -> None:
        bob.machine.children = children = self.Children()       # type: ignore[assignment]
        self.left(bob)
        assert receiving.finish_hooks(bob.machine, bob.places.resource, Selection(["/etc"]), [],
                                      sysctl=True) == {}
        assert children.commands == [["sysctl", "--system"]]
        assert Manifest.load(bob.machine, bob.places).hooks == set()

    def test_a_failure_is_told_and_it_stays_due(self, bob: ReceivingNode) -> None:
        bob.machine.children = self.Children(fails=True)        # type: ignore[assignment]
        self.left(bob)
        failures = receiving.finish_hooks(bob.machine, bob.places.resource, Selection(["/etc"]),
                                          [], sysctl=True)
        assert failures == {"sysctl": "sysctl ended with 255"}
        assert Manifest.load(bob.machine, bob.places).hooks == {"sysctl"}

    def test_what_there_is_no_time_for_stays_due(self, bob: ReceivingNode) -> None:
        bob.machine.children = children = self.Children()       # type: ignore[assignment]
        self.left(bob)
        failures = receiving.finish_hooks(bob.machine, bob.places.resource, Selection(["/etc"]),
                                          [], sysctl=True, timeout=0.0)
        assert failures == {"sysctl": "there was no time left for it"} and not children.commands
        assert Manifest.load(bob.machine, bob.places).hooks == {"sysctl"}

    def left(self, bob: ReceivingNode) -> None:
        """Leave what a receiver leaves that was killed before it did what was due."""
        bob.places.make(bob.machine)
        manifest = Manifest.load(bob.machine, bob.places)
        manifest.pending({"/etc/sysctl.conf": "1" * 64}, ["sysctl"])
        manifest.close()
