# SPDX-License-Identifier: GPL-2.0-or-later
"""The monitor: does the sender live, and is what it sends on the other side?

The sender itself compares the content of both sides, and gives the verdict; so the monitor is one
question over a socket. Only if nobody answers it looks closer, at the lock that ends with the
sender and at its unit. Nothing that is wrong with a peer is worse than "degraded": mail must never
move because the other node is down.

A recurring monitor loads this module.
"""

from __future__ import annotations

from mailha import errors
from mailha.sync.active import sender, status

TYPE_CHECKING = False
if TYPE_CHECKING:
    from mailha.ocf.call import Call
    from mailha.system.machine import Machine
    from mailha.system.units import Unit

SHARE = 0.7
"""Of what is left of the budget, for the comparison; after that there is time to look closer."""

LONGEST = 30.0
"""Seconds for it. It takes a tenth of one; a peer whose disk takes longer is worth a word."""

RESTART = 3.0
"""Seconds that systemd is given to bring a dead sender back before it is said that it is dead."""

PAUSE = 0.1

COMING = ("active", "activating", "reloading")
"""States of a unit that runs or is about to; one that waits to be started again is activating."""


def monitor(call: Call, machine: Machine) -> None:
    """Return if everything is equal on both sides.

    Raises errors.Degraded with what is not, errors.NotRunning if it was stopped, and errors.Failed
    if the sender is dead.
    """
    if call.is_probe:
        _probe(call, machine)
        return
    try:
        code, reason = status.ask(machine, call.resource, min(LONGEST, call.left() * SHARE))
    except status.NoAnswer as error:
        raise errors.Degraded(
            error.reason, remedy="systemd starts it again if it hangs; see journalctl -u "
                                 f"'{_unit_name(call)}'") from None
    except status.NotThere:
        _look_closer(call, machine)
        return
    if code != errors.SUCCESS:
        raise errors.Degraded(reason)


def _probe(call: Call, machine: Machine) -> None:
    """Return if a sender lives here or is about to. Raises errors.NotRunning if not."""
    if sender.holder(machine, call.resource):
        return
    unit = _unit(call, machine)
    if unit is None or unit.active not in COMING:
        raise errors.NotRunning("no sender of this resource runs on this node")


def _look_closer(call: Call, machine: Machine) -> None:
    """Find out why nobody answers. Raises what monitor() does, and never just returns."""
    journal = f"see journalctl -u '{_unit_name(call)}'"
    end = machine.clock.monotonic() + min(RESTART, call.left() / 2)
    while True:
        unit = _unit(call, machine)
        pid = sender.holder(machine, call.resource)
        if not pid and (unit is None or unit.active not in COMING):
            break
        try:
            status.ask(machine, call.resource, min(LONGEST, call.left() * SHARE))
            # Said although it is back: a sender that dies now and then would else look well.
            raise errors.Degraded("the sender was gone, and is back", remedy=journal)
        except (status.NotThere, status.NoAnswer):
            if machine.clock.monotonic() >= end:
                raise errors.Degraded("the sender was gone, and systemd is starting it again",
                                      remedy=journal) from None
        machine.clock.sleep(PAUSE)
    from mailha.sync.files import settings
    if (unit is None or unit.active == "inactive") \
            and not machine.files.exists(settings.path(call.resource)):
        raise errors.NotRunning("it is stopped")
    state = f": its unit is {unit.active} ({unit.sub})" if unit is not None else ""
    raise errors.Failed(f"the sender is dead{state}", remedy=journal)


def _unit(call: Call, machine: Machine) -> Unit | None:
    """Return what systemd says of the unit, None where there is no systemd."""
    if not machine.systemd.running():
        return None
    name = _unit_name(call)
    return machine.systemd.units([name], timeout=call.left() / 3)[name]


def _unit_name(call: Call) -> str:
    from mailha.sync.places import Places
    return Places(call.resource).unit
