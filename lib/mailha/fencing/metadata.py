# SPDX-License-Identifier: GPL-2.0-or-later
"""The metadata of a fence agent, built from its declaration.

For three readers: the schema of fence agents (metadata.rng), which fixes the order of elements and
has no place for a long text about a parameter; pcs, which shows an option under its new name if the
old one is "deprecated" and the new one "obsoletes" it; Pacemaker, which passes the name of the node
as plug because that is a parameter, and fences with the actions that are listed. on has
automatic="0": a node whose power is switched needs no unfencing.

crmsh and pcs refuse a parameter that is not in here, so the old names are.
"""

from __future__ import annotations

from mailha.fencing import standard
from mailha.fencing.xml import Element, document

TYPE_CHECKING = False
if TYPE_CHECKING:
    from mailha.fencing.declaration import FenceAgent, Option


def text(agent: FenceAgent) -> str:
    """Return the metadata as an XML document in ASCII."""
    root = Element("resource-agent", {"name": agent.name, "shortdesc": agent.short})
    root.add("longdesc", text=" ".join(agent.long.split()))
    root.add("vendor-url", text=agent.vendor_url)
    parameters = root.add("parameters")
    for option in agent.options:
        _add(parameters, option, option.name, {"obsoletes": option.obsoletes[0]}
             if option.obsoletes else {})
        for old in option.obsoletes:
            _add(parameters, option, old, {"deprecated": "1"})
    actions = root.add("actions")
    for name in standard.ACTIONS:
        actions.add("action", {"name": name, "automatic": "0"} if name == "on" else {"name": name})
    return document(root)


def _add(parameters: Element, option: Option, name: str, more: dict[str, str]) -> None:
    """Append an option under one of its names."""
    required = "1" if option.required and name == option.name else "0"
    parameter = parameters.add("parameter",
                               {"name": name, "unique": "0", "required": required, **more})
    parameter.add("getopt", {"mixed": form(option)})
    content = {"type": option.kind}
    if option.default is not None:
        content["default"] = option.default
    element = parameter.add("content", content)
    for choice in option.choices:
        element.add("option", {"value": choice})
    parameter.add("shortdesc", {"lang": "en"}, option.short)


def form(option: Option) -> str:
    """Return how an option is written on the command line: -o, --action=[action]."""
    short = f"-{option.letter}, " if option.letter else ""
    value = f"=[{option.shown}]" if option.takes_value else ""
    return f"{short}--{option.name.replace('_', '-')}{value}"
