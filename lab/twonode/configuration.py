# SPDX-License-Identifier: GPL-2.0-or-later
"""What a node's own disk says that the image does not: who it is, and whose cluster it is in."""

from __future__ import annotations

import os
import uuid
from pathlib import Path
from typing import Tuple

from twonode import rootfs
from twonode.plan import INTERCONNECT, LAN, Plan

TOKEN_MILLISECONDS = 1000

# Without a seed the first election waits for dc-deadtime, 20 s, before it believes that no other
# node is going to answer. Pacemaker 2.0 to 3.0 read this format; a missing signature file only
# draws a warning.
CIB_SEED = """\
<cib epoch="1" num_updates="0" admin_epoch="0" validate-with="pacemaker-3.0"
     crm_feature_set="3.0.14">
  <configuration>
    <crm_config>
      <cluster_property_set id="cib-bootstrap-options">
        <nvpair id="cib-bootstrap-options-dc-deadtime" name="dc-deadtime" value="2s"/>
      </cluster_property_set>
    </crm_config>
    <nodes/>
    <resources/>
    <constraints/>
  </configuration>
  <status/>
</cib>
"""

# A test reads the journal of the boot before the power loss, and reads all of it.
JOURNALD = """\
[Journal]
Storage=persistent
SystemMaxUse=64M
RateLimitIntervalSec=0
"""


def corosync_conf(plan: Plan) -> str:
    """Return corosync.conf of the cluster: two knet links, and votequorum for two nodes."""
    nodes = "".join(
        f"  node {{\n"
        f"    name: {node}\n"
        f"    nodeid: {plan.number(node) + 1}\n"
        f"    ring0_addr: {plan.address(node, LAN)}\n"
        f"    ring1_addr: {plan.address(node, INTERCONNECT)}\n"
        f"  }}\n" for node in plan.nodes)
    two_node = "  two_node: 1\n" if len(plan.nodes) == 2 else ""
    return (
        "totem {\n"
        "  version: 2\n"
        "  cluster_name: lab\n"
        "  transport: knet\n"
        f"  token: {TOKEN_MILLISECONDS}\n"
        "  crypto_cipher: aes256\n"
        "  crypto_hash: sha256\n"
        "}\n"
        "quorum {\n"
        "  provider: corosync_votequorum\n"
        f"{two_node}"
        "}\n"
        "logging {\n"
        "  to_syslog: yes\n"
        "  to_logfile: yes\n"
        "  logfile: /var/log/corosync/corosync.log\n"
        "  timestamp: hires\n"
        "}\n"
        f"nodelist {{\n{nodes}}}\n")


def hosts(plan: Plan) -> str:
    """Return /etc/hosts of every machine of the lab."""
    lines = ["127.0.0.1 localhost"]
    for node in plan.nodes:
        lines += [f"{plan.address(node)} {node}", f"{plan.bmc_address(node)} {node}-bmc"]
    return "\n".join(lines) + "\n"


def owner(image: Path, user: str, group: str) -> Tuple[int, int]:
    """Return the numbers that a user and a group of the image have."""
    def look_up(database: str, name: str) -> int:
        for line in (image / "etc" / database).read_text().splitlines():
            fields = line.split(":")
            if fields[0] == name:
                return int(fields[2])
        raise LookupError(f"{image}/etc/{database} does not know {name}")
    return look_up("passwd", user), look_up("group", group)


def write_machine(disk: Path, name: str, plan: Plan) -> None:
    """Make the disk the one of machine `name`, node or not."""
    for path, text in (("etc/hostname", name + "\n"),
                       ("etc/machine-id", uuid.uuid4().hex + "\n"),
                       ("etc/hosts", hosts(plan)),
                       ("etc/resolv.conf", ""),
                       ("etc/fstab", ""),
                       ("etc/systemd/journald.conf.d/lab.conf", JOURNALD)):
        _write(disk / path, text.encode())


def write_node(disk: Path, node: str, plan: Plan, authkey: bytes) -> None:
    """Make the disk the one of a node, which joins the cluster when it boots.

    authkey: the secret that the nodes of the cluster share.
    """
    image = Path(plan.image)
    write_machine(disk, node, plan)
    _write(disk / "etc/corosync/corosync.conf", corosync_conf(plan).encode())
    _write(disk / "etc/corosync/authkey", authkey, 0o400)
    seed = disk / "var/lib/pacemaker/cib/cib.xml"
    _write(seed, CIB_SEED.encode(), 0o600)
    os.chown(seed, *owner(image, "hacluster", "haclient"))
    rootfs.adopt_directories(disk, image)


def _write(path: Path, data: bytes, mode: int = 0o644) -> None:
    """Write a file that nobody reads yet, with the directories above it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    path.chmod(mode)
