# SPDX-License-Identifier: GPL-2.0-or-later
"""Where a resource of config-sync keeps what it knows.

What must outlive a boot is under /var/lib/mailha, what must not under /run. Both are root's alone:
kept copies hold secrets.
"""

from __future__ import annotations

from mailha.system.files import of_resource

TYPE_CHECKING = False
if TYPE_CHECKING:
    from mailha.system.machine import Machine

STATE_DIRECTORY = "/var/lib/mailha/sync"
RUN_DIRECTORY = "/run/mailha/sync"


_IN_UNITS = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789:_.-")
"""What may stand in the name of a unit, systemd.unit(5); but for the backslash, which escapes."""
_LONGEST_UNIT = 255


class Places:
    """The paths of one resource. Raises errors.Failed for what is no resource's name.

    state: which generation was seen last. manifest: what both nodes have agreed on. kept: previous
    copies. lock: held by whoever changes one of them. sender_lock: held by a sender as long as
    it lives. unit: the sender's.
    """

    __slots__ = ("resource", "state_directory", "run_directory", "state", "manifest", "kept",
                 "lock", "sender_lock", "unit")

    def __init__(self, resource: str) -> None:
        self.resource = resource
        self.state_directory = of_resource(STATE_DIRECTORY, resource)
        self.run_directory = of_resource(RUN_DIRECTORY, resource)
        self.state = self.state_directory + "/state"
        self.manifest = self.state_directory + "/manifest"
        self.kept = self.state_directory + "/kept"
        self.lock = self.state_directory + "/lock"
        self.sender_lock = self.run_directory + "/sender.lock"
        self.unit = f"mailha-sync@{resource}.service"

    def has_unit(self) -> bool:
        """Tell whether a unit of systemd can have the name of this resource in its own."""
        return _IN_UNITS.issuperset(self.resource) and len(self.unit) <= _LONGEST_UNIT

    def make(self, machine: Machine) -> None:
        """Make the directories that outlive a boot, for root alone. Raises errors.Failed."""
        machine.files.make_directory(STATE_DIRECTORY, 0o700)
        machine.files.make_directory(self.state_directory, 0o700)
        machine.files.make_directory(self.kept, 0o700)
