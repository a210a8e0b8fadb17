# SPDX-License-Identifier: GPL-2.0-or-later
"""The deeper monitor: the greeting of each service on the instance's own address.

A greeting comes from a process that has read imapd.conf and opened the list of mailboxes, so it
proves more than an open port. What keeps it away without any fault is a service of which maxchild
processes are in use: the next client waits until one leaves. A restart would cut all of them, so
that is "degraded".
"""

from __future__ import annotations

from mailha import errors
from mailha.services import greetings

TYPE_CHECKING = False
if TYPE_CHECKING:
    from mailha.ocf import Call
    from mailha.services.evidence import Sight
    from mailha.services.service import Group, Service
    from mailha.system.machine import Machine

# For so long a bad greeting is asked for again.
SECOND_THOUGHTS = 5.0
PAUSE = 0.5


def hold(call: Call, machine: Machine, group: Group, seen: list[Sight]) -> None:
    """Read every greeting.

    Raises errors.Degraded where all processes of a service are in use, errors.Failed where one does
    not greet without that.
    """
    for sight in seen:
        if sight.serves:
            _hold(call, machine, sight.service)


def _hold(call: Call, machine: Machine, service: Service) -> None:
    unfit = _ask(call, machine, service)
    end = machine.clock.monotonic() + min(SECOND_THOUGHTS, call.left() / 2)
    while unfit is not None and machine.clock.monotonic() < end:
        machine.clock.sleep(PAUSE)
        unfit = _ask(call, machine, service)
    if unfit is None:
        return
    busy = _busy(call, machine, service) if unfit.cause == "timeout" else ""
    if busy:
        raise errors.Degraded(f"{unfit.reason}: {busy}",
                              remedy="raise maxchild, or see who holds the connections")
    raise errors.Failed(unfit.reason)


def _ask(call: Call, machine: Machine, service: Service) -> greetings.Unfit | None:
    """Return what is wrong with the first bad greeting, None if all are right."""
    try:
        greetings.check(machine, service, max(0.1, min(10.0, call.left() / 4)))
    except greetings.Unfit as error:
        return error
    return None


def _busy(call: Call, machine: Machine, service: Service) -> str:
    """Return which services run as many processes as they may, "" if none does."""
    import os

    from mailha.agents.cyrus import plan
    from mailha.agents.cyrus.local import Reading
    reading = Reading(call, machine, plan.Instance(call))
    try:
        reading.read()
    except errors.MailhaError as error:
        call.log.warning(str(error))
        return ""
    names = [os.path.basename(path)
             for path, processes in machine.processes.find_each(service.helpers).items()
             for process in processes if service.claims(process)]
    full = plan.full(reading.places, names)
    return "; ".join(f"all {place.entry.most_children} processes of {place.entry.name} are in use "
                     f"({place.entry.place}: maxchild)" for place in full)
