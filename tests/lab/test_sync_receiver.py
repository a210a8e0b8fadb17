# SPDX-License-Identifier: GPL-2.0-or-later
"""The receiver as root, on real file systems: owners, attributes, full disks, what is immutable.

The other end is the test itself, over pipes in the place of SSH.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import subprocess
from pathlib import Path
from typing import Any, Dict, Generator, Iterator

import pytest

from mailha.sync.files.entry import DIRECTORY, Entry
from storage_sandbox import StorageSandbox
from sync_sender import RESOURCE, Sender, file_of
from waiting import wait_for

_numbers = itertools.count()

_SERVE = """
import sys
sys.path.insert(0, "/usr/lib/ocf/lib")
from mailha.sync.passive.receiving import serve
from mailha.system.machine import Machine
serve(Machine(), 0, 1)
"""

PRIVATE = "mailha"
"""A user of the node that no other node has."""


@pytest.fixture(scope="module")
def node(image: Path, storage_layer: Path) -> Generator[StorageSandbox, None, None]:
    """Return a node whose /srv/ext4 is a disk of its own."""
    made = StorageSandbox(image, storage_layer)
    try:
        made.mounted(made.disk("ext4", 64, "mkfs.ext4 -q -F"), "/srv/ext4")
        made.sh(f"useradd --system --no-create-home --uid 4711 {PRIVATE}")
        yield made
    finally:
        made.close()


@pytest.fixture
def spot(node: StorageSandbox) -> str:
    """Return a directory on the disk that no other test uses."""
    path = f"/srv/ext4/{next(_numbers)}"
    node.sh(f"mkdir {path}")
    return path


@contextlib.contextmanager
def sending(node: StorageSandbox, directory: str) -> Iterator[Sender]:
    """Connect to a receiver on the node, as the sender of a directory."""
    with node.sandbox.door.popen(["/usr/bin/python3", "-c", _SERVE], stdin=subprocess.PIPE,
                                 stdout=subprocess.PIPE) as process:
        assert process.stdin is not None and process.stdout is not None
        sender = Sender(process.stdout.fileno(), process.stdin.fileno(), [directory])
        sender.hello()
        welcome = sender.hear()
        assert welcome["type"] == "welcome", welcome
        yield sender
        process.stdin.close()


def codes(answer: Dict[str, Any]) -> Dict[str, str]:
    """Return the codes of the problems by path."""
    return {problem["path"]: problem["code"] for problem in answer["problems"]}


def test_an_owner_gets_the_number_that_he_has_here(node: StorageSandbox, spot: str) -> None:
    with sending(node, spot) as sender:
        sender.applied((file_of(f"{spot}/a", "x", 0o440, owner=PRIVATE, uid=841), "x"),
                       Entry(f"{spot}/d", DIRECTORY, mode=0o2750, owner=PRIVATE, uid=841,
                             group="mail", gid=99999))
        answer = sender.batch((file_of(f"{spot}/b", "x", owner="", uid=4711), "x"),
                              (file_of(f"{spot}/c", "x", group="nobody-has-it", gid=7), "x"))
    assert node.sh(f"stat -c '%U %u %a' {spot}/a") == f"{PRIVATE} 4711 440\n"
    assert node.sh(f"stat -c '%U:%G %a' {spot}/d") == f"{PRIVATE}:mail 2750\n"
    assert codes(answer) == {f"{spot}/b": "owner", f"{spot}/c": "owner"}
    assert node.sh(f"ls {spot}") == "a\nd\n"


def test_set_user_id_survives_the_change_of_the_owner(node: StorageSandbox, spot: str) -> None:
    with sending(node, spot) as sender:
        sender.applied((file_of(f"{spot}/a", "x", 0o6755, owner=PRIVATE, uid=1), "x"))
    assert node.sh(f"stat -c %a {spot}/a") == "6755\n"


def test_access_control_lists_and_capabilities_arrive(node: StorageSandbox, spot: str) -> None:
    lists = {"system.posix_acl_access": f"1:6:\n2:4:{PRIVATE}\n4:4:\n16:4:\n32:0:".encode()}
    below = {"system.posix_acl_default": f"1:7:\n2:5:{PRIVATE}\n4:5:\n16:5:\n32:0:".encode()}
    bind = bytes.fromhex("0100000200040000000000000000000000000000")
    with sending(node, spot) as sender:
        sender.applied(
            (file_of(f"{spot}/a", "x", 0o640, attributes=lists), "x"),
            Entry(f"{spot}/d", DIRECTORY, mode=0o750, owner="root", uid=0, group="root", gid=0,
                  attributes=below),
            (file_of(f"{spot}/p", "x", 0o755, attributes={"security.capability": bind}), "x"))
        # A file that is made in a directory with a default list inherits nothing of it.
        sender.applied((file_of(f"{spot}/d/plain", "x", 0o600), "x"))
        found = sender.inventory()
        known = {path: entry["known"] for path, entry in found.items() if path != spot}
        assert known == dict.fromkeys(
            [f"{spot}/a", f"{spot}/d", f"{spot}/d/plain", f"{spot}/p"], "agreed")
    path = node.sandbox.path
    assert b"\x02\x00\x04\x00" + (4711).to_bytes(4, "little") in os.getxattr(
        path(f"{spot}/a"), "system.posix_acl_access")
    assert os.getxattr(path(f"{spot}/p"), "security.capability") == bind
    assert "system.posix_acl_access" not in os.listxattr(path(f"{spot}/d/plain"))


def test_an_immutable_file_is_a_problem_until_it_is_none(node: StorageSandbox, spot: str) -> None:
    # lsyncd takes rsync's code 23 for a success and never sends the file again.
    with sending(node, spot) as sender:
        sender.applied((file_of(f"{spot}/a", "old"), "old"), (file_of(f"{spot}/b", "old"), "old"))
        node.sh(f"chattr +i {spot}/a")
        try:
            answer = sender.batch((file_of(f"{spot}/a", "new"), "new"),
                                  (file_of(f"{spot}/b", "new"), "new"))
            assert codes(answer).keys() == {f"{spot}/a"}
            assert sender.inventory()[f"{spot}/a"]["digest"] == file_of("/x", "old").digest
        finally:
            node.sh(f"chattr -i {spot}/a")
        sender.applied((file_of(f"{spot}/a", "new"), "new"))
    assert node.sh(f"cat {spot}/a {spot}/b") == "newnew"
    assert node.sh(f"ls -A {spot}") == "a\nb\n"


def test_an_immutable_directory_is_a_problem_until_it_is_none(node: StorageSandbox,
                                                              spot: str) -> None:
    with sending(node, spot) as sender:
        sender.applied((file_of(f"{spot}/a", "old"), "old"))
        node.sh(f"chattr +i {spot}")
        try:
            answer = sender.batch((file_of(f"{spot}/a", "new"), "new"))
            assert codes(answer) == {f"{spot}/a": "failed"}
            assert "immutable" in answer["problems"][0]["reason"]
        finally:
            node.sh(f"chattr -i {spot}")
        sender.applied((file_of(f"{spot}/a", "new"), "new"))


def test_a_full_disk_leaves_the_old_file_whole(node: StorageSandbox) -> None:
    node.sh("mkdir -p /srv/small; mount -t tmpfs -o size=256k tmpfs /srv/small")
    large = "x" * 400_000
    with sending(node, "/srv/small") as sender:
        sender.applied((file_of("/srv/small/a", "old"), "old"))
        answer = sender.batch((file_of("/srv/small/a", large), large),
                              (file_of("/srv/small/b", "fits"), "fits"))
        assert codes(answer) == {"/srv/small/a": "failed"}
        assert "free space" in answer["problems"][0]["reason"]
        assert node.sh("cat /srv/small/a; ls -A /srv/small") == "olda\nb\n"
        node.sh("mount -o remount,size=4m /srv/small")
        sender.applied((file_of("/srv/small/a", large), large))


def test_copies_are_kept_from_one_file_system_on_another(node: StorageSandbox,
                                                         spot: str) -> None:
    with sending(node, spot) as sender:
        sender.applied((file_of(f"{spot}/a", "secret", 0o400, owner=PRIVATE, uid=1), "secret"))
        sender.applied((file_of(f"{spot}/a", "new"), "new"))
        copy = sender.ask({"type": "kept", "path": f"{spot}/a"})["copies"][0]
    assert node.sh(f"cat {copy['place']}; stat -c ' %U %a' {copy['place']}") == (
        f"secret {PRIVATE} 400\n")
    assert node.sh(f"stat -c %a /var/lib/mailha/sync/{RESOURCE}/kept") == "700\n"


@pytest.mark.parametrize("kind, mebibytes, make", [
    ("xfs", 300, "mkfs.xfs -q"), ("btrfs", 128, "mkfs.btrfs -q")])
def test_on_another_file_system(node: StorageSandbox, kind: str, mebibytes: int, make: str) -> None:
    place = node.mounted(node.disk(f"sync-{kind}", mebibytes, make), f"/srv/{kind}")
    with sending(node, place) as sender:
        files = [(file_of(f"{place}/{number}", "x", attributes={"user.n": b"1"}), "x")
                 for number in range(50)]
        sender.applied(*files)
        sender.applied((file_of(f"{place}/7", "y"), "y"), f"{place}/8")
        assert len(sender.inventory()) == 50
    assert node.sh(f"cat {place}/7") == "y"


def test_killed_at_any_time_it_leaves_nothing_that_is_half(node: StorageSandbox,
                                                           spot: str) -> None:
    old, new = "old " * 2000, "new " * 3000
    paths = [f"{spot}/{number}" for number in range(200)]
    with sending(node, spot) as sender:
        sender.applied(*[(file_of(path, old), old) for path in paths])
    process = node.sandbox.door.popen(["/bin/sh", "-c", 'echo $$; exec python3 -c "$0"', _SERVE],
                                      stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    with process:
        assert process.stdin is not None and process.stdout is not None
        number = os.read(process.stdout.fileno(), 100).split()[0].decode()
        sender = Sender(process.stdout.fileno(), process.stdin.fileno(), [spot])
        sender.hello()
        sender.hear()
        sender.stream.send({"type": "batch", "id": 1})
        for path in paths:
            sender.stream.send({"type": "put", "entry": file_of(path, new).to_message(),
                                "length": len(new)})
            sender.stream.send_data(new.encode())
        sender.say({"type": "commit"})
        wait_for("the first new file", lambda: new == node.sandbox.path(paths[0]).read_text()
                 or process.poll() is not None)
        node.run(["kill", "-KILL", number], timeout=30)
    found = [node.sandbox.path(path).read_text() for path in paths]
    assert set(found) <= {old, new}
    with sending(node, spot) as sender:
        sender.inventory()
        assert node.sh(f"ls -A {spot} | grep -c mailha || :") == "0\n"
        answer = sender.applied(*[(file_of(path, new), new) for path in paths])
        assert answer["conflicts"] == []
