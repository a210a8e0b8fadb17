# SPDX-License-Identifier: GPL-2.0-or-later
"""Figures as a table that is aligned for a terminal and is Markdown as well."""

from __future__ import annotations

from typing import List, Sequence


def render(head: Sequence[str], rows: Sequence[Sequence[str]], texts: int = 1) -> str:
    """Return the table.

    texts: how many columns, from the left, are text and not figures, which are flush right.
    """
    widths = [max(map(len, column)) for column in zip(head, *rows)]
    rule = ["-" * width if column < texts else "-" * (width - 1) + ":"
            for column, width in enumerate(widths)]
    return "\n".join(_line(row, widths, texts) for row in [head, rule, *rows])


def _line(cells: Sequence[str], widths: Sequence[int], texts: int) -> str:
    padded: List[str] = [cell.ljust(width) if column < texts else cell.rjust(width)
                         for column, (cell, width) in enumerate(zip(cells, widths))]
    return "| " + " | ".join(padded) + " |"
