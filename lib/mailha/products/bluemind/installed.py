# SPDX-License-Identifier: GPL-2.0-or-later
"""Which BlueMind is installed here. No file of it says so: the package database has to."""

from __future__ import annotations

from mailha import errors
from mailha.mailserver import packages
from mailha.profiles.bluemind import PACKAGE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from mailha.storage.version import Version
    from mailha.system.machine import Machine

# What dpkg writes when it has unpacked a package.
_UNPACKED = f"/var/lib/dpkg/info/{PACKAGE}.list"


def installed_version(machine: Machine, timeout: float) -> Version:
    """Return the version of bm-core on this machine; seconds for all of it.

    Raises errors.NotInstalled.
    """
    found = packages.version(machine, PACKAGE, timeout)
    if found is None:
        raise errors.NotInstalled(
            f"BlueMind is not installed here: there is no package {PACKAGE}",
            remedy="install the version that the other node has; where it did not come as a "
                   "package, name it with the parameter version")
    return found


def unpacked_at(machine: Machine, timeout: float) -> float | None:
    """Return when the package was unpacked, in seconds since 1970; None if that is not known.

    A service that is older than this still runs the version before.
    """
    from mailha.system.child_failures import ChildFailed
    changed = machine.files.modified(_UNPACKED)
    if changed is not None:
        return changed
    try:
        said = machine.children.run(["rpm", "-q", "--qf", "%{INSTALLTIME}\\n", PACKAGE],
                                    timeout=timeout).stdout
    except ChildFailed:
        return None
    lines = said.split()
    return float(lines[-1]) if lines and lines[-1].isdigit() and len(lines[-1]) < 12 else None
