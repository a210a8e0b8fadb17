# SPDX-License-Identifier: GPL-2.0-or-later
"""Whether the cluster lets this node run the resource: no clone over data, and working STONITH."""

from __future__ import annotations

from mailha import errors
from mailha.cluster import stonith

TYPE_CHECKING = False
if TYPE_CHECKING:
    from mailha.ocf import Call
    from mailha.system.machine import Machine

# Of reading the CIB: the part of the budget that it may take, and the most, in seconds.
SHARE_OF_CIB = 0.2
LONGEST_FOR_CIB = 30.0


def require(call: Call, machine: Machine, *, touches_data: bool) -> None:
    """Ask the cluster whether only this node can run the group.

    touches_data: whether two of it would damage the data. Reads the parameters require_stonith and
    manual_node.

    Raises errors.NotAllowedHere, and errors.WrongParameter in a clone that works on the data.
    """
    clone_max = call.meta("clone_max")
    if clone_max.isdigit() and int(clone_max) > 1 and touches_data:
        raise errors.WrongParameter(
            f"it is in a clone of {clone_max} instances, and two servers destroy the data",
            remedy="take it out of the clone, or set clone-max=1")
    if not call.parameters["require_stonith"]:
        return
    if not call.in_cluster:
        call.log.info("called by hand, so nothing changes over by itself: STONITH is not asked for")
        return
    stonith.verdict(machine, node=call.node, manual_node=call.parameters["manual_node"],
                    requires=call.meta("requires"),
                    timeout=min(LONGEST_FOR_CIB, call.left() * SHARE_OF_CIB))
