# SPDX-License-Identifier: GPL-2.0-or-later
"""Everything that can go wrong, as classes that own their OCF exit code.

A failure is raised where it is known and caught once, at the top of the agent, which prints it as
the one ``ocf-exit-reason:`` line and ends with its code. Nothing in between calls ``sys.exit``.

The codes are those of the OCF resource agent API 1.1. What Pacemaker does about them decides which
class to raise:

* soft: Pacemaker stops and starts the resource, here or, after ``migration-threshold``, elsewhere;
* hard: this node is banned for the resource until somebody cleans up;
* fatal: the resource is stopped on every node.
"""

from __future__ import annotations

SUCCESS = 0
ERR_GENERIC = 1
ERR_ARGS = 2
ERR_UNIMPLEMENTED = 3
ERR_PERM = 4
ERR_INSTALLED = 5
ERR_CONFIGURED = 6
NOT_RUNNING = 7
DEGRADED = 190


class MailhaError(Exception):
    """A finding that ends the action.

    reason: what was found, where, and which rule it breaks.
    remedy: what the administrator can do about it; may be empty where nothing is to be done.
    """

    code = ERR_GENERIC
    kind = "soft"

    def __init__(self, reason: str, *, remedy: str = "") -> None:
        super().__init__(reason)
        self.reason = reason
        self.remedy = remedy

    def __str__(self) -> str:
        return f"{self.reason}; {self.remedy}" if self.remedy else self.reason


class Failed(MailhaError):
    """The action failed, or its result is unclear: Pacemaker shall recover."""


class BudgetSpent(Failed):
    """The time that Pacemaker gave the action is used up."""


class UnknownAction(MailhaError):
    """The agent was called with an action that it does not have."""

    code = ERR_UNIMPLEMENTED
    kind = "hard"


class NotRoot(MailhaError):
    """The action needs root and was called by somebody else."""

    code = ERR_PERM
    kind = "hard"


class NotAllowedHere(MailhaError):
    """This node must not run the resource; another one may.

    Raised for what is wrong with this node alone: software or unit missing, STONITH not usable,
    storage unfit, data newer than the software. It is OCF's "not installed": on a probe Pacemaker
    takes it silently as "not running here", at a start it bans the node.
    """

    code = ERR_INSTALLED
    kind = "hard"


class NotInstalled(NotAllowedHere):
    """Software that the resource needs is missing on this node."""


class WrongParameter(MailhaError):
    """A parameter of the resource that can be right on no node.

    Stops the resource everywhere, so it is raised for the text of a parameter only, never for what
    a node's files or mounts look like, and never from a probe or a monitor.
    """

    code = ERR_CONFIGURED
    kind = "fatal"


class NotRunning(MailhaError):
    """The resource is cleanly stopped: a monitor's answer, not a failure."""

    code = NOT_RUNNING


class Degraded(MailhaError):
    """The resource serves, but something about it needs an administrator."""

    code = DEGRADED
