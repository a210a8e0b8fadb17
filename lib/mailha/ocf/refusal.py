# SPDX-License-Identifier: GPL-2.0-or-later
"""Calls that no handler ever sees: wrong action, wrong user, no resource.

Loaded when there is one.
"""

from __future__ import annotations

import os

from mailha import errors
from mailha.validation.text import shown

TYPE_CHECKING = False
if TYPE_CHECKING:
    from mailha.ocf.declaration import Agent


def unknown_action(agent: Agent, action: str) -> errors.UnknownAction:
    """Return the error for an action that the agent does not have; empty if none was given."""
    remedy = f"give one of {', '.join(agent.action_names())}"
    if not action:
        return errors.UnknownAction(f"usage: {agent.name} ACTION; no action was given",
                                    remedy=remedy)
    return errors.UnknownAction(f"there is no action {shown(action)}", remedy=remedy)


def not_root(action: str) -> errors.NotRoot:
    """Return the error for a user who may not do this."""
    return errors.NotRoot(f"{action} needs root and was called by the user with id {os.geteuid()}",
                          remedy="call it as root")


def no_resource(name: str) -> errors.Failed:
    """Return the error for what cannot be the name of a resource."""
    return errors.Failed(f"OCF_RESOURCE_INSTANCE is {shown(name)}, which is no name of a resource",
                         remedy="set it when you call the agent by hand")
