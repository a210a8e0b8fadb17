# SPDX-License-Identifier: GPL-2.0-or-later
"""Why a sender has ended, left for the start that waits for it: systemd keeps exit codes only."""

from __future__ import annotations

from mailha import errors
from mailha.sync.places import Places

TYPE_CHECKING = False
if TYPE_CHECKING:
    from mailha.system.machine import Machine

LARGEST = 4096


def tell(machine: Machine, resource: str, reason: str) -> None:
    """Leave the reason. Raises nothing: it is told in the journal, too."""
    try:
        machine.files.write_atomic(_path(resource), reason.encode("utf-8", "surrogateescape")[
            :LARGEST], 0o600)
    except errors.MailhaError:
        pass


def read(machine: Machine, resource: str) -> str:
    """Return the reason that the last sender has left, "" if it has left none."""
    try:
        return machine.files.read(_path(resource), LARGEST).decode("utf-8", "surrogateescape")
    except (OSError, errors.MailhaError):
        return ""


def forget(machine: Machine, resource: str) -> None:
    """Take away what an earlier sender has left. Raises errors.Failed."""
    if machine.files.exists(_path(resource)):
        machine.files.remove(_path(resource))


def _path(resource: str) -> str:
    return Places(resource).run_directory + "/ended"
