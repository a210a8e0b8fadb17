# SPDX-License-Identifier: GPL-2.0-or-later
"""What changes while the other node has not answered for what was sent before."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from mailha.sync.active import exchange, replica, sending
from mailha.sync.passive import receiving
from sync_pair_of_nodes import LONG, Nodes


class Held:
    """Holds back what the receiver answers to changes, as a slow disk does, until release().

    sent: the paths of each go of the sender since then.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.sent: list[list[str]] = []
        self._go_on = threading.Event()
        answer, send = receiving._Session._send, replica.Exchange.send

        def late(session: Any, message: Any) -> None:
            if message["type"] == "applied":
                assert self._go_on.wait(LONG)
            answer(session, message)

        def noted(exchange: Any, paths: Any) -> Any:
            self.sent.append(sorted(paths))
            return send(exchange, paths)

        monkeypatch.setattr(receiving._Session, "_send", late)
        monkeypatch.setattr(replica.Exchange, "send", noted)

    def release(self) -> None:
        self._go_on.set()


def test_what_fills_a_batch_does_not_wait_for_the_answer_to_the_one_before(
        nodes: Nodes, monkeypatch: pytest.MonkeyPatch) -> None:
    names = [f"/etc/{number}" for number in range(4)]
    for name in names:
        nodes.alice.write(name, "before")
    nodes.start()
    nodes.flush()
    monkeypatch.setattr(replica, "AT_A_TIME", 3)
    held = Held(monkeypatch)
    nodes.alice.write(names[0], "after")
    nodes.until(lambda: held.sent == [names[:1]])
    for name in names[1:]:
        nodes.alice.write(name, "after")
    nodes.until(lambda: held.sent == [names[:1], names[1:]])
    held.release()
    nodes.flush()
    assert [nodes.bob.read(name) for name in names] == ["after"] * 4
    assert nodes.verdict() == (0, "")


def test_a_directory_that_is_moved_away_takes_a_file_with_it_that_is_still_under_way(
        nodes: Nodes, monkeypatch: pytest.MonkeyPatch) -> None:
    # Of what lay in it the kernel tells nothing, and the answer would.
    nodes.alice.write("/etc/app/old", "x")
    nodes.alice.write("/etc/other", "x")
    nodes.start()
    nodes.flush()
    monkeypatch.setattr(replica, "AT_A_TIME", 1)
    monkeypatch.setattr(replica, "PROBLEM_PAUSE", 3600.0)       # not by a second attempt
    held = Held(monkeypatch)
    nodes.alice.write("/etc/app/new", "x")
    nodes.until(lambda: held.sent == [["/etc/app/new"]])
    nodes.alice.path("/etc/app").rename(nodes.alice.path("/aside"))
    nodes.until(lambda: len(held.sent) == 2)
    held.release()
    nodes.flush()
    assert not nodes.bob.path("/etc/app").exists()
    assert nodes.verdict() == (0, "")


def test_a_receiver_that_hangs_is_noticed_although_something_changes_all_the_time(
        nodes: Nodes, monkeypatch: pytest.MonkeyPatch) -> None:
    nodes.alice.write("/etc/first", "x")
    nodes.start()
    nodes.flush()
    monkeypatch.setattr(exchange, "APPLYING", 0.2)
    monkeypatch.setattr(sending, "FLUSH", 0.0)
    held = Held(monkeypatch)
    numbers = iter(range(1 << 30))

    def given_up() -> bool:
        nodes.alice.write(f"/etc/{next(numbers) % 8}", "x")
        return nodes.connections > 1

    nodes.until(given_up)
    held.release()
