# SPDX-License-Identifier: GPL-2.0-or-later
"""Read this node's copy of the cluster information base and make it searchable.

The local copy (``cibadmin --local``) is asked, because the question must be answered without a
quorum and without a designated controller, and because the copy is current when Pacemaker starts a
resource: the node has joined and has been given the cluster's CIB before.

Only the configuration is read. The status of a large cluster is many times larger, and nothing in
it says whether a node can be fenced.
"""

from __future__ import annotations

import os
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

from mailha import errors
from mailha.system.machine import Machine

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

QUERY = ("/usr/sbin/cibadmin", "--query", "--local", "--scope", "configuration")

LARGEST = 1 << 20
"""Bytes that are read of a child's output; a configuration with 500 resources stays below."""

_FIRST_PAUSE = 0.25
_LONGEST_PAUSE = 2.0
_SHORTEST_TRY = 3.0

_PASSED_ON = ("PCMK_ipc_buffer", "PCMK_ipc_type")
"""Without PCMK_ipc_buffer a client of Pacemaker 2 cannot receive a CIB larger than 128 KiB."""


class CibUnreadable(errors.Failed):
    """Pacemaker did not hand out its configuration, or handed out something else."""


class Cib:
    """A parsed configuration.

    configuration: the element of that name.
    """

    def __init__(self, configuration: Element) -> None:
        self._configuration = configuration
        self._by_id: dict[str, Element] = {}
        for element in configuration.iter():
            identifier = element.get("id")
            # These carry the id of what they refer to and must not hide it.
            if identifier and element.tag not in ("obj_ref", "resource_ref", "role"):
                self._by_id.setdefault(identifier, element)

    def section(self, name: str) -> list[Element]:
        """Return the children of one section of the configuration, none if it is absent."""
        return self._configuration.findall(f"{name}/*")

    def by_id(self, identifier: str) -> Element | None:
        """Return the element with that id."""
        return self._by_id.get(identifier)

    def resolved(self, element: Element) -> Element | None:
        """Return what an ``id-ref`` stands for; an element without one stands for itself."""
        reference = element.get("id-ref")
        if reference is None:
            return element
        return self._by_id.get(reference)

    def children(self, parent: Element, tag: str) -> list[Element]:
        """Return the children with that tag in document order, references resolved."""
        found = (self.resolved(child) for child in parent.findall(tag))
        return [element for element in found if element is not None]

    def nodes(self) -> list[Node]:
        """Return the nodes that the cluster knows, remote ones included."""
        return [Node(self, element) for element in self.section("nodes")
                if element.tag == "node" and element.get("uname")]

    def members(self) -> list[Node]:
        """Return the nodes that run Corosync. A remote node is fenced as its connection says."""
        return [node for node in self.nodes() if node.kind == "member"]


class Node:
    """One node as the CIB describes it."""

    def __init__(self, cib: Cib, element: Element) -> None:
        self.name = element.get("uname", "")
        self.identifier = element.get("id", "")
        # "normal" is what Pacemaker 1 and the corosync plugin wrote for today's "member".
        kind = element.get("type", "") or "member"
        self.kind = "member" if kind.lower() in ("normal", "member") else kind.lower()
        self._cib = cib
        self._element = element

    def attributes(self) -> list[tuple[str, str]]:
        """Return the permanent node attributes. Transient ones are status, which is not read."""
        return [pair for attributes in self._cib.children(self._element, "instance_attributes")
                for pair in pairs(self._cib, attributes)]


def pairs(cib: Cib, attributes: Element) -> Iterator[tuple[str, str]]:
    """Yield name and value of each nvpair of an attribute set."""
    for child in attributes.findall("nvpair"):
        target = cib.resolved(child)
        if target is None:
            continue
        name = child.get("name") or target.get("name")
        value = target.get("value")
        if name and value is not None:
            yield name, value


def parse(data: bytes) -> Cib:
    """Parse what cibadmin printed: a configuration, or a whole CIB.

    Raises CibUnreadable for anything that is not one complete configuration with at least one node.
    A document type is refused before parsing: a CIB never has one, and entities are how a small
    document eats all memory.
    """
    remedy = f"look at the output of '{' '.join(QUERY)}'"
    if len(data) >= LARGEST:
        raise CibUnreadable(f"the configuration has {LARGEST} bytes or more, which is more than "
                            "mailha reads", remedy="remove what is not needed from it")
    # No NUL: in UTF-16 or UTF-32 the search for a document type would look past it.
    if b"\0" in data or b"<!DOCTYPE" in data or b"<!ENTITY" in data:
        raise CibUnreadable("the CIB holds a document type or bytes that no CIB has", remedy=remedy)
    try:
        root = ElementTree.fromstring(data)
    except (ElementTree.ParseError, ValueError, LookupError, RecursionError) as error:
        raise CibUnreadable(f"the CIB is not well-formed XML: {error}", remedy=remedy) from None
    configuration = root.find("configuration") if root.tag == "cib" else root
    if configuration is None or configuration.tag != "configuration":
        raise CibUnreadable(f"the CIB has no configuration, its root is <{root.tag[:40]}>",
                            remedy=remedy)
    cib = Cib(configuration)
    if not cib.nodes():
        raise CibUnreadable("the CIB names no node, so it is not yet the cluster's",
                            remedy="wait until 'crm_mon -1' shows this node online")
    return cib


def read(machine: Machine, timeout: float) -> Cib:
    """Read and parse the local CIB, again and again until it succeeds or timeout seconds are over.

    One try gets at most a third of the time: pacemaker-based may be starting, or busy writing to a
    slow disk, and a hung client must leave room for another one.

    Raises CibUnreadable with the reason of the last try.
    """
    deadline = machine.clock.monotonic() + timeout
    pause = _FIRST_PAUSE
    while True:
        left = deadline - machine.clock.monotonic()
        try:
            share = min(left, max(_SHORTEST_TRY, timeout / 3))
            # Whole tenths, rounded down: the time stands in the message of a child that is late.
            return parse(_ask(machine, max(0.1, int(share * 10) / 10)))
        except errors.MailhaError as error:
            left = deadline - machine.clock.monotonic()
            if left <= pause:
                raise CibUnreadable(
                    f"cannot read the local CIB in {timeout:.0f} s: {error.reason}",
                    remedy=error.remedy or "see whether pacemaker-based runs on this node"
                ) from None
        machine.clock.sleep(pause)
        pause = min(pause * 2, _LONGEST_PAUSE)


def _ask(machine: Machine, timeout: float) -> bytes:
    """Let cibadmin print the local CIB; its environment is ours to choose.

    CIB_file or CIB_shadow in an administrator's shell would make cibadmin answer from a draft.
    """
    environment = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C"}
    for name in _PASSED_ON:
        if name in os.environ:
            environment[name] = os.environ[name]
    return machine.children.run(QUERY, timeout=timeout, environment=environment).stdout
