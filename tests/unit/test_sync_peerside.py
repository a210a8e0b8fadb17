# SPDX-License-Identifier: GPL-2.0-or-later
"""What a sender knows of its receiver's paths."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as some

from mailha.sync.active.peerside import PeerSide

PATHS = some.lists(some.sampled_from("ab"), min_size=1, max_size=4).map(
    lambda parts: "/" + "/".join(parts))


@given(some.lists(some.tuples(some.booleans(), PATHS), max_size=40), PATHS)
def test_it_says_what_a_plain_search_says(changes: list[tuple[bool, str]], asked: str) -> None:
    side, plain = PeerSide(), set()
    for put, path in changes:
        if put:
            side.put(path, "1")
            plain.add(path)
        else:
            side.drop(path)
            plain.discard(path)
    assert side.below(asked) == sorted((path for path in plain if path.startswith(asked + "/")),
                                       reverse=True)
    assert (asked in side) == (asked in plain)


def test_what_is_below_comes_the_deepest_first() -> None:
    side = PeerSide(dict.fromkeys(["/etc/d", "/etc/d/a/b", "/etc/d/a", "/etc/dd"], "1"))
    assert side.below("/etc/d") == ["/etc/d/a/b", "/etc/d/a"]
