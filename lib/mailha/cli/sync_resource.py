# SPDX-License-Identifier: GPL-2.0-or-later
"""Which resource of config-sync a command line means, and what this node knows of it."""

from __future__ import annotations

import argparse

from mailha import errors
from mailha.sync.places import RUN_DIRECTORY, STATE_DIRECTORY, Places
from mailha.system.machine import Machine


HELP = "name of the resource; needed only where this node knows several"


def argument(parser: argparse.ArgumentParser) -> None:
    """Let a verb name its resource, as the other commands do."""
    parser.add_argument("resource", metavar="RESOURCE", nargs="?", default="", help=HELP)


def option(parser: argparse.ArgumentParser) -> None:
    """The same for a verb that is about something else, such as a path."""
    parser.add_argument("-r", "--resource", metavar="RESOURCE", default="", help=HELP)


def known(machine: Machine) -> list[str]:
    """Return the names of all resources that this node has sent or received for."""
    found = {*machine.files.names(RUN_DIRECTORY), *machine.files.names(STATE_DIRECTORY)}
    return sorted(name for name in found if not name.startswith("."))


def chosen(machine: Machine, options: argparse.Namespace) -> Places:
    """Return the places of the resource that is meant. Raises errors.Failed."""
    names = known(machine)
    if options.resource:
        places = Places(options.resource)
        if options.resource not in names:
            raise errors.Failed(f"this node knows no resource '{options.resource}' of config-sync",
                                remedy=_choice(names))
        return places
    if len(names) != 1:
        raise errors.Failed("this node knows no resource of config-sync" if not names else
                            "this node knows several resources of config-sync",
                            remedy=_choice(names))
    return Places(names[0])


def _choice(names: list[str]) -> str:
    if not names:
        return "start the resource in the cluster; a peer knows it when it has been sent to once"
    return f"name {' or '.join(names)}"
