# SPDX-License-Identifier: GPL-2.0-or-later
"""Which devices Pacemaker uses to fence a node, and what stands in the way of it.

Without a fencing topology for the node any device that is for it will do. With one, only the
devices of its levels are used, and a level succeeds only if each of its devices does.
"""

from __future__ import annotations

import re
from xml.etree.ElementTree import Element

from mailha.cluster.cib import Cib, Node
from mailha.cluster.devices import WATCHDOG_AGENT, Device

_LEVELS = range(1, 10)
"""Pacemaker ignores a level with any other index."""


def obstacle(cib: Cib, node: Node, available: list[Device]) -> str:
    """Say why no device can fence the node; empty if one can."""
    usable = [device for device in available if device.agent != WATCHDOG_AGENT]
    targets = _matching_levels(cib, node)
    if not targets:
        if any(device.covers(node.name) for device in usable):
            return ""
        return _without_topology(node, usable)
    by_id = {device.identifier: device for device in usable}
    # By name at most one target matches. Which of several patterns Pacemaker takes is left to a
    # hash table, so each of them has to hold.
    for levels in targets:
        complaints = [_level_obstacle(level, node, by_id) for level in levels]
        if all(complaints):
            return complaints[0]
    return ""


def _without_topology(node: Node, usable: list[Device]) -> str:
    """Say which device comes nearest to covering the node and what is wrong with it."""
    meant = [device for device in usable if device.is_for(node.name)]
    for device in meant:
        return _flaw(device, node)
    if usable:
        names = ", ".join(f"'{device.identifier}'" for device in usable)
        return f"none of the fencing devices ({names}) is for it"
    return "there is no fencing device"


def _flaw(device: Device, node: Node) -> str:
    """Say why a device that is for the node does not cover it."""
    if device.flaw:
        return f"its device '{device.identifier}' ({device.agent}) {device.flaw}"
    return (f"no other node may use its device '{device.identifier}' (location constraints or "
            "symmetric-cluster)")


def _level_obstacle(level: Element, node: Node, by_id: dict[str, Device]) -> str:
    """Say which device of a level does not cover the node; empty if all do."""
    names = [name for name in re.split(r"[,\s]+", level.get("devices", "")) if name]
    for name in names:
        device = by_id.get(name)
        if device is None:
            return f"level {level.get('index')} of its fencing topology names '{name}', which is " \
                   "no fencing device"
        if not device.is_for(node.name):
            return f"level {level.get('index')} of its fencing topology uses '{name}', which is " \
                   "not for it"
        if not device.covers(node.name):
            return _flaw(device, node)
    return "" if names else f"level {level.get('index')} of its fencing topology names no device"


def _matching_levels(cib: Cib, node: Node) -> list[list[Element]]:
    """Return the levels of each topology target that is for the node, lowest index first."""
    by_target: dict[tuple[str, str], list[Element]] = {}
    for level in cib.section("fencing-topology"):
        if level.tag != "fencing-level" or not _index_counts(level):
            continue
        if level.get("target") is not None:
            key = ("name", level.get("target", ""))
        elif level.get("target-pattern") is not None:
            key = ("pattern", level.get("target-pattern", ""))
        else:
            key = ("attribute", f"{level.get('target-attribute')}={level.get('target-value')}")
        if _is_for(level, node):
            by_target.setdefault(key, []).append(level)
    # The node's own name goes before any pattern or attribute.
    named = [levels for key, levels in by_target.items() if key[0] == "name"]
    return [sorted(levels, key=lambda level: int(level.get("index", "0")))
            for levels in named or by_target.values()]


def _index_counts(level: Element) -> bool:
    """Say whether the level has an index that Pacemaker takes."""
    index = level.get("index", "")
    return index.isascii() and index.isdigit() and len(index) < 4 and int(index) in _LEVELS


def _is_for(level: Element, node: Node) -> bool:
    """Say whether a level is for the node, by name, by pattern or by a permanent attribute."""
    target = level.get("target")
    if target is not None:
        return target.lower() == node.name.lower()
    pattern = level.get("target-pattern")
    if pattern is not None:
        try:
            return re.search(pattern, node.name) is not None
        except re.error:
            return False
    wanted = (level.get("target-attribute"), level.get("target-value"))
    return wanted in node.attributes()
