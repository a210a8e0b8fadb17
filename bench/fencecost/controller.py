# SPDX-License-Identifier: GPL-2.0-or-later
"""The simulated management controller of the sandbox, and its chassis.

The controller is ipmi_sim, set up as the lab does it (twonode.bmc). The chassis is a shell script,
which ipmi_sim runs for each reading and each order; it does them at once, so that nothing but the
agent and the network is measured.
"""

from __future__ import annotations

from pathlib import Path
from typing import List

from twonode import bmc

from fencecost import networks
from fencecost.contestants import NODE, PASSWORD, USER
from fencecost.meter import CHASSIS

DIRECTORY = "/etc/bench-bmc"

# Called as "chassis 0x20 get power" and "chassis 0x20 set power 0". No program is started: the
# shell reads the file by itself.
SCRIPT = f"""\
#!/bin/sh
past={CHASSIS}
do=$2
shift 2
case $do in
get)
    while read -r order; do
        case $order in 0 | 1) power=$order ;; esac
    done < $past
    for what; do
        case $what in
        power) echo power:$power ;;
        boot) echo boot:default ;;
        esac
    done
    ;;
set)
    while [ $# -gt 1 ]; do
        case $1 in
        power) echo $2 >> $past ;;
        *) echo $1 >> $past ;;
        esac
        shift 2
    done
    ;;
esac
"""


def write_files(root: Path) -> None:
    """Put what the controller reads, and its chassis, below the root directory of its machine."""
    directory = root / DIRECTORY.lstrip("/")
    (directory / "state").mkdir(parents=True, exist_ok=True)
    (directory / "chassis").write_text(SCRIPT)
    (directory / "chassis").chmod(0o755)
    (directory / "simulation").write_text(bmc.EMULATION)
    (directory / "lan.conf").write_text(bmc.LAN_CONF.format(
        node=NODE, address=networks.CONTROLLER, number=1, directory=DIRECTORY, user=USER,
        password=PASSWORD))


def command() -> List[str]:
    """Return the command that is the controller."""
    return ["ipmi_sim", "-n", "-c", f"{DIRECTORY}/lan.conf", "-f", f"{DIRECTORY}/simulation",
            "-s", f"{DIRECTORY}/state"]
