# SPDX-License-Identifier: GPL-2.0-or-later
"""One start or stop of a resource at a time on this node.

Pacemaker never runs two, but `crm_resource --force-start` by hand beside a stop of the cluster
does. The lock ends with the process that holds it, however that ends.
"""

from __future__ import annotations

from mailha import errors
from mailha.system.files import of_resource

TYPE_CHECKING = False
if TYPE_CHECKING:
    from mailha.system.files import FileLock
    from mailha.system.machine import Machine

DIRECTORY = "/run/mailha/lock"
COMMON_DIRECTORY = "/run/mailha/lock-of-all"
WANTED_DIRECTORY = "/run/mailha/stop-wanted"
PAUSE = 0.1


class Busy(errors.Failed):
    """Another start or stop of the resource has not ended."""


def take(machine: Machine, resource: str, timeout: float) -> FileLock:
    """Return the lock of a resource, to be released by the caller.

    timeout: seconds to wait for whoever holds it. Raises Busy when it is not free by then, and
    errors.Failed if the lock's file cannot be made.
    """
    return _take(machine, of_resource(DIRECTORY, resource), timeout,
                 f"another start or stop of '{resource}'")


def take_common(machine: Machine, software: str, timeout: float) -> FileLock:
    """Return the lock that all resources of a software share, to be released by the caller.

    A start holds it from its look at the others until the others can see its record. Raises as
    take() does.
    """
    return _take(machine, of_resource(COMMON_DIRECTORY, software), timeout,
                 f"another start of {software}")


def is_held(machine: Machine, resource: str) -> bool:
    """Tell whether a start or stop of a resource is under way. Raises errors.Failed."""
    path = of_resource(DIRECTORY, resource)
    if not machine.files.exists(path):
        return False
    held = machine.files.lock(path)
    if held is None:
        return True
    held.release()
    return False


def _take(machine: Machine, path: str, timeout: float, who: str) -> FileLock:
    """Return the lock of a file. who: holds it, for the message."""
    machine.files.make_directory(path.rpartition("/")[0], 0o755)
    deadline = machine.clock.monotonic() + timeout
    while True:
        held = machine.files.lock(path)
        if held is not None:
            return held
        if machine.clock.monotonic() >= deadline:
            raise Busy(f"{who} has been running on this node for {timeout:.0f} s",
                       remedy="wait until it has ended: 'lslocks' names the process that holds "
                              f"{path}")
        machine.clock.sleep(PAUSE)


def want_stop(machine: Machine, resource: str) -> None:
    """Tell a start of the resource that is under way to give way to a stop.

    Where that cannot be written, the start has to be waited for. Never raises errors.MailhaError.
    """
    try:
        machine.files.make_directory(WANTED_DIRECTORY, 0o755)
        machine.files.write_atomic(of_resource(WANTED_DIRECTORY, resource), b"")
    except errors.MailhaError:
        pass


def forget_stop(machine: Machine, resource: str) -> None:
    """Take back want_stop(). Never raises errors.MailhaError."""
    try:
        machine.files.remove(of_resource(WANTED_DIRECTORY, resource))
    except errors.MailhaError:
        pass


def give_way(machine: Machine, resource: str) -> None:
    """Raise errors.Failed if a stop of the resource has been ordered while a start is under way.

    A start by hand that waits for its database for minutes would else go on after a stop has said
    that nothing runs, and the other node has taken over.
    """
    if machine.files.exists(of_resource(WANTED_DIRECTORY, resource)):
        raise errors.Failed(f"a stop of '{resource}' was ordered while it was being started")
