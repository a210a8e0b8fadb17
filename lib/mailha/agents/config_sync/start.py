# SPDX-License-Identifier: GPL-2.0-or-later
"""The start: this node takes the next generation, and its sender begins.

A peer is not asked for anything here: mail must not wait for the other node, which may be the one
that has just died.
"""

from __future__ import annotations

from mailha import errors
from mailha.agents.config_sync import surroundings
from mailha.sync.active import ending, rivals, sender
from mailha.sync.files import replicated, settings
from mailha.sync.places import Places

TYPE_CHECKING = False
if TYPE_CHECKING:
    from mailha.ocf.call import Call
    from mailha.sync.files.settings import Settings
    from mailha.system.machine import Machine

PAUSE = 0.05

HOOKS_SHARE = 0.4
"""Of what is left, for what was still due here; a map that cannot be made must not fail a start."""

LEAST = 3.0
"""Seconds that have to be left for the sender when all else is done."""


def start(call: Call, machine: Machine) -> None:
    """Let this node send. Does nothing if it does.

    Raises errors.NotInstalled without the unit, errors.WrongParameter for what can be replicated
    nowhere, and errors.Failed if the number cannot be raised or the sender does not begin.
    """
    surroundings.require_unit(call, machine)
    places = Places(call.resource)
    if sender.holder(machine, call.resource):
        # It may have begun a moment ago: by systemd, after it died.
        _wait(call, machine, places.unit)
        call.log.info("it is already sending")
        return
    cib = surroundings.configuration(call, machine)
    wanted = surroundings.settings(call, cib, generation=0)
    selection = replicated.select(machine, wanted)
    wanted.generation = surroundings.next_generation(call, machine)
    _run_what_is_due(call, machine, wanted)
    wanted.write(machine)
    ending.forget(machine, call.resource)
    machine.systemd.reset_failed(places.unit, timeout=call.left() / 4)
    machine.systemd.start(places.unit, timeout=call.left() / 4)
    try:
        _wait(call, machine, places.unit)
    except errors.MailhaError:
        # What is not started must not be started by systemd later on.
        settings.remove(machine, call.resource)
        raise
    for rival in rivals.find(machine, selection.roots):
        call.log.warning(str(rival))
    surroundings.warn_of_crossings(call, machine, cib, selection)
    call.log.info(f"sends as generation {wanted.generation} to "
                  f"{', '.join(wanted.peers) or 'every node that it is paired with'}")


def reload(call: Call, machine: Machine) -> None:
    """Hand changed parameters over to the sender, which begins anew with them.

    Raises errors.Failed if there is none or it does not take them; it goes on with what it had.
    """
    from mailha.sync.active import control
    had = settings.read(machine, call.resource)
    wanted = surroundings.settings(call, surroundings.configuration(call, machine),
                                   generation=had.generation)
    replicated.select(machine, wanted)
    wanted.write(machine)
    try:
        before = control.ask(machine, call.resource, {"do": "reload"}, call.left() / 2)
    except errors.MailhaError:
        had.write(machine)
        raise
    _wait(call, machine, Places(call.resource).unit, before=before.get("since"))
    call.log.info("the changed parameters are in force")


def _run_what_is_due(call: Call, machine: Machine, wanted: Settings) -> None:
    """Run what was still to be done for the last changes that this node was sent."""
    from mailha.sync.passive import receiving
    profile = replicated.profile(wanted)
    try:
        failures = receiving.finish_hooks(
            machine, call.resource, replicated.select(machine, wanted),
            list(profile.services) if profile else [], sysctl=wanted.apply_sysctl,
            timeout=call.left() * HOOKS_SHARE)
        for name, reason in failures.items():
            call.log.warning(f"{name}: {reason}")
    except errors.MailhaError as error:
        call.log.warning(str(error))


def _wait(call: Call, machine: Machine, unit: str, *, before: object = None) -> None:
    """Wait until the sender answers: who asks next is the monitor, and it must not find nobody.

    before: the moment since when one sends that is to be followed by another. Raises errors.Failed
    with what it has said if it ends.
    """
    while True:
        found = machine.systemd.units([unit], timeout=call.left() / 3)[unit]
        if found.active == "active" and sender.holder(machine, call.resource) \
                and _since(call, machine) not in (None, before):
            return
        ended = found.active in ("failed", "inactive") and not found.job
        if ended or call.left() < LEAST:
            said = ending.read(machine, call.resource)
            state = f"{found.active} ({found.sub})"
            raise errors.Failed(
                f"the sender does not start: {said or f'its unit is {state}'}",
                remedy=f"see journalctl -u '{unit}'")
        machine.clock.sleep(PAUSE)


def _since(call: Call, machine: Machine) -> object:
    """Return since when the sender that answers sends, None if none does."""
    from mailha.sync.active import control
    try:
        return control.ask(machine, call.resource, {"do": "status"}, call.left() / 3).get("since")
    except errors.MailhaError:
        return None
