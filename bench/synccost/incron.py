# SPDX-License-Identifier: GPL-2.0-or-later
"""incron, which runs rsync over the whole directory at every event, as guides on the web have it.

It brings nothing over when it starts, so rsync is run once by hand before. At most one rsync runs
and one waits: without that, a thousand changes start a thousand of them, which delete each other's
temporary files and bring the whole machine to a halt.
"""

from __future__ import annotations

import contextlib
from typing import Iterator

from synccost.contestant import Running
from synccost.stage import TREE, Stage, rsh

TABLE = "/etc/incron.d/tree"
PROGRAM = "/usr/local/sbin/push-tree"

EVENTS = ("IN_CLOSE_WRITE", "IN_ATTRIB", "IN_CREATE", "IN_DELETE", "IN_MOVED_FROM", "IN_MOVED_TO")


@contextlib.contextmanager
def setup(stage: Stage) -> Iterator[Running]:
    """Run it."""
    way = " ".join(rsh(stage.target, shared=True))
    stage.source.write(PROGRAM, "#!/bin/sh\n"
                       "exec 8> /run/push-tree.next 9> /run/push-tree.now\n"
                       "flock -n 8 || exit 0\n"
                       "flock 9\n"
                       "exec 8>&-\n"
                       f"exec rsync -aX --delete -e '{way}' {TREE}/ "
                       f"root@{stage.target.name}:{TREE}/\n", 0o755)
    stage.source.write(TABLE, f"{TREE} {','.join(EVENTS)} {PROGRAM}\n")
    # The connection that all others share has to be there first, or each makes one of its own.
    stage.source.shell(f"{way} -fN root@{stage.target.name} > /dev/null 2>&1; {PROGRAM}")
    with stage.source.program("incrond", "-n"):
        stage.wait_identical()
        stage.wait_quiet()
        yield Running()
