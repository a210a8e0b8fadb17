# SPDX-License-Identifier: GPL-2.0-or-later
"""What a start needs of this node and of the cluster."""

from __future__ import annotations

import os

from mailha import errors
from mailha.agents.config_sync.parameters import NONE
from mailha.sync.files import replicated
from mailha.sync.files.settings import Settings
from mailha.sync.passive import crossing
from mailha.sync.places import STATE_DIRECTORY, Places
from mailha.validation import Invalid
from mailha.validation.storage import Paths
from mailha.validation.text import Words

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Iterator

    from mailha.cluster.cib import Cib
    from mailha.cluster.resources import Resource
    from mailha.ocf.call import Call
    from mailha.sync.files.selection import Selection
    from mailha.system.machine import Machine

LONGEST_QUESTION = 20.0
SHARE = 0.4
"""Of what is left of the budget, for an answer of the cluster's or of the shared disk."""

SHORTEST_TO_SYSTEMD = 0.25
"""Of what is left, for an answer of systemd's."""

ADDRESS_AGENTS = {"ocf:heartbeat:IPaddr2": "ip", "ocf:heartbeat:IPaddr": "ip",
                  "ocf:heartbeat:IPv6addr": "ipv6addr", "ocf:heartbeat:IPsrcaddr": "ipaddress",
                  "ocf:heartbeat:aws-vpc-move-ip": "ip",
                  "ocf:heartbeat:awsvip": "secondary_private_ip",
                  "ocf:heartbeat:gcp-vpc-move-vip": "alias_ip"}
"""Agents that move an address, and the parameter that names it."""


def require_unit(call: Call, machine: Machine) -> None:
    """Raise errors.NotInstalled if the sender cannot be run here at all.

    Raises errors.WrongParameter for a name of the resource that can be a unit's nowhere.
    """
    if not Places(call.resource).has_unit():
        raise errors.WrongParameter(
            f"a resource called '{call.resource}' can have no sender: the name of systemd's unit, "
            "of which it is a part, takes letters without accents, digits and : _ . - and has 255 "
            "of them at most", remedy="give the resource another name")
    if not machine.systemd.running():
        raise errors.NotInstalled("systemd, which runs the sender, does not run here",
                                  remedy="boot this node with systemd")
    name = Places(call.resource).unit
    unit = machine.systemd.units([name], timeout=call.left() * SHORTEST_TO_SYSTEMD)[name]
    if unit.load == "masked":
        raise errors.NotInstalled(f"the unit {name} is masked",
                                  remedy=f"systemctl unmask '{name}'")
    if unit.load != "loaded":
        raise errors.NotInstalled(f"systemd has no unit {name} ({unit.load})",
                                  remedy="install the package again, or systemctl daemon-reload")


def configuration(call: Call, machine: Machine) -> Cib | None:
    """Return the cluster's configuration, None outside of one. Raises errors.Failed."""
    if not call.in_cluster:
        return None
    from mailha.cluster import cib as cluster_information
    return cluster_information.read(machine, min(LONGEST_QUESTION, call.left() * SHARE))


def settings(call: Call, cib: Cib | None, *, generation: int) -> Settings:
    """Return what the sender is to be told. cib: the cluster's configuration, if there is one.

    In a cluster, the peers are its other nodes unless they are named, and the addresses that it
    moves are nobody's own.
    """
    values = call.parameters
    peers: tuple[str, ...] = values["peers"]
    floating: list[str] = []
    if cib is not None:
        floating = addresses(cib)
        peers = peers or tuple(node.name for node in cib.members() if node.name != call.node)
    return Settings(call.resource, node(call), generation,
                    profile="" if values["profile"] == NONE else values["profile"],
                    include=values["include"], exclude=values["exclude"], floating=floating,
                    peers=peers, apply_sysctl=values["apply_sysctl"], in_cluster=call.in_cluster)


def described(resource: str, node: str, *, profile: str | None, include: str | None,
              exclude: str | None, floating: list[str]) -> Settings:
    """Return what the sender of a resource would be told, by its parameters as somebody wrote them.

    floating: addresses that the cluster moves. Raises validation.Invalid.
    """
    return Settings(resource, node, 0, profile=profile if profile and profile != NONE else "",
                    include=Paths(slash=True).parse(include) if include else (),
                    exclude=Words(unique=False).parse(exclude) if exclude else (),
                    floating=floating)


def addresses(cib: Cib) -> list[str]:
    """Return the addresses that the cluster moves, whatever rule decides on them."""
    from mailha.cluster import resources
    found: set[str] = set()
    for resource in resources.every(cib):
        parameter = ADDRESS_AGENTS.get(resource.agent)
        if parameter:
            found.update(value.split("/")[0] for value in resource.values(parameter) if value)
    return sorted(found)


def warn_of_crossings(call: Call, machine: Machine, cib: Cib | None, ours: Selection) -> None:
    """Warn of other resources of this kind that carry what this one does: on another node they
    would send it back. cib: None where there is no cluster, and so no other resource.
    """
    for sentence in _crossings(call, machine, cib, ours) if cib is not None else ():
        call.log.warning(sentence)


def _crossings(call: Call, machine: Machine, cib: Cib, ours: Selection) -> Iterator[str]:
    from mailha.cluster import resources
    own = resources.without_instance(call.resource)
    for resource in resources.every(cib):
        if resource.agent != "ocf:mailha:config-sync" or resource.identifier == own:
            continue
        paths = sorted({path for theirs in _selections(machine, resource)
                        for path in crossing.common(ours, theirs)})
        if paths:
            yield (f"'{resource.identifier}' carries {', '.join(paths[:3])}"
                   f"{', ...' if len(paths) > 3 else ''} as well: where the two run on different "
                   "nodes, each of them refuses what the other one sends; 'exclude' it in one")


def _selections(machine: Machine, resource: Resource) -> Iterator[Selection]:
    """Yield what another resource may replicate. Rules may give it several values; wrong ones are
    for its own validate-all to tell.
    """
    for profile in resource.values("profile"):
        for include in resource.values("include"):
            for exclude in resource.values("exclude"):
                try:
                    yield replicated.select(machine, described(
                        resource.identifier, "", profile=profile, include=include, exclude=exclude,
                        floating=[]))
                except (errors.MailhaError, Invalid):
                    continue


def node(call: Call) -> str:
    """Return this node's name in the cluster; outside of one what `uname -n` says."""
    return call.node or os.uname().nodename


def next_generation(call: Call, machine: Machine) -> int:
    """Raise the number of the starts, and return it; it survives a power cut then.

    It is higher than any that this node has seen, so that a disk restored from a backup goes on
    counting from there. Raises errors.Failed.
    """
    from mailha.sync.active.generation import AttributeCounter, Counter, FileCounter
    from mailha.sync.state import State
    least = State.load(machine, Places(call.resource)).generation + 1
    directory = call.parameters["generation_dir"]
    timeout = call.left() * SHARE
    counter: Counter
    if directory:
        _require_mount(machine, directory)
        counter = FileCounter(machine, directory, call.resource, node(call), timeout)
    elif call.in_cluster:
        counter = AttributeCounter(machine, call.resource, timeout)
    else:
        # By hand, outside of a cluster, nobody else can be active.
        return least
    return counter.raise_(least)


def _require_mount(machine: Machine, directory: str) -> None:
    """Raise errors.Failed if nothing is mounted where the number is kept.

    Written to the disk of the operating system, it would count the starts of this node alone.
    """
    from mailha.storage import mountinfo
    found = mountinfo.mount_of(machine, directory).mount_point
    # /var may have a file system of its own, which is as little on both nodes as the root is.
    if found in ("/", mountinfo.mount_of(machine, STATE_DIRECTORY).mount_point):
        raise errors.Failed(f"generation_dir={directory} is on no disk of its own",
                            remedy="put the Filesystem resource before this one, or mount it")
