# SPDX-License-Identifier: GPL-2.0-or-later
"""What bm-core's state means, and the deeper depths of the monitor.

A state into which an administrator has brought BlueMind is no failure. Whoever recovered it would
stop the very wizard that leads out of it. IMAP, LMTP and the web server refuse their service
meanwhile, so they are not asked.

A recurring monitor loads this module.
"""

from __future__ import annotations

from mailha import errors
from mailha.products.bluemind import state

TYPE_CHECKING = False
if TYPE_CHECKING:
    from mailha.mailserver.conversation import Unfit
    from mailha.ocf import Call
    from mailha.services.evidence import Sight
    from mailha.services.service import Group
    from mailha.system.machine import Machine

REFUSED_MEANWHILE = ("imap", "pop3", "lmtp", "sieve", "ping", "http")
"""Protocols that are refused, or mute, in every state but RUNNING."""

CORE = "core"
# Services that let a connection wait while all their processes are in use: a flood of spam must not
# restart everything. And from how many processes on that is believed.
CROWDED, CROWD = ("postfix", "cyrus"), 10
# Seconds that core may take for its state: a Java machine that cleans up its memory is mute for
# some. And the part of the budget of that.
LONGEST, SHARE = 20.0, 0.4
# For so many seconds after its start core may be starting.
LONGEST_START = 600.0


def watch(call: Call, machine: Machine, group: Group, seen: list[Sight]
          ) -> errors.Degraded | None:
    """Return what the state of bm-core degrades, None if it is RUNNING or not in the group.

    Raises errors.Failed for a state in which it serves nobody and no administrator has brought it.
    """
    sight = next((each for each in seen if each.service.name == CORE and each.serves), None)
    if sight is None:
        return None
    try:
        found = state.ask(machine, min(LONGEST, call.left() * SHARE))
    except state.Mute:
        # One that has ended since it was looked at fails the next look.
        if call.left() < 2.0:
            raise
        machine.clock.sleep(1.0)
        found = state.ask(machine, min(LONGEST, call.left() * SHARE))
    if found == state.RUNNING:
        return None
    if not found:
        # Undocumented, so a later release may ask for a password; its greetings have to do then.
        call.log.warning("bm-core answers and does not say its state; going on without it")
        return None
    if found in state.ADMINISTRATIVE:
        return administrative(found)
    if found == state.STARTING:
        age = max((machine.processes.age(each) for each in sight.processes), default=0.0)
        if age < LONGEST_START:
            return errors.Degraded(f"bm-core is starting since {age:.0f} s (state STARTING)")
    raise errors.Failed(f"bm-core is in the state {found}, in which it serves nobody",
                        remedy="see /var/log/bm/core.log")


def administrative(found: str) -> errors.Degraded:
    """Return what an administrative state means."""
    return errors.Degraded(
        f"bm-core is in the state {found}, into which an administrator has brought it: mail waits",
        remedy="end what was begun in BlueMind's administration; the cluster leaves it alone")


def converse(call: Call, machine: Machine, group: Group, seen: list[Sight]) -> None:
    """Talk to every service that serves by all other evidence; record which version runs.

    Raises errors.Degraded when only optional services do not answer, or the index is not whole,
    and errors.Failed.
    """
    from mailha.agents.bluemind import record
    from mailha.mailserver import conversation
    from mailha.products.bluemind import authentication, index, memory
    for line in memory.news(machine, group.resource, seen, max(1.0, call.left() / 8)):
        call.log.warning(line)
    without = REFUSED_MEANWHILE if _state(machine, call) not in ("", state.RUNNING) else ()
    services = [sight.service for sight in seen if sight.serves]
    unfit = conversation.greet(call, machine, services, without)
    if unfit:
        unfit = conversation.insist(call, machine, unfit, without)
    # Before anything is raised: an update that went wrong changes over to a node whose software may
    # be the older one.
    record.keep(call, machine, seen)
    if unfit and not without and _state(machine, call) not in ("", state.RUNNING):
        # It has been brought into another state since it was asked.
        return
    _excuse(unfit, {sight.service.name: len(sight.processes) for sight in seen})
    conversation.judge(group, unfit)
    for service in services:
        authentication.require(machine, service)
    health = index.health(machine, services, max(1.0, call.left() / 4))
    if health:
        raise errors.Degraded(health)


def _excuse(unfit: Unfit, processes: dict[str, int]) -> None:
    """Raise errors.Degraded if the only fault is one that a restart would make worse.

    processes: how many each service has.
    """
    reasons = [error.reason for service, error in unfit]
    if any(error.cause == "starting" for _, error in unfit):
        # What asks the database is mute meanwhile; a restart would begin the recovery again.
        raise errors.Degraded(f"{'; '.join(reasons)}; it heals by itself when PostgreSQL has "
                              "recovered")
    if unfit and all(service.name in CROWDED and error.cause == "timeout"
                     and processes.get(service.name, 0) >= CROWD for service, error in unfit):
        raise errors.Degraded(
            f"{'; '.join(reasons)}: all of its processes may be in use ("
            + ", ".join(f"{processes[service.name]} of {service.name}" for service, _ in unfit)
            + ")", remedy="see who keeps them busy; raise default_process_limit or maxchild")


def _state(machine: Machine, call: Call) -> str:
    """Return the state of a core on this node, of whichever resource; "" if none answers."""
    try:
        return state.ask(machine, max(0.5, min(5.0, call.left() / 8)))
    except state.Mute:
        return ""
