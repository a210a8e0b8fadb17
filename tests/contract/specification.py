# SPDX-License-Identifier: GPL-2.0-or-later
"""The rules of the OCF resource agent API 1.1 for meta-data, as a check of our own.

Pacemaker ships the schema of the specification since version 3 only; this finds the same, and what
the schema leaves open: units of times, texts without a line of text, names that occur twice.
"""

from __future__ import annotations

import re
from typing import Dict, Iterator, List, Pattern, Set
from xml.etree.ElementTree import Element

DESCRIPTIONS = ["longdesc", "shortdesc"]
TYPES = {"boolean", "string", "integer", "select"}
BOOLEAN = re.compile("0|1")
TIME = re.compile(r"[1-9][0-9]*s")      # the checks of resource-agents insist on the unit
ANY = re.compile(".*", re.DOTALL)

PARAMETER = {"name": ANY, "unique-group": ANY, "unique": BOOLEAN, "required": BOOLEAN,
             "reloadable": BOOLEAN}
ACTION = {"name": ANY, "timeout": TIME, "interval": TIME, "start-delay": TIME,
          "depth": re.compile("[0-9]+"), "role": ANY}


def violations(root: Element) -> List[str]:
    """Return what is wrong with the meta-data of an agent."""
    return list(_agent(root))


def _agent(root: Element) -> Iterator[str]:
    if root.tag != "resource-agent":
        yield f"the root is <{root.tag}>"
    yield from _attributes(root, {"name": ANY, "version": ANY}, {"name"})
    tags = [child.tag for child in root]
    if tags != ["version", *DESCRIPTIONS, "parameters", "actions"]:
        yield f"the order of the elements is {tags}"
        return
    if root.findtext("version") != "1.1":
        yield f"the version of the specification is {root.findtext('version')!r}"
    yield from _descriptions(root)
    for kind, check in (("parameter", _parameter), ("action", _action)):
        elements = list(root[tags.index(kind + "s")])
        if not elements:
            yield f"there is no {kind}"
        for element in elements:
            if element.tag != kind:
                yield f"<{element.tag}> is among the {kind}s"
            else:
                yield from check(element)
    names = [str(element.get("name")) for element in root.iter("parameter")]
    actions = [f"{element.get('name')} at depth {element.get('depth', '0')}"
               for element in root.iter("action")]
    for found in (names, actions):
        if len(set(found)) != len(found):
            yield f"something is declared twice: {found}"
    intervals = [element.get("interval") for element in root.iter("action")
                 if element.get("name") == "monitor"]
    if len(set(intervals)) != len(intervals):
        yield f"two monitors have the same interval, which Pacemaker refuses: {intervals}"


def _parameter(element: Element) -> Iterator[str]:
    where = f"parameter {element.get('name')}"
    yield from _attributes(element, PARAMETER, {"name"})
    tags = [child.tag for child in element]
    if tags != [*DESCRIPTIONS, "content"]:
        yield f"{where}: the order of the elements is {tags}"
        return
    yield from _descriptions(element)
    content = element[-1]
    yield from _attributes(content, {"type": ANY, "default": ANY}, {"type"})
    options = [option.get("value") for option in content if option.tag == "option"]
    if content.get("type") not in TYPES:
        yield f"{where}: its type is {content.get('type')!r}"
    if len(options) != len(content) or None in options:
        yield f"{where}: its content holds something else than options"
    if bool(options) != (content.get("type") == "select"):
        yield f"{where}: options are for a select, and a select needs some"
    if element.get("required") != "1" and content.get("default") is None:
        yield f"{where}: it is not required and has no default"
    if options and content.get("default") not in [*options, None]:
        yield f"{where}: its default is none of its options"


def _action(element: Element) -> Iterator[str]:
    yield from _attributes(element, ACTION, {"name", "timeout"})


def _descriptions(element: Element) -> Iterator[str]:
    for tag in DESCRIPTIONS:
        for description in element.findall(tag):
            yield from _attributes(description, {"lang": ANY}, {"lang"})
            if not (description.text or "").strip():
                yield f"a <{tag}> in <{element.tag} {element.get('name')}> is empty"


def _attributes(element: Element, known: Dict[str, Pattern[str]],
                needed: Set[str]) -> Iterator[str]:
    where = f"<{element.tag} {element.get('name', '')}>"
    for name, value in element.attrib.items():
        if name not in known:
            yield f"{where} has the attribute {name}"
        elif not known[name].fullmatch(value):
            yield f"{where} has {name}={value!r}"
    for name in sorted(needed - set(element.attrib)):
        yield f"{where} has no {name}"
