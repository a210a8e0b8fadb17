# SPDX-License-Identifier: GPL-2.0-or-later
"""lsyncd, as its manual sets it up for a directory on another host, and tuned.

archive and xattrs are set everywhere: without archive, owner and mode never arrive at all.
"""

from __future__ import annotations

import contextlib
from typing import Iterator

from synccost.contestant import Running, Setup
from synccost.stage import TREE, Stage, rsh

CONFIGURATION = "/etc/lsyncd/lsyncd.conf.lua"

TEXT = """\
settings {{ nodaemon = true, insist = true, logfile = "/run/lsyncd.log" }}
sync {{
    default.rsync,
    source = "{tree}",
    target = "root@{host}:{tree}",
    {delay}
    rsync = {{ archive = true, xattrs = true, rsh = "{rsh}" }},
}}
"""


def setup(delay: str, *, shared: bool) -> Setup:
    """Return the set-up. delay: a line of its configuration. shared: with ssh's ControlMaster."""
    @contextlib.contextmanager
    def run(stage: Stage) -> Iterator[Running]:
        stage.source.write(CONFIGURATION, TEXT.format(
            tree=TREE, host=stage.target.name, delay=delay,
            rsh=" ".join(rsh(stage.target, shared=shared))))
        with stage.source.program("lsyncd", CONFIGURATION):
            stage.wait_identical()
            yield Running()
    return run
