# SPDX-License-Identifier: GPL-2.0-or-later
"""A machine with what packages are made and judged with, and without the suite.

The Debian package is the one that the nodes of the lab get, made with tools of its own.
"""

from __future__ import annotations

import os
import sys

from twonode import image, layer
from twonode.bare import BareSandbox

SUITE = os.environ.get("LAB_SUITE", "bookworm")

TOOLS = layer.Recipe("packaging", ("lintian", "rpm", "cpio", "make", "dpkg-dev"))


def machine_with_tools() -> BareSandbox:
    """Return a machine, yet to be entered, with the tools of Debian's and of RPM's packagers."""
    tools = layer.ensure(SUITE, TOOLS, lambda line: print(line, file=sys.stderr))
    return BareSandbox(image.ensure(SUITE), layers=[tools])
