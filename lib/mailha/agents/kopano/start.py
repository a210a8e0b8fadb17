# SPDX-License-Identifier: GPL-2.0-or-later
"""The start of ocf:mailha:kopano: what has to be true, in order, before the first service runs.

First whether the node may start at all, then what is wrong with the node, then what may come right
while we wait. Until the record of the active group is written nothing has been changed, so a start
that is refused leaves nothing behind.
"""

from __future__ import annotations

from mailha import errors
from mailha.agents.kopano import local, release
from mailha.cluster import stonith
from mailha.products.kopano import database, last_words, leftovers
from mailha.profiles import kopano as profile
from mailha.services import active, evidence, lock
from mailha.services.managers import manager_of, output_path
from mailha.services.service import DIRECT, Group, Service
from mailha.services.starting import Start

TYPE_CHECKING = False
if TYPE_CHECKING:
    from mailha.ocf import Call
    from mailha.products.kopano.configuration import Configuration
    from mailha.system.machine import Machine

# Parts of the budget: of another start or stop that holds this one up, and of reading the CIB.
SHARE_OF_LOCK = 0.3
SHARE_OF_CIB = 0.2
LONGEST_FOR_CIB = 30.0
# Seconds between two questions to a database that is not there. It counts connections that it does
# not understand and bans whoever makes too many (max_connect_errors), so it is not hammered.
FIRST_PAUSE, LONGEST_PAUSE = 1.0, 5.0
# Seconds that one question needs; with less than that left there is no further one.
LEAST_FOR_DATABASE = 1.0


def start(call: Call, machine: Machine) -> None:
    """Start the group and return when every service truly serves.

    Raises errors.NotAllowedHere if this node must not run it, errors.Failed if it did not come up
    or cannot yet, errors.BudgetSpent with what is still missing.
    """
    deadline = machine.clock.monotonic() + call.left()
    held = lock.take(machine, call.resource, call.left() * SHARE_OF_LOCK)
    try:
        # What a stop has left that was killed before its end.
        lock.forget_stop(machine, call.resource)
        _may_start(call, machine)
        if _serves_already(call, machine):
            call.log.info("everything serves already")
            return
        group, found = local.examine(call, machine)
        installed = local.installed_version(call, machine)
        _start(call, machine, group, found, deadline, release.Release(call, machine, installed))
    finally:
        held.release()


def _may_start(call: Call, machine: Machine) -> None:
    """Ask the cluster whether only this node can run the group.

    Raises errors.NotAllowedHere, and errors.WrongParameter in a clone that works on the data.
    """
    clone_max = call.meta("clone_max")
    if clone_max.isdigit() and int(clone_max) > 1 and any(
            profile.SERVICES[name].touches_data for name in call.parameters["services"]):
        raise errors.WrongParameter(
            f"it is in a clone of {clone_max} instances, and two servers destroy the data",
            remedy="take it out of the clone, or set clone-max=1")
    if not call.parameters["require_stonith"]:
        return
    if not call.in_cluster:
        call.log.info("called by hand, so nothing changes over by itself: STONITH is not asked for")
        return
    stonith.verdict(machine, node=call.node, manual_node=call.parameters["manual_node"],
                    requires=call.meta("requires"),
                    timeout=min(LONGEST_FOR_CIB, call.left() * SHARE_OF_CIB))


def _serves_already(call: Call, machine: Machine) -> bool:
    """Tell whether a start has been here and everything serves: then nothing may be disturbed."""
    try:
        record = active.read(machine, call.resource)
    except active.RecordUnreadable:
        return False
    names = call.parameters["services"]
    if record is None or {service.name for service in record.services} != set(names):
        return False
    group = Group(call.resource, record.manager, record.services,
                  call.parameters["optional_services"])
    seen = evidence.look(machine, group, timeout=call.left() / 4, known=record.processes)
    return evidence.whole(seen)


def _start(call: Call, machine: Machine, group: Group, found: dict[str, Configuration],
           deadline: float, version: release.Release) -> None:
    """Start the group after all that this node has to fulfil is fulfilled."""
    runs_server = any(service.name == "server" for service in group.services)
    if runs_server:
        version.check()
    environment = leftovers.environment(machine) if group.manager == DIRECT else {}
    leftovers.clear(machine, list(group.services))
    leftovers.make_run_directory(machine)
    if runs_server and _wait_for_database(call, machine, found["server"], deadline):
        # Minutes may have passed: address, disk and cluster are what they are now.
        _may_start(call, machine)
        group, found = local.examine(call, machine)
        version.check()
    lock.give_way(machine, call.resource)
    record = _known(machine, call)
    manager = manager_of(machine, group, lambda: environment, record)
    begin = machine.clock.wall()
    was_active = active.is_active(machine, call.resource)
    try:
        manager.prepare(max(1.0, call.left() / 4))
        if runs_server:
            # Last, because a version that is recorded keeps older software off the other node.
            version.record()
    except errors.MailhaError:
        # Nothing was started, so nothing may be able to start by itself.
        if not was_active:
            _unmark(call, machine)
        raise

    def explain(service: Service) -> str:
        path = found[service.name].log_file if service.name in found else ""
        output = output_path(group.resource, service) if group.manager == DIRECT else ""
        words = last_words.last_words(machine, service, since=begin, log_file=path, output=output)
        if last_words.newer_data(words):
            # Its exit code is 0 when it runs in the background, so only its log tells.
            version.retract()
            raise errors.NotAllowedHere(
                f"{service.name} refuses data of a newer version: {words}",
                remedy="update Kopano on this node to the version of the other one")
        if last_words.wrong_configuration(words) and service.name in found:
            raise errors.NotAllowedHere(
                f"{service.name} refuses its configuration {found[service.name].path}: {words}",
                remedy="correct it there, on every node")
        return words

    Start(machine, group, manager, deadline=deadline, log=call.log, explain=explain).run()


def _unmark(call: Call, machine: Machine) -> None:
    """Remove the mark of the active group; a failure of that is not the reason of ours."""
    try:
        active.remove(machine, call.resource)
    except errors.MailhaError as error:
        call.log.warning(f"{error}; until that is cured its units could be started by hand")


def _known(machine: Machine, call: Call) -> dict[str, tuple[int, int]]:
    """Return the processes that a start before this one has written down."""
    try:
        record = active.read(machine, call.resource)
    except active.RecordUnreadable:
        return {}
    return record.processes if record is not None else {}


def _wait_for_database(call: Call, machine: Machine, server: Configuration,
                       deadline: float) -> bool:
    """Return when the server's database answers; tell whether it had to be waited for.

    A server that is started without its database gives up after 90 s; and while it waits it has
    open ports, no pid file, and dies from a SIGTERM without a word.

    Raises errors.BudgetSpent at the deadline, and errors.Failed when a stop is ordered meanwhile.
    """
    if server.database is None:
        return False
    begin = machine.clock.monotonic()
    pause = FIRST_PAUSE
    while True:
        left = deadline - machine.clock.monotonic()
        try:
            database.reach(machine, server.database,
                           max(LEAST_FOR_DATABASE, min(10.0, left)))
            return pause > FIRST_PAUSE
        except database.DatabaseUnreachable as error:
            if machine.clock.monotonic() + pause + LEAST_FOR_DATABASE >= deadline:
                waited = machine.clock.monotonic() - begin
                raise errors.BudgetSpent(f"{error.reason} (waited {waited:.0f} s for it)",
                                         remedy=error.remedy) from None
            if pause == FIRST_PAUSE:
                call.log.info(f"{error.reason}; waiting for it")
        next_try = machine.clock.monotonic() + pause
        while machine.clock.monotonic() < next_try:
            lock.give_way(machine, call.resource)
            machine.clock.sleep(min(0.5, pause))
        pause = min(pause * 1.5, LONGEST_PAUSE)
