# SPDX-License-Identifier: GPL-2.0-or-later
"""Who comes when in a round.

What else the machine does comes and goes. Contestants that are measured one after the other, all
rounds of the first, then all of the second, would each meet another machine; one after the other
in every round, all meet the same one. Rotating the order keeps one from always running after the
same neighbour, whose files are still in the caches.
"""

from __future__ import annotations

from typing import List, Sequence, TypeVar

Each = TypeVar("Each")


def rotated(turns: Sequence[Each], number: int) -> List[Each]:
    """Return the order of a round: each turn comes at every place, and after either neighbour.

    number: of the round, from 0 on. Every second round is the one before it, backwards: were each
    turned on by one as well, an even number of turns would leave each at half of the places.
    """
    if not turns:
        return []
    turned = number // 2 % len(turns)
    order = [*turns[turned:], *turns[:turned]]
    return order[::-1] if number % 2 else order


def comes(number: int, times: int, rounds: int) -> bool:
    """Return whether who has `times` turns in all has one in this round: evenly, and in the last.

    number: of the round, from 0 on. times: at most one turn a round. rounds: of the whole run.
    """
    return (number + 1) * times // rounds > number * times // rounds
