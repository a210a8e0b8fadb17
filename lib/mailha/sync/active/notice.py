# SPDX-License-Identifier: GPL-2.0-or-later
"""How a sender is, as attributes of its node in the cluster: what ``crm_mon -A`` shows.

They are told only when they have changed, and not more often than a person can read: each change
makes the cluster think anew about where everything should run. A cluster that does not answer is no
trouble of the sender's.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Protocol

from mailha import errors
from mailha.system.machine import Machine

if TYPE_CHECKING:
    from mailha.sync.files.settings import Settings

PROGRAM = "/usr/sbin/attrd_updater"
INTERVAL = 5.0
TIMEOUT = 10.0
DAMPING = "2s"
"""For so long Pacemaker gathers values before it writes them, all with one write."""
PREFIX = "mailha-sync"

NAMES = ("state", "lag", "differing", "conflicts")


class Source(Protocol):
    """Where the values come from."""

    def attributes(self) -> dict[str, str]:
        """Return them by name."""


def attribute(resource: str, name: str) -> str:
    """Return what an attribute of a resource is called in the cluster."""
    return f"{PREFIX}-{resource}-{name}"


class Notice(threading.Thread):
    """Keeps the attributes of a resource as they should be."""

    def __init__(self, machine: Machine, settings: Settings, source: Source) -> None:
        super().__init__(name="notice", daemon=True)
        self._machine = machine
        self._settings = settings
        self._source = source
        self._told: dict[str, str] = {}
        self._woken = threading.Event()

    def wake(self) -> None:
        """Let it look at once whether something has changed."""
        self._woken.set()

    def run(self) -> None:
        """The thread."""
        if not self._settings.in_cluster:
            return
        while True:
            self.tell()
            # First the pause, then the wait: whatever happens within it is told together.
            threading.Event().wait(INTERVAL)
            self._woken.wait(INTERVAL)
            self._woken.clear()

    def tell(self) -> None:
        """Tell the cluster what has changed since it was told."""
        for name, value in self._source.attributes().items():
            if self._told.get(name) == value:
                continue
            try:
                self._machine.children.run(
                    [PROGRAM, "-n", attribute(self._settings.resource, name), "-B", value,
                     "-d", DAMPING],
                    timeout=TIMEOUT)
                self._told[name] = value
            except errors.MailhaError:
                return          # tried again next time


def withdraw(machine: Machine, resource: str, timeout: float) -> None:
    """Take the attributes of a resource away, as far as there is time. Raises nothing."""
    end = machine.clock.monotonic() + timeout
    for name in NAMES:
        left = end - machine.clock.monotonic()
        if left <= 0:
            return
        try:
            machine.children.run([PROGRAM, "-n", attribute(resource, name), "-D"], timeout=left)
        except errors.MailhaError:
            return
