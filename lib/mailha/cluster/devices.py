# SPDX-License-Identifier: GPL-2.0-or-later
"""The fencing devices of a CIB: which nodes each one can fence, and from where.

Written after what Pacemaker's fencer does (daemons/fenced: fenced_scheduler.c decides which devices
exist on a node, target_list_type() in fenced_commands.c which nodes a device is for), and compared
with the answers of ``stonith_admin --list NODE`` of Pacemaker 2.0.5, 2.1.5 and 3.0.0. Wherever the
answers here differ, they are the more careful ones.
"""

from __future__ import annotations

import re
from xml.etree.ElementTree import Element

from mailha.cluster import placement, rules, settings
from mailha.cluster.cib import Cib

WATCHDOG_AGENT = "fence_watchdog"
"""The agent that only says which nodes diskless SBD is for."""

PRETENDERS = {
    "null": "says success without doing anything",
    "fence_dummy": "says success without doing anything",
    "ssh": "says success for a node that it cannot reach",
    "external/ssh": "says success for a node that it cannot reach",
}
"""Agents made for testing Pacemaker itself, whose success proves no power off."""

_CONTAINERS = ("group", "clone", "master")


class Device:
    """One fencing device.

    identifier: id of the resource; agent: its type. flaw: why the device can fence nobody, empty if
    it can. targets: the nodes that it is for, in lower case, None for "asks the device, so it may
    be any". places: the nodes, in lower case, on which it may be used.
    """

    def __init__(self, identifier: str, agent: str, *, flaw: str = "",
                 targets: frozenset[str] | None = None,
                 places: frozenset[str] = frozenset()) -> None:
        self.identifier = identifier
        self.agent = agent
        self.flaw = flaw
        self.targets = targets
        self.places = places

    def is_for(self, node: str) -> bool:
        """Say whether the device is meant to fence the node; Pacemaker ignores case in names."""
        return self.targets is None or node.lower() in self.targets

    def covers(self, node: str) -> bool:
        """Say whether the device can fence the node when the node itself no longer answers.

        So somebody else has to be allowed to use it: a device that may be used only on its own
        target is of no use in the hour that it is for.
        """
        return not self.flaw and self.is_for(node) and bool(self.places - {node.lower()})


def find(cib: Cib) -> list[Device]:
    """Return all fencing devices, usable or not, in document order."""
    found: list[Device] = []
    for element in cib.section("resources"):
        _collect(cib, element, [], found)
    return found


def _collect(cib: Cib, element: Element, around: list[Element], found: list[Device]) -> None:
    """Append the devices in one resource; around: the groups and clones that it is in."""
    if element.tag == "primitive":
        template = cib.by_id(element.get("template", ""))
        described = template if template is not None else element
        if (described.get("class") or "").lower() == "stonith":
            found.append(_device(cib, element, template, around))
    elif element.tag in _CONTAINERS and len(around) < len(_CONTAINERS):
        for child in element:
            _collect(cib, child, [*around, element], found)


def _device(cib: Cib, primitive: Element, template: Element | None,
            around: list[Element]) -> Device:
    """Describe the fencing device of one primitive."""
    identifier = primitive.get("id", "")
    described = template if template is not None else primitive
    agent = described.get("type", "")
    kind = ("stonith", "", agent)
    own = [primitive] if template is None else [primitive, template]
    flaw = PRETENDERS.get(agent, "")
    if not flaw and _may_be_stopped(cib, own, around, kind):
        flaw = "is stopped (target-role)"
    parameters = {name: _values(cib, own, "instance_attributes", name, kind)
                  for name in ("pcmk_host_list", "pcmk_host_map", "pcmk_host_check")}
    unclear = [name for name, values in parameters.items() if len(values) > 1]
    if not flaw and unclear:
        flaw = f"has a {unclear[0]} that depends on a rule"
    settled = {name: next(iter(values)) for name, values in parameters.items()}
    nodes = placement.allowed(cib, [identifier, *(str(outer.get("id")) for outer in around)],
                              kind, cib.members())
    return Device(identifier, agent, flaw=flaw,
                  targets=None if unclear else _targets(settled),
                  places=frozenset(node.name.lower() for node in nodes))


def _values(cib: Cib, own: list[Element], tag: str, name: str,
            kind: tuple[str, str, str]) -> frozenset[str | None]:
    """Return all values of one attribute of a primitive, its template being the weaker layer."""
    subject = rules.Subject(agent=kind)
    return settings.layered(settings.possible(cib, cib.children(element, tag), name, subject)
                            for element in own)


def _may_be_stopped(cib: Cib, own: list[Element], around: list[Element],
                    kind: tuple[str, str, str]) -> bool:
    """Say whether target-role may keep the device stopped.

    A group or clone that is stopped stops its members whatever they say; the defaults count only
    where nothing nearer is set.
    """
    layers = [_values(cib, own, "meta_attributes", "target-role", kind)]
    layers += [_values(cib, [outer], "meta_attributes", "target-role", kind) for outer in around]
    defaults = [element for element in map(cib.resolved, cib.section("rsc_defaults"))
                if element is not None and element.tag == "meta_attributes"]
    nearest = settings.layered(layers)
    if None in nearest:
        layers.append(settings.possible(cib, defaults, "target-role", rules.Subject(agent=kind)))
    return any(value is not None and value.lower() == "stopped"
               for values in layers for value in values)


def _targets(settled: dict[str, str | None]) -> frozenset[str] | None:
    """Return the nodes that a device is for, None if it finds out by asking the device.

    Without pcmk_host_check a host list or map makes the list static; without either Pacemaker asks
    the agent, or takes the device as being for every node.
    """
    listed, mapped = settled["pcmk_host_list"], settled["pcmk_host_map"]
    check = settled["pcmk_host_check"]
    if check is None:
        check = "static-list" if listed is not None or mapped is not None else "none"
    check = check.lower()
    if check in ("dynamic-list", "status", "none"):
        return None
    if check != "static-list":
        return frozenset()
    names = set(re.split(r"[\s,;]+", listed or ""))
    for mapping in re.split(r"[; \t]", mapped or ""):
        name, delimiter, alias = mapping.replace("=", ":").partition(":")
        if delimiter and alias:
            names.add(name)
    return frozenset(name.lower() for name in names if name)
