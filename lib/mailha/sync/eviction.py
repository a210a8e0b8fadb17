# SPDX-License-Identifier: GPL-2.0-or-later
"""Who holds the lock of a resource's records, and what becomes of him if he does nothing.

A receiver that somebody has stopped (SIGSTOP, a debugger, a control group that is frozen) holds the
lock for as long as he likes; the node could then neither receive nor become the active one. It may
be killed at any moment without harm: that is how it is made.
"""

from __future__ import annotations

from mailha import errors
from mailha.sync.places import Places
from mailha.system import locks
from mailha.system.machine import Machine
from mailha.system.processes import Process

_KILL = 9

_STATES = {"T": "stopped by SIGSTOP", "t": "held by a debugger", "D": "waiting for a disk"}


def holder(machine: Machine, places: Places) -> Process | None:
    """Return the process that holds the lock, None if nobody does or it cannot be told.

    Only for a process that does not hold it itself: it would lose it (fcntl(2)).
    """
    try:
        return machine.processes.read(locks.holder(machine.root + places.lock) or 0)
    except (OSError, errors.MailhaError):
        return None


def evict(machine: Machine, places: Places, *, receivers: bool) -> bool:
    """Kill who holds the lock and is stopped; tell whether there was one to be killed.

    receivers: also a receiver that works: nothing may be received any more. Only a process of ours
    is killed, and never a sender, which is the agent's to stop.
    """
    process = holder(machine, places)
    if process is None:
        return False
    verb = _verb(process)
    if not verb or verb == "send" or not (process.stopped or receivers and verb == "receive"):
        return False
    try:
        return machine.processes.signal(process, _KILL)
    except errors.MailhaError:
        return False


def described(machine: Machine, places: Places) -> str:
    """Return who holds the lock, as an administrator needs it."""
    process = holder(machine, places)
    if process is None:
        return "another process"
    verb = _verb(process)
    state = _STATES.get(process.state, "")
    return (f"process {process.pid} ({f'mailha sync {verb}' if verb else process.command}"
            f"{', ' + state if state else ''})")


def _verb(process: Process) -> str:
    """Return the verb with which the administrator's tool was called, "" if it is another program.
    """
    arguments = process.arguments
    for number, word in enumerate(arguments[:-2]):
        if word.rpartition("/")[2] == "mailha" and arguments[number + 1] == "sync":
            return arguments[number + 2]
    return ""
