# SPDX-License-Identifier: GPL-2.0-or-later
"""Fixtures that several modules of tests share."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Callable

import pytest
from kopano_node import Node, prepare


@pytest.fixture
def make_node(tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
              capfd: pytest.CaptureFixture[str]) -> Callable[..., Node]:
    """Return a function that makes a node with Kopano (see kopano_node.Node), one a test."""
    def make(**more: Any) -> Node:
        made = Node(tmp_path, capfd, **more)
        prepare(monkeypatch, made)
        return made
    return make


@pytest.fixture
def node(make_node: Callable[..., Node]) -> Node:
    """Return a node with Kopano 8.7 on which nothing runs but the database."""
    return make_node()
