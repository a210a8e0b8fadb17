# SPDX-License-Identifier: GPL-2.0-or-later
"""What validate-all finds on this node.

What only keeps a peer from being sent to is a warning: it would not keep the resource from
starting.
"""

from __future__ import annotations

import os

from mailha import errors
from mailha.agents.config_sync import surroundings
from mailha.sync.connection import peers
from mailha.sync.files import replicated

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Iterator

    from mailha.cluster.cib import Cib
    from mailha.ocf.call import Call
    from mailha.system.machine import Machine

QUESTION = 2.0
"""Seconds in which the cluster has to answer; there may be none."""


def findings(call: Call, machine: Machine) -> Iterator[errors.MailhaError]:
    """Yield what a start on this node would be refused for.

    What is hidden from somebody who is not root is no finding.
    """
    try:
        surroundings.require_unit(call, machine)
    except (errors.NotInstalled, errors.WrongParameter) as error:
        yield error
    except errors.MailhaError as error:
        call.log.debug(f"systemd could not be asked: {error}")
    cib = _configuration(call, machine)
    selection = replicated.select(machine, surroundings.settings(call, cib, generation=0))
    surroundings.warn_of_crossings(call, machine, cib, selection)
    if os.geteuid() != 0:
        return
    named = call.parameters["peers"]
    paired = [peer.node for peer in peers.peers(machine)]
    for node in named or ([] if paired else ["NODE"]):
        if node not in paired:
            call.log.warning(f"this node is not paired with {node if named else 'any other'}, so "
                             f"nothing will be sent there; 'mailha sync pair {node}' pairs them")


def _configuration(call: Call, machine: Machine) -> Cib | None:
    """Return the cluster's configuration where somebody calls this by hand, too, if there is one.
    """
    from mailha.cluster import cib
    try:
        return cib.read(machine, min(QUESTION, call.left() / 3))
    except errors.MailhaError as error:
        if call.in_cluster:
            raise
        call.log.debug(f"no cluster could be asked: {error}")
        return None
