# SPDX-License-Identifier: GPL-2.0-or-later
"""A machine with what packages are made with, and without the suite."""

from __future__ import annotations

import os
import sys

from twonode import image, layer
from twonode.sandbox import Sandbox

TOOLS = layer.Recipe("packaging", ("debhelper", "dh-python", "lintian", "rpm", "cpio", "make",
                                   "dpkg-dev", "fakeroot"))


def machine_with_tools() -> Sandbox:
    """Return a machine, yet to be entered, with the tools of Debian's and of RPM's packagers."""
    suite = os.environ.get("LAB_SUITE", "bookworm")
    tools = layer.ensure(suite, TOOLS, lambda line: print(line, file=sys.stderr))
    return Sandbox(image.ensure(suite), layers=[tools], suite=False)
