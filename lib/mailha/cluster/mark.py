# SPDX-License-Identifier: GPL-2.0-or-later
"""The mark that a fencing guard leaves on its node: "this node was allowed to start, in this boot".

A guard holds nothing: no process, no address, no mount. All that its start leaves behind is a file
in /run, which a power loss takes away as it takes everything else that was started. One file for
each resource, and for each instance of a clone (the name then ends in ":0", ":1"...).

A recurring monitor loads this module.
"""

from __future__ import annotations

from mailha import errors
from mailha.system.files import of_resource

TYPE_CHECKING = False
if TYPE_CHECKING:
    from mailha.system.machine import Machine

DIRECTORY = "/run/mailha/fencing-guard"
FORMAT = 1


class Mark:
    """The mark of one resource on this machine.

    resource: OCF_RESOURCE_INSTANCE. Raises errors.Failed for a name that no resource has.
    """

    def __init__(self, machine: Machine, resource: str) -> None:
        self.path = of_resource(DIRECTORY, resource)
        self._files = machine.files

    def set(self) -> None:
        """Leave the mark; nothing happens if it is there. Raises errors.Failed."""
        if self.is_set():
            return
        self._files.make_directory(DIRECTORY, 0o755)
        self._files.write_atomic(self.path, f"format {FORMAT}\n".encode())

    def is_set(self) -> bool:
        """Say whether the mark is there. Raises errors.Failed if that cannot be told."""
        return self._files.exists(self.path)

    def clear(self) -> str:
        """Take the mark away; return a warning if that failed, else an empty text.

        It never raises, because a failed stop fences the node, and nothing runs here that would be
        worth a power off. What a mark that stays does: a later probe on this node finds the guard
        running, and Pacemaker, seeing it on two nodes, restarts the group. A /run that cannot be
        written does worse to the node than that, and the warning says so.
        """
        try:
            # Looked at first: on a read-only file system the kernel refuses to remove a file before
            # it finds out that there is none.
            if self.is_set():
                self._files.remove(self.path)
        except errors.MailhaError as error:
            return f"{error}; until then a probe takes this resource for running on this node"
        return ""
