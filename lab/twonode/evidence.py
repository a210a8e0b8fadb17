# SPDX-License-Identifier: GPL-2.0-or-later
"""What the machines of a lab have to say, kept for whoever looks into a failure later."""

from __future__ import annotations

import subprocess
from pathlib import Path

from twonode.lab import Lab, LabError

PLACE = Path("/var/tmp/mailha-lab-logs")
"""Where evidence goes; it outlives the lab and a reboot of the host."""

WHAT_NODES_SAY = {
    "crm_mon": ["crm_mon", "-1", "-rfnA"],
    "cib.xml": ["cibadmin", "--query", "--local"],
    "pacemaker.log": ["cat", "/var/log/pacemaker/pacemaker.log"],
    "journal": ["journalctl", "--no-pager", "-o", "short-precise"],
    "processes": ["ps", "axfwww", "-o", "pid,stat,etimes,args"],
}


def save(lab: Lab, directory: Path) -> None:
    """Write what the supervisor and every node of a lab have to say into a directory."""
    directory.mkdir(parents=True, exist_ok=True)
    if lab.places.log.exists():
        (directory / "supervisor.log").write_text(lab.places.log.read_text())
    (directory / "chassis.log").write_text("".join(f"{entry}\n" for entry in lab.chassis_log()))
    for node in lab.plan.nodes:
        for name, argv in WHAT_NODES_SAY.items():
            try:
                said = lab.execute(node, argv, timeout=30, check=False)
                text = said.stdout + said.stderr
            except (LabError, subprocess.SubprocessError) as error:
                text = f"{error}\n"
            (directory / f"{node}.{name}").write_text(text)
