# SPDX-License-Identifier: GPL-2.0-or-later
"""What this machine is, for whoever compares the figures of one with those of another."""

from __future__ import annotations

import os
import re
from pathlib import Path


def describe() -> str:
    """Return the processors and the kernel of this machine as one line."""
    cpu = re.search(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text())
    return (f"{os.cpu_count()} × {cpu.group(1) if cpu else 'CPU of unknown kind'}, "
            f"Linux {os.uname().release}")
