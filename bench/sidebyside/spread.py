# SPDX-License-Identifier: GPL-2.0-or-later
"""Median and quartiles."""

from __future__ import annotations

import statistics
from dataclasses import dataclass
from typing import Sequence


@dataclass(frozen=True)
class Spread:
    """The middle of some figures, and the half of them around it."""

    lower: float
    median: float
    upper: float

    def __str__(self) -> str:
        return f"{self.median:.1f} ({self.lower:.1f} to {self.upper:.1f})"


def spread(values: Sequence[float]) -> Spread:
    """Return median and quartiles. A single value is all three; none raises ValueError."""
    if not values:
        raise ValueError("there is no median of nothing")
    if len(values) == 1:
        return Spread(values[0], values[0], values[0])
    return Spread(*statistics.quantiles(values, n=4, method="inclusive"))
