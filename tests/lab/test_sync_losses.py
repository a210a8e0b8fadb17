# SPDX-License-Identifier: GPL-2.0-or-later
"""Every way in which lsyncd, csync2, incron and rsync were seen to lose or spoil a file.

Each test is a loss that was measured or reported of one of them, made over a real OpenSSH between
two nodes. What is asked for is always the same: when everything is acknowledged, both sides are
identical, and what was there on the way was the old file or the new one.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import socket
import struct
import threading
import time
from pathlib import Path
from typing import Callable, Generator, Iterator, List, Set

import pytest

from sync_nodes import APP, STATE, Refused, SyncNodes
from twonode.pair import Pair
from waiting import wait_for

# <linux/fs.h>
FS_IOC_GETFLAGS = 0x80086601
FS_IOC_SETFLAGS = 0x40086602
FS_IMMUTABLE_FL = 0x00000010

QUEUE = 16384
"""What /proc/sys/fs/inotify/max_queued_events is at most, unless somebody has raised it."""


@pytest.fixture(scope="module")
def pair_of_nodes(image: Path) -> Generator[SyncNodes, None, None]:
    """Return two nodes that are paired; they end with the module."""
    with Pair(image) as pair:
        made = SyncNodes(pair)
        yield made
        made.end()


@pytest.fixture
def nodes(pair_of_nodes: SyncNodes) -> SyncNodes:
    """Return the same, with empty directories and a sender on alice."""
    pair_of_nodes.fresh()
    return pair_of_nodes


# content

def test_a_rewrite_of_the_same_size_in_the_same_second_is_no_loss(nodes: SyncNodes) -> None:
    # rsync -a, lsyncd with delay 0 and csync2 lose the second one ten times in ten.
    for number in range(3):
        path = f"{APP}/port-{number}"
        nodes.alice.write(path, "port = 25\n")
        nodes.acknowledged()
        moment = nodes.alice.path(path).stat()
        nodes.alice.write(path, "port = 26\n")
        os.utime(nodes.alice.path(path), ns=(moment.st_atime_ns, moment.st_mtime_ns))
        nodes.acknowledged()
        assert nodes.bob.read(path) == "port = 26\n"


def test_a_file_that_is_still_being_written_is_not_seen_in_part(nodes: SyncNodes) -> None:
    # lsyncd copies at the creation already; incron with rsync showed every line of it.
    with open(nodes.alice.path(f"{APP}/list"), "w") as file:
        for number in range(5):
            file.write(f"line {number}\n")
            file.flush()
            nodes.alice.write(f"{APP}/other", f"{number}\n")
            wait_for("the other file", lambda: nodes.bob.read(f"{APP}/other") == f"{number}\n")
            assert nodes.bob.read(f"{APP}/list") is None
    nodes.acknowledged()
    assert nodes.bob.read(f"{APP}/list") == "".join(f"line {each}\n" for each in range(5))


def test_whoever_reads_sees_the_old_file_or_the_new_one(nodes: SyncNodes) -> None:
    contents = [letter * 300_000 for letter in "abc"]
    nodes.alice.write(f"{APP}/large", contents[0])
    nodes.acknowledged()
    with _watched(lambda: nodes.bob.read(f"{APP}/large")) as seen:
        for content in contents[1:]:
            nodes.alice.write(f"{APP}/large", content)
            nodes.acknowledged()
    assert seen <= set(contents)


def test_a_key_is_never_readable_by_others_for_a_moment(nodes: SyncNodes) -> None:
    # csync2 gives owner and mode after the content.
    def facts() -> object:
        try:
            found = os.stat(nodes.bob.path(f"{APP}/key"))
        except FileNotFoundError:
            return None
        return found.st_mode & 0o7777, found.st_uid, found.st_gid

    with _watched(facts) as seen:
        for number in range(5):
            nodes.alice.sh(f"cd {APP}; rm -f key; umask 077; echo secret > .key.{number}; "
                           f"chown 33:8 .key.{number}; chmod 0440 .key.{number}; "
                           f"mv .key.{number} key")
            nodes.acknowledged()
    assert seen - {None} == {(0o440, 33, 8)}


def test_mode_owner_attributes_and_lists_of_access_arrive(nodes: SyncNodes) -> None:
    # lsyncd without archive, and csync2 with attributes: never.
    nodes.alice.write(f"{APP}/file", "text")
    nodes.acknowledged()
    nodes.alice.sh(f"chmod 4750 {APP}/file; chown 33:8 {APP}/file; chmod 4750 {APP}/file")
    nodes.acknowledged()
    os.setxattr(nodes.alice.path(f"{APP}/file"), "user.origin", b"here")
    nodes.acknowledged()
    # An access control list by hand: user 33 may read; the mask lets it.
    entries = [(1, 7, -1), (2, 4, 33), (4, 5, -1), (16, 5, -1), (32, 0, -1)]
    value = struct.pack("<I", 2) + b"".join(struct.pack("<HHi", *each) for each in entries)
    os.setxattr(nodes.alice.path(f"{APP}/file"), "system.posix_acl_access", value)
    nodes.acknowledged()
    there = nodes.bob.path(f"{APP}/file")
    assert os.getxattr(there, "user.origin") == b"here"
    assert os.getxattr(there, "system.posix_acl_access") == value
    os.removexattr(nodes.alice.path(f"{APP}/file"), "user.origin")
    nodes.acknowledged()


# what a path is

def test_a_link_that_points_elsewhere_now_arrives(nodes: SyncNodes) -> None:
    # csync2 never sends it again.
    nodes.alice.sh(f"cd {APP}; echo 1 > one; echo 2 > other; ln -s one current")
    nodes.acknowledged()
    nodes.alice.sh(f"ln -sfn other {APP}/current")
    nodes.acknowledged()
    assert os.readlink(nodes.bob.path(f"{APP}/current")) == "other"


def test_a_directory_that_became_a_link_deletes_nothing_behind_it(nodes: SyncNodes) -> None:
    # lsyncd deletes the real files on the target (its issue 290).
    for node in (nodes.alice, nodes.bob):
        node.sh("mkdir -p /var/precious; echo mail > /var/precious/file")
    nodes.alice.sh(f"mkdir {APP}/spool; echo 1 > {APP}/spool/file; echo 2 > {APP}/spool/other")
    nodes.acknowledged()
    nodes.alice.sh(f"rm -r {APP}/spool; ln -s /var/precious {APP}/spool")
    nodes.acknowledged()
    assert nodes.bob.read("/var/precious/file") == "mail\n"
    assert os.readlink(nodes.bob.path(f"{APP}/spool")) == "/var/precious"
    nodes.alice.sh(f"rm {APP}/spool; mkdir {APP}/spool; echo 3 > {APP}/spool/file")
    nodes.acknowledged()
    assert nodes.bob.read("/var/precious/file") == "mail\n"


def test_a_link_on_the_target_is_not_followed(nodes: SyncNodes) -> None:
    nodes.alice.sh(f"mkdir {APP}/d; echo 1 > {APP}/d/passwd")
    nodes.acknowledged()
    before = nodes.bob.read("/etc/passwd")
    nodes.bob.sh(f"rm -r {APP}/d; ln -s /etc {APP}/d")
    nodes.alice.write(f"{APP}/d/passwd", "2\n")
    nodes.alice.ask("push")
    nodes.acknowledged()
    assert nodes.bob.read("/etc/passwd") == before


def test_nested_directories_with_a_file_arrive_at_once(nodes: SyncNodes) -> None:
    # Who sets a watch only when he hears of a new directory misses what is made meanwhile.
    for number in range(20):
        nodes.alice.sh(f"mkdir -p {APP}/{number}/a/b/c; echo {number} > {APP}/{number}/a/b/c/file")
    nodes.acknowledged()
    assert nodes.bob.read(f"{APP}/19/a/b/c/file") == "19\n"


def test_what_is_moved_within_out_and_in_is_where_it_belongs(nodes: SyncNodes) -> None:
    # lsyncd: a directory that is moved out stays, a move of what the target lacks fails.
    nodes.alice.sh(f"mkdir -p {APP}/a/b /etc/aside; echo 1 > {APP}/a/b/file; rm -rf /etc/aside/*; "
                   f"echo 1 > {APP}/stays")
    nodes.acknowledged()
    nodes.alice.sh(f"mv {APP}/a {APP}/renamed; echo 2 > {APP}/renamed/b/file")
    nodes.acknowledged()
    nodes.bob.sh(f"rm -r {APP}/renamed")
    nodes.alice.sh(f"mv {APP}/renamed {APP}/again")
    nodes.acknowledged()
    nodes.alice.sh(f"mv {APP}/again /etc/aside/")
    nodes.acknowledged()
    assert nodes.bob.read(f"{APP}/again/b/file") is None
    nodes.alice.sh(f"echo 3 > /etc/aside/again/b/file; mv /etc/aside/again {APP}/back")
    nodes.acknowledged()
    nodes.alice.sh(f"echo 4 > {APP}/back/b/file")
    nodes.acknowledged()
    assert nodes.bob.read(f"{APP}/back/b/file") == "4\n"


def test_sockets_fifos_and_devices_stay_where_they_are(nodes: SyncNodes) -> None:
    # lsyncd copies a FIFO, and whoever opens the copy waits for ever.
    nodes.alice.sh(f"mkfifo {APP}/fifo")
    with socket.socket(socket.AF_UNIX) as listener:
        place = os.open(nodes.alice.path(APP), os.O_PATH)
        try:
            listener.bind(f"/proc/self/fd/{place}/socket")
        finally:
            os.close(place)
        nodes.alice.write(f"{APP}/file", "1")
        nodes.alice.wait_flushed()
        assert sorted(os.listdir(nodes.bob.path(APP))) == ["file"]
        assert nodes.alice.ask("verify")["equal"]


def test_what_editors_leave_for_a_moment_is_not_sent(nodes: SyncNodes) -> None:
    names = [".main.cf.swp", "main.cf~", "#main.cf#", ".#main.cf", "main.cf.dpkg-new", "4913"]
    with _watched(lambda: tuple(sorted(
            name for name in os.listdir(nodes.bob.path(APP))
            if not name.startswith(".mailha-sync-")))) as seen:     # our own, until it is whole
        for name in names:
            nodes.alice.write(f"{APP}/{name}", "half")
        nodes.alice.write(f"{APP}/.pgpass", "secret", 0o600)
        nodes.alice.wait_flushed()
    assert seen <= {(), (".pgpass",)}
    assert nodes.bob.read(f"{APP}/.pgpass") == "secret"


# trouble on the target

def test_an_immutable_target_is_told_and_put_right_later(nodes: SyncNodes) -> None:
    # lsyncd takes rsync's "partial transfer" for success and never looks again.
    nodes.alice.sh(f"mkdir {APP}/d; echo 1 > {APP}/d/file; echo 1 > {APP}/d/other")
    nodes.acknowledged()
    with _immutable(nodes.bob.path(f"{APP}/d")):
        nodes.alice.sh(f"echo 2 > {APP}/d/file; echo 2 > {APP}/d/other; echo 2 > {APP}/free")
        wait_for("the one that can", lambda: nodes.bob.read(f"{APP}/free") == "2\n")
        found = wait_for("the others to be told", lambda: [
            each["path"] for each in nodes.alice.peer_state()["problems"]])
        assert f"{APP}/d/file" in found
        assert not nodes.alice.ask("verify")["equal"]
    nodes.acknowledged()


def test_a_full_disk_on_the_target_is_told_and_put_right_later(nodes: SyncNodes) -> None:
    # lsyncd issue 57: never sent again.
    nodes.fresh()
    nodes.end()
    nodes.bob.sh(f"mount -t tmpfs -o size=256k tmpfs {APP}")
    try:
        nodes.start_sender()
        nodes.alice.write(f"{APP}/small", "1" * 1000)
        nodes.acknowledged()
        nodes.alice.write(f"{APP}/large", "2" * 400_000)
        nodes.alice.write(f"{APP}/small", "2" * 1000)
        wait_for("the small one", lambda: nodes.bob.read(f"{APP}/small") == "2" * 1000)
        found = wait_for("the large one to be told", lambda: {
            each["path"]: each["reason"] for each in nodes.alice.peer_state()["problems"]})
        assert "No space left" in found[f"{APP}/large"]
        assert nodes.bob.read(f"{APP}/large") is None
        nodes.bob.sh(f"mount -o remount,size=4m {APP}")
        nodes.acknowledged()
    finally:
        nodes.end()
        nodes.bob.sh(f"umount {APP}")


def test_what_is_edited_on_the_target_is_put_right_kept_and_told(nodes: SyncNodes) -> None:
    # lsyncd and csync2 never notice; `csync2 -T` even says "in sync".
    nodes.alice.write(f"{APP}/main.cf", "right\n")
    nodes.acknowledged()
    nodes.bob.write(f"{APP}/main.cf", "wrong\n")
    found = nodes.alice.ask("verify")
    assert not found["equal"] and f"{APP}/main.cf" in found["reason"]
    nodes.acknowledged()
    copies = nodes.bob.kept("main.cf", "conflict")
    assert [copy.read_text() for copy in copies] == ["wrong\n"]
    assert nodes.alice.peer_state()["conflicts"] == 1
    assert f"{APP}/main.cf" in nodes.bob.call("status").stdout
    assert nodes.bob.call("kept", "--all-seen").returncode == 0
    assert nodes.alice.ask("verify")["equal"]


def test_what_only_the_target_has_is_told_and_never_deleted(nodes: SyncNodes) -> None:
    nodes.bob.write(f"{APP}/own", "of this node\n")
    found = nodes.alice.ask("verify")
    assert not found["equal"] and f"{APP}/own" in found["reason"]
    nodes.alice.ask("push")
    assert nodes.bob.read(f"{APP}/own") == "of this node\n"
    said = nodes.alice.call("diff")
    assert said.returncode == 1 and f"{APP}/own" in said.stdout


def test_a_missing_parent_on_the_target_is_made(nodes: SyncNodes) -> None:
    # csync2 says "updated" though the directory is missing (its issue 30); lsyncd issue 720.
    nodes.alice.sh(f"mkdir -p {APP}/a/b; echo 1 > {APP}/a/b/file")
    nodes.acknowledged()
    nodes.bob.sh(f"rm -r {APP}/a")
    nodes.alice.write(f"{APP}/a/b/file", "2\n")
    nodes.acknowledged()


# an emptied source

def test_an_emptied_source_deletes_nothing_until_somebody_says_so(nodes: SyncNodes) -> None:
    nodes.alice.sh(f"for n in $(seq 50); do echo $n > {APP}/$n; done")
    nodes.acknowledged()
    # What a file system that is not mounted looks like; nobody tells of it.
    nodes.alice.sh(f"mkdir -p /run/empty; mount --bind /run/empty {APP}")
    try:
        with contextlib.suppress(Refused):
            nodes.alice.ask("push")
        assert len(os.listdir(nodes.bob.path(APP))) == 50
        assert "emptied" in str(nodes.alice.peer_state()["problems"])
    finally:
        nodes.alice.sh(f"umount {APP}")
    nodes.alice.ask("push")
    nodes.acknowledged()


def test_very_many_deletions_wait_for_somebodys_word(nodes: SyncNodes) -> None:
    nodes.alice.sh(f"mkdir {APP}/d; for n in $(seq 1500); do echo $n > {APP}/d/$n; done")
    nodes.acknowledged()
    nodes.alice.sh(f"rm -r {APP}/d")
    wait_for("it to be told", lambda: nodes.alice.peer_state()["problems"])
    assert len(os.listdir(nodes.bob.path(f"{APP}/d"))) > 0
    assert nodes.alice.call("push", "--force").returncode == 0
    nodes.acknowledged()


# trouble on the way

def test_what_changes_while_the_target_is_down_arrives_when_it_is_back(nodes: SyncNodes) -> None:
    nodes.alice.sh(f"echo 1 > {APP}/rewritten; echo 1 > {APP}/deleted")
    nodes.acknowledged()
    nodes.bob.peer.stop_ssh()
    try:
        nodes.alice.sh(f"for n in $(seq 20); do echo $n > {APP}/rewritten; done; "
                       f"rm {APP}/deleted; mkdir -p {APP}/a/b; echo 1 > {APP}/a/b/file")
        said = nodes.alice.wait_state("unreachable")
        assert "refused" in said["reason"] and said["unsent"] > 0
    finally:
        nodes.bob.peer.start_ssh()
    nodes.acknowledged()


def test_a_cut_cable_is_noticed_and_mended_by_itself(nodes: SyncNodes) -> None:
    nodes.alice.write(f"{APP}/file", "1\n")
    nodes.acknowledged()
    nodes.pair.cut()
    try:
        nodes.alice.write(f"{APP}/file", "2\n")
        assert nodes.alice.wait_state("unreachable")["unsent"] > 0
    finally:
        nodes.pair.mend()
    nodes.acknowledged()


def test_a_sender_killed_in_a_burst_leaves_nothing_half_done(nodes: SyncNodes) -> None:
    _burst_and(nodes, nodes.alice.kill)
    short = [path for path in nodes.bob.path(APP).rglob("*") if path.is_file()
             and path.stat().st_size != 4000 and not path.name.startswith(".mailha-sync-")]
    assert short == []
    nodes.alice.resume()
    nodes.acknowledged()
    assert not list(nodes.bob.path(APP).rglob(".mailha-sync-*"))


def test_a_receiver_killed_in_a_burst_leaves_nothing_half_done(nodes: SyncNodes) -> None:
    _burst_and(nodes, lambda: nodes.bob.sandbox.run(
        ["kill", "-KILL", *map(str, nodes.bob.programs("receive"))], timeout=60))
    nodes.acknowledged()
    assert not list(nodes.bob.path(APP).rglob(".mailha-sync-*"))


def test_an_overflow_of_the_kernels_queue_loses_nothing(nodes: SyncNodes) -> None:
    limit = int(Path("/proc/sys/fs/inotify/max_queued_events").read_text())
    assert limit <= QUEUE, "the queue of this machine is larger than the test fills"
    nodes.alice.write(f"{APP}/deleted", "1\n")
    nodes.acknowledged()
    with nodes.alice.frozen():
        place = nodes.alice.path(APP)
        for number in range(20):
            (place / f"f{number}").write_text(f"{number}\n")
        for turn in range(QUEUE // 20 + 1):
            # In turn, because the kernel makes one event of two equal ones in a row.
            for number in range(20):
                (place / f"f{number}").chmod(0o600 + turn % 2 * 0o40)
        # None of this is in the queue any more.
        (place / "deleted").unlink()
        (place / "f0").write_text("the last word\n")
        (place / "new").mkdir()
        (place / "new/file").write_text("1\n")
    nodes.acknowledged()
    assert nodes.bob.read(f"{APP}/f0") == "the last word\n"
    nodes.alice.write(f"{APP}/new/file", "2\n")
    nodes.acknowledged()


def test_what_changes_during_the_first_comparison_is_not_lost(nodes: SyncNodes) -> None:
    # lsyncd issues 161 and 226.
    nodes.alice.kill()
    nodes.alice.sh(f"for n in $(seq 300); do echo 1 > {APP}/$n; done")
    ended = threading.Event()
    written: List[int] = []

    def write() -> None:
        number = 0
        while not ended.is_set():
            number += 1
            (nodes.alice.path(APP) / str(number % 300 + 1)).write_text(f"{number}\n")
            written.append(number)
            time.sleep(0.001)       # not all of the machine is ours

    thread = threading.Thread(target=write)
    thread.start()
    try:
        nodes.generation += 1
        nodes.alice.start(nodes.generation)
        wait_for("the last file", lambda: nodes.bob.read(f"{APP}/300") and len(written) > 300)
    finally:
        ended.set()
        thread.join()
    nodes.acknowledged()


def test_a_key_that_is_rejected_is_told_with_what_to_do(nodes: SyncNodes) -> None:
    allowed = nodes.bob.read("/root/.ssh/authorized_keys") or ""
    nodes.bob.write("/root/.ssh/authorized_keys", "".join(
        line + "\n" for line in allowed.splitlines() if "mailha-sync@" not in line), 0o600)
    nodes.bob.peer.stop_ssh()
    nodes.bob.peer.start_ssh()
    nodes.alice.write(f"{APP}/file", "1\n")
    said = wait_for("the rejection", lambda: "does not let root in" in
                    nodes.alice.peer_state()["reason"] and nodes.alice.peer_state())
    assert "mailha sync pair bob" in said["remedy"]
    assert nodes.alice.call("pair", "bob").returncode == 0
    nodes.acknowledged()


def test_a_host_key_that_has_changed_is_told_and_never_trusted(nodes: SyncNodes) -> None:
    nodes.bob.peer.stop_ssh()
    nodes.bob.sh("cd /etc/ssh; rm ssh_host_ed25519_key*; "
                 "ssh-keygen -q -t ed25519 -N '' -f ssh_host_ed25519_key")
    nodes.bob.peer.start_ssh()
    nodes.alice.write(f"{APP}/file", "1\n")
    said = wait_for("the refusal", lambda: "another host key" in
                    nodes.alice.peer_state()["reason"] and nodes.alice.peer_state())
    assert "mailha sync pair bob" in said["remedy"]
    assert nodes.bob.read(f"{APP}/file") is None
    # The node was replaced, and the administrator says so.
    nodes.alice.sh("ssh-keygen -R bob")
    assert nodes.alice.call("pair", "bob", "--ssh-option=StrictHostKeyChecking=no").returncode == 0
    nodes.acknowledged()


# who may send

def test_a_returning_old_active_overwrites_nothing(nodes: SyncNodes) -> None:
    nodes.alice.write(f"{APP}/main.cf", "1\n")
    nodes.acknowledged()
    nodes.pair.cut()
    nodes.alice.write(f"{APP}/main.cf", "of alice, never sent\n")
    nodes.alice.write(f"{APP}/new", "of alice, never sent\n")
    nodes.alice.kill()
    nodes.generation += 1
    nodes.bob.start(nodes.generation)
    nodes.bob.write(f"{APP}/main.cf", "of bob\n")
    nodes.pair.mend()
    nodes.bob.wait_flushed()
    assert nodes.alice.read(f"{APP}/main.cf") == "of bob\n"
    assert [copy.read_text() for copy in nodes.alice.kept("main.cf", "unsent")] == [
        "of alice, never sent\n"]
    assert [copy.read_text() for copy in nodes.alice.kept("new", "unsent")] == [
        "of alice, never sent\n"]
    assert nodes.bob.peer_state()["set_aside"] == 2
    assert "not sent while" in nodes.alice.call("status").stdout


def test_an_old_sender_that_was_not_fenced_is_refused(nodes: SyncNodes) -> None:
    nodes.alice.write(f"{APP}/main.cf", "1\n")
    nodes.acknowledged()
    with nodes.alice.frozen():
        # It is not dead, only gone for a while.
        nodes.generation += 1
        nodes.bob.start(nodes.generation)
        nodes.bob.write(f"{APP}/main.cf", "of bob\n")
        nodes.alice.write(f"{APP}/main.cf", "too late\n")
    said = nodes.alice.wait_state("refused")
    assert said["reason"]
    assert nodes.bob.read(f"{APP}/main.cf") == "of bob\n"


def test_a_restored_disk_is_repaired_by_accepting_its_generation(nodes: SyncNodes) -> None:
    nodes.alice.kill()
    nodes.generation += 10
    nodes.start_sender()
    nodes.alice.kill()
    nodes.alice.sh(f"rm -r {STATE}")
    old, nodes.generation = nodes.generation, nodes.generation + 1
    nodes.alice.start(old - 5)
    nodes.alice.write(f"{APP}/file", "1\n")
    said = nodes.alice.wait_state("refused")
    assert "accept-generation" in said["remedy"]
    assert nodes.bob.read(f"{APP}/file") is None
    shown = nodes.bob.call("accept-generation")
    assert f"generation {old}" in " ".join(shown.stdout.split())
    assert nodes.bob.call("accept-generation", str(old - 5)).returncode == 0
    nodes.acknowledged()


# the administrator's tool

def test_a_pause_holds_everything_back_and_outlives_the_sender(nodes: SyncNodes) -> None:
    assert nodes.alice.call("pause", "--reason", "update of Postfix").returncode == 0
    nodes.alice.write(f"{APP}/file", "1\n")
    nodes.alice.kill()
    nodes.alice.resume()
    assert nodes.alice.wait_state("paused")["unsent"] >= 0
    assert "update of Postfix" in nodes.alice.call("status").stderr
    assert nodes.bob.read(f"{APP}/file") is None
    assert nodes.alice.call("resume").returncode == 0
    nodes.acknowledged()


def test_a_kept_copy_comes_back_on_the_active_node(nodes: SyncNodes) -> None:
    nodes.alice.write(f"{APP}/main.cf", "good\n", 0o640)
    nodes.acknowledged()
    nodes.alice.write(f"{APP}/main.cf", "bad\n", 0o640)
    nodes.acknowledged()
    assert "follows alice" in nodes.bob.call("restore", f"{APP}/main.cf").stderr
    listed = nodes.alice.call("kept", f"{APP}/main.cf", "--on", "bob")
    assert "replaced" in listed.stdout, listed.stderr
    done = nodes.alice.call("restore", f"{APP}/main.cf", "--on", "bob")
    assert done.returncode == 0, done.stderr
    nodes.acknowledged()
    assert nodes.bob.read(f"{APP}/main.cf") == "good\n"
    assert nodes.alice.path(f"{APP}/main.cf").stat().st_mode & 0o7777 == 0o640


def test_a_file_with_the_nodes_own_address_is_withheld_and_listed(nodes: SyncNodes) -> None:
    # The short name of a node called mail, or alice, stands in files that are everybody's.
    nodes.alice.write(f"{APP}/who", f"inet_interfaces = {nodes.alice.peer.address}\n")
    nodes.alice.write(f"{APP}/aliases", f"alice: root\n# not {nodes.alice.peer.address}1\n")
    nodes.alice.wait_flushed()
    assert nodes.differences() == ["who"]
    said = nodes.alice.call("diff")
    assert said.returncode == 0 and f"{APP}/who" in said.stdout, said.stderr
    # Withheld is no difference.
    assert nodes.alice.ask("verify")["equal"]
    assert f"{APP}/who" in nodes.alice.call("status").stdout


def test_what_another_tool_carries_as_well_is_told(nodes: SyncNodes) -> None:
    nodes.alice.write("/etc/incron.d/copy", f"{APP} IN_CLOSE_WRITE rsync -a {APP} bob:/etc\n")
    try:
        said = nodes.alice.call("status")
        assert "incron" in said.stderr and APP in said.stderr
    finally:
        nodes.alice.sh("rm /etc/incron.d/copy")


def _burst_and(nodes: SyncNodes, kill: Callable[[], object]) -> None:
    """Begin a burst of 3,000 files, and do something violent when a few have arrived."""
    ended = threading.Event()

    def write() -> None:
        for number in range(3000):
            place = nodes.alice.path(APP) / f"d{number % 20}"
            place.mkdir(exist_ok=True)
            (place / f"f{number}").write_text(f"{number:04}" * 1000)
        ended.set()

    thread = threading.Thread(target=write)
    thread.start()
    try:
        wait_for("some files", lambda: len(list(nodes.bob.path(APP).rglob("f*"))) > 20)
        kill()
    finally:
        thread.join()
    assert ended.is_set()


@contextlib.contextmanager
def _watched(look: Callable[[], object]) -> Iterator[Set[object]]:
    """Look at something all the time while the block runs; gives the set of what was seen."""
    seen: Set[object] = set()
    ended = threading.Event()

    def watch() -> None:
        while not ended.is_set():
            seen.add(look())
            time.sleep(0.0002)

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield seen
    finally:
        ended.set()
        thread.join()


@contextlib.contextmanager
def _immutable(directory: Path) -> Iterator[None]:
    """Let a directory take no change for a while, as `chattr +i` does."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        flags = struct.unpack("i", fcntl.ioctl(descriptor, FS_IOC_GETFLAGS, b"\0" * 4))[0]
        fcntl.ioctl(descriptor, FS_IOC_SETFLAGS, struct.pack("i", flags | FS_IMMUTABLE_FL))
        try:
            yield
        finally:
            fcntl.ioctl(descriptor, FS_IOC_SETFLAGS, struct.pack("i", flags))
    finally:
        os.close(descriptor)
