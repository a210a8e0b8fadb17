# SPDX-License-Identifier: GPL-2.0-or-later
"""On which nodes the location constraints let a resource be.

Pacemaker's fencer registers a device on every node where the resource has a score of at least 0,
whether it runs there or not; it runs the scheduler with location constraints only. So only these
are looked at: colocation, order, standby and maintenance change nothing about fencing.
"""

from __future__ import annotations

import re
from xml.etree.ElementTree import Element

from mailha.cluster import rules, settings
from mailha.cluster.cib import Cib, Node


def allowed(cib: Cib, identifiers: list[str], agent: tuple[str, str, str],
            nodes: list[Node]) -> list[Node]:
    """Return the nodes on which a resource may be.

    identifiers: the id of the resource and of every group and clone around it; what bans one of
    them bans the resource. agent: its class, provider and type. A constraint that may or may not be
    in force counts if it bans, and does not count if it allows.
    """
    opt_in = _is_opt_in(cib)
    constraints = [element for element in cib.section("constraints")
                   if element.tag == "rsc_location"]
    found = []
    for node in nodes:
        subject = rules.Subject(node, agent)
        scores: list[int] = []
        for constraint in constraints:
            for identifier in identifiers:
                if _names(cib, constraint, identifier):
                    scores += _scores(cib, constraint, subject)
        banned = -rules.INFINITY in scores or sum(scores) < 0
        if not banned and (scores or not opt_in):
            found.append(node)
    return found


def _is_opt_in(cib: Cib) -> bool:
    """Say whether resources may only be where a constraint says so (symmetric-cluster=false)."""
    values = settings.property_values(cib, "symmetric-cluster")
    return any(value is not None and rules.boolean(value) is False for value in values)


def _names(cib: Cib, constraint: Element, identifier: str) -> bool:
    """Say whether a constraint is about that resource: by id, pattern, set or tag."""
    names = [constraint.get("rsc", "")]
    names += [reference.get("id", "") for resource_set in cib.children(constraint, "resource_set")
              for reference in resource_set.findall("resource_ref")]
    if identifier in names:
        return True
    for tag in cib.section("tags"):
        if tag.get("id") in names and any(reference.get("id") == identifier
                                          for reference in tag.findall("obj_ref")):
            return True
    pattern = constraint.get("rsc-pattern", "")
    if not pattern:
        return False
    # Pacemaker: a pattern that begins with "!" is about all resources that do not match it.
    inverted = pattern.startswith("!")
    try:
        matched = re.search(pattern[1:] if inverted else pattern, identifier) is not None
    except re.error:
        return False
    return matched != inverted


def _scores(cib: Cib, constraint: Element, subject: rules.Subject) -> list[int]:
    """Return the scores that a constraint gives to the subject's node."""
    node = subject.node
    assert node is not None
    name = constraint.get("node")
    if name is not None:
        if name.lower() not in (node.name.lower(), node.identifier.lower()):
            return []
        return [rules.score(constraint.get("score", "0"))]
    found = []
    for rule in cib.children(constraint, "rule"):
        holds = rules.rule_holds(cib, rule, subject)
        if holds is False:
            continue
        if "score-attribute" in rule.attrib:
            value = dict(node.attributes()).get(rule.get("score-attribute", ""))
            # Without the attribute the score is unknown to us; a ban is the careful reading.
            score = -rules.INFINITY if value is None else rules.score(value)
        else:
            score = rules.score(rule.get("score", constraint.get("score", "0")))
        if holds or score < 0:
            found.append(score)
    return found
