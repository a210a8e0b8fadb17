# SPDX-License-Identifier: GPL-2.0-or-later
"""Python libraries of the distribution, for an interpreter that was started without them.

The executables run with -I -S: without the directories of packages on its path, python3 starts in
half the time, and nothing that somebody has put there can run in an action that does not need it.
An action that does need a library calls reach() just before it imports it.
"""

from __future__ import annotations

import os
import sys

from mailha.fencing.failures import MissingLibrary

PACKAGES = {"pyghmi": "python3-pyghmi", "pexpect": "python3-pexpect"}
"""The package of Debian, RHEL (pyghmi: from EPEL or OpenStack) and SUSE that has the module."""


def directories() -> list[str]:
    """Return where the distribution and the administrator put packages."""
    import site
    return site.getsitepackages()


def reach() -> None:
    """Let import find packages, behind everything else, without executing any .pth file."""
    sys.path.extend(path for path in directories() if path not in sys.path)


def is_installed(name: str) -> bool:
    """Tell whether a module is there, without importing it."""
    return any(os.path.isdir(f"{path}/{name}") or os.path.isfile(f"{path}/{name}.py")
               for path in [*sys.path, *directories()])


def missing(name: str, error: BaseException | None = None) -> MissingLibrary:
    """Return the failure for a module that is not there or cannot be imported for an error."""
    package = PACKAGES.get(name, f"python3-{name}")
    detail = f": {error}" if error is not None and is_installed(name) else ""
    what = "cannot be loaded on this node" if detail else "is not installed on this node"
    return MissingLibrary(f"the Python library {name} {what}{detail}",
                          remedy=f"install the package {package} (Debian, RHEL and SUSE)")
