# SPDX-License-Identifier: GPL-2.0-or-later
"""ocf:mailha:fencing-guard: nothing starts here unless the other nodes can be switched off.

It stands first in every group, before the file system, the address and the service. start asks the
cluster's configuration whether every other node can be fenced, and leaves a mark for this boot;
monitor and stop look at the mark alone. So a running group is never touched by what is changed in
the configuration, and the next start is refused if the change was a bad one.
"""

from __future__ import annotations

from mailha import errors
from mailha.ocf.declaration import Action, Agent, Parameter
from mailha.validation.text import Name

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from mailha.cluster.mark import Mark
    from mailha.ocf.call import Call
    from mailha.system.machine import Machine

LONGEST_QUESTION = 40.0
"""Seconds for asking the CIB, which answers in a tenth of one. More patience, where a start has
more than the advertised 60 s, would only delay the news that Pacemaker does not answer."""

SHARE_OF_START = 0.8
"""Of what is left of the budget; the rest is for leaving the mark."""

SHORT_QUESTION = 1.5
"""Seconds for asking the CIB in validate-all, where an administrator waits."""


def start(call: Call, machine: Machine | None = None) -> None:
    """Leave the mark if this node may run what only one node may run.

    Raises errors.NotAllowedHere if it may not, errors.Failed if that cannot be found out or the
    mark cannot be left.
    """
    machine = machine or _machine()
    mark = _mark(call, machine)
    if call.in_cluster:
        from mailha.cluster import stonith
        stonith.verdict(machine, node=call.node, manual_node=call.parameters["manual_node"],
                        requires=call.meta("requires"),
                        timeout=min(LONGEST_QUESTION, call.left() * SHARE_OF_START))
    else:
        call.log.info("called by hand, outside a cluster: nothing changes over by itself here, so "
                      "there is nothing to guard against")
    mark.set()


def monitor(call: Call, machine: Machine | None = None) -> None:
    """Return if start has left its mark in this boot. Raises errors.NotRunning if not."""
    if not _mark(call, machine or _machine()).is_set():
        raise errors.NotRunning("the guard has not been started since this node booted")


def stop(call: Call, machine: Machine | None = None) -> None:
    """Take the mark away. Never fails: a failed stop would have this node switched off."""
    warning = _mark(call, machine or _machine()).clear()
    if warning:
        call.log.warning(warning)


def reload_agent(call: Call, machine: Machine | None = None) -> None:
    """Take over changed parameters, of which there is none that counts before the next start."""
    node = call.parameters["manual_node"]
    call.log.info(f"the next start will allow for manual_node={node or '(not set)'}; what runs "
                  "stays as it is")


def findings(call: Call, machine: Machine | None = None) -> Iterator[errors.MailhaError]:
    """Yield what a start on this node would be refused for, if the CIB is in reach.

    An administrator may ask from a machine without a cluster or as a user who may not read the
    CIB: that is no finding.
    """
    from mailha.cluster import cib, stonith
    try:
        configuration = cib.read(machine or _machine(), min(SHORT_QUESTION, call.left()))
    except cib.CibUnreadable as error:
        call.log.debug(f"fencing was not looked at: {error}")
        return
    manual_node = call.parameters["manual_node"]
    # Without a node, as crm and pcs ask, the question is whether the named node might start.
    node = call.node or manual_node
    try:
        stonith.judge(stonith.examine(configuration, node, requires=call.meta("requires")),
                      node=node, manual_node=manual_node)
    except errors.NotAllowedHere as error:
        yield error


def _machine() -> Machine:
    """Return this machine."""
    from mailha.system.machine import Machine
    return Machine()


def _mark(call: Call, machine: Machine) -> Mark:
    """Return the mark of the resource."""
    from mailha.cluster.mark import Mark
    return Mark(machine, call.resource)


AGENT = Agent(
    "fencing-guard",
    short="Lets a group start only where the other nodes can be fenced",
    long="""
Two nodes that run the same mail server on the same data destroy the data. What keeps that from
happening when the nodes lose sight of each other is fencing (STONITH): before a node takes over, it
switches the other one off. This resource makes sure that it works, or at least is set up, before
anything starts.

Put one at the very beginning of each group whose members may run on one node only, the database's
group included: before Filesystem, before the IP address, before the service. With DRBD, let the
promotion wait for it by an order and a colocation constraint. It holds no data and needs no
process; the rest of the group just does not start on a node where it does not.

start succeeds if STONITH is switched on (stonith-enabled, or fencing-enabled since Pacemaker 3.0.2;
on is the default), if no setting lets Pacemaker recover without it (startup-fencing=false,
requires=nothing or requires=quorum), and if every other node of the cluster can be fenced: by a
fencing device that is enabled, that is for this node and that may be used on another one than this
node itself, by each device of a level where there is a fencing topology, or by a watchdog (diskless
SBD). It refuses with "not installed" (5) and says what is missing; the node is then banned until
the failure is cleaned up ("crm resource cleanup" or "pcs resource cleanup"), or failure-timeout is
over.

Only start asks. It reads this node's copy of the cluster configuration and tries again while that
cannot be read; if it stays unreadable, what the last start in this boot has found holds. monitor
and stop look at a mark in /run and nothing else. So switching STONITH off, or maintenance of a
fencing device, does not stop mail that is running; it only prevents the next start.

Manual changeover: without STONITH no node can know that the other one is down, so only a person can
say so. Name the one node that may run the group in manual_node, in every guard of the cluster. The
group then never starts anywhere else by itself. To change over, make certain that the named node is
switched off or that the group is stopped on it, then change the name and clean up the failures. It
is not used while STONITH works.
""",
    parameters=(
        Parameter(
            "manual_node", Name(), reloadable=True,
            short="The only node that may start without STONITH",
            long="""
Changeover by hand: the name of the one node that may start the group although STONITH does not
protect it. Without it, no node may. Has no effect while STONITH is switched on and covers all other
nodes. To change over, make certain that the named node is off, or the group stopped on it, then set
the other name. What runs is not touched by the change itself, except by Pacemaker 2.0, which
restarts a resource at any change.
"""),
    ),
    actions=(
        Action("start", start, timeout=60),
        Action("stop", stop, timeout=20),
        Action("monitor", monitor, timeout=20, interval=30),
        Action("reload-agent", reload_agent, timeout=20),
    ),
    findings=findings,
)
