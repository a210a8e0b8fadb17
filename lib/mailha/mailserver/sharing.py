# SPDX-License-Identifier: GPL-2.0-or-later
"""Services that another resource runs on this node: two resources never share one."""

from __future__ import annotations

from mailha.services import active
from mailha.services.service import Group

TYPE_CHECKING = False
if TYPE_CHECKING:
    from mailha.ocf import Call
    from mailha.system.machine import Machine


def without_others(call: Call, machine: Machine, group: Group) -> Group:
    """Return the group without the services that another resource runs on this node.

    Whoever names them twice by mistake must not take them down by a probe and the stop that
    follows it.
    """
    others = active.of_others(machine, group)
    taken = [service for service in group.services if service.unit in others]
    if not taken:
        return group
    call.log.warning(f"service '{taken[0].name}' is run by the cluster resource "
                     f"'{others[taken[0].unit]}', and is left alone; name each service in one "
                     "resource only")
    return Group(group.resource, group.manager,
                 [service for service in group.services if service not in taken], group.optional)
