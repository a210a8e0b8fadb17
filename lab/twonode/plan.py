# SPDX-License-Identifier: GPL-2.0-or-later
"""What a lab is to look like: its nodes, networks, disks and addresses, and where its files lie.

The addresses are those that RFC 5737 reserves for documentation. They are the same in every lab;
labs run side by side all the same, because none of them shares a network with anything.
"""

from __future__ import annotations

import json
import re
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Dict, List, Tuple

RUNTIME = Path("/run/mailha-lab")
DATA = Path("/var/lib/mailha-lab")


class BadPlan(Exception):
    """A lab that cannot be built as asked for."""


@dataclass(frozen=True)
class Network:
    """One of the networks that join the nodes."""

    name: str
    interface: str      # what the nodes call their card in it
    prefix: str         # the first three numbers of its addresses

    def address(self, number: int) -> str:
        """Return the address of the host `number`."""
        return f"{self.prefix}.{number}"


LAN = Network("lan", "eth0", "198.51.100")
INTERCONNECT = Network("interconnect", "eth1", "203.0.113")
MANAGEMENT = Network("management", "eth2", "192.0.2")

NETWORKS = (LAN, INTERCONNECT, MANAGEMENT)

CLUSTER_LINKS = (LAN.name, INTERCONNECT.name)
"""What Corosync talks over. Management is apart, so that nodes which no longer hear each other can
still fence each other: without that there is no fence race to test."""

OUTSIDE_NUMBER = 1      # the machine outside of the cluster: mail client and administrator
FIRST_NODE_NUMBER = 11
FIRST_BMC_NUMBER = 101

BMC_USER = "fencer"
BMC_OPERATOR = "operator"
"""Who may switch the power by IPMI and no more, with the same password."""
BMC_PASSWORD = "s3cret"


@dataclass(frozen=True)
class Plan:
    """Everything that the supervisor of a lab has to know; it travels as JSON."""

    name: str
    suite: str
    image: str
    nodes: Tuple[str, ...]
    disks: Dict[str, int]       # name -> MiB
    post_seconds: float         # what the firmware takes at every power-on but the first
    layers: Tuple[str, ...] = ()        # what the nodes have over the image, the uppermost first

    def __post_init__(self) -> None:
        """Refuse names that would not survive as host, interface and file names."""
        for kind, names in (("lab", [self.name]), ("node", self.nodes), ("disk", self.disks)):
            for name in names:
                # An interface is called NODE-eth0 and may have 15 characters (<linux/if.h>).
                if not re.fullmatch(r"[a-z][a-z0-9-]{0,9}", name):
                    raise BadPlan(f"{kind} {name!r}: use 1 to 10 of a-z, 0-9 and -, a letter first")
        if not 2 <= len(set(self.nodes)) <= 16 or len(set(self.nodes)) != len(self.nodes):
            raise BadPlan(f"nodes {', '.join(self.nodes)}: name 2 to 16 different ones")

    def to_json(self) -> str:
        """Return the plan as text."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Plan:
        """Return the plan that `to_json` made the text of."""
        fields = json.loads(text)
        fields["nodes"] = tuple(fields["nodes"])
        fields["layers"] = tuple(fields["layers"])
        return cls(**fields)

    def number(self, node: str) -> int:
        """Return the number of the node, from 0. Raises BadPlan for a node that is not there."""
        if node not in self.nodes:
            raise BadPlan(f"no node {node!r}; there are {', '.join(self.nodes)}")
        return self.nodes.index(node)

    def address(self, node: str, network: Network = LAN) -> str:
        """Return the address of a node in a network."""
        return network.address(FIRST_NODE_NUMBER + self.number(node))

    def bmc_address(self, node: str) -> str:
        """Return the address of a node's management controller."""
        return MANAGEMENT.address(FIRST_BMC_NUMBER + self.number(node))


@dataclass(frozen=True)
class Places:
    """Where the files of the lab `name` lie on the host."""

    name: str

    @property
    def runtime(self) -> Path:
        """What is gone after a reboot of the host."""
        return RUNTIME / self.name

    @property
    def control(self) -> Path:
        """The socket on which the supervisor takes requests."""
        return self.runtime / "control"

    @property
    def supervisor(self) -> Path:
        """The file that says which process is the supervisor."""
        return self.runtime / "supervisor"

    @property
    def plan(self) -> Path:
        """The file with the plan of the running lab."""
        return self.runtime / "plan.json"

    @property
    def lock(self) -> Path:
        """The file that is locked while the lab is brought up or down."""
        return RUNTIME / f"{self.name}.lock"

    @property
    def log(self) -> Path:
        """What the supervisor says; kept when the lab is gone, until it comes up again."""
        return RUNTIME / f"{self.name}.log"

    @property
    def chassis_log(self) -> Path:
        """The file in which the supervisor notes what happens to the nodes' power."""
        return self.runtime / "chassis.log"

    @property
    def data(self) -> Path:
        """Disks and machines, on a file system of the host that is a disk."""
        return DATA / self.name

    @property
    def suite(self) -> Path:
        """The layer with what dpkg has written when it installed the suite's package."""
        return self.data / "suite"

    @property
    def cgroup(self) -> str:
        """The name of the lab's cgroup below the root of the version 2 hierarchy."""
        return f"mailha-lab-{self.name}"

    def disk_image(self, disk: str) -> Path:
        """The file that a shared disk is."""
        return self.data / "disks" / f"{disk}.img"

    def machine(self, name: str) -> Path:
        """The directory of one machine: its own disk, and where its root is put together."""
        return self.data / "machines" / name

    def machine_disk(self, name: str) -> Path:
        """What a machine's own disk holds beyond the image."""
        return self.machine(name) / "disk"

    def console(self, name: str) -> Path:
        """What a machine says before its systemd has a journal."""
        return self.runtime / f"console-{name}"


def existing() -> List[str]:
    """Return the names of the labs that have left anything on this host, running or not."""
    return sorted({path.name for base in (RUNTIME, DATA) if base.is_dir()
                   for path in base.iterdir() if path.is_dir()})
