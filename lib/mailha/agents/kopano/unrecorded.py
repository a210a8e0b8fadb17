# SPDX-License-Identifier: GPL-2.0-or-later
"""The group on a node where no start has left its record: the passive node, or a lost record."""

from __future__ import annotations

from mailha import errors
from mailha.agents.kopano import plan
from mailha.mailserver import sharing
from mailha.services.service import Group

TYPE_CHECKING = False
if TYPE_CHECKING:
    from mailha.ocf import Call
    from mailha.system.machine import Machine


def group(call: Call, machine: Machine) -> Group:
    """Return the group as well as it can be known.

    For a probe its programs are enough. A recurring monitor also wants the addresses; where the
    configuration does not tell them, the processes have to do, since a broken file is no reason to
    doubt a service that serves.
    """
    if call.is_probe:
        return sharing.without_others(call, machine, plan.bare_group(call, machine))
    from mailha.products.kopano import installed
    try:
        version = installed.installed_version(machine, call.left() / 4)
    except errors.MailhaError as error:
        call.log.warning(str(error))
        return plan.bare_group(call, machine)
    names = call.parameters["services"]
    found, wrong = plan.configurations(call, machine, version, names)
    for finding in wrong.values():
        call.log.warning(str(finding))
    return Group(call.resource, plan.manager(call, machine),
                 [plan.service(call, name, found.get(name)) for name in names],
                 call.parameters["optional_services"])
