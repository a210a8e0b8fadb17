# SPDX-License-Identifier: GPL-2.0-or-later
"""Fixtures that several modules of tests share."""

from __future__ import annotations

import itertools
import os
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, Callable, Iterator

import bluemind_node
import pytest
from hypothesis import Phase, settings
from kopano_node import Node, prepare

if TYPE_CHECKING:
    from sync_pair_of_nodes import Nodes

# Of each property, as many examples as fit into a run that people do not mind to wait for; who
# changes a parser has time for more of them: MAILHA_EXAMPLES=2000 tests/run unit.
# The phase that would improve targets is left out: no test has one, and it takes half of the time.
settings.register_profile("quick", max_examples=int(os.environ.get("MAILHA_EXAMPLES", "25")),
                          deadline=None, database=None,
                          phases=(Phase.explicit, Phase.generate, Phase.shrink))
settings.load_profile("quick")

_numbers = itertools.count()


@pytest.fixture(scope="session")
def room_for_tests(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the directory of those that the tests get."""
    return tmp_path_factory.mktemp("t")


@pytest.fixture
def tmp_path(room_for_tests: Path) -> Path:
    """Return a new directory. pytest's own fixture, which this replaces, looks through all that
    there are for a free name, and makes one too long for a socket's address.
    """
    path = room_for_tests / str(next(_numbers))
    path.mkdir()
    return path


@pytest.fixture(scope="session")
def disk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a directory for all nodes with Kopano; one for each test would cost a second."""
    return tmp_path_factory.mktemp("kopano")


@pytest.fixture
def make_node(disk: Path, monkeypatch: pytest.MonkeyPatch,
              capfd: pytest.CaptureFixture[str]) -> Callable[..., Node]:
    """Return a function that makes a node with Kopano (see kopano_node.Node), one after another."""
    def make(**more: Any) -> Node:
        shutil.rmtree(disk)
        data = disk / "lib" / "kopano"
        data.mkdir(parents=True)
        made = Node(data, capfd, **more)
        prepare(monkeypatch, made)
        return made
    return make


@pytest.fixture
def node(make_node: Callable[..., Node]) -> Node:
    """Return a node with Kopano 8.7 on which nothing runs but the database."""
    return make_node()


@pytest.fixture
def make_bluemind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
                  capfd: pytest.CaptureFixture[str]) -> Callable[..., bluemind_node.Node]:
    """Return a function that makes a node with BlueMind (see bluemind_node.Node)."""
    def make(release: str = "4.9", **more: Any) -> bluemind_node.Node:
        record = tmp_path / "bm-docs"
        shutil.rmtree(record, ignore_errors=True)
        record.mkdir()
        made = bluemind_node.Node(record, capfd, release, **more)
        bluemind_node.prepare(monkeypatch, made)
        return made
    return make


@pytest.fixture
def mailnode(make_bluemind: Callable[..., bluemind_node.Node]) -> bluemind_node.Node:
    """Return a node with BlueMind 4.9 on which nothing runs."""
    return make_bluemind()


@pytest.fixture
def memory(tmp_path: Path) -> Iterator[Path]:
    """Return a directory in memory, for what synchronises much: it waits for no disk.

    A killed process loses nothing of it. Before Linux 6.6 it keeps no attributes of users.
    """
    place = Path("/dev/shm")
    if not os.access(place, os.W_OK):
        yield tmp_path
        return
    with tempfile.TemporaryDirectory(dir=place) as directory:
        yield Path(directory)


@pytest.fixture
def nodes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Nodes]:
    """Return two nodes of the replication, and leave nothing of them running."""
    from sync_pair_of_nodes import Nodes        # what it imports, few of the tests need
    made = Nodes(tmp_path, monkeypatch)
    yield made
    made.stop()
