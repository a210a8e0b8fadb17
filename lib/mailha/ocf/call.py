# SPDX-License-Identifier: GPL-2.0-or-later
"""One call of an agent: what is to be done, for which resource, with which values, in which time.

The only place that reads the environment. What Pacemaker puts there:

* OCF_RESKEY_NAME for the parameters that are set; defaults are the agent's job. An empty one counts
  as not set, and a name that no parameter has is not looked at.
* OCF_RESKEY_CRM_meta_NAME for the meta-attributes. CRM_meta_interval is there for a recurring
  monitor only: a probe has none (some callers say 0).
* OCF_CHECK_LEVEL where the operation has that attribute.

And what we put there ourselves: MAILHA_BEGUN in a call that is made for the second time, see
:mod:`mailha.replaced`.

A recurring monitor loads this module.
"""

from __future__ import annotations

from mailha.ocf import budget
from mailha.ocf.declaration import OWN_TIMEOUTS, VALIDATE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable, Mapping

    from mailha.ocf.declaration import Agent
    from mailha.ocf.output import Output

_META = "OCF_RESKEY_CRM_meta_"


class Call:
    """One call of an agent.

    agent: its declaration. action: the name of the action. resource: the resource's name, for a
    clone with ":N" at the end; empty if nobody said it. check_level: how deep a monitor or
    validate-all looks. node: our name in the cluster, empty outside. in_cluster: whether Pacemaker
    calls. is_probe: a monitor that asks whether the resource runs here at all. is_recurring: a
    monitor of a resource that was started here. timeout: seconds after which Pacemaker kills.
    """

    def __init__(self, agent: Agent, action: str, environment: Mapping[str, str],
                 monotonic: Callable[[], float]) -> None:
        self.agent = agent
        self.action = action
        self.resource = environment.get("OCF_RESOURCE_INSTANCE", "")
        self._environment = environment
        self._monotonic = monotonic
        self.check_level = _number(environment.get("OCF_CHECK_LEVEL", ""))
        self.node = self.meta("on_node")
        self.in_cluster = bool(self.node)
        self.is_recurring = action == "monitor" and _number(self.meta("interval")) > 0
        self.is_probe = action == "monitor" and not self.is_recurring
        declared = agent.action(action, self.check_level)
        self.timeout = budget.timeout(
            self.meta("timeout"), declared.timeout if declared else OWN_TIMEOUTS.get(action, 20))
        if "MAILHA_BEGUN" in environment:
            # Pacemaker counts from the first call on.
            self.timeout = budget.remaining(self.timeout, environment["MAILHA_BEGUN"], monotonic())
        self._deadline = monotonic() + self.timeout - budget.reserve(self.timeout)
        self._parameters: dict[str, Any] | None = None
        self._problems: list[str] = []

    @property
    def parameters(self) -> dict[str, Any]:
        """The value of every declared parameter by name; read when first asked for.

        A value that is invalid is said in the log then: a monitor or a stop that failed for a word
        in the configuration would take down a service that serves, or the whole node. Where it
        does count, the reason says it.
        """
        if self._parameters is None:
            self._parameters = self._read_parameters()
            if self.action not in ("start", VALIDATE):
                for problem in self._problems:
                    self.log.warning(f"{problem}; going on as if it were not set")
        return self._parameters

    @property
    def has_parameters(self) -> bool:
        """Whether any is set: without one, none can be wrong, and the declarations stay unread."""
        return any(name.startswith("OCF_RESKEY_") and value
                   and not name.startswith((_META, "OCF_RESKEY_crm_feature_set"))
                   for name, value in self._environment.items())

    @property
    def problems(self) -> list[str]:
        """What is wrong with the values of the parameters, one reason each."""
        return self._problems if self.parameters is not None else []

    def meta(self, name: str, default: str = "") -> str:
        """Return a meta-attribute of the resource or the operation as text."""
        return self._environment.get(_META + name, default)

    def left(self) -> float:
        """Return the seconds that are left of the budget; 0 when it is used up."""
        return max(0.0, self._deadline - self._monotonic())

    @property
    def log(self) -> Output:
        """Where lines for the log go. Loaded when first used: most monitors say nothing."""
        found: Output | None = self.__dict__.get("_log")
        if found is None:
            from mailha.ocf.output import Output
            found = self.__dict__["_log"] = Output(self.agent.name, self._environment)
        return found

    def _read_parameters(self) -> dict[str, Any]:
        """Return the values; what is wrong with them goes to the problems."""
        from mailha.validation.text import Invalid
        values: dict[str, Any] = {}
        for parameter in self.agent.parameters:
            name = parameter.name
            text = self._environment.get("OCF_RESKEY_" + name, "")
            if text:
                try:
                    values[name] = parameter.type.parse(text)
                    continue
                except Invalid as error:
                    self._problems.append(f"parameter {name}: {error}")
            elif parameter.required:
                self._problems.append(f"parameter {name}: not set, where "
                                      f"{parameter.type.expected} is expected")
            values[name] = parameter.default_value()
        return values


def _number(text: str) -> int:
    """Return a whole number, 0 for anything that is none."""
    return int(text) if text.isascii() and text.isdigit() and len(text) < 16 else 0
