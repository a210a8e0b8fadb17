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
PAUSE = 0.1


class Busy(errors.Failed):
    """Another start or stop of the resource has not ended."""


def take(machine: Machine, resource: str, timeout: float) -> FileLock:
    """Return the lock of a resource, to be released by the caller.

    timeout: seconds to wait for whoever holds it. Raises Busy when it is not free by then, and
    errors.Failed if the lock's file cannot be made.
    """
    path = of_resource(DIRECTORY, resource)
    machine.files.make_directory(DIRECTORY, 0o755)
    deadline = machine.clock.monotonic() + timeout
    while True:
        held = machine.files.lock(path)
        if held is not None:
            return held
        if machine.clock.monotonic() >= deadline:
            raise Busy(f"another start or stop of '{resource}' has been running on this node for "
                       f"{timeout:.0f} s", remedy="wait until it has ended: 'lslocks' names the "
                       f"process that holds {path}")
        machine.clock.sleep(PAUSE)
