# SPDX-License-Identifier: GPL-2.0-or-later
"""The stop: nothing sends from here any more. It validates nothing; it matters only what lives.

The proof is the sender's lock, which ends with the process. That a change was not sent is no
failure of a stop: a failed stop would have the node switched off, and the change would still not be
sent.
"""

from __future__ import annotations

import os

from mailha import errors
from mailha.sync.active import sender
from mailha.sync.files import settings
from mailha.sync.places import Places
from mailha.system.units import SystemdUnavailable, UnitError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from mailha.ocf.call import Call
    from mailha.system.machine import Machine

PATIENCE = 8.0
"""Seconds after which it is killed. It lets go by itself after 5 (FLUSH of the sender)."""

QUEUE_PATIENCE = 1.0
"""Seconds that systemd may leave the stop in its queue. While Pacemaker itself is being stopped the
order waits for Pacemaker, which waits for us; then the sender is told directly."""

PAUSE = 0.05
LONGEST_FAREWELL = 5.0
"""Seconds for taking the attributes out of the cluster, which nothing depends on."""

_TERM, _KILL = 15, 9
_LIVES = ("active", "activating", "reloading", "deactivating")


def stop(call: Call, machine: Machine) -> None:
    """Stop the sender and prove it. Raises errors.Failed if it survives SIGKILL."""
    try:
        settings.remove(machine, call.resource)
    except errors.MailhaError as error:
        call.log.warning(f"{error}; until that is cured its unit could be started by hand")
    begin = machine.clock.monotonic()
    end = begin + call.left() * 0.8
    kill_at = begin + min(PATIENCE, call.left() * 0.5)
    job = _signal(call, machine, _TERM)
    killed = False
    while _lives(call, machine):
        now = machine.clock.monotonic()
        if now >= end:
            pid = sender.holder(machine, call.resource)
            raise errors.Failed(f"the sender (process {pid}) survives SIGKILL",
                                remedy="see what it hangs in: cat "
                                       f"/proc/{pid}/stack")
        if job and now >= begin + QUEUE_PATIENCE:
            if _is_held_back(call, machine, job):
                _tell(call, machine, _TERM)
            job = ""
        if now >= kill_at and not killed:
            call.log.warning("the sender does not stop; killing it")
            _signal(call, machine, _KILL)
            killed = True
        machine.clock.sleep(PAUSE)
    if call.in_cluster:
        from mailha.sync.active import notice
        notice.withdraw(machine, call.resource, min(LONGEST_FAREWELL, call.left() / 2))


def _signal(call: Call, machine: Machine, number: int) -> str:
    """Let systemd stop the unit, or kill its processes; without systemd, signal the sender.

    Returns the job of a stop that systemd has taken on, "" for none.
    """
    unit = Places(call.resource).unit
    if machine.systemd.running():
        try:
            if number == _KILL:
                machine.systemd.kill(unit, number, timeout=call.left() / 4)
                return ""
            return machine.systemd.stop(unit, timeout=call.left() / 4)
        except UnitError:
            pass            # there is no such unit; a sender may have been started by hand
        except SystemdUnavailable as error:
            call.log.warning(str(error))
    _tell(call, machine, number)
    return ""


def _tell(call: Call, machine: Machine, number: int) -> None:
    """Signal the sender itself."""
    pid = sender.holder(machine, call.resource)
    if pid:
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            pass


def _is_held_back(call: Call, machine: Machine, job: str) -> bool:
    """Tell whether systemd has not begun to carry out an order."""
    try:
        return machine.systemd.job_state(job, timeout=call.left() / 4) == "waiting"
    except errors.MailhaError:
        return True         # nobody knows; to be told twice does the sender no harm


def _lives(call: Call, machine: Machine) -> bool:
    """Tell whether a sender lives, or is about to."""
    if sender.holder(machine, call.resource):
        return True
    if not machine.systemd.running():
        return False
    unit = Places(call.resource).unit
    try:
        return machine.systemd.units([unit], timeout=call.left() / 4)[unit].active in _LIVES
    except SystemdUnavailable:
        return False        # the lock has told already that nothing lives
