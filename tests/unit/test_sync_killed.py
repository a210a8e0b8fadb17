# SPDX-License-Identifier: GPL-2.0-or-later
"""A receiver that is killed before each single step that it takes on the disk.

The receiver runs in a child that ends without a word (os._exit) at its n-th call that changes
something, for every n that there is. Whatever n is, what is there afterwards is the old file or the
new one, and the next connection finishes the work and finds no conflict that nobody made.
"""

from __future__ import annotations

import os
import shutil
import socket
from pathlib import Path
from typing import Any, Callable

from sync_receiver import ReceivingNode
from sync_sender import Sender

from mailha import errors
from mailha.sync.passive import receiving

STEPS = ("open", "write", "fsync", "rename", "link", "unlink", "mkdir", "rmdir", "symlink",
         "fchmod", "fchown", "chown", "utime", "makedirs")
KILLED = 137
SURVIVED = 0
MOST_STEPS = 400

OLD, NEW = "old " * 500, "new " * 700


def batch(node: ReceivingNode, ask: Callable[..., dict[str, Any]]) -> dict[str, Any]:
    """Send a batch in which there is a bit of everything."""
    return ask((node.file("/etc/replaced", NEW, 0o600), NEW), (node.file("/etc/made", NEW), NEW),
               node.directory("/etc/d"), (node.file("/etc/d/inside", NEW), NEW),
               node.link("/etc/link", "made"), "/etc/deleted", "/etc/gone/file", "/etc/gone",
               node.directory("/etc/becomes_directory"), node.link("/etc/becomes_link", "d"),
               (node.file("/etc/never_seen", NEW), NEW))


def prepare(node: ReceivingNode) -> None:
    """Bring the node into a state that was agreed on."""
    with node.session() as sender:
        sender.applied(
            (node.file("/etc/replaced", OLD), OLD), (node.file("/etc/deleted", OLD), OLD),
            node.directory("/etc/gone"), (node.file("/etc/gone/file", OLD), OLD),
            node.link("/etc/link", "replaced"),
            (node.file("/etc/becomes_directory", OLD), OLD), node.directory("/etc/becomes_link"))
    node.write("/etc/never_seen", OLD)


def run_and_kill(node: ReceivingNode, step: int) -> int:
    """Let a receiver in a child take the batch and kill it before a step; return how it ended."""
    ours, theirs = socket.socketpair()
    child = os.fork()
    if not child:
        try:
            ours.close()
            left, real_open = step, os.open

            def counted(real: Callable[..., Any]) -> Callable[..., Any]:
                def call(*arguments: Any, **named: Any) -> Any:
                    nonlocal left
                    if real is not real_open or arguments[1] & os.O_CREAT:
                        left -= 1
                    if left < 0:
                        os._exit(KILLED)
                    return real(*arguments, **named)
                return call

            writer = os.dup(theirs.fileno())
            for name in STEPS:
                setattr(os, name, counted(getattr(os, name)))
            receiving.serve(node.machine, theirs.fileno(), writer)
        finally:
            os._exit(SURVIVED)
    theirs.close()
    try:
        sender = Sender(ours.fileno())
        sender.hello()
        sender.hear()
        batch(node, sender.batch)
    except errors.Failed:
        pass
    finally:
        ours.close()
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def unharmed(node: ReceivingNode) -> None:
    """See that everything is old or new, and nothing in between."""
    for path in ("/etc/replaced", "/etc/never_seen", "/etc/made", "/etc/d/inside", "/etc/deleted",
                 "/etc/gone/file"):
        if node.path(path).exists():
            assert node.read(path) in (OLD, NEW), path
    assert node.read("/etc/replaced") in (OLD, NEW)
    assert os.readlink(node.path("/etc/link")) in ("replaced", "made")
    if node.read("/etc/replaced") == NEW:
        assert node.path("/etc/replaced").stat().st_mode & 0o777 == 0o600
    if not node.path("/etc/deleted").exists():
        assert "/etc/deleted deleted" in node.kept()


def test_killed_before_any_step_it_leaves_the_old_or_the_new(memory: Path) -> None:
    template = ReceivingNode(memory / "template")
    prepare(template)
    for step in range(MOST_STEPS):
        shutil.copytree(template.root, memory / str(step), symlinks=True)
        node = ReceivingNode(memory / str(step))
        ended = run_and_kill(node, step)
        unharmed(node)
        with node.session() as sender:
            sender.inventory()
            assert node.leftovers() == [], f"left by a kill before step {step}"
            answer = batch(node, sender.applied)
            assert answer["conflicts"] == [] and answer["unsent"] == [], f"step {step}: {answer}"
        for path in ("/etc/replaced", "/etc/never_seen", "/etc/made", "/etc/d/inside", "/etc/link"):
            assert node.read(path) == NEW
        assert node.path("/etc/becomes_directory").is_dir()
        assert os.readlink(node.path("/etc/becomes_link")) == "d"
        assert not node.path("/etc/gone").exists() and not node.path("/etc/deleted").exists()
        assert {"/etc/deleted deleted", "/etc/replaced replaced", "/etc/never_seen replaced"
                } <= set(node.kept())
        if ended == SURVIVED:
            assert step > 50, "the steps are not counted"
            return
        assert ended == KILLED
    raise AssertionError("it never came to its end")
