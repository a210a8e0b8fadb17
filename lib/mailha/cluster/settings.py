# SPDX-License-Identifier: GPL-2.0-or-later
"""Which values a setting of the CIB can have.

Pacemaker looks a name up in several attribute sets: the one with a reserved id first, then by
falling score; the first set that has the name wins. Two sets of the same score that contradict each
other are ordered differently by different versions, and a set with a rule is in force only while
the rule holds. So the answer here is the set of all values that the setting can have, with None
standing for "not set"; code that protects must be content with each of them.
"""

from __future__ import annotations

from collections.abc import Iterable
from xml.etree.ElementTree import Element

from mailha.cluster import rules
from mailha.cluster.cib import Cib, pairs

BOOTSTRAP_OPTIONS = "cib-bootstrap-options"
"""Id of the property set that Pacemaker reads before all others."""


def possible(cib: Cib, sets: Iterable[Element], name: str, subject: rules.Subject, *,
             first: str = "") -> frozenset[str | None]:
    """Return all values that name can have in these attribute sets, None for "not set".

    sets: elements such as meta_attributes, references resolved. first: the id of the set that goes
    before all others.
    """
    ranks: dict[tuple[int, int], list[Element]] = {}
    for attributes in sets:
        ahead = 0 if first and attributes.get("id") == first else 1
        rank = (ahead, -rules.score(attributes.get("score", "0")))
        ranks.setdefault(rank, []).append(attributes)
    found: set[str | None] = set()
    for rank in sorted(ranks):
        certain = False
        for attributes in ranks[rank]:
            values = [value for key, value in pairs(cib, attributes) if key == name]
            in_force = rules.applies(cib, attributes, subject)
            if values and in_force is not False:
                found.update(values)
                certain = certain or in_force is True
        if certain:
            return frozenset(found)
    return frozenset(found | {None})


def layered(layers: Iterable[frozenset[str | None]]) -> frozenset[str | None]:
    """Join layers, the strongest first: a weaker one counts only where the stronger is not set."""
    found: set[str | None] = set()
    for values in layers:
        found |= values - {None}
        if None not in values:
            return frozenset(found)
    return frozenset(found | {None})


def property_values(cib: Cib, name: str) -> frozenset[str | None]:
    """Return all values that a cluster property can have, None for "not set"."""
    sets = [cib.resolved(element) for element in cib.section("crm_config")
            if element.tag == "cluster_property_set"]
    return possible(cib, [element for element in sets if element is not None], name,
                    rules.Subject(), first=BOOTSTRAP_OPTIONS)


def renamed_property_values(cib: Cib, new: str, old: str) -> frozenset[str | None]:
    """Return all values of a property that Pacemaker 3.0.2 gave a new name.

    From 3.0.2 on the new name wins over the old one; before, the new one means nothing. Where the
    CIB does not tell the version of the controller both readings count.
    """
    older = property_values(cib, old)
    version = _controller_version(cib)
    if version is not None and version < (3, 0, 2):
        return older
    newer = layered([property_values(cib, new), older])
    return newer if version is not None else newer | older


def _controller_version(cib: Cib) -> tuple[int, ...] | None:
    """Return the version of the designated controller, which decides about fencing."""
    values = property_values(cib, "dc-version")
    if len(values) != 1:
        return None
    text = (next(iter(values)) or "").split("-")[0]
    parts = text.split(".")
    if len(parts) < 3 or not all(part.isascii() and part.isdigit() for part in parts[:3]):
        return None
    return tuple(int(part) for part in parts[:3])
