# SPDX-License-Identifier: GPL-2.0-or-later
"""The sender of ocf:mailha:config-sync, over a connection that `mailha sync pair` has made."""

from __future__ import annotations

import contextlib
import json
import socket
import time
from typing import Any, Dict, Iterator

from synccost.contestant import Running
from synccost.stage import KEY, LIMIT, TREE, BenchFailed, Stage

RESOURCE = "bench"
RUN = f"/run/mailha/sync/{RESOURCE}"

SETTINGS = f"""
import sys
sys.path.insert(0, "/usr/lib/ocf/lib")
from mailha.sync.files.settings import Settings
from mailha.system.machine import Machine
Settings(resource="{RESOURCE}", node=sys.argv[1], generation=int(sys.argv[2]), profile="",
         include=("{TREE}",), exclude=(), floating=(), peers=()).write(Machine())
"""


class _Ours(Running):
    def __init__(self, stage: Stage) -> None:
        self._control = str(stage.source.sandbox.path(f"{RUN}/control"))

    def ask(self, **request: Any) -> Dict[str, Any]:
        """Ask the sender and return the last line of its answer. Raises BenchFailed."""
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(LIMIT)
            connection.connect(self._control)
            connection.sendall(json.dumps(request).encode() + b"\n")
            with connection.makefile("rb") as lines:
                for line in lines:
                    answer: Dict[str, Any] = json.loads(line)
                    if "error" in answer:
                        raise BenchFailed(f"the sender says: {answer['error']}")
                    if answer.get("done"):
                        return answer
        raise BenchFailed("the sender ended")

    def acknowledged(self) -> float:
        """Wait for the acknowledgement of all that was changed."""
        return float(self.ask(do="flush", timeout=LIMIT)["acknowledged"])

    def notices(self, path: str) -> bool:
        """Ask it to compare both sides."""
        return path in json.dumps(self.ask(do="verify", timeout=LIMIT))


@contextlib.contextmanager
def setup(stage: Stage) -> Iterator[Running]:
    """Pair the nodes, once, and run the sender."""
    if not stage.source.sandbox.path("/etc/mailha/sync/peers").exists():
        stage.source.shell(f"mailha sync pair {stage.target.name} --ssh-option=IdentityFile={KEY} "
                           "--ssh-option=StrictHostKeyChecking=no")
    # It grows from run to run, as the counter on the shared disk does.
    generation = time.time_ns() // 1_000_000
    stage.source.sandbox.run(["/usr/bin/python3", "-I", "-c", SETTINGS, stage.source.name,
                              str(generation)], timeout=LIMIT, check=True)
    with stage.source.program("/usr/sbin/mailha", "sync", "send", RESOURCE):
        stage.wait_identical()
        yield _Ours(stage)
