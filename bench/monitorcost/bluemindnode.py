# SPDX-License-Identifier: GPL-2.0-or-later
"""The node on which the monitor of BlueMind is measured: the whole set of 4.x, running.

PostgreSQL, Cyrus, Postfix and nginx are real. The Java services are a stand-in, which does not
matter here: nothing that they do by themselves is counted.
"""

from __future__ import annotations

import os
from contextlib import contextmanager
from pathlib import Path
from typing import Callable, Iterator, List, Tuple

from bluemind import layout
from bluemind.provision import ADDRESS, DEVICE, PLACE, Provision
from mailserver.recipe import MAIL
from twonode import image, layer
from twonode.enter import CommandFailed
from twonode.lab import Lab

from monitorcost import node
from monitorcost.contestants import BLUEMIND

RELEASE = "4.9.2"

MOUNT = f"""
ip address add {ADDRESS}/24 dev eth0
mount {DEVICE} {PLACE}
for each in {' '.join(layout.DATA)}; do mount --bind {PLACE}/$each /var/$each; done
"""

UNITS = "sed -n 's/^unit //p' /run/mailha/active/bluemind"


@contextmanager
def running(progress: Callable[[str], None]) -> Iterator[Tuple[Lab, List[str]]]:
    """Bring a lab up in which BlueMind runs; yield it and the units of the services."""
    node.end_labs_of_dead_runs()
    packages = layer.ensure(node.SUITE, MAIL, progress)
    provision = Provision(RELEASE)

    def prepare(name: str, disk: Path) -> None:
        provision.node(disk, image.place(node.SUITE), [packages])
        node.hide_path_files(node.PACKAGES, image.place(node.SUITE), name, disk)
        node.add_meter(name, disk)

    lab = Lab(f"b{os.getpid()}", suite=node.SUITE, layers=[MAIL], disks={"bluemind": 256},
              provision=[prepare])
    try:
        lab.up(progress=progress)
        progress("starting what is to be monitored")
        provision.fill(lab.execute, node.NODE)
        try:
            lab.execute(node.NODE, ["/bin/sh", "-eu"], input=node.COMPILED, timeout=30)
            lab.execute(node.NODE, ["/bin/sh", "-eu"], input=MOUNT, timeout=60)
            node.act(lab, BLUEMIND, "start")
            units = lab.execute(node.NODE, ["sh", "-c", UNITS], timeout=30).stdout.split()
        except CommandFailed as error:
            raise node.BenchFailed(str(error)) from error
        yield lab, units
    finally:
        progress("taking the lab down")
        lab.down()
