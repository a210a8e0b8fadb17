# SPDX-License-Identifier: GPL-2.0-or-later
"""Nodes with a BlueMind, each of another release, on which tests call what they like.

There is no Pacemaker here: disks and addresses are brought up by hand, as other members of the
group would have done before. All nodes are of one laboratory, so that there is one boot for all
releases.
"""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Dict

from bluemind import layout
from bluemind.provision import ADDRESS, DEVICE, PLACE, Provision
from bluemind.releases import Release
from mailserver.recipe import MAIL
from twonode.lab import Lab

RELEASES = {"three": "3.5.19", "four": "4.1.6", "target": "4.9.2", "five": "5.1.0"}
"""Name of a node -> what it has."""

_MOUNT = f"""
mountpoint -q {PLACE} || mount {DEVICE} {PLACE}
for directory in {' '.join(layout.DATA)}; do
    mountpoint -q /var/$directory || mount --bind {PLACE}/$directory /var/$directory
done
"""

_UNMOUNT = f"""
for directory in {' '.join(layout.DATA)}; do
    ! mountpoint -q /var/$directory || umount /var/$directory
done
! mountpoint -q {PLACE} || umount {PLACE}
"""


class Node:
    """One node: a release of BlueMind, and a disk of its own that stands for the shared one.

    lab, name: where it is. release: what it has.
    """

    def __init__(self, lab: Lab, name: str, release: Release) -> None:
        """Take a node of a laboratory that is up."""
        self.lab = lab
        self.name = name
        self.release = release

    def sh(self, script: str, *, timeout: float = 120.0, check: bool = True) -> str:
        """Run a shell script, which has to succeed unless check is False; return its output."""
        return self.lab.execute(self.name, ["/bin/sh", "-ec" if check else "-c", script],
                                timeout=timeout, check=check).stdout

    def mount(self) -> None:
        """Mount the disk, and bind every directory to its place."""
        self.sh(_MOUNT)

    def unmount(self) -> None:
        """Undo mount()."""
        self.sh(_UNMOUNT)

    def command(self, unit: str, **settings: object) -> None:
        """Tell a unit's stand-in what to do (see bluemind.standin.settings); nothing: as usual."""
        self.lab.copy_in(self.name, f"/etc/bluemind-standin/{unit}", "".join(
            f"{key} = {value}\n" for key, value in settings.items()).encode())

    def state(self) -> str:
        """Return what bm-core says of itself, as CORE_STATE_RUNNING; "" if nobody answers."""
        return self.sh("curl -s --max-time 5 http://127.0.0.1:8090/api/system/installation/state",
                       check=False).strip('"\n')

    def reset(self) -> None:
        """Stop everything, with violence where it must be, and tell every stand-in nothing."""
        # The instances too, which really run PostgreSQL and Postfix; the stop of the others returns
        # before theirs.
        units = "'bm-*' 'postfix*' 'postgresql*'"
        self.sh(f"""
            rm -f /etc/systemd/system/*.d/zz-mailha.conf
            rm -rf /run/mailha /var/lib/mailha
            systemctl daemon-reload
            systemctl kill --signal=KILL {units} 2>/dev/null || :
            systemctl stop {units} 2>/dev/null || :
            systemctl reset-failed
            rm -f /etc/bm/*.disabled /var/log/java_pid*.hprof
            find /etc/bluemind-standin -type f ! -name users -delete
            """)


def lab(name: str, suite: str) -> Lab:
    """Describe the laboratory; `up`, then prepared() make it."""
    made = {node: Provision(release) for node, release in RELEASES.items()}

    def provision(node: str, disk: Path) -> None:
        made[node].node(disk, Path(found.plan.image), [Path(each) for each in found.plan.layers])

    found = Lab(name, suite=suite, nodes=tuple(RELEASES), layers=[MAIL],
                disks={f"bm-{node}": 256 for node in RELEASES}, provision=[provision])
    return found


def prepared(lab: Lab) -> Dict[str, Node]:
    """Return the nodes of the laboratory by name, with Pacemaker stopped and their disks filled."""
    nodes = {}
    for name, version in RELEASES.items():
        made = Provision(version)
        node = nodes[name] = Node(lab, name, made.release)
        node.sh(f"systemctl stop pacemaker corosync; ln -s san-bm-{name} {DEVICE}; "
                f"ip address add {ADDRESS}/32 dev lo")
        made.fill(functools.partial(lab.execute), name)
    return nodes
