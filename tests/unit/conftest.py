# SPDX-License-Identifier: GPL-2.0-or-later
"""Fixtures that several modules of tests share."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any, Callable

import pytest
from hypothesis import settings
from kopano_node import Node, prepare

# Of each property, as many examples as fit into a run that people do not mind to wait for.
settings.register_profile("quick", max_examples=40, deadline=None)
settings.load_profile("quick")


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
