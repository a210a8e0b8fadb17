# SPDX-License-Identifier: GPL-2.0-or-later
"""Products as data: which services they have, how they are called, what they need. No logic.

A recurring monitor loads nothing of this room as long as the record of the active group is there.
"""

from __future__ import annotations


class ServiceProfile:
    """What is fixed about one service of a product.

    unit: its systemd unit. others: names that the unit has elsewhere, each tried before the ones
    behind it; unit is the first of all. program: the file name of its program, "" where it differs
    from version to version, then only systemd can run it. arguments: with what it stays in the
    foreground. main: a word of its Java virtual machine's command line, "" where it has none.
    needs: services that must serve before it starts. touches_data: whether two of it on two nodes
    would damage the data. configured: whether it reads a configuration file of its name. role: what
    it does for whom, in one word. listens: (protocol, host, port) of what it always listens on.
    asked: the same of what it listens on while it serves. optional: whether mail goes on without
    it. wanted: whether it is there only where another unit wants it: an instance of a template,
    which has one of every name. leader: the file name of the program without which the others of
    its unit serve nobody, where systemd does not know which process that is.
    """

    __slots__ = ("unit", "others", "program", "arguments", "main", "needs", "touches_data",
                 "configured", "role", "listens", "asked", "optional", "wanted", "leader")

    def __init__(self, unit: str, *, others: tuple[str, ...] = (), program: str = "",
                 arguments: tuple[str, ...] = (), main: str = "", needs: tuple[str, ...] = (),
                 touches_data: bool = False, configured: bool = True, role: str = "",
                 listens: tuple[tuple[str, str, int], ...] = (),
                 asked: tuple[tuple[str, str, int], ...] = (), optional: bool = False,
                 wanted: bool = False, leader: str = "") -> None:
        self.unit = unit
        self.others = others
        self.program = program
        self.arguments = arguments
        self.main = main
        self.needs = needs
        self.touches_data = touches_data
        self.configured = configured
        self.role = role
        self.listens = listens
        self.asked = asked
        self.optional = optional
        self.wanted = wanted
        self.leader = leader
