# SPDX-License-Identifier: GPL-2.0-or-later
"""Start, monitor and stop of ocf:mailha:bluemind, on every release that has a profile."""

from __future__ import annotations

from typing import Callable

import pytest
from bluemind_node import Node

Make = Callable[..., Node]


@pytest.mark.parametrize("release", ["3.5", "4.1", "4.9", "5.1"])
def test_every_release_starts_is_watched_and_stops(make_bluemind: Make, release: str) -> None:
    node = make_bluemind(release)
    assert node.probe().code == 7
    node.started()
    assert len(node.launched()) == len(set(node.launched())) == len(node.names)
    for level in (0, 10):
        answer = node.monitor(level)
        assert answer.code == 0, answer
    assert node.probe().code == 0
    node.stops()
    assert node.probe().code == 7 and node.monitor().code == 7
