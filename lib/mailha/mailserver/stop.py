# SPDX-License-Identifier: GPL-2.0-or-later
"""The stop of a mail server. It validates nothing: it only matters what lives."""

from __future__ import annotations

from mailha import errors
from mailha.mailserver import sharing
from mailha.services import active, lock
from mailha.services.managers import manager_of
from mailha.services.service import Group
from mailha.services.stopping import Stop

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Callable

    from mailha.ocf import Call
    from mailha.services.active import Active
    from mailha.system.files import FileLock
    from mailha.system.machine import Machine

# The part of the budget that another start or stop may hold this one up.
SHARE_OF_LOCK = 0.3
# Seconds that it has at the end, when everything has been stopped, to prove that it is gone.
LAST_CHANCE = 30.0


def stop(call: Call, machine: Machine, *, bare: Callable[[Call, Machine], Group],
         tidy_up: Callable[[Call, Machine, Group], None] | None = None) -> None:
    """Stop every service and prove it. Raises errors.Failed if something lives on.

    bare: returns the group as parameters and profile tell it, without reading any configuration.
    tidy_up: removes what the dead have left, when it has been proven that they are dead; whatever
    it raises is a warning.
    """
    lock.want_stop(machine, call.resource)
    held, busy = _lock(call, machine)
    try:
        group = _stop(call, machine, bare)
        if busy:
            # A start that has not given way may have launched something since: nothing is proven
            # while it lives.
            held = lock.take(machine, call.resource, min(LAST_CHANCE, call.left() / 2))
            group = _stop(call, machine, bare)
        if tidy_up is not None:
            _tidy_up(call, machine, group, tidy_up)
    finally:
        lock.forget_stop(machine, call.resource)
        if held is not None:
            held.release()


def _stop(call: Call, machine: Machine, bare: Callable[[Call, Machine], Group]) -> Group:
    """Stop what runs of the group, prove it, and return the group."""
    deadline = machine.clock.monotonic() + call.left()
    record = _record(call, machine)
    group = _group(call, machine, record, bare)
    # Before anything is stopped, so that nothing can be started behind our back.
    _unmark(call, machine)
    manager = manager_of(machine, group, dict, record.processes if record else None)
    Stop(machine, group, manager, deadline=deadline, log=call.log).run()
    return group


def _tidy_up(call: Call, machine: Machine, group: Group,
             tidy_up: Callable[[Call, Machine, Group], None]) -> None:
    """Remove what the dead have left, as far as there is time for it.

    It has been proven that nothing lives, so nothing may make a failure of this stop any more: not
    even a lack of memory.
    """
    try:
        tidy_up(call, machine, group)
    except Exception as error:
        call.log.warning(f"everything has stopped, but not everything is tidy: {error}")


def _lock(call: Call, machine: Machine) -> tuple[FileLock | None, bool]:
    """Take the lock, or go on without it: whatever happens, mail must stop when it is told to.

    Return it, and whether another start or stop holds it.
    """
    try:
        return lock.take(machine, call.resource, call.left() * SHARE_OF_LOCK), False
    except errors.MailhaError as error:
        call.log.warning(f"{error}; stopping all the same")
        return None, isinstance(error, lock.Busy)


def _record(call: Call, machine: Machine) -> Active | None:
    try:
        return active.read(machine, call.resource)
    except errors.MailhaError as error:
        call.log.warning(str(error))
        return None


def _group(call: Call, machine: Machine, record: Active | None,
           bare: Callable[[Call, Machine], Group]) -> Group:
    """Return all that start has recorded and all that the parameters name.

    They differ when the parameters were changed in between, or could not be read.
    """
    named = sharing.without_others(call, machine, bare(call, machine))
    if record is None:
        return named
    recorded = {service.name: service for service in record.services}
    for service in named.services:
        if service.name in recorded:
            # What is searched for depends on what is mounted now, and is not recorded.
            recorded[service.name].search = service.search
    more = [service for service in named.services if service.name not in recorded]
    # Without systemd there are processes only, whatever start has found.
    manager = named.manager if not machine.systemd.running() else record.manager
    return Group(call.resource, manager, [*record.services, *more])


def _unmark(call: Call, machine: Machine) -> None:
    """Remove the mark of the active group; a /run that cannot be written must not fence us."""
    try:
        active.remove(machine, call.resource)
    except errors.MailhaError as error:
        call.log.warning(f"{error}; until that is cured its units could be started by hand")
