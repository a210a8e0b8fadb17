# SPDX-License-Identifier: GPL-2.0-or-later
"""Talking to every service that serves by all other evidence, at depth 10 of a monitor."""

from __future__ import annotations

from mailha import errors
from mailha.services import greetings

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Callable

    from mailha.ocf import Call
    from mailha.services.service import Group, Service
    from mailha.system.machine import Machine

    Unfit = list[tuple[Service, greetings.Unfit]]

# For so long a bad greeting is asked for again: Kopano's dagent says 421 for a moment after its
# server or the database came back, and a Java machine is mute while it cleans up its memory.
SECOND_THOUGHTS = 5.0
PAUSE = 0.5


def greet(call: Call, machine: Machine, services: list[Service],
          without: tuple[str, ...] = ()) -> Unfit:
    """Return the services that do not greet, and what each did instead.

    without: protocols that are not asked.
    """
    asked = [service for service in services if greetings.greets(service)]
    unfit = []
    for number, service in enumerate(asked):
        # Each may take its part of what is left; half of that stays for the second thoughts. The
        # least of it is little, because a dozen mute services must not use up more than is left.
        share = max(0.1, min(10.0, call.left() / 2 / (len(asked) - number)))
        try:
            greetings.check(machine, service, share, without)
        except greetings.Unfit as error:
            unfit.append((service, error))
    return unfit


def insist(call: Call, machine: Machine, unfit: Unfit, without: tuple[str, ...] = ()) -> Unfit:
    """Ask those again that did not greet, for a while; return the ones that still do not."""
    end = machine.clock.monotonic() + min(SECOND_THOUGHTS, call.left() / 2)
    while unfit and machine.clock.monotonic() < end:
        machine.clock.sleep(PAUSE)
        unfit = greet(call, machine, [service for service, _ in unfit], without)
    return unfit


def judge(group: Group, unfit: Unfit, explain: Callable[[str], str] = str) -> None:
    """Raise what services that do not greet mean, if there are any.

    explain: makes the reason of a failure out of the complaint. Raises errors.Degraded if all of
    them are optional, else errors.Failed.
    """
    if not unfit:
        return
    text = "; ".join(error.reason for _, error in unfit)
    if not any(group.required(service) for service, _ in unfit):
        raise errors.Degraded(f"optional services do not answer: {text}")
    raise errors.Failed(explain(text))
