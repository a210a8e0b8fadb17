# SPDX-License-Identifier: GPL-2.0-or-later
"""The parts of a page that come from the declaration of an agent."""

from __future__ import annotations

import importlib
from typing import List, Union

from mailha.fencing import standard
from mailha.fencing.declaration import FenceAgent, Option
from mailha.fencing.metadata import form
from mailha.ocf.declaration import OWN_TIMEOUTS, Agent, Parameter
from manpages import roff

Declared = Union[Agent, FenceAgent]


def agent_of(page: str) -> Declared:
    """Return the agent that a page is about, as in "ocf_mailha_fencing-guard" or "fence_ipmi"."""
    name = page[len("ocf_mailha_"):] if page.startswith("ocf_mailha_") else page
    module = importlib.import_module(f"mailha.agents.{name.replace('-', '_')}")
    agent: Declared = module.AGENT
    return agent


def parameters(agent: Declared) -> List[str]:
    """Return the list of parameters, or of options."""
    lines: List[str] = []
    if isinstance(agent, FenceAgent):
        for option in agent.options:
            lines += _option(option) if not option.idle else []
        lines += [".SS Accepted without effect", "So that a definition for another agent works."]
        for option in agent.options:
            lines += _option(option) if option.idle else []
    else:
        for parameter in agent.parameters:
            lines += _parameter(parameter)
    return lines or ["There are none."]


def _parameter(parameter: Parameter) -> List[str]:
    """Return the entry of one parameter of an OCF agent."""
    remarks = [parameter.type.expected]
    if parameter.required:
        remarks.append("required")
    elif parameter.default:
        remarks.append(f"default {parameter.default}")
    if parameter.unique_group:
        remarks.append("no two resources may have the same")
    if parameter.reloadable:
        remarks.append("can be changed while the resource runs")
    return roff.item(roff.bold(parameter.name),
                     [*roff.paragraphs(_sentence(remarks)), ".IP",
                      *roff.paragraphs(parameter.long, ".IP")])


def _option(option: Option) -> List[str]:
    """Return the entry of one option of a fence agent."""
    # In the metadata, the actions have a list of their own.
    choices = standard.ACTIONS if option.name == "action" else option.choices
    remarks = []
    if choices:
        remarks.append("one of " + ", ".join(choices))
    # The action is "required" in the metadata, as in those of all fence agents, and has a default.
    if option.default:
        remarks.append(f"default {option.default}")
    elif option.required:
        remarks.append("required")
    if option.obsoletes:
        remarks.append("also called " + ", ".join(option.obsoletes))
    body = roff.paragraphs(f"{option.idle[:1].upper()}{option.idle[1:]}." if option.idle
                           else option.short + ".")
    if remarks:
        body += roff.paragraphs(_sentence(remarks))
    return roff.item(f"{roff.bold(option.name)} ({roff.escape(form(option))})", body)


def actions(agent: Agent) -> List[str]:
    """Return the list of actions, with the times that the agent advises."""
    lines: List[str] = []
    for action in agent.actions:
        text = f"timeout {action.timeout} s"
        if action.interval is not None:
            text = f"every {action.interval} s, {text}"
        name = action.name if not action.depth else f"{action.name}, OCF_CHECK_LEVEL={action.depth}"
        lines += roff.item(roff.bold(name), roff.paragraphs(_sentence([text])))
    for name, timeout in OWN_TIMEOUTS.items():
        lines += roff.item(roff.bold(name), [f"Timeout {timeout} s."])
    return lines


def _sentence(remarks: List[str]) -> str:
    """Return remarks as one sentence."""
    text = "; ".join(remarks)
    return f"{text[:1].upper()}{text[1:]}."
