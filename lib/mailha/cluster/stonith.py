# SPDX-License-Identifier: GPL-2.0-or-later
"""May this node start a service that only one node may run?

Yes where Pacemaker can switch off every other node before it starts anything here: then a node that
has fallen silent is known to be off. Otherwise only by hand: on the one node that the administrator
has named, so that nothing ever changes over by itself.

The order of the evidence:

1. STONITH is on (``stonith-enabled``, since Pacemaker 3.0.2 ``fencing-enabled``; on by default),
   and nothing lets Pacemaker do without it (``startup-fencing=false``, ``requires``).
2. Every other member of the cluster is covered: by diskless SBD, or by a fencing device that is
   enabled, is for that node and may be used on a node other than that one; where the fencing
   topology has levels for the node, by all devices of one of its levels.
3. Without that: the node's own name is the one in ``manual_node``.
4. The CIB could not be read: what was found last in this boot, with the ``manual_node`` of today.

Standby, maintenance mode and quorum change none of these answers.
"""

from __future__ import annotations

from mailha import errors
from mailha.cluster import cib as cluster_information
from mailha.cluster import devices, rules, settings, topology
from mailha.cluster.cib import Cib
from mailha.system.machine import Machine

RECORD = "/run/mailha/fencing-verdict"
FORMAT = 1

_ENABLE = ("'crm configure property stonith-enabled=true' or "
           "'pcs property set stonith-enabled=true'")
_DEVICES = "'crm configure primitive NAME stonith:AGENT ...' or 'pcs stonith create NAME AGENT ...'"


class Finding:
    """What the CIB says about fencing, apart from any manual_node.

    reason: why fencing cannot be relied on, empty if it can; remedy: what to do about it.
    nodes: the names of all nodes of the cluster.
    """

    def __init__(self, nodes: list[str], reason: str = "", remedy: str = "") -> None:
        self.nodes = nodes
        self.reason = reason
        self.remedy = remedy


def verdict(machine: Machine, *, node: str, manual_node: str, timeout: float,
            requires: str = "") -> None:
    """Return if this node may start, and record what was found about fencing in this boot.

    node: our name in the cluster (OCF_RESKEY_CRM_meta_on_node). manual_node: the parameter, empty
    if unset. timeout: seconds for reading the CIB. requires: the meta-attribute of the resource
    (OCF_RESKEY_CRM_meta_requires), empty if unset.

    Raises errors.NotAllowedHere with the finding if it may not, and errors.Failed if the CIB cannot
    be read and nothing has been recorded since the node booted.
    """
    try:
        found = examine(cluster_information.read(machine, timeout), node, requires=requires)
    except cluster_information.CibUnreadable as error:
        recorded = recall(machine)
        if recorded is None:
            raise errors.Failed(
                f"whether STONITH protects this cluster is unknown: {error.reason}, and nothing "
                "was recorded since this node booted", remedy=error.remedy) from None
        found = recorded
    else:
        _record(machine, found)
    judge(found, node=node, manual_node=manual_node)


def judge(found: Finding, *, node: str, manual_node: str) -> None:
    """Return if a node may start under a finding; case in names means nothing, as in Pacemaker.

    Raises errors.NotAllowedHere.
    """
    if not found.reason:
        return
    if not manual_node:
        raise errors.NotAllowedHere(
            found.reason, remedy=f"{found.remedy}, or, for a changeover by hand only, name the one "
                                 "node that may run it in manual_node")
    if manual_node.lower() not in [name.lower() for name in found.nodes]:
        raise errors.NotAllowedHere(
            f"manual_node names '{manual_node}', which is no node of this cluster "
            f"({', '.join(found.nodes)})", remedy="set manual_node to the name of one of them")
    if manual_node.lower() != node.lower():
        raise errors.NotAllowedHere(
            f"changeover is by hand and only '{manual_node}' may run this (manual_node), not "
            f"'{node}', because {found.reason}",
            remedy=f"to change over, make certain that '{manual_node}' is off, then set "
                   f"manual_node to '{node}' with 'crm resource param RESOURCE set manual_node "
                   f"{node}' or 'pcs resource update RESOURCE manual_node={node}'")


def examine(cib: Cib, node: str, *, requires: str = "") -> Finding:
    """Find out from the CIB whether every member other than node can be fenced."""
    names = [known.name for known in cib.nodes()]
    reason, remedy = _switched_off(cib, requires)
    if reason:
        return Finding(names, reason, remedy)
    available = devices.find(cib)
    by_watchdog = _watchdog_targets(cib, available)
    for other in cib.members():
        if other.name.lower() == node.lower():
            continue
        if by_watchdog is not None and (not by_watchdog or other.name.lower() in by_watchdog):
            continue
        obstacle = topology.obstacle(cib, other, available)
        if obstacle:
            return Finding(names, f"node '{other.name}' cannot be fenced: {obstacle}",
                           "give every node a fencing device that another node may use: "
                           f"{_DEVICES}")
    return Finding(names)


def _switched_off(cib: Cib, requires: str) -> tuple[str, str]:
    """Say why Pacemaker would not fence before it recovers, and what to do; empty if it would."""
    values = settings.renamed_property_values(cib, "fencing-enabled", "stonith-enabled")
    for value in sorted(value for value in values if value is not None):
        # Pacemaker's daemons do not agree on a word that is no boolean, so it is not relied on.
        if rules.boolean(value) is None:
            return (f"the cluster property stonith-enabled is '{value}', which is neither true nor "
                    "false", f"set it with {_ENABLE}")
        if rules.boolean(value) is False:
            doubt = " or may be, by a rule or a second set," if len(values) > 1 else ""
            return (f"STONITH is{doubt} off (cluster property stonith-enabled={value})",
                    f"switch it on with {_ENABLE}")
    for startup in settings.property_values(cib, "startup-fencing"):
        if startup is not None and rules.boolean(startup) is not True:
            return (f"the cluster property startup-fencing is '{startup}': a node that was never "
                    "seen is taken for off without being fenced",
                    "remove it with 'crm configure property startup-fencing=true' or "
                    "'pcs property set startup-fencing=true'")
    if requires.lower() in ("nothing", "quorum"):
        return (f"the meta-attribute requires={requires} lets Pacemaker start this resource before "
                "a lost node is fenced",
                "remove it with 'crm_resource --meta --delete-parameter requires' from the "
                "resource, its group and the resource defaults")
    return "", ""


def _watchdog_targets(cib: Cib, available: list[devices.Device]) -> frozenset[str] | None:
    """Return the nodes that diskless SBD fences: None for no node, an empty set for every node.

    It is in use where Pacemaker has seen SBD running (have-watchdog) and a watchdog timeout is set;
    a negative one means "twice SBD's own", and so does one that cannot be read. A fence_watchdog
    device limits it to the nodes that it lists.
    """
    timeouts = settings.renamed_property_values(cib, "fencing-watchdog-timeout",
                                                "stonith-watchdog-timeout")
    if any(value is None or rules.milliseconds(value) == 0 for value in timeouts):
        return None
    seen = settings.property_values(cib, "have-watchdog")
    if any(value is None or rules.boolean(value) is not True for value in seen):
        return None
    limits = [device.targets or frozenset() for device in available
              if device.agent == devices.WATCHDOG_AGENT and not device.flaw]
    return limits[0] if limits else frozenset()


def _record(machine: Machine, found: Finding) -> None:
    """Keep what was found, for a start in this boot that cannot read the CIB.

    That it cannot be kept is no reason to refuse a start that the CIB itself allows.
    """
    lines = [f"format {FORMAT}", "nodes " + " ".join(found.nodes)]
    if found.reason:
        lines += [f"reason {_one_line(found.reason)}", f"remedy {_one_line(found.remedy)}"]
    data = "\n".join([*lines, "end", ""]).encode("utf-8", "replace")
    try:
        machine.files.make_directory("/run/mailha", 0o755)
        machine.files.write_atomic(RECORD, data)
    except errors.MailhaError:
        _forget(machine)


def _forget(machine: Machine) -> None:
    """Remove a record that no longer says what is so, as far as that is possible."""
    try:
        machine.files.remove(RECORD)
    except errors.MailhaError:
        pass


def recall(machine: Machine) -> Finding | None:
    """Return what was found last in this boot; None if nothing was, or if it cannot be read whole.

    /run is empty after a boot, so the record needs no other mark of its time.
    """
    try:
        text = machine.files.read(RECORD).decode("utf-8")
    except (OSError, UnicodeDecodeError, errors.MailhaError):
        return None
    lines = text.split("\n")
    if lines[0] != f"format {FORMAT}" or lines[-2:] != ["end", ""]:
        return None
    fields = dict(line.partition(" ")[::2] for line in lines[1:-2])
    if not fields.get("nodes"):
        return None
    return Finding(fields["nodes"].split(), fields.get("reason", ""), fields.get("remedy", ""))


def _one_line(text: str) -> str:
    """Return text without line breaks, which a node name in a CIB could bring in."""
    return " ".join(text.split())
