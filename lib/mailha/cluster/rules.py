# SPDX-License-Identifier: GPL-2.0-or-later
"""Values as Pacemaker reads them, and whether a rule of the CIB holds.

A rule has three answers here: True, False, and None for "depends on something that cannot be known
here", such as the date or a comparison of a kind that no fencing configuration needs. Whoever asks
decides what a None means; for a protection it must never mean "yes".
"""

from __future__ import annotations

import re
from xml.etree.ElementTree import Element

from mailha.cluster.cib import Cib, Node

INFINITY = 1_000_000
"""PCMK_SCORE_INFINITY of Pacemaker."""

_TRUE = frozenset(("true", "on", "yes", "y", "1"))
_FALSE = frozenset(("false", "off", "no", "n", "0"))

_DEEPEST = 16
"""Levels of rules in rules; the schema has no bound, people write two."""


class Subject:
    """What a rule is asked about.

    node: for a location or a node's own value; agent: ("stonith", "", "fence_ipmilan"), that is
    class, provider and type of the resource.
    """

    def __init__(self, node: Node | None = None,
                 agent: tuple[str, str, str] | None = None) -> None:
        self.node = node
        self.agent = agent


def boolean(text: str) -> bool | None:
    """Read a boolean in any of Pacemaker's spellings; None if it is none of them."""
    word = text.lower()
    if word in _TRUE:
        return True
    if word in _FALSE:
        return False
    return None


def score(text: str) -> int:
    """Read a score, limited to plus and minus INFINITY; what is no score counts as 0."""
    word = text.strip().lower()
    if word in ("infinity", "+infinity"):
        return INFINITY
    # A health colour is a score too, and the only one of them that forbids is red.
    if word in ("-infinity", "red"):
        return -INFINITY
    match = re.match(r"[+-]?[0-9]{1,18}", word)
    if match is None:
        return 0
    return max(-INFINITY, min(INFINITY, int(match.group())))


def milliseconds(text: str) -> int | None:
    """Read a duration of Pacemaker ("10s", "2min", plain seconds); None if it is none."""
    match = re.fullmatch(r"\s*([+-]?[0-9]{1,12})\s*([a-z]*)\s*", text.lower())
    factors = {"": 1000, "s": 1000, "sec": 1000, "ms": 1, "msec": 1, "m": 60_000, "min": 60_000,
               "h": 3_600_000, "hr": 3_600_000, "us": 0.001, "usec": 0.001}
    if match is None or match.group(2) not in factors:
        return None
    return int(int(match.group(1)) * factors[match.group(2)])


def applies(cib: Cib, element: Element, subject: Subject) -> bool | None:
    """Say whether all rules directly in an element hold; True where there is none."""
    return _all([rule_holds(cib, rule, subject) for rule in cib.children(element, "rule")])


def rule_holds(cib: Cib, rule: Element, subject: Subject, depth: int = 0) -> bool | None:
    """Say whether one rule holds for the subject: True, False, or None if that is unknown."""
    if depth > _DEEPEST:
        return None
    answers: list[bool | None] = []
    for child in rule:
        target = cib.resolved(child)
        if target is None:
            answers.append(None)
        elif target.tag == "rule":
            answers.append(rule_holds(cib, target, subject, depth + 1))
        elif target.tag == "expression":
            answers.append(_expression_holds(target, subject))
        elif target.tag == "rsc_expression":
            answers.append(_resource_matches(target, subject))
        elif target.tag in ("date_expression", "op_expression"):
            answers.append(None)
    if not answers:
        return None
    if rule.get("boolean-op", "and").lower() == "or":
        opposite = _all([None if answer is None else not answer for answer in answers])
        return None if opposite is None else not opposite
    return _all(answers)


def _all(answers: list[bool | None]) -> bool | None:
    """Join answers by "and": one False decides, and otherwise one None leaves it open."""
    if False in answers:
        return False
    return None if None in answers else True


def _expression_holds(expression: Element, subject: Subject) -> bool | None:
    """Compare one node attribute; only the comparisons of strings are known."""
    node = subject.node
    name = expression.get("attribute", "")
    operation = expression.get("operation", "").lower()
    if node is None or not name or expression.get("value-source", "literal") != "literal":
        return None
    if expression.get("type", "string").lower() != "string":
        return None
    own = {"#uname": node.name, "#id": node.identifier,
           "#kind": "cluster" if node.kind == "member" else None}
    if name in own:
        actual = own[name]
        if actual is None:
            return None
    elif name.startswith("#") and not name.startswith("#health"):
        return None
    else:
        actual = dict(node.attributes()).get(name)
        if actual is None:
            # It may be a transient attribute, which is not in the configuration.
            return None
    if operation in ("defined", "not_defined"):
        return operation == "defined"
    expected = expression.get("value")
    if operation not in ("eq", "ne") or expected is None:
        return None
    return (actual.lower() == expected.lower()) == (operation == "eq")


def _resource_matches(expression: Element, subject: Subject) -> bool | None:
    """Compare class, provider and type of the resource with those that the expression names."""
    if subject.agent is None:
        return None
    wanted = (expression.get("class"), expression.get("provider"), expression.get("type"))
    return all(want is None or want == have for want, have in zip(wanted, subject.agent))
