# SPDX-License-Identifier: GPL-2.0-or-later
"""``mailha sync``: the administrator's side of configuration that follows the active node.

One module for each group of verbs: sync_pair makes two nodes known to each other, sync_status and
sync_diff look, sync_control speaks to the sender, sync_kept brings back what was kept. The verbs
that no person calls are in sync_programs: the two ends of the connection.
"""

from __future__ import annotations

import argparse
from typing import Dict, Iterator

from mailha.cli import sync_control, sync_diff, sync_kept, sync_pair, sync_programs, sync_status
from mailha.cli.terminal import Terminal
from mailha.system.machine import Machine

DESCRIPTION = """\
The configuration of the mail servers follows the active node: while the resource of
ocf:mailha:config-sync is started on a node, that node sends what changes to its peers. These
commands pair nodes, show what is replicated and what is not, and repair."""

MODULES = (sync_pair, sync_status, sync_diff, sync_control, sync_kept, sync_programs)


def declare(parser: argparse.ArgumentParser) -> None:
    """Give the parser its arguments."""
    parser.description = DESCRIPTION
    verbs = parser.add_subparsers(metavar="VERB", dest="verb", required=True)
    for module in MODULES:
        module.declare(verbs)
    verbs.choices = _Choices(verbs.choices)


class _Choices(Dict[str, argparse.ArgumentParser]):
    """The verbs; those that no person calls are understood, and not listed where one is wrong."""

    def __iter__(self) -> Iterator[str]:
        """Give those that people call."""
        return (name for name in super().__iter__() if name not in sync_programs.NAMES)


def needs_root(options: argparse.Namespace) -> bool:
    """Tell whether only root may do it: all of it, as keys and kept copies are root's."""
    return True


def run(machine: Machine, terminal: Terminal, options: argparse.Namespace) -> None:
    """Do what the verb says. Raises errors.MailhaError."""
    options.act(machine, terminal, options)
