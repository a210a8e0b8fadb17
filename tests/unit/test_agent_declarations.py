# SPDX-License-Identifier: GPL-2.0-or-later
"""What every agent declares, read without a machine."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import pytest

from mailha.ocf import Agent, Call
from mailha.ocf.declaration import OWN_TIMEOUTS

NAMES = sorted(path.name for path in (Path(__file__).resolve().parents[2] / "agents").iterdir()
               if path.is_file())

NEEDED = {"config-sync": {"profile": "bluemind"},
          "cyrus": {"ip": "192.0.2.11", "instance_root": "/srv/server1"}}
"""What an agent cannot do without, by its name."""


@pytest.fixture(params=NAMES)
def agent(request: Any) -> Agent:
    """Each of the agents."""
    module = importlib.import_module(f"mailha.agents.{request.param.replace('-', '_')}")
    found: Agent = module.AGENT
    assert found.name == request.param
    return found


def test_the_defaults_are_values_of_their_types_and_do_not_contradict_each_other(
        agent: Agent) -> None:
    needed = {"OCF_RESKEY_" + name: value for name, value in NEEDED.get(agent.name, {}).items()}
    call = Call(agent, "start", needed, lambda: 0.0)
    assert call.problems == []
    assert agent.check is None or list(agent.check(call.parameters)) == []


def test_names_are_those_of_configurations_and_occur_once(agent: Agent) -> None:
    names = [parameter.name for parameter in agent.parameters]
    assert len(set(names)) == len(names)
    for name in names:
        assert name.replace("_", "").isalnum() and name.islower() and name.isascii()
        assert not name.startswith(("crm_", "CRM_"))


def test_a_secret_is_called_so_that_pacemaker_hides_it(agent: Agent) -> None:
    """It hides password, passwd and user; an agent with private parameters pcs would refuse."""
    for parameter in agent.parameters:
        assert "secret" not in parameter.name and "key" not in parameter.name
        assert "pass" not in parameter.name or parameter.name in ("password", "passwd")


def test_every_description_is_there_and_short_ones_are_titles(agent: Agent) -> None:
    for short, long in [(agent.short, agent.long), *((parameter.short, parameter.long)
                                                     for parameter in agent.parameters)]:
        assert 0 < len(short) <= 60 and "\n" not in short and not short.endswith(".")
        assert long.strip()


def test_the_actions_are_those_that_pacemaker_needs_with_times_that_it_can_use(
        agent: Agent) -> None:
    names = [action.name for action in agent.actions]
    assert {"start", "stop", "monitor"} <= set(names) and not set(OWN_TIMEOUTS) & set(names)
    monitors = [action for action in agent.actions if action.name == "monitor"]
    assert len({action.interval for action in monitors}) == len(monitors)
    for action in agent.actions:
        assert action.timeout >= 10
        assert (action.name == "monitor") == (action.interval is not None)


def test_what_is_reloadable_has_an_action_for_it(agent: Agent) -> None:
    if any(parameter.reloadable for parameter in agent.parameters):
        assert "reload-agent" in [action.name for action in agent.actions]
