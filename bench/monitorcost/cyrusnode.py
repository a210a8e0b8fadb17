# SPDX-License-Identifier: GPL-2.0-or-later
"""The node on which the monitor of Cyrus is measured: one instance, Debian's own, with users on it.

Each user who is connected is a process of the instance. A monitor must not cost more for them.
"""

from __future__ import annotations

import os
from contextlib import contextmanager
from typing import Callable, Iterator, List, Tuple

from failover.products.cyrus import IMAP_PORT, SERVERS, Cyrus
from twonode.enter import CommandFailed
from twonode.lab import Lab

from monitorcost import node
from monitorcost.contestants import CYRUS

SERVER = SERVERS[0]
USERS = 100

MOUNT = f"""
ip address add {SERVER.address}/24 dev eth0
mount {SERVER.device} {SERVER.root}
"""

CONNECT = f"""
import socket, time
held = [socket.create_connection(("{SERVER.address}", {IMAP_PORT})) for _ in range({USERS})]
for each in held:
    each.recv(100)
time.sleep(86400)
"""

# The node ends with all that is on it, this too.
COME = ["systemd-run", "--unit=users", "python3", "-c", CONNECT]

COUNT = ["sh", "-c", f"n=0; while [ $n -lt {USERS} ]; do sleep 0.2; "
         f"n=$(wc -l </sys/fs/cgroup/system.slice/{SERVER.unit}/cgroup.procs); done"]


@contextmanager
def running(progress: Callable[[str], None]) -> Iterator[Tuple[Lab, List[str]]]:
    """Bring a lab up in which an instance of Cyrus runs; yield it and the instance's unit."""
    node.end_labs_of_dead_runs()
    product = Cyrus()
    lab = Lab(f"b{os.getpid()}", suite=node.SUITE, layers=product.layers, disks=product.disks,
              provision=[lambda name, disk: product.provision(name, disk, lab.plan),
                         node.add_meter])
    try:
        lab.up(progress=progress)
        product.prepare_shared(lab, progress)
        progress(f"starting what is to be monitored, and {USERS} users")
        try:
            lab.execute(node.NODE, ["/bin/sh", "-eu"], input=node.COMPILED, timeout=30)
            lab.execute(node.NODE, ["/bin/sh", "-eu"], input=MOUNT, timeout=60)
            node.act(lab, CYRUS, "start")
            lab.execute(node.NODE, COME, timeout=30)
            lab.execute(node.NODE, COUNT, timeout=120)
        except CommandFailed as error:
            raise node.BenchFailed(str(error)) from error
        yield lab, [SERVER.unit]
    finally:
        progress("taking the lab down")
        lab.down()
