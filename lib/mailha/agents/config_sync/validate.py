# SPDX-License-Identifier: GPL-2.0-or-later
"""What validate-all finds on this node.

What only keeps a peer from being sent to is a warning: it would not keep the resource from
starting.
"""

from __future__ import annotations

import os

from mailha import errors
from mailha.agents.config_sync import surroundings
from mailha.sync import peers, replicated

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Iterator

    from mailha.ocf.call import Call
    from mailha.system.machine import Machine


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
    replicated.select(machine, surroundings.settings(call, machine, generation=0))
    if os.geteuid() != 0:
        return
    named = call.parameters["peers"]
    paired = [peer.node for peer in peers.peers(machine)]
    for node in named or ([] if paired else ["NODE"]):
        if node not in paired:
            call.log.warning(f"this node is not paired with {node if named else 'any other'}, so "
                             f"nothing will be sent there; 'mailha sync pair {node}' pairs them")
