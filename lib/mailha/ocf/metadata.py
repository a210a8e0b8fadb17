# SPDX-License-Identifier: GPL-2.0-or-later
"""The meta-data of an agent, built from its declaration.

Made for three readers at once, and valid for each: the schema of the OCF specification 1.1, which
fixes the order of the elements and knows four types of content; the one of pcs, which takes
<version> for the version of the specification and refuses private="1"; and Pacemaker, which calls
reload-agent only for agents of version 1.1. Timeouts carry their unit, as the checks of
resource-agents demand.

They are the same on every machine and for every user, and nothing is looked at to make them.
"""

from __future__ import annotations

from xml.etree import ElementTree
from xml.etree.ElementTree import Element, SubElement

import mailha
from mailha.ocf.declaration import OWN_TIMEOUTS, Agent, Parameter
from mailha.ocf.doctype import DOCTYPE

OCF_VERSION = "1.1"


def document(agent: Agent) -> bytes:
    """Return the meta-data of an agent, an XML document in ASCII."""
    root = Element("resource-agent", {"name": agent.name, "version": mailha.__version__})
    SubElement(root, "version").text = OCF_VERSION
    _describe(root, agent.long, agent.short)
    parameters = SubElement(root, "parameters")
    for parameter in agent.parameters:
        _add_parameter(parameters, parameter)
    actions = SubElement(root, "actions")
    for action in agent.actions:
        _add_action(actions, action.name, action.timeout, action.interval, action.depth)
    for name, timeout in OWN_TIMEOUTS.items():
        _add_action(actions, name, timeout)
    ElementTree.indent(root, "")
    # No encoding is declared: crmsh decodes the document and hands it to lxml as text, which
    # refuses text with such a declaration ("Cannot parse meta-data XML"). So it is plain ASCII.
    text = ElementTree.tostring(root, "unicode").encode("ascii", "xmlcharrefreplace")
    return b'<?xml version="1.0"?>\n' + DOCTYPE + text + b"\n"


def _describe(parent: Element, long: str, short: str) -> None:
    """Append both descriptions, in the order that the specification has."""
    for tag, text in (("longdesc", long), ("shortdesc", short)):
        SubElement(parent, tag, {"lang": "en"}).text = text.strip()


def _add_parameter(parameters: Element, parameter: Parameter) -> None:
    attributes = {"name": parameter.name, "required": "1" if parameter.required else "0"}
    if parameter.unique_group:
        attributes["unique-group"] = parameter.unique_group
    if parameter.reloadable:
        attributes["reloadable"] = "1"
    element = SubElement(parameters, "parameter", attributes)
    _describe(element, parameter.long, parameter.short)
    content = SubElement(element, "content", {"type": parameter.type.content_type})
    if not parameter.required:
        content.set("default", parameter.default)
    for option in parameter.type.options:
        SubElement(content, "option", {"value": option})


def _add_action(actions: Element, name: str, timeout: int, interval: int | None = None,
                depth: int | None = None) -> None:
    attributes = {"name": name, "timeout": f"{timeout}s"}
    if interval is not None:
        attributes["interval"] = f"{interval}s"
    if depth is not None:
        attributes["depth"] = str(depth)
    SubElement(actions, "action", attributes)
