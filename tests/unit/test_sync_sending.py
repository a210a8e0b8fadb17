# SPDX-License-Identifier: GPL-2.0-or-later
"""The sender as a whole: what changes on one node is on the other, and what is wrong is said."""

from __future__ import annotations

import ctypes
import os
import threading
from pathlib import Path
from typing import Any

import pytest

from mailha import errors
from mailha.sync.active import replica, reporting, sender, sending
from mailha.sync.active.questions import Question
from mailha.sync.connection.peers import Peer
from mailha.sync.manifest import Manifest
from mailha.sync.passive import judging
from mailha.sync.state import State
from mailha.sync.trouble import ConnectionLost
from sync_pair_of_nodes import Nodes
from sync_receiver import RESOURCE


def test_what_is_there_and_what_changes_arrives(nodes: Nodes) -> None:
    nodes.alice.write("/etc/postfix/main.cf", "before")
    nodes.start()
    nodes.flush()
    assert nodes.bob.read("/etc/postfix/main.cf") == "before"
    nodes.alice.write("/etc/postfix/main.cf", "after")
    nodes.alice.write("/etc/new/deep/file", "new")
    os.symlink("main.cf", nodes.alice.path("/etc/postfix/link"))
    os.chmod(nodes.alice.path("/etc/new"), 0o700)
    nodes.flush()
    assert nodes.bob.read("/etc/postfix/main.cf") == "after"
    assert nodes.bob.read("/etc/new/deep/file") == "new"
    assert os.readlink(nodes.bob.path("/etc/postfix/link")) == "main.cf"
    assert nodes.bob.path("/etc/new").stat().st_mode & 0o777 == 0o700
    os.unlink(nodes.alice.path("/etc/postfix/link"))
    os.rename(nodes.alice.path("/etc/new"), nodes.alice.path("/etc/newer"))
    nodes.flush()
    assert not os.path.lexists(nodes.bob.path("/etc/postfix/link"))
    assert not nodes.bob.path("/etc/new").exists()
    assert nodes.bob.read("/etc/newer/deep/file") == "new"
    assert nodes.verdict() == (0, "")


def test_nothing_is_acknowledged_that_another_thread_has_just_read_of(
        nodes: Nodes, monkeypatch: pytest.MonkeyPatch) -> None:
    nodes.start()
    nodes.flush()
    reading, go_on = threading.Event(), threading.Event()
    dispatch = sending.Sender._dispatch

    def slowly(sender: sending.Sender, *given: Any) -> None:
        reading.set()
        assert go_on.wait(60)
        dispatch(sender, *given)

    monkeypatch.setattr(sending.Sender, "_dispatch", slowly)
    nodes.alice.write("/etc/file", "x")
    assert reading.wait(60)
    asking = threading.Thread(target=nodes.flush)
    asking.start()
    asking.join(0.05)
    assert asking.is_alive()
    go_on.set()
    asking.join(60)
    assert nodes.bob.read("/etc/file") == "x"


def test_a_rewrite_of_the_same_size_in_the_same_second_arrives(nodes: Nodes) -> None:
    # rsync, lsyncd and csync2 lose the second one for ever.
    nodes.start()
    for port in range(25, 45):
        nodes.alice.write("/etc/port", f"{port}")
        os.utime(nodes.alice.path("/etc/port"), (1, 1))
        nodes.flush()
        assert nodes.bob.read("/etc/port") == f"{port}"


def test_a_directory_replaced_by_a_link_takes_nothing_with_it(nodes: Nodes) -> None:
    # lsyncd deletes what the link leads to on the other node.
    nodes.alice.write("/etc/postfix/main.cf", "x")
    nodes.bob.write("/srv/postfix/main.cf", "precious")
    nodes.start()
    nodes.flush()
    os.rename(nodes.alice.path("/etc/postfix"), nodes.alice.path("/elsewhere"))
    os.symlink("../srv/postfix", nodes.alice.path("/etc/postfix"))
    nodes.flush()
    assert os.readlink(nodes.bob.path("/etc/postfix")) == "../srv/postfix"
    assert nodes.bob.read("/srv/postfix/main.cf") == "precious"


def test_a_peer_that_was_away_gets_everything(nodes: Nodes) -> None:
    for node in (nodes.alice, nodes.bob):
        node.write("/etc/common", "equal from the beginning")
    nodes.start()
    nodes.flush()
    nodes.reachable = False
    nodes.cut()
    nodes.until(lambda: nodes.ask("status")["peers"][0]["state"] == replica.UNREACHABLE)
    nodes.alice.write("/etc/while/away", "x")
    os.unlink(nodes.alice.path("/etc/common"))
    code, reason = nodes.verdict()
    assert code == errors.DEGRADED and "bob" in reason and "unsent" in reason
    nodes.until(lambda: "bob (192.0.2.2) cannot be reached" in nodes.verdict()[1])
    nodes.reachable = True
    nodes.flush()
    assert nodes.bob.read("/etc/while/away") == "x"
    assert not nodes.bob.path("/etc/common").exists()
    assert nodes.verdict() == (0, "")


def test_a_start_succeeds_without_a_peer(nodes: Nodes) -> None:
    nodes.reachable = False
    nodes.start()
    code, reason = nodes.verdict()
    assert code == errors.DEGRADED and "bob" in reason


def test_a_node_that_is_not_paired_is_told(nodes: Nodes) -> None:
    nodes.settings["peers"] = ("bob", "carol")
    nodes.start()
    nodes.flush()
    code, reason = nodes.verdict()
    assert code == errors.DEGRADED and "not paired with carol" in reason
    assert "mailha sync pair carol" in reason


def test_what_was_changed_on_the_other_side_is_put_right_and_told(nodes: Nodes) -> None:
    # lsyncd and csync2 never notice, and csync2 -T says "in sync".
    nodes.alice.write("/etc/aliases", "ours")
    nodes.start()
    nodes.flush()
    nodes.bob.write("/etc/aliases", "tampered")
    code, reason = nodes.verdict()
    assert code == errors.DEGRADED and "/etc/aliases" in reason
    assert nodes.bob.read("/etc/aliases") == "ours"
    assert "/etc/aliases conflict" in nodes.bob.kept()
    # As long as nobody has looked at the copy, it is not forgotten either.
    code, reason = nodes.verdict()
    assert code == errors.DEGRADED and "keeps 1 cop" in reason


def test_what_is_only_there_is_named_and_left_alone(nodes: Nodes) -> None:
    nodes.bob.write("/etc/foreign", "bob's own")
    nodes.start()
    nodes.flush()
    for _ in range(2):
        code, reason = nodes.verdict()
        assert code == errors.DEGRADED and "/etc/foreign" in reason and "only on bob" in reason
    assert nodes.bob.read("/etc/foreign") == "bob's own"
    os.unlink(nodes.bob.path("/etc/foreign"))
    assert nodes.verdict() == (0, "")


def test_something_else_in_the_place_of_a_file_is_told_again_and_again(nodes: Nodes) -> None:
    nodes.alice.write("/etc/main.cf", "ours")
    nodes.start()
    nodes.flush()
    os.unlink(nodes.bob.path("/etc/main.cf"))
    os.mkfifo(nodes.bob.path("/etc/main.cf"))
    for _ in range(3):
        code, reason = nodes.verdict()
        assert code == errors.DEGRADED and "/etc/main.cf" in reason
    os.unlink(nodes.bob.path("/etc/main.cf"))
    nodes.ask("push", timeout=60)
    assert nodes.bob.read("/etc/main.cf") == "ours" and nodes.verdict() == (0, "")


def test_what_was_withheld_once_is_compared_again_when_it_is_not(nodes: Nodes) -> None:
    nodes.alice.write("/etc/hostname", "alice.example.com\n")
    nodes.alice.write("/etc/main.cf", "myhostname = alice.example.com\n")
    nodes.bob.write("/etc/main.cf", "myhostname = bob.example.com\n")
    nodes.bob.write("/etc/foreign", "a difference")
    nodes.start()
    nodes.flush()
    assert nodes.verdict()[0] == errors.DEGRADED
    nodes.alice.write("/etc/main.cf", "the same for both")
    nodes.flush()
    os.unlink(nodes.bob.path("/etc/foreign"))
    nodes.bob.write("/etc/main.cf", "tampered")
    code, reason = nodes.verdict()
    assert code == errors.DEGRADED and "/etc/main.cf" in reason
    assert nodes.bob.read("/etc/main.cf") == "the same for both"


def exchange(one: Path, other: Path) -> None:
    """Let two paths change their places in one step (renameat2(2) with RENAME_EXCHANGE)."""
    here = -100         # AT_FDCWD
    assert ctypes.CDLL(None).renameat2(here, os.fsencode(one), here, os.fsencode(other), 2) == 0


def test_a_link_above_what_is_replicated_deletes_nothing(
        nodes: Nodes, monkeypatch: pytest.MonkeyPatch) -> None:
    # /var/lib is moved to a larger disk, and a link is left.
    nodes.settings["include"] = ("/etc/", "/var/app/ca/", "/var/app/single")
    nodes.alice.write("/var/app/ca/cert", "x")
    nodes.alice.write("/var/app/single", "y")
    nodes.bob.path("/var/app").mkdir()
    nodes.start()
    nodes.flush()
    # In one step: between two of them the single file is gone, and that is a deletion.
    nodes.alice.path("/var/moved").symlink_to("moved")
    exchange(nodes.alice.path("/var/app"), nodes.alice.path("/var/moved"))
    nodes.ask("verify", timeout=60)
    monkeypatch.setattr(reporting, "LAG", 0.0)
    monkeypatch.setattr(sending, "FLUSH", 0.0)
    code, reason = nodes.verdict()
    assert code == errors.DEGRADED and "/var/app" in reason
    assert nodes.bob.read("/var/app/ca/cert") == "x" and nodes.bob.read("/var/app/single") == "y"


def test_a_directory_that_is_missing_there_keeps_nobody_busy(
        nodes: Nodes, monkeypatch: pytest.MonkeyPatch) -> None:
    # What the package of the other node has not made is tried again now and then, not all the time.
    tries = []
    send = replica.Exchange.send

    def count(exchange: Any, paths: Any, **more: Any) -> Any:
        tries.append(list(paths))
        return send(exchange, paths, **more)

    monkeypatch.setattr(replica.Exchange, "send", count)
    monkeypatch.setattr(sending, "FLUSH", 0.0)
    nodes.settings["include"] = ("/etc/", "/var/app/single")
    nodes.alice.write("/var/app/single", "y")
    nodes.start()
    nodes.alice.write("/etc/x", "x")
    for _ in range(3):
        code, reason = nodes.verdict()
        assert code == errors.DEGRADED and "/var/app" in reason
    assert len([paths for paths in tries if "/var/app/single" in paths]) < 5


def test_a_directory_replaced_by_another_leaves_nothing_of_the_first(nodes: Nodes) -> None:
    # mv aside and mkdir, in one moment: of what lay in the first the kernel says nothing.
    nodes.alice.write("/etc/app/deep/old", "x")
    nodes.alice.write("/etc/app/old", "x")
    nodes.alice.write("/etc/app/both", "x")
    nodes.start()
    nodes.flush()
    nodes.alice.write("/srv/new/deep/new", "y")
    nodes.alice.write("/srv/new/both", "y")
    nodes.alice.path("/etc/app").rename(nodes.alice.path("/srv/old"))
    nodes.alice.path("/srv/new").rename(nodes.alice.path("/etc/app"))
    nodes.flush()
    found = sorted(path.name for path in nodes.bob.path("/etc/app").rglob("*"))
    assert found == ["both", "deep", "new"]
    assert nodes.verdict() == (0, "")


def test_a_disk_that_is_not_mounted_deletes_nothing_however_often_it_is_tried(
        nodes: Nodes, monkeypatch: pytest.MonkeyPatch) -> None:
    # The receiver's guard is out of the way: a receiver of another release may have none.
    monkeypatch.setattr(judging, "emptied", lambda *_: {})
    monkeypatch.setattr(replica, "PROBLEM_PAUSE", 0.05)
    nodes.settings["include"] = ("/etc/", "/var/app/")
    nodes.alice.write("/var/app/ca/cert", "x")
    nodes.alice.write("/var/app/key", "y")
    nodes.start()
    nodes.flush()
    nodes.alice.path("/var/app").rename(nodes.alice.path("/var/unmounted"))
    nodes.alice.path("/var/app").mkdir()
    nodes.until(lambda: bool(nodes.ask("status")["peers"][0]["problems"]))
    for _ in range(3):
        code, reason = nodes.verdict()
        assert code == errors.DEGRADED and "/var/app was emptied" in reason
    nodes.cut()         # a new connection compares everything, and knows no better
    nodes.until(lambda: "/var/app was emptied" in nodes.verdict()[1])
    assert nodes.bob.read("/var/app/ca/cert") == "x" and nodes.bob.read("/var/app/key") == "y"
    assert not nodes.bob.kept()
    nodes.alice.path("/var/app").rmdir()
    nodes.alice.path("/var/unmounted").rename(nodes.alice.path("/var/app"))
    os.unlink(nodes.alice.path("/var/app/key"))
    nodes.until(lambda: nodes.verdict() == (0, ""))
    assert not nodes.bob.path("/var/app/key").exists()


def test_an_emptied_directory_is_deleted_from_when_it_is_meant(nodes: Nodes) -> None:
    nodes.settings["include"] = ("/etc/", "/var/app/")
    nodes.alice.write("/var/app/cert", "x")
    nodes.start()
    nodes.flush()
    os.unlink(nodes.alice.path("/var/app/cert"))
    nodes.until(lambda: bool(nodes.ask("status")["peers"][0]["problems"]))
    assert nodes.bob.path("/var/app/cert").exists()
    nodes.ask("push", force=True)
    assert not nodes.bob.path("/var/app/cert").exists() and nodes.verdict() == (0, "")


def test_what_is_excluded_is_nobodys_business(nodes: Nodes) -> None:
    nodes.alice.write("/etc/only-alice", "x")
    nodes.bob.write("/etc/only-bob", "y")
    nodes.start()
    nodes.flush()
    assert not nodes.bob.path("/etc/only-alice").exists()
    assert nodes.verdict() == (0, "")


def test_a_file_with_this_nodes_name_is_withheld_and_listed(nodes: Nodes) -> None:
    nodes.alice.write("/etc/hostname", "alice.example.com\n")
    nodes.bob.write("/etc/main.cf", "myhostname = bob.example.com\n")
    nodes.alice.write("/etc/main.cf", "myhostname = alice.example.com\n")
    nodes.start()
    nodes.flush()
    assert "/etc/main.cf" in nodes.ask("status")["withheld"]
    assert nodes.bob.read("/etc/main.cf") == "myhostname = bob.example.com\n"
    assert nodes.verdict() == (0, "")


def test_a_change_under_one_name_of_a_file_arrives_under_all(nodes: Nodes) -> None:
    # The kernel tells of it under the name that was used, and of no other.
    nodes.alice.write("/etc/one", "1")
    nodes.alice.write("/etc/app/early", "1")
    os.link(nodes.alice.path("/etc/app/early"), nodes.alice.path("/etc/early"))
    os.link(nodes.alice.path("/etc/app/early"), nodes.alice.path("/srv-early"))
    nodes.start()
    nodes.flush()
    os.link(nodes.alice.path("/etc/one"), nodes.alice.path("/etc/app/late"))
    nodes.alice.write("/etc/app/late", "2")
    nodes.alice.write("/etc/early", "2")
    nodes.flush()
    for path in ("/etc/one", "/etc/app/late", "/etc/early", "/etc/app/early"):
        assert nodes.bob.read(path) == "2", path
    os.chmod(nodes.alice.path("/etc/one"), 0o600)
    nodes.flush()
    assert nodes.bob.path("/etc/app/late").stat().st_mode & 0o777 == 0o600
    assert nodes.verdict() == (0, "")


def test_what_the_kernel_does_not_tell_of_is_found_and_told(nodes: Nodes) -> None:
    nodes.alice.write("/etc/one", "1")
    os.link(nodes.alice.path("/etc/one"), nodes.alice.path("/outside"))
    nodes.start()
    nodes.flush()
    nodes.alice.write("/outside", "2")
    code, reason = nodes.verdict()
    assert code == errors.DEGRADED and "the kernel had not told" in reason
    assert nodes.bob.read("/etc/one") == "2" and nodes.verdict() == (0, "")


def test_a_half_written_file_is_not_sent(nodes: Nodes) -> None:
    nodes.start()
    nodes.flush()
    with open(nodes.alice.path("/etc/list"), "w") as file:
        file.write("half")
        file.flush()
        nodes.alice.write("/etc/other", "x")
        nodes.flush()
        assert nodes.verdict()[0] in (0, errors.DEGRADED)
        assert nodes.bob.read("/etc/other") == "x"
        assert not nodes.bob.path("/etc/list").exists()
        file.write(" and half")
    nodes.flush()
    assert nodes.bob.read("/etc/list") == "half and half"


def test_a_pause_holds_everything_and_outlives_the_sender(nodes: Nodes) -> None:
    nodes.start()
    nodes.flush()
    nodes.ask("pause", reason="moving house")
    nodes.until(lambda: nodes.ask("status")["peers"][0]["state"] == replica.PAUSED)
    nodes.alice.write("/etc/file", "x")
    nodes.stop()
    nodes.start(2)
    nodes.until(lambda: nodes.ask("status")["peers"][0]["state"] == replica.PAUSED)
    code, reason = nodes.verdict()
    assert code == errors.DEGRADED and "moving house" in reason
    assert not nodes.bob.path("/etc/file").exists()
    nodes.ask("resume")
    nodes.flush()
    assert nodes.bob.read("/etc/file") == "x"
    assert nodes.verdict() == (0, "")


def test_an_older_generation_is_refused_and_told(nodes: Nodes) -> None:
    state = State.load(nodes.bob.machine, nodes.bob.places)
    state.become_sender(7, "bob")
    nodes.alice.write("/etc/aliases", "old")
    nodes.start(3)
    nodes.until(lambda: nodes.ask("status")["peers"][0]["state"] == replica.REFUSED)
    code, reason = nodes.verdict()
    assert code == errors.DEGRADED and "generation" in reason
    assert not nodes.bob.path("/etc/aliases").exists()


def test_a_sender_that_has_seen_a_newer_generation_does_not_begin(nodes: Nodes) -> None:
    State.load(nodes.alice.machine, nodes.alice.places).become_sender(7, "bob")
    with pytest.raises(errors.MailhaError, match="not newer than 7"):
        nodes.start(3)


def test_two_senders_of_one_resource_are_one_too_many(nodes: Nodes) -> None:
    nodes.start()
    nodes.flush()
    # The lock is one of processes, so another process it is that asks.
    assert is_locked(nodes.alice)


def test_what_all_have_is_recorded_so_that_the_rest_can_be_told_from_it(nodes: Nodes) -> None:
    nodes.start()
    nodes.alice.write("/etc/sent", "x")
    nodes.flush()
    nodes.verdict()
    nodes.stop()
    nodes.alice.write("/etc/unsent", "x")
    manifest = Manifest.load(nodes.alice.machine, nodes.alice.places)
    assert "/etc/sent" in manifest and "/etc/unsent" not in manifest
    assert State.load(nodes.alice.machine, nodes.alice.places).complete


def test_a_hook_that_failed_before_this_node_became_active_is_told(nodes: Nodes) -> None:
    # The start has tried it once more; its map is as old as it was, and mail is delivered by it.
    nodes.alice.places.make(nodes.alice.machine)
    manifest = Manifest.load(nodes.alice.machine, nodes.alice.places)
    manifest.pending({"/etc/postfix/virtual": "1" * 64}, ["postmap /etc/postfix/virtual"])
    manifest.close()
    nodes.start()
    nodes.flush()
    code, reason = nodes.verdict()
    assert code == errors.DEGRADED and "this failed: postmap /etc/postfix/virtual" in reason


def test_what_was_moved_away_and_back_while_the_connection_died_is_not_taken_for_sent(
        nodes: Nodes, monkeypatch: pytest.MonkeyPatch) -> None:
    # The peer was told of the first half and has done it; nobody here knows, or of the second.
    nodes.alice.write("/etc/app/a", "x")
    nodes.alice.write("/etc/stays", "x")
    nodes.start()
    nodes.flush()
    nodes.verdict()

    def never_heard(exchange: Any, *_: Any) -> None:
        exchange._answer("applied", 60.0)
        raise ConnectionLost("just then")

    monkeypatch.setattr(sending, "FLUSH", 0.0)
    monkeypatch.setattr(replica.Exchange, "take_in", never_heard)
    nodes.alice.path("/etc/app").rename(nodes.alice.path("/aside"))
    nodes.until(lambda: not nodes.bob.path("/etc/app/a").exists())
    nodes.reachable = False
    nodes.cut()
    nodes.stop()
    nodes.alice.path("/aside").rename(nodes.alice.path("/etc/app"))
    with nodes.alice.session(generation=7, node="bob") as sender:
        found = sender.inventory()
        assert found["/etc/app/a"]["known"] == "unsent"


def test_what_is_equal_on_a_node_that_comes_back_is_agreed_on_again(nodes: Nodes) -> None:
    # bob was switched off as the active node, and the last records of what alice has with it.
    for node in (nodes.alice, nodes.bob):
        node.write("/etc/last", "x")
        node.write("/etc/stays", "x")
    state = State.load(nodes.bob.machine, nodes.bob.places)
    state.become_sender(1, "bob")
    state.sender_complete()
    nodes.start(2)
    nodes.flush()
    nodes.verdict()
    os.unlink(nodes.alice.path("/etc/last"))
    nodes.until(lambda: not nodes.bob.path("/etc/last").exists())
    nodes.flush()
    assert nodes.verdict() == (0, "")


def test_a_stop_sends_what_is_waiting(nodes: Nodes) -> None:
    nodes.start()
    nodes.flush()
    nodes.alice.write("/etc/last", "x")
    nodes.stop()
    assert nodes.bob.read("/etc/last") == "x"


def test_a_sender_that_begins_anew_is_never_gone(
        nodes: Nodes, monkeypatch: pytest.MonkeyPatch) -> None:
    # It told systemd that it stopped, which killed it 10 s later; and a probe found nobody.
    told: list[str] = []
    monkeypatch.setattr(sending, "notify", lambda *said: told.extend(said))
    nodes.alice.write("/etc/app", "x")
    nodes.start()
    nodes.flush()
    since = nodes.ask("reload")["since"]
    locked = []
    while nodes.ask("status")["since"] == since:
        locked.append(is_locked(nodes.alice))
    assert all(locked) and is_locked(nodes.alice)
    nodes.alice.write("/etc/app", "y")
    nodes.flush()
    assert nodes.bob.read("/etc/app") == "y"
    assert "STOPPING=1" not in told and told.count("READY=1") == 2
    nodes.stop()
    assert "STOPPING=1" in told and not is_locked(nodes.alice)


def test_who_asks_a_sender_that_ends_is_answered_at_once(nodes: Nodes) -> None:
    # A monitor that met a reload waited for its whole time.
    peer = replica.Replica(Peer("bob", "192.0.2.2"), None)      # type: ignore[arg-type]
    early, late = Question(), Question()
    peer.ask(early)
    peer.stop()
    peer.run()
    peer.ask(late)
    for question in (early, late):
        assert question.wait(0.0) and "begins anew" in str(question.failure)


def is_locked(node: Any) -> bool:
    """Tell what another process sees of the sender's lock."""
    child = os.fork()
    if not child:
        os._exit(1 if sender.holder(node.machine, RESOURCE) else 0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 1


def test_many_deletions_wait_for_a_word(nodes: Nodes) -> None:
    for number in range(300):
        nodes.alice.write(f"/etc/many/{number}", "x")
    nodes.start()
    nodes.flush()
    for number in range(300):
        os.unlink(nodes.alice.path(f"/etc/many/{number}"))
    nodes.until(lambda: bool(nodes.ask("status")["peers"][0]["problems"]))
    code, reason = nodes.verdict()
    assert code == errors.DEGRADED and "/etc/many" in reason
    nodes.ask("push", force=True)
    assert not list(nodes.bob.path("/etc/many").iterdir())
    assert nodes.verdict() == (0, "")
