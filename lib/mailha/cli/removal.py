# SPDX-License-Identifier: GPL-2.0-or-later
"""``mailha removal``: make this node ready for a removal of the package.

The packages call it before their files go, and end the removal when it fails. A resource whose
agent is gone can neither be watched nor stopped: Pacemaker takes "not installed" at a stop for a
failed stop and has the node fenced, with mail running on it. And a node that has lost its fence
agent cannot fence the other one, which nobody notices before the night in which it should.

The guards go with the agents, because nothing else could start the guarded units any more. An
upgrade of the package is no removal and calls none of this.
"""

from __future__ import annotations

import argparse

from mailha import errors
from mailha.cli import guards
from mailha.cli.terminal import Terminal
from mailha.cluster import cib, mark, resources
from mailha.services import active
from mailha.sync import places
from mailha.sync.active import sender
from mailha.system.machine import Machine

DESCRIPTION = """\
Make this node ready for a removal of the package, which calls this by itself: refuse it while a
resource of mailha runs here, or while the cluster that runs here fences with mailha's agents, and
take off every guard."""

RECORDS = (active.DIRECTORY, mark.DIRECTORY, "/run/mailha/cyrus-storage")
"""Where the agents say that a resource runs on this node: one file a resource, of this boot."""

FENCE_AGENTS = ("stonith:fence_ipmi", "stonith:fence_racadm")

PATIENCE_WITH_CLUSTER = 5.0
"""Seconds for the cluster's configuration: what a removal waits where no cluster runs, too, because
one that is starting gives no answer either."""


def declare(parser: argparse.ArgumentParser) -> None:
    """Give the parser its arguments."""
    parser.description = DESCRIPTION
    parser.add_argument("--force", action="store_true",
                        help="warn where it would refuse: for a node that will not run mail again")


def needs_root(options: argparse.Namespace) -> bool:
    """Tell whether only root may do it."""
    return True


def run(machine: Machine, terminal: Terminal, options: argparse.Namespace) -> None:
    """Refuse or prepare. Raises errors.MailhaError."""
    for look in (_running, _fencing):
        finding = look(machine)
        if finding is not None and not options.force:
            raise finding
        if finding is not None:
            terminal.warn(f"{finding.reason}; going on because of --force")
    guards.take_off_all(machine, terminal, force=options.force)


def _running(machine: Machine) -> errors.MailhaError | None:
    """Find resources of mailha that run on this node."""
    names = sorted({name for directory in RECORDS for name in _names(machine, directory)}
                   | {name for name in _names(machine, places.RUN_DIRECTORY)
                      if sender.holder(machine, name)})
    if not names:
        return None
    several = len(names) > 1
    listed = ", ".join(f"'{name}'" for name in names)
    return errors.Failed(
        f"the {'resources' if several else 'resource'} {listed} {'run' if several else 'runs'} on "
        "this node: without the agents Pacemaker cannot stop them, and fences the node for that",
        remedy="move them away first ('crm node standby', 'pcs node standby'), or stop and delete "
               "them ('crm resource stop NAME' and 'crm configure delete NAME', 'pcs resource "
               "delete NAME'); 'mailha removal --force' if nothing of them runs any more")


def _names(machine: Machine, directory: str) -> list[str]:
    """Return the resources that have a file in a directory; a dot begins what is no resource's."""
    try:
        return [name for name in machine.files.names(directory) if not name.startswith(".")]
    except OSError:
        return []


def _fencing(machine: Machine) -> errors.MailhaError | None:
    """Find whether the cluster on this node fences with one of our agents."""
    try:
        configuration = cib.read(machine, PATIENCE_WITH_CLUSTER)
    except errors.MailhaError:
        return None         # no cluster runs here, so nobody is fenced from here
    devices = sorted(resource.identifier for resource in resources.every(configuration)
                     if resource.agent in FENCE_AGENTS)
    if not devices:
        return None
    return errors.Failed(
        f"the cluster fences by mailha's agents ({', '.join(devices)}), and this node could not "
        "fence any more",
        remedy="stop the cluster on this node first ('crm cluster stop', 'pcs cluster stop'), or "
               "replace these devices")
