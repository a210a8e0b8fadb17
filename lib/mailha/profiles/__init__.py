# SPDX-License-Identifier: GPL-2.0-or-later
"""Products as data: which services they have, how they are called, what they need. No logic.

A recurring monitor loads nothing of this room as long as the record of the active group is there.
"""

from __future__ import annotations


class ServiceProfile:
    """What is fixed about one service of a product.

    unit: its systemd unit. program: the file name of its program, "" where it differs from version
    to version, then only systemd can run it. arguments: with what it stays in the foreground.
    needs: services that must serve before it starts. touches_data: whether two of it on two nodes
    would damage the data. configured: whether it reads a configuration file of its name.
    """

    __slots__ = ("unit", "program", "arguments", "needs", "touches_data", "configured")

    def __init__(self, unit: str, *, program: str = "", arguments: tuple[str, ...] = (),
                 needs: tuple[str, ...] = (), touches_data: bool = False,
                 configured: bool = True) -> None:
        self.unit = unit
        self.program = program
        self.arguments = arguments
        self.needs = needs
        self.touches_data = touches_data
        self.configured = configured
