# SPDX-License-Identifier: GPL-2.0-or-later
"""csync2, called by a small script as soon as inotify tells of a change, without encryption.

By itself it does nothing until somebody calls it, usually a job of cron every minute; the script is
what makes it as fast as it can be. It speaks to a server of its own and not over SSH.
"""

from __future__ import annotations

import contextlib
from typing import Iterator

from synccost.contestant import Running
from synccost.stage import TREE, Stage

CONFIGURATION = """\
nossl * *;
group bench {{
    host {source} {target};
    key /etc/csync2.key;
    include {tree};
    auto none;
}}
"""

WATCH = f"""
inotifywait --quiet --monitor --recursive --format . \
    -e close_write -e attrib -e create -e delete -e moved_from -e moved_to {TREE} |
while read -r _; do
    while read -r -t 0.002 _; do :; done
    csync2 -x || :
done
"""


class _Csync2(Running):
    def __init__(self, stage: Stage) -> None:
        self._stage = stage

    def notices(self, path: str) -> bool:
        """Ask it to compare with its peer."""
        done = self._stage.source.sandbox.run(
            ["csync2", "-T", self._stage.source.name, self._stage.target.name], timeout=60)
        return path in done.stdout + done.stderr


@contextlib.contextmanager
def setup(stage: Stage) -> Iterator[Running]:
    """Run it."""
    for node in (stage.source, stage.target):
        node.write("/etc/csync2.cfg", CONFIGURATION.format(
            source=stage.source.name, target=stage.target.name, tree=TREE))
        node.write("/etc/csync2.key", "0123456789abcdefghijklmnopqrstuvwxyz0123\n", 0o600)
        node.shell("rm -rf /var/lib/csync2; mkdir -p /var/lib/csync2")
    with stage.target.program("csync2", "-ii"):
        stage.target.shell("for try in $(seq 600); do "
                           "[ -n \"$(ss -Hltn 'sport = :30865')\" ] && exit; sleep 0.05; done; "
                           "echo its server does not come up >&2; exit 1")
        stage.source.shell("csync2 -xr")
        with stage.source.program("/bin/bash", "-c", WATCH):
            stage.wait_identical()
            stage.source.shell("for try in $(seq 600); do "
                               "grep -qs inotifywait /proc/[0-9]*/comm && exit; sleep 0.05; done; "
                               "echo inotifywait does not come up >&2; exit 1")
            stage.wait_quiet()
            yield _Csync2(stage)
