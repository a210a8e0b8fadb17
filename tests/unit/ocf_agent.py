# SPDX-License-Identifier: GPL-2.0-or-later
"""An agent to try the ocf room on, and how to call it without a process of its own."""

from __future__ import annotations

from typing import Any, Callable, Dict, Iterable, List, Mapping, NamedTuple, Optional

import pytest

from mailha import errors
from mailha.ocf import Action, Agent, Call, Parameter
from mailha.ocf.run import perform
from mailha.validation import Boolean, Choice, Path, Words
from mailha.validation.numbers import Integer

PARAMETERS = (
    Parameter("services", Words(("server", "dagent", "ical")), default="server dagent",
              short="Services", long="The services."),
    Parameter("data_dir", Path(), default="/var/lib/kopano", short="Data", long="The data.",
              unique_group="data"),
    Parameter("manager", Choice("systemd", "direct"), default="systemd", short="Manager",
              long="Who runs <them> & \"why\"."),
    Parameter("patience", Integer(1, 600), short="Patience", long="Seconds.", reloadable=True),
    Parameter("strict", Boolean(), default="true", short="Strict", long="Strict or not."),
)


class Said(NamedTuple):
    """What came of a call: the exit code, and what was written."""

    code: int
    out: str
    err: str

    @property
    def reasons(self) -> List[str]:
        """The exit reasons; there is one for a failure and none for success."""
        return [line[len("ocf-exit-reason:"):] for line in self.err.splitlines()
                if line.startswith("ocf-exit-reason:")]

    @property
    def reason(self) -> str:
        """The only exit reason, which has to be the last line."""
        [reason] = self.reasons
        assert self.err.endswith(f"ocf-exit-reason:{reason}\n")
        assert self.err.count("ocf-exit-reason:") == 1
        return reason


class Trial:
    """An agent whose handlers do what the test says; calls: the calls that they got."""

    def __init__(self, capfd: pytest.CaptureFixture[str]) -> None:
        self._capfd = capfd
        self.calls: List[Call] = []
        self.does: Callable[[Call], Any] = lambda call: None
        self.contradictions: List[str] = []
        self.found: List[errors.MailhaError] = []
        self.agent = Agent(
            "trial", short="An agent", long="An agent.\n\nWith two paragraphs: <b>&amp; more.",
            parameters=PARAMETERS,
            actions=(Action("start", self._handle, timeout=60),
                     Action("stop", self._handle, timeout=90),
                     Action("monitor", self._handle, timeout=20, interval=30),
                     Action("monitor", self._handle, timeout=40, interval=120, depth=10),
                     Action("reload-agent", self._handle, timeout=20)),
            check=self._check, findings=self._findings)

    def _handle(self, call: Call) -> None:
        self.calls.append(call)
        self.does(call)

    def _check(self, values: Mapping[str, Any]) -> Iterable[str]:
        return self.contradictions

    def _findings(self, call: Call) -> Iterable[errors.MailhaError]:
        return self.found

    def call(self, *arguments: str, environment: Optional[Dict[str, str]] = None,
             parameters: Optional[Dict[str, str]] = None) -> Said:
        """Call the agent and return what came of it.

        environment: in addition to the resource's name. parameters: set for the resource.
        """
        variables = {"OCF_RESOURCE_INSTANCE": "mail", **(environment or {})}
        for name, value in (parameters or {}).items():
            variables["OCF_RESKEY_" + name] = value
        self._capfd.readouterr()
        code = perform(self.agent, ["trial", *arguments], variables)
        return Said(code, *self._capfd.readouterr())

    def fail(self, error: BaseException) -> None:
        """Let every action fail so."""
        def does(call: Call) -> None:
            raise error
        self.does = does


IN_CLUSTER = {"OCF_RESKEY_CRM_meta_on_node": "alice", "OCF_RESKEY_CRM_meta_timeout": "20000",
              "HA_logfacility": "none"}
RECURRING = {**IN_CLUSTER, "OCF_RESKEY_CRM_meta_interval": "10000"}
