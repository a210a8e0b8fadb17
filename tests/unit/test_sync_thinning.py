# SPDX-License-Identifier: GPL-2.0-or-later
"""Which kept copies go: the oldest, never a young one, never one that nobody has seen."""

from __future__ import annotations

import calendar
import time
from typing import List

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailha.sync.passive import thinning
from mailha.sync.passive.kept import OPEN, Copy
from mailha.sync.passive.thinning import surplus

NOW = calendar.timegm((2026, 11, 21, 12, 0, 0))


def copy(days: float, why: str = "replaced", size: int = 1) -> Copy:
    """Return a copy that is so many days old."""
    when = time.strftime("%Y%m%dT%H%M%S", time.gmtime(NOW - days * 86400)) + ".000000Z"
    return Copy("/etc/a", when, why, f"/kept/a~{when}~{why}", size)


def test_few_and_young_copies_stay() -> None:
    assert surplus([copy(days) for days in range(0, 300, 10)], NOW) == ([], "")


def test_what_is_older_than_a_year_goes() -> None:
    gone, complaint = surplus([copy(367), copy(365), copy(400, "unsent"), copy(500)], NOW)
    assert gone == [copy(500), copy(367)] and complaint == ""


def test_too_many_bytes_go_the_oldest_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(thinning, "MOST_BYTES", 100)
    gone, complaint = surplus([copy(days, size=40) for days in (20, 30, 40, 50)], NOW)
    assert gone == [copy(50, size=40), copy(40, size=40)] and complaint == ""


def test_what_is_young_or_unseen_is_told_and_not_removed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(thinning, "MOST_COPIES", 2)
    gone, complaint = surplus([copy(1), copy(13), copy(30, "conflict"), copy(30, "undeleted")],
                              NOW)
    assert gone == [] and "4 copies" in complaint and "--seen" in complaint


def test_a_clock_that_is_years_ahead_does_not_cost_everything() -> None:
    gone, _ = surplus([copy(days / 100) for days in range(5000)], NOW + 10 * 366 * 86400)
    assert len(gone) == thinning.MOST_AT_ONCE


@given(st.lists(st.tuples(st.integers(0, 500), st.sampled_from(["replaced", "deleted", *OPEN]),
                          st.integers(0, 1 << 29)), max_size=60))
def test_whatever_there_is_only_old_and_seen_copies_go(given: List[tuple]) -> None:  # type: ignore
    copies = [copy(*each) for each in given]
    found = surplus(copies, NOW)
    left = sum(each.size for each in copies) - sum(each.size for each in found.gone)
    assert all(each.why not in OPEN and each.when <= copy(thinning.SAFE_DAYS).when
               for each in found.gone)
    assert bool(found.complaint) == (left > thinning.MOST_BYTES)
