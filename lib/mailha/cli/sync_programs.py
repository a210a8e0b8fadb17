# SPDX-License-Identifier: GPL-2.0-or-later
"""The verbs of ``mailha sync`` that no person calls: the two ends of the connection.

``send`` is what the unit of a resource runs. ``receive`` is what a peer's key may start, by root's
authorized_keys; its standard input and output are the connection.
"""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from mailha import errors
from mailha.cli.terminal import Terminal
from mailha.system.machine import Machine

if TYPE_CHECKING:
    from argparse import _SubParsersAction

    Verbs = _SubParsersAction[argparse.ArgumentParser]

NAMES = ("send", "receive")
STDIN, STDOUT = 0, 1


def declare(verbs: Verbs) -> None:
    """Add the verbs; without a help text they are not in the list."""
    send = verbs.add_parser("send", description="Send what changes to the peers, until SIGTERM. "
                            "The unit mailha-sync@RESOURCE.service runs this.")
    send.add_argument("resource", metavar="RESOURCE")
    send.set_defaults(act=_send)
    receive = verbs.add_parser("receive", description="Be the other end of a sender, on standard "
                               "input and output. A peer starts this over SSH.")
    receive.set_defaults(act=_receive)


def _send(machine: Machine, terminal: Terminal, options: argparse.Namespace) -> None:
    """Send until SIGTERM. Raises errors.MailhaError."""
    from mailha.sync.active import sending
    code = sending.main(machine, options.resource)
    if code:
        raise errors.Failed(f"the sender of {options.resource} ended with {code}",
                            remedy="see above")


def _receive(machine: Machine, terminal: Terminal, options: argparse.Namespace) -> None:
    """Receive until the connection ends."""
    from mailha.sync.passive import receiving
    receiving.serve(machine, STDIN, STDOUT)
