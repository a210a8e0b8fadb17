# SPDX-License-Identifier: GPL-2.0-or-later
"""What a peer has not been given yet: nothing may be lost of it, and nothing look older or younger
than it is."""

from __future__ import annotations

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from mailha.sync.active.backlog import Backlog


class Clock:
    """A clock that stands until it is moved."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def backlog(clock: Clock) -> Backlog:
    return Backlog(monotonic=clock)


def test_what_is_added_is_taken_once(backlog: Backlog) -> None:
    backlog.add(["/etc/a", "/etc/b"])
    assert backlog.take(10) == ["/etc/a", "/etc/b"]
    assert backlog.take(10) == []
    assert backlog.size() == 2
    backlog.done(["/etc/a", "/etc/b"])
    assert backlog.size() == 0 and backlog.age() == 0.0


def test_the_moment_of_an_acknowledgement_is_that_of_the_answer(
        backlog: Backlog, clock: Clock) -> None:
    backlog.add(["/etc/a"])
    backlog.take(10)
    clock.now = 102.0
    backlog.done(["/etc/a"], 101.0)         # it was worked on since
    assert backlog.acknowledged == 101.0
    backlog.done([])                        # there was nothing to be asked
    assert backlog.acknowledged == 102.0


def test_the_oldest_is_taken_first(backlog: Backlog, clock: Clock) -> None:
    backlog.add(["/etc/old"])
    clock.now += 3
    backlog.add(["/etc/new", "/etc/old"])
    assert backlog.age() == 3
    assert backlog.take(1) == ["/etc/old"]


def test_nothing_is_taken_where_there_is_less_than_was_asked_for(backlog: Backlog) -> None:
    backlog.add(["/a", "/b"])
    assert backlog.take(10, least=3) == [] and backlog.size() == 2
    backlog.add(["/c"])
    assert backlog.take(10, least=3) == ["/a", "/b", "/c"]


def test_what_changes_again_on_its_way_waits_for_the_next_batch(backlog: Backlog) -> None:
    # The batch holds what was there before, so its acknowledgement does not count for the change.
    backlog.add(["/etc/a"])
    assert backlog.take(10) == ["/etc/a"]
    backlog.add(["/etc/a"])
    assert backlog.take(10) == []
    backlog.done(["/etc/a"])
    assert backlog.size() == 1
    assert backlog.take(10) == ["/etc/a"]


def test_what_failed_waits_on_with_its_age(backlog: Backlog, clock: Clock) -> None:
    backlog.add(["/etc/a"])
    backlog.take(10)
    backlog.put_back(["/etc/a"], 5.0)
    clock.now += 2
    assert backlog.take(10) == [] and backlog.due() == 3
    assert backlog.age() == 2
    clock.now += 3
    assert backlog.take(10) == ["/etc/a"]


def test_a_new_change_of_what_failed_is_tried_at_once(backlog: Backlog) -> None:
    backlog.add(["/etc/a"])
    backlog.take(10)
    backlog.put_back(["/etc/a"], 5.0)
    backlog.add(["/etc/a"])
    assert backlog.take(10) == ["/etc/a"]


def test_what_was_on_its_way_when_the_connection_broke_is_sent_again(backlog: Backlog) -> None:
    backlog.add(["/etc/a", "/etc/b"])
    backlog.take(1)
    backlog.put_all_back()
    assert sorted(backlog.take(10)) == ["/etc/a", "/etc/b"]


def test_a_comparison_covers_what_had_changed_before_it(backlog: Backlog) -> None:
    backlog.add(["/etc/a"], "the connection is new")
    why, number = backlog.everything()
    assert why and backlog.due() == 0.0
    backlog.add(["/etc/b"])
    backlog.compared(number)
    assert backlog.everything()[0] == ""
    assert backlog.take(10) == ["/etc/b"]


def test_a_comparison_does_not_cover_what_changed_once_more_meanwhile(backlog: Backlog) -> None:
    # It had read the file between the two changes, and the second one was never sent.
    backlog.add(["/etc/a"])
    backlog.add((), "first connection")
    _, number = backlog.everything()
    backlog.add(["/etc/a"])
    backlog.compared(number)
    assert backlog.take(10) == ["/etc/a"]


def test_what_changed_on_its_way_and_failed_is_not_covered_either(backlog: Backlog) -> None:
    backlog.add(["/etc/a"])
    backlog.take(1)
    _, number = backlog.everything()
    backlog.add(["/etc/a"])
    backlog.put_back(["/etc/a"])
    backlog.compared(number)
    assert backlog.take(10) == ["/etc/a"]


def test_a_comparison_does_not_cover_an_overflow_that_came_later(backlog: Backlog) -> None:
    backlog.add([], "first")
    number = backlog.everything()[1]
    backlog.add([], "the queue has overflowed")
    backlog.compared(number)
    assert backlog.everything()[0]


def test_who_waits_for_a_comparison_waits_on_when_the_connection_breaks(backlog: Backlog) -> None:
    backlog.add([], "never compared")
    assert not backlog.wait_done(60.0, over=lambda: backlog.add([], "lost") or True)  # type: ignore


def test_what_a_comparison_could_not_put_right_stays(backlog: Backlog, clock: Clock) -> None:
    backlog.add(["/etc/a", "/etc/b"], "first")
    number = backlog.everything()[1]
    clock.now += 1
    backlog.compared(number, ["/etc/a", "/etc/unseen"], 5.0)
    assert backlog.size() == 2 and backlog.age() == 1
    assert backlog.take(10) == []
    clock.now += 5
    assert sorted(backlog.take(10)) == ["/etc/a", "/etc/unseen"]


def test_nobody_waits_for_what_comes_later(backlog: Backlog) -> None:
    backlog.add(["/etc/a"])

    def peer() -> bool:
        """Is asked while somebody waits, and takes the chance."""
        backlog.take(10)
        backlog.add(["/etc/later"])
        backlog.done(["/etc/a"])
        return False

    assert backlog.wait_done(60.0, over=peer)
    assert backlog.paths(10) == ["/etc/later"]


def test_a_wait_ends_when_there_is_no_more_sense_in_it(backlog: Backlog) -> None:
    backlog.add(["/etc/a"])
    assert not backlog.wait_done(60.0, over=lambda: True)


def test_every_addition_wakes(clock: Clock) -> None:
    woken: list[int] = []
    backlog = Backlog(lambda: woken.append(1), clock)
    backlog.add(["/etc/a"])
    backlog.add([], "why")
    assert len(woken) == 2


PATHS = st.sampled_from(["/etc/a", "/etc/b", "/etc/c"])


class Life(RuleBasedStateMachine):
    """Whatever happens in which order, the peer ends up with every change."""

    def __init__(self) -> None:
        super().__init__()
        self.backlog = Backlog()
        self.here: dict[str, int] = {}
        self.there: dict[str, int] = {}
        self.on_the_way: dict[str, int] = {}
        self.count = 0

    @rule(path=PATHS)
    def change(self, path: str) -> None:
        self.count += 1
        self.here[path] = self.count
        self.backlog.add([path])

    @rule(most=st.integers(1, 3))
    def send(self, most: int) -> None:
        for path in self.backlog.take(most):
            self.on_the_way[path] = self.here[path]

    @rule()
    def acknowledge(self) -> None:
        self.there.update(self.on_the_way)
        self.backlog.done(list(self.on_the_way))
        self.on_the_way.clear()

    @rule()
    def lose_the_connection(self) -> None:
        self.backlog.put_all_back()
        self.on_the_way.clear()

    @rule()
    def compare(self) -> None:
        if not self.on_the_way:
            number = self.backlog.everything()[1]
            self.there.update(self.here)
            self.backlog.compared(number)

    @invariant()
    def nothing_is_lost(self) -> None:
        different = {path for path in self.here if self.there.get(path) != self.here[path]}
        assert different <= set(self.backlog.paths(100))


TestLife = Life.TestCase
TestLife.settings = settings(max_examples=20, stateful_step_count=25)
