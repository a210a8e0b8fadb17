# SPDX-License-Identifier: GPL-2.0-or-later
"""The resources of a CIB: which agent each one has, with which parameters, and what it is part of.

An administrator knows a resource by a name that crm_mon shows, its agent by the one that Pacemaker
calls it with (OCF_RESOURCE_INSTANCE). For a clone these may differ: ``mail:0`` is shown for every
clone, but only the instances of a globally unique one are called so.
"""

from __future__ import annotations

from xml.etree.ElementTree import Element

from mailha import errors
from mailha.cluster import rules, settings
from mailha.cluster.cib import Cib

_CLONES = ("clone", "master", "bundle")
_CONTAINERS = ("group", *_CLONES)

_DEEPEST = len(_CONTAINERS)
"""Levels of containers; Pacemaker knows two, a group in a clone."""


class Resource:
    """One resource that an agent runs.

    identifier: its id. agent: "ocf:mailha:kopano". containers: the ids of the groups and clones
    that it is in, the outermost first.
    """

    def __init__(self, cib: Cib, primitive: Element, around: list[Element]) -> None:
        template = cib.by_id(primitive.get("template", ""))
        self.identifier = primitive.get("id", "")
        described = primitive if template is None else template
        self._kind = (described.get("class", ""), described.get("provider", ""),
                      described.get("type", ""))
        self.agent = ":".join(part for part in self._kind if part)
        self.containers = [element.get("id", "") for element in around]
        self._cib = cib
        self._layers = [primitive] if template is None else [primitive, template]
        self._clones = [element for element in around if element.tag in _CLONES]

    def values(self, parameter: str) -> frozenset[str | None]:
        """Return all values that a parameter can have, None for "not set".

        There are several where a rule, the date or the order of two equal sets decides.
        """
        return self._possible(self._layers, "instance_attributes", parameter)

    def instance(self, name: str) -> str:
        """Return what the agent is called with for a name of this resource, with or without ":N".

        Raises errors.Failed for an instance of what has none, and for a unique clone without one.
        """
        number = name[len(self.identifier):]
        if not self._clones:
            if number:
                raise errors.Failed(f"'{self.identifier}' is in no clone, so there is no '{name}'",
                                    remedy=f"name '{self.identifier}'")
            return self.identifier
        unique = self._possible(self._clones, "meta_attributes", "globally-unique")
        if not any(value is not None and rules.boolean(value) for value in unique):
            return self.identifier
        if not number:
            raise errors.Failed(f"'{self.identifier}' is in a globally unique clone, whose "
                                "instances are resources of their own",
                                remedy=f"name one of them, as in '{name}:0'")
        return name

    def _possible(self, layers: list[Element], tag: str, name: str) -> frozenset[str | None]:
        """Return all values of an attribute, the first layer being the strongest."""
        subject = rules.Subject(agent=self._kind)
        return settings.layered(
            settings.possible(self._cib, self._cib.children(layer, tag), name, subject)
            for layer in layers)


def every(cib: Cib) -> list[Resource]:
    """Return all resources that an agent runs, in document order."""
    found: list[Resource] = []
    for element in cib.section("resources"):
        _collect(cib, element, [], found)
    return found


def find(cib: Cib, name: str) -> Resource | None:
    """Return the resource of that name, with or without the number of an instance; else None."""
    plain = without_instance(name)
    return next((each for each in every(cib) if each.identifier == plain), None)


def without_instance(name: str) -> str:
    """Return a name without the ":N" of a clone's instance. An id itself never has a colon."""
    stem, colon, number = name.rpartition(":")
    return stem if colon and stem and number.isascii() and number.isdigit() else name


def _collect(cib: Cib, element: Element, around: list[Element], found: list[Resource]) -> None:
    """Append the resources in one element; around: the containers that it is in."""
    if element.tag == "primitive":
        found.append(Resource(cib, element, around))
    elif element.tag in _CONTAINERS and len(around) < _DEEPEST:
        for child in element:
            _collect(cib, child, [*around, element], found)
