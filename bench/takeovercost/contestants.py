# SPDX-License-Identifier: GPL-2.0-or-later
"""The fence agents that compete, and how they are set up.

None waits before it fires (no pcmk_delay_base): that would be added to each of them alike.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Dict, List, Sequence

from twonode.plan import BMC_USER, Plan

# fence_ipmilan needs both in any case: without them it speaks IPMI 1.5, or asks a controller that
# is not there for 10 s at every call.
NEEDED = "lanplus=1 cipher=3"


@dataclass(frozen=True)
class Contestant:
    """A fence agent as a cluster has it."""

    key: str            # in the names of its devices
    name: str
    agent: str
    parameters: str     # beyond address, user, password and target; as crmsh has it


OURS = Contestant("ours", "fence_ipmi", "fence_ipmi", "")
TUNED = Contestant("tuned", "fence_ipmilan power_wait=0", "fence_ipmilan", f"{NEEDED} power_wait=0")
USUAL = Contestant("usual", "fence_ipmilan", "fence_ipmilan", NEEDED)

ALL = (OURS, TUNED, USUAL)


def devices(contestant: Contestant, plan: Plan) -> Dict[str, str]:
    """Return the names of a contestant's devices, each with the node that it kills."""
    return {f"{contestant.key}_{node}": node for node in plan.nodes}


def configuration(contestants: Sequence[Contestant], plan: Plan) -> str:
    """Return all devices for crmsh, none of which is to run yet, each off the node that it kills.
    """
    lines: List[str] = []
    for each in contestants:
        for device, node in devices(each, plan).items():
            own = f"node={node} " if each is OURS else ""
            lines += [
                f"primitive {device} stonith:{each.agent} params ip={plan.bmc_address(node)} "
                f"username={BMC_USER} password_script=/etc/mailha/bmc-password {each.parameters} "
                f"{own}pcmk_host_list={node} "
                "meta target-role=Stopped migration-threshold=INFINITY "
                "op start interval=0s timeout=60s op monitor interval=600s timeout=60s",
                f"location {device}_not_there {device} -inf: {node}"]
    return "\n".join(lines) + "\n"
