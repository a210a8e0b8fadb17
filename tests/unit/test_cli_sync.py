# SPDX-License-Identifier: GPL-2.0-or-later
"""`mailha sync` on two nodes in directories: what it shows, what it does, what it refuses."""

from __future__ import annotations

import io
import json
import os
from pathlib import Path
from typing import Iterator

import pytest

from cli_machine import Said
from mailha.cli.main import perform
from mailha.cli.terminal import Terminal
from mailha.sync.active import sender as sender_of
from mailha.sync.state import State
from sync_pair_of_nodes import Nodes
from sync_receiver import RESOURCE, ReceivingNode


@pytest.fixture
def nodes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Nodes]:
    monkeypatch.setattr("os.geteuid", lambda: 0)
    monkeypatch.setattr("mailha.cli.sync_preview.QUESTION", 0.0)      # there is no cluster
    made = Nodes(tmp_path, monkeypatch)
    # Both nodes are this one process, which fcntl(2) does not show its own lock.
    monkeypatch.setattr(sender_of, "holder", lambda machine, resource: os.getpid()
                        if machine is made.alice.machine else 0)
    yield made
    made.stop()


def call(where: ReceivingNode, *argv: str) -> Said:
    """Call the tool on a node."""
    out, err = io.StringIO(), io.StringIO()
    code = perform(["sync", *argv], where.machine, Terminal(out, err))
    said = Said(code, " ".join(out.getvalue().split()), err.getvalue())
    assert "Traceback" not in said.err and "defect" not in said.err, said.err
    assert all(line.startswith("mailha: ") for line in said.err.splitlines()), said.err
    return said


def test_status_shows_the_sender_its_peers_and_what_is_withheld(nodes: Nodes) -> None:
    nodes.alice.write("/etc/app.conf", "1")
    nodes.start(7)
    nodes.flush()
    nodes.until(lambda: nodes.ask("status")["peers"][0]["state"] == "in step")
    said = call(nodes.alice, "status")
    assert said.code == 0 and "alice sends" in said.out and "generation 7" in said.out
    assert "bob in step" in said.out
    there = call(nodes.bob, "status", RESOURCE)
    assert "this node receives; generation 7 of alice" in there.out
    # The document of the other command line is the same with every path.
    document = json.loads(_json(nodes.alice))
    assert document["resources"][0]["sender"]["peers"][0]["node"] == "bob"
    assert document["paired"] == ["bob"]


def _json(where: ReceivingNode) -> str:
    out = io.StringIO()
    assert perform(["sync", "status", "--json"], where.machine, Terminal(out, out)) == 0
    return out.getvalue()


def test_a_node_that_knows_nothing_says_so(nodes: Nodes) -> None:
    said = call(nodes.bob, "status")
    assert said.code == 0 and "paired with no other" in said.out
    for verb in (["push"], ["pause"], ["kept"], ["diff"], ["accept-generation"],
                 ["restore", "/etc/x"]):
        failed = call(nodes.bob, *verb)
        assert failed.code == 1 and "knows no resource" in failed.err, verb
    assert call(nodes.bob, "push", "../x").code == 1


def test_a_resource_that_nobody_knows_is_told_with_those_that_are_known(nodes: Nodes) -> None:
    nodes.start()
    nodes.flush()
    for argv in (["status", "typo"], ["push", "typo"], ["pause", "typo"], ["resume", "typo"],
                 ["diff", "-r", "typo"], ["kept", "-r", "typo"], ["restore", "-r", "typo", "/x"],
                 ["accept-generation", "-r", "typo"]):
        said = call(nodes.alice, *argv)
        assert said.code == 1 and f"name {RESOURCE}" in said.err, argv
    assert not nodes.alice.path("/var/lib/mailha/sync/typo").exists()


def test_a_wrong_verb_is_told_with_those_that_people_call(nodes: Nodes) -> None:
    said = call(nodes.alice, "statu")
    assert said.code == 2 and " status," in said.err
    assert "send" not in said.err and "receive" not in said.err


def test_push_tells_what_could_not_be_brought_over(nodes: Nodes) -> None:
    nodes.alice.write("/etc/app.conf", "1")
    nodes.start()
    nodes.flush()
    assert "bob: in step" in call(nodes.alice, "push").out
    nodes.reachable = False
    nodes.cut()
    nodes.until(lambda: nodes.ask("status")["peers"][0]["state"] == "unreachable")
    said = call(nodes.alice, "push", "--timeout", "1")
    assert said.code == 1 and "cannot be reached" in said.err
    assert call(nodes.alice, "push", "--timeout", "0").code == 1
    assert "ask on the node where" in call(nodes.bob, "push").err


def test_a_pause_is_shown_and_ended(nodes: Nodes) -> None:
    nodes.start()
    nodes.flush()
    assert call(nodes.alice, "pause", RESOURCE, "--reason", "an update").code == 0
    nodes.alice.write("/etc/app.conf", "1")
    assert "an update" in call(nodes.alice, "status").err
    assert "an update" in call(nodes.alice, "push").err
    assert not nodes.bob.path("/etc/app.conf").exists()
    assert call(nodes.alice, "resume").code == 0
    nodes.flush()
    assert nodes.bob.read("/etc/app.conf") == "1"


def test_a_pause_where_nothing_is_sent_holds_for_the_next_sender(nodes: Nodes) -> None:
    nodes.start()
    nodes.flush()
    said = call(nodes.bob, "pause")
    assert said.code == 0 and "No sender" in said.out
    assert "paused by the administrator" in call(nodes.bob, "status").err
    assert call(nodes.bob, "resume").code == 0
    assert "paused" not in call(nodes.bob, "status").err


def test_diff_shows_what_differs_and_why_something_is_not_sent(nodes: Nodes) -> None:
    nodes.alice.write("/etc/app.conf", "one\ntwo\n")
    nodes.alice.write("/etc/only-here", "1")
    nodes.start()
    nodes.flush()
    same = call(nodes.alice, "diff")
    assert same.code == 0 and "are the same" in same.out
    assert "/etc/only-here: 'exclude' holds" in same.out
    nodes.ask("pause")
    nodes.alice.write("/etc/app.conf", "one\nthree\n")
    os.chmod(nodes.alice.path("/etc/app.conf"), 0o600)
    differs = call(nodes.alice, "diff")
    assert differs.code == 1 and "/etc/app.conf: differs" in differs.out
    assert "bob is not as this node" in differs.err
    one = call(nodes.alice, "diff", "/etc/app.conf")
    assert one.code == 1 and "-two +three" in one.out and "mode '0644' on bob" in one.out
    left_out = call(nodes.alice, "diff", "/etc/only-here")
    assert left_out.code == 0 and "is not sent" in left_out.out
    assert call(nodes.alice, "diff", "--peer", "carol").code == 1
    assert "is not started on this node" in call(nodes.bob, "diff").err


def test_before_the_first_start_it_is_shown_what_it_would_send(nodes: Nodes) -> None:
    # Without that, the first thing that anybody sees is what was overwritten.
    for path, here, there in (("/etc/app/same", "1", "1"), ("/etc/app/differs", "1", "2"),
                              ("/etc/app/new", "1", None), ("/etc/app/theirs", None, "2"),
                              ("/etc/app/local.d/x", "1", "2"), ("/etc/aliases", "1", "2")):
        for node, content in ((nodes.alice, here), (nodes.bob, there)):
            if content is not None:
                node.write(path, content)
    nodes.alice.write("/etc/hostname", "alice.example.com\n")
    nodes.alice.write("/etc/app/own", "myhostname = alice.example.com\n")
    before = sorted(nodes.bob.root.rglob("*"))
    said = call(nodes.alice, "diff", "--profile", "none", "--include", "/etc/app/ /etc/fstab",
                "--exclude", "*/local.d")
    assert said.code == 1 and "bob is not as this node" in said.err and "first start" in said.err
    assert "1 made, 1 replaced, 1 left alone" in said.out
    assert "/etc/app/new: would be made" in said.out and "/etc/aliases" not in said.out
    assert "/etc/app/differs: would be replaced; what is there is kept" in said.out
    assert "/etc/app/theirs: is only there" in said.out and "/etc/app/same" not in said.out
    assert "/etc/app/own: it holds 'alice.example.com'" in said.out
    assert "/etc/app/local.d: 'exclude' holds" in said.out
    assert "the addresses that the cluster moves" in said.err
    # Nothing has been changed, and nobody knows of a resource that does not exist.
    assert sorted(nodes.bob.root.rglob("*")) == before and nodes.bob.read("/etc/app/differs") == "2"
    assert "No resource" in call(nodes.bob, "status").out
    one = call(nodes.alice, "diff", "--profile", "cyrus", "/etc/aliases")
    assert one.code == 1 and "-2 +1" in one.out


def test_a_look_before_the_first_start_needs_no_peer(nodes: Nodes) -> None:
    nodes.bob.write("/etc/app/x", "1")
    said = call(nodes.bob, "diff", "--profile", "none", "--include", "/etc/app/")
    assert said.code == 0 and "2 paths would be replicated" in said.out
    assert "paired with no other" in said.err


@pytest.mark.parametrize("argv, said", [
    (["--include", "/etc/x"], "go with --profile"), (["--profile", "typo"], "bluemind"),
    (["--profile", "none", "--include", "etc"], "does not begin with a slash"),
    (["--profile", "none", "--include", "/usr/"], "is not configuration")])
def test_a_wrong_look_ahead_is_refused_in_one_line(nodes: Nodes, argv: "list[str]", said: str
                                                   ) -> None:
    answer = call(nodes.alice, "diff", *argv)
    assert answer.code in (1, 2) and said in answer.err


def test_a_kept_copy_is_listed_seen_and_brought_back(nodes: Nodes) -> None:
    nodes.alice.write("/etc/app.conf", "good")
    nodes.start()
    nodes.flush()
    nodes.bob.write("/etc/app.conf", "by hand")
    nodes.ask("verify", timeout=60)
    nodes.flush()
    assert nodes.bob.read("/etc/app.conf") == "good"
    listed = call(nodes.bob, "kept", "--open")
    assert "changed on that node" in listed.out and "/etc/app.conf" in listed.out
    assert "/etc/app.conf" in call(nodes.bob, "status").out
    assert "follows alice" in call(nodes.bob, "restore", "/etc/app.conf").err
    target = nodes.bob.path("/etc/looked-at")
    shown = call(nodes.bob, "restore", "/etc/app.conf", "--to", str(target))
    assert shown.code == 0 and target.read_text() == "by hand"
    assert target.stat().st_mode & 0o777 == 0o600
    brought = call(nodes.alice, "restore", "/etc/app.conf", "--on", "bob")
    assert brought.code == 0, brought.err
    assert nodes.alice.read("/etc/app.conf") == "by hand"
    nodes.flush()
    assert nodes.bob.read("/etc/app.conf") == "by hand"
    # What was there was kept in turn, on the node where it was overwritten.
    assert "/etc/app.conf" in call(nodes.alice, "kept").out
    back = call(nodes.alice, "restore", "/etc/app.conf")
    assert back.code == 0 and nodes.alice.read("/etc/app.conf") == "good"
    assert call(nodes.bob, "kept", "/etc/app.conf", "--seen").code == 0
    assert "No copy" in call(nodes.bob, "kept", "--open").out
    assert call(nodes.bob, "kept", "--all-seen").code == 1


@pytest.mark.parametrize("argv,reason", [
    (["restore", "/etc/none"], "no copy of /etc/none"), (["restore", "etc/x"], "no absolute path"),
    (["restore", "/etc/app.conf", "--on", "bob", "--copy", "yesterday"], "are of 'yesterday'"),
    (["restore", "/etc/app.conf", "--on", "carol"], "not paired with carol"),
    (["kept", "--resource", "other"], "knows no resource 'other'")])
def test_what_cannot_be_restored_is_told(nodes: Nodes, argv: "list[str]", reason: str) -> None:
    nodes.alice.write("/etc/app.conf", "1")
    nodes.start()
    nodes.flush()
    nodes.alice.write("/etc/app.conf", "2")
    nodes.flush()
    said = call(nodes.alice, *argv)
    assert said.code == 1 and reason in said.err, said


def test_an_older_generation_is_accepted_on_the_node_that_refuses(nodes: Nodes) -> None:
    nodes.start(9)
    nodes.flush()
    assert "generation 9 of alice" in call(nodes.bob, "accept-generation").out
    assert "nothing holds it up" in call(nodes.bob, "accept-generation", "10").err
    assert "is the one that sends" in call(nodes.alice, "accept-generation", "3").err
    assert call(nodes.bob, "accept-generation", "4").code == 0
    from mailha.sync.places import Places
    assert State.load(nodes.bob.machine, Places(RESOURCE)).generation == 4


def test_only_root_may_ask(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    assert "only root" in call(ReceivingNode(tmp_path), "status").err
