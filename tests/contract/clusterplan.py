# SPDX-License-Identifier: GPL-2.0-or-later
"""What Pacemaker makes of a configuration: the CIB in comparable form, and the scheduler's plan.

Everything runs on a CIB in a file. No cluster is needed, and none is touched.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Dict, FrozenSet, List, Sequence, Set, Tuple
from xml.etree import ElementTree

from twonode.sandbox import Sandbox

NODES = ("bob", "alice")

LIMIT = 60.0
"""Seconds that one command on a CIB file may take; crm takes two on an idle machine."""

OLD_ROLES = {"Master": "Promoted", "Slave": "Unpromoted"}

Edges = Dict[str, Set[str]]


def empty_cib(machine: Sandbox, nodes: Sequence[str] = NODES) -> str:
    """Return the newest empty CIB of this Pacemaker, with the nodes online and nothing run yet.

    Without the nodes' states the scheduler takes them for lost, and warns.
    """
    cib = ElementTree.fromstring(machine.run(
        ["cibadmin", "--empty"], timeout=LIMIT, check=True).stdout)
    cib.set("have-quorum", "1")
    for number, name in enumerate(nodes, start=1):
        ElementTree.SubElement(_find(cib, "configuration/nodes"), "node",
                               id=str(number), uname=name)
        ElementTree.SubElement(_find(cib, "status"), "node_state", {
            "id": str(number), "uname": name, "in_ccm": "true", "crmd": "online",
            "join": "member", "expected": "member", "crm-debug-origin": "test"})
    return ElementTree.tostring(cib, encoding="unicode")


def meaning(cib: str) -> Dict[str, object]:
    """Return what a CIB says, without what only its author's tool chose: ids, order, old names."""
    root = ElementTree.fromstring(cib)
    resources = _find(root, "configuration/resources")
    constraints = _find(root, "configuration/constraints")
    return {
        "primitives": {item.get("id"): _primitive(item) for item in resources.iter("primitive")},
        "groups": {item.get("id"): [member.get("id") for member in item.iter("primitive")]
                   for item in resources.iter("group")},
        "clones": {item.get("id"): ([child.get("id") for child in item.iter("primitive")],
                                    _values(item, "meta_attributes"))
                   for item in resources.iter("clone")},
        "locations": {(item.get("rsc"), item.get("node"), item.get("score"))
                      for item in constraints.iter("rsc_location")},
        "orders": {(item.get("id"), item.get("first"), item.get("first-action", "start"),
                    item.get("then"), item.get("then-action", item.get("first-action", "start")),
                    item.get("kind", "Mandatory")) for item in constraints.iter("rsc_order")},
        "colocations": {(item.get("id"), item.get("rsc"), _role(item, "rsc-role"),
                         item.get("with-rsc"), _role(item, "with-rsc-role"), item.get("score"))
                        for item in constraints.iter("rsc_colocation")},
        "levels": {(item.get("target"), item.get("index"), item.get("devices"))
                   for item in root.iter("fencing-level")},
        "properties": _values(_find(root, "configuration/crm_config"), "cluster_property_set"),
        "defaults": _values(_find(root, "configuration/rsc_defaults"), "meta_attributes"),
    }


def parameters(cib: str, resource: str) -> Dict[str, str]:
    """Return the parameters that a CIB gives to a primitive."""
    for item in ElementTree.fromstring(cib).iter("primitive"):
        if item.get("id") == resource:
            return _values(item, "instance_attributes")
    raise KeyError(resource)


@dataclass(frozen=True)
class Plan:
    """What the scheduler would do, and the CIB as it is after that.

    before: action -> the actions that may only begin after it. Actions are named as Pacemaker
    does, "mysql_fs_start_0 bob"; fencing is "stonith 'reboot' bob".
    """

    before: Edges
    actions: FrozenSet[str]
    after: str

    def placed(self, action: str, resource: str) -> str:
        """Return the one node on which `resource` gets `action`."""
        found = self.all_placed(action, resource)
        assert len(found) == 1, f"{action} of {resource} is planned on {found}"
        return found.pop()

    def all_placed(self, action: str, resource: str) -> Set[str]:
        """Return all nodes on which `resource` gets `action`."""
        return {name.rpartition(" ")[2] for name in self.actions
                if name.startswith(f"{resource}_{action}_0 ")}

    def changed(self) -> Set[str]:
        """Return what is started, stopped, promoted or demoted, as "resource action"."""
        return {" ".join(match.groups()) for match in
                (re.match(r"(.+?)(?::\d+)?_(start|stop|promote|demote)_0 ", name)
                 for name in self.actions) if match}

    def fenced(self) -> Set[str]:
        """Return the nodes that are fenced."""
        return {name.rpartition(" ")[2] for name in self.actions if name.startswith("stonith '")}

    def in_order(self, *actions: str) -> bool:
        """Tell whether each action can begin only after the one named before it."""
        return all(action in self.actions for action in actions) and all(
            later in self._reach(earlier) for earlier, later in zip(actions, actions[1:]))

    def _reach(self, start: str) -> Set[str]:
        found: Set[str] = set()
        ahead = [start]
        while ahead:
            for name in self.before.get(ahead.pop(), set()) - found:
                found.add(name)
                ahead.append(name)
        return found


def plan(machine: Sandbox, cib: str, *event: str) -> Plan:
    """Return what the scheduler does with `cib` after an event.

    event: options of crm_simulate, such as "--node-fail", "bob".
    """
    write(machine, "/before.xml", cib)
    machine.run(["crm_simulate", "--xml-file", "/before.xml", "--simulate",
                 "--save-dotfile", "/plan.dot", "--save-output", "/after.xml", *event],
                timeout=LIMIT, check=True)
    edges, actions = _graph(machine.path("/plan.dot").read_text())
    return Plan(edges, frozenset(actions), machine.path("/after.xml").read_text())


def write(machine: Sandbox, path: str, text: str) -> None:
    """Write a file of the machine."""
    machine.path(path).write_text(text)


def with_attributes(cib: str, attributes: Dict[str, str]) -> str:
    """Return the CIB with node attributes on both nodes, as DRBD's agent sets its scores."""
    root = ElementTree.fromstring(cib)
    for node in root.iter("node"):
        group = ElementTree.SubElement(node, "instance_attributes", id=f"{node.get('uname')}-own")
        for name, value in attributes.items():
            ElementTree.SubElement(group, "nvpair", id=f"{node.get('uname')}-{name}",
                                   name=name, value=value)
    return ElementTree.tostring(root, encoding="unicode")


def with_constraint(cib: str, constraint: str) -> str:
    """Return the CIB with one more constraint, given as XML."""
    root = ElementTree.fromstring(cib)
    _find(root, "configuration/constraints").append(ElementTree.fromstring(constraint))
    return ElementTree.tostring(root, encoding="unicode")


def with_meta(cib: str, resource: str, name: str, value: str) -> str:
    """Return the CIB with a meta attribute of a primitive set to another value."""
    root = ElementTree.fromstring(cib)
    item = next(item for item in root.iter("primitive") if item.get("id") == resource)
    group = item.find("meta_attributes")
    if group is None:
        group = ElementTree.Element("meta_attributes", id=f"{resource}-meta")
        item.insert(0, group)
    for old in group.findall("nvpair"):
        if old.get("name") == name:
            group.remove(old)
    ElementTree.SubElement(group, "nvpair", id=f"{resource}-meta-{name}", name=name, value=value)
    return ElementTree.tostring(root, encoding="unicode")


def _graph(dot: str) -> Tuple[Edges, List[str]]:
    """Read the scheduler's graph; what is drawn dashed will not be done."""
    edges: Edges = {}
    actions: List[str] = []
    for line in dot.splitlines():
        edge = re.match(r'\s*"(.+)" -> "(.+)" \[ style = bold\]', line)
        node = re.match(r'\s*"([^"]+)" \[ style=bold', line)
        if edge:
            edges.setdefault(edge.group(1), set()).add(edge.group(2))
        elif node:
            actions.append(node.group(1))
    assert actions or not edges, "the scheduler's graph has another form than this test reads"
    return edges, actions


def _primitive(item: ElementTree.Element) -> Tuple[object, ...]:
    operations = {(operation.get("name"), operation.get("interval"), operation.get("timeout"),
                   _role(operation, "role"),
                   tuple(sorted(_values(operation, "instance_attributes").items())))
                  for operation in item.iter("op")}
    return (item.get("class"), item.get("provider"), item.get("type"),
            _values(item, "instance_attributes"), _values(item, "meta_attributes"), operations)


def _role(item: ElementTree.Element, attribute: str) -> str:
    role = item.get(attribute, "Started")
    return OLD_ROLES.get(role, role)


def _values(item: ElementTree.Element, kind: str) -> Dict[str, str]:
    """Return the pairs of an element's own sets of one kind, not of the elements inside it."""
    return {pair.get("name", ""): pair.get("value", "")
            for group in item.findall(kind) for pair in group.findall("nvpair")}


def _find(item: ElementTree.Element, path: str) -> ElementTree.Element:
    found = item.find(path)
    assert found is not None, f"the CIB has no {path}"
    return found
