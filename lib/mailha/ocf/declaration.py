# SPDX-License-Identifier: GPL-2.0-or-later
"""What an agent declares: its parameters and its actions.

It is declared once. Meta-data, parsing, defaults, budgets, man page and tests all read it from
here, so no two of them can say different things.

A recurring monitor loads this module, and with it the declaration of its agent.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable, Iterable, Mapping, Union

    from mailha import errors
    from mailha.ocf.call import Call
    from mailha.validation.text import Type

    Handler = Callable[[Call], None]
    Check = Callable[[Mapping[str, Any]], Iterable[str]]
    Findings = Callable[[Call], Iterable[errors.MailhaError]]
    Parameters = Union[tuple["Parameter", ...], Callable[[], tuple["Parameter", ...]]]

METADATA = "meta-data"
VALIDATE = "validate-all"

OWN_TIMEOUTS = {METADATA: 10, VALIDATE: 20}
"""Seconds. The actions that every agent has and that the room itself answers."""


class Parameter:
    """A parameter of an agent.

    name: as in the cluster's configuration. type: what its value looks like. default: as text, and
    advertised as it stands here; empty for none. short, long: what it is for, in one line and in
    full. required: start and validate-all refuse without it. unique_group: no two resources may
    have the same values in all parameters of one such group. reloadable: a change of it needs no
    restart, because reload-agent or the next action reads it.
    """

    def __init__(self, name: str, type: Type, *, default: str = "", short: str, long: str,
                 required: bool = False, unique_group: str = "", reloadable: bool = False) -> None:
        self.name = name
        self.type = type
        self.default = default
        self.short = short
        self.long = long
        self.required = required
        self.unique_group = unique_group
        self.reloadable = reloadable

    def default_value(self) -> Any:
        """Return the value that holds where the parameter is not set."""
        return self.type.parse(self.default) if self.default else self.type.absent


class Action:
    """An action of an agent.

    handler: called with the Call; returns for success, raises errors.MailhaError for all else. It
    imports what it needs by itself, so that a monitor does not load what only a start uses.
    timeout: seconds, as advertised. interval: seconds, for a monitor. depth: the check level that
    the interval and the timeout are for, None for level 0.
    """

    def __init__(self, name: str, handler: Handler, *, timeout: int, interval: int | None = None,
                 depth: int | None = None) -> None:
        self.name = name
        self.handler = handler
        self.timeout = timeout
        self.interval = interval
        self.depth = depth


class Agent:
    """An agent.

    name: as in ocf:mailha:NAME. short, long: what it is, in one line and in full. parameters: what
    can be set, or a function that returns it, so that a monitor which needs none of them does not
    load them. actions: without meta-data and validate-all, which every agent has.
    check: gets the values of the parameters and yields what contradicts itself between them: a
    reason for each, without the node being looked at. findings: gets the call and yields what this
    node has against a start, for validate-all; what cannot be found out by whoever asks is no
    finding.
    """

    def __init__(self, name: str, *, short: str, long: str, parameters: Parameters,
                 actions: tuple[Action, ...], check: Check | None = None,
                 findings: Findings | None = None) -> None:
        self.name = name
        self.short = short
        self.long = long
        self._parameters = parameters
        self.actions = actions
        self.check = check
        self.findings = findings

    @property
    def parameters(self) -> tuple[Parameter, ...]:
        """What can be set."""
        if callable(self._parameters):
            self._parameters = self._parameters()
        return self._parameters

    def action(self, name: str, level: int = 0) -> Action | None:
        """Return the action of that name, the one for the check level if there are several."""
        found = None
        for action in self.actions:
            if action.name == name:
                if (action.depth or 0) == level:
                    return action
                found = found or action
        return found

    def action_names(self) -> list[str]:
        """Return the names of all actions, each once, in the order of the declaration."""
        return list(dict.fromkeys([*(action.name for action in self.actions), *OWN_TIMEOUTS]))
