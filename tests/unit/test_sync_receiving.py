# SPDX-License-Identifier: GPL-2.0-or-later
"""The receiver, spoken to over its protocol."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest
from sync_receiver import ReceivingNode


@pytest.fixture
def bob(tmp_path: Path) -> ReceivingNode:
    """Return a passive node."""
    return ReceivingNode(tmp_path)


def codes(answer: dict) -> dict:
    return {problem["path"]: problem["code"] for problem in answer["problems"]}


def test_a_file_arrives_with_content_mode_and_time(bob: ReceivingNode) -> None:
    with bob.session() as sender:
        sender.applied((bob.file("/etc/aliases", "root: alice\n", 0o640), "root: alice\n"))
    found = bob.path("/etc/aliases").stat()
    assert bob.read("/etc/aliases") == "root: alice\n"
    assert stat.S_IMODE(found.st_mode) == 0o640
    assert found.st_mtime == 1700000000
    assert bob.leftovers() == []


def test_directories_links_and_files_in_one_batch(bob: ReceivingNode) -> None:
    with bob.session() as sender:
        sender.applied((bob.file("/etc/a/b/c", "x"), "x"), bob.directory("/etc/a/b"),
                       bob.directory("/etc/a", 0o700), bob.link("/etc/a/l", "b/c"))
    assert bob.read("/etc/a/l") == "x"
    assert stat.S_IMODE(bob.path("/etc/a").stat().st_mode) == 0o700
