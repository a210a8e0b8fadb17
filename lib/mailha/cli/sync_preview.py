# SPDX-License-Identifier: GPL-2.0-or-later
"""``mailha sync diff --profile``: what a resource would send that has never been started.

The first start sends at once what differs. So there is a look at it before: the settings are those
that the resource would have, and the peer is asked as for any other difference.
"""

from __future__ import annotations

import argparse
from typing import Iterable

from mailha import errors
from mailha.agents.config_sync import surroundings
from mailha.agents.config_sync.parameters import NONE
from mailha.cli.terminal import Terminal
from mailha.cluster import cib
from mailha.profiles.configuration import PROFILES
from mailha.sync.active.comparison import DIFFERS, ONLY_HERE, Difference
from mailha.sync.connection import pairing
from mailha.sync.files.settings import Settings
from mailha.sync.passive.judging import FOREIGN
from mailha.system.machine import Machine

QUESTION = 2.0
"""Seconds in which the cluster has to say which addresses it moves."""

NAME = "preview"
"""The resource for which the peer is asked if none is named; nothing is kept under it."""


def declare(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    before = parser.add_argument_group(
        "before the first start", "Show what a resource with these parameters would send and "
        "what not, and why, although there is none yet. Nothing is changed.")
    before.add_argument("--profile", choices=[*sorted(PROFILES), NONE], metavar="PROFILE",
                        help="one of %(choices)s")
    before.add_argument("--include", metavar="PATHS", default="", help="as the parameter")
    before.add_argument("--exclude", metavar="PATTERNS", default="", help="as the parameter")


def settings(machine: Machine, terminal: Terminal, options: argparse.Namespace) -> Settings:
    """Return the settings that the resource would have.

    Raises validation.Invalid for a wrong list and errors.Failed.
    """
    floating: list[str] = []
    try:
        floating = surroundings.addresses(cib.read(machine, QUESTION))
    except errors.MailhaError as error:
        terminal.warn(f"{error.reason}; so the addresses that the cluster moves count as this "
                      "node's own, and more may be withheld than is later")
    return surroundings.described(
        options.resource or NAME, pairing.node_name(machine), profile=options.profile,
        include=options.include, exclude=options.exclude, floating=floating)


def summary(node: str, found: Iterable[Difference]) -> str:
    """Return how much would be done on a peer."""
    counts = {"made": 0, "replaced": 0, "deleted": 0, "left alone": 0}
    for each in found:
        counts[_deed(each)] += 1
    told = ", ".join(f"{number} {deed}" for deed, number in counts.items() if number)
    return f"{node}: a start here would change this there: {told}."


def would(difference: Difference) -> str:
    """Return what would become of a path on a peer."""
    return {"made": "would be made", "replaced": "would be replaced; what is there is kept",
            "deleted": "would be deleted, and kept",
            "left alone": "is only there, was never replicated, and stays"}[_deed(difference)]


def _deed(difference: Difference) -> str:
    if difference.why == ONLY_HERE:
        return "made"
    if difference.why == DIFFERS:
        return "replaced"
    return "left alone" if difference.known == FOREIGN else "deleted"
