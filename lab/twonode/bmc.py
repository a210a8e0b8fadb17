# SPDX-License-Identifier: GPL-2.0-or-later
"""What a node's management controller answers by IPMI: ipmi_sim, wired to the node's power.

ipmi_sim asks a program for everything about the chassis, and does nothing else until that program
ends. So the program only passes the request on to the supervisor and returns at once, as a real
controller does: it acknowledges "power off" and then says "on" for as long as that is the truth. A
program that waited for the node to be gone would leave ipmitool without an answer for that long.

ipmi_sim knows no cipher suite above 3, so what is built on ipmitool has to say ``-C 3``
(fence_ipmilan: ``cipher=3``); without it ipmitool takes 10 s to find out, at every call. fence_ipmi
finds out by itself.
"""

from __future__ import annotations

from pathlib import Path
from typing import List

from twonode.plan import BMC_OPERATOR, BMC_PASSWORD, BMC_USER, Plan

DIRECTORY = "/etc/lab-bmc"
"""Where the files of the controllers lie on the outside machine, in which they run."""

CONTROL = "/run/lab/control"
"""Where the supervisor's socket appears on the outside machine."""

# Called by ipmi_sim, and by whatever else a controller can be asked through: who asks, "get" or
# "set", then names, and for "set" a value after each.
CHASSIS = """\
#!/usr/bin/python3 -IS
import json, socket, sys
supervisor = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
supervisor.connect({control!r})
supervisor.send(json.dumps(
    {{"do": "chassis", "node": {node!r}, "who": sys.argv[1], "words": sys.argv[2:]}}).encode())
answer = json.loads(supervisor.recv(65536))
print(answer.get("text") or answer.get("error", ""))
sys.exit(1 if "error" in answer else 0)
"""

LAN_CONF = """\
name "{node}"
set_working_mc 0x20
startlan 1
  addr {address} 623
  priv_limit admin
  allowed_auths_callback none md2 md5 straight
  allowed_auths_user none md2 md5 straight
  allowed_auths_operator none md2 md5 straight
  allowed_auths_admin none md2 md5 straight
  guid a123456789abcdefa123456789abcd{number:02x}
endlan
chassis_control "{directory}/chassis ipmi"
user 1 true ""         "test"       user     10 none md2 md5 straight
user 2 true "{user}"   "{password}" admin    10 none md2 md5 straight
user 3 true "viewer"   "v1ewer"     user     10 none md2 md5 straight
user 4 true "{operator}" "{password}" operator 10 none md2 md5 straight
"""

EMULATION = """\
mc_setbmc 0x20
mc_add 0x20 0 no-device-sdrs 0x23 9 8 0x9f 0x1291 0xf02
sel_enable 0x20 1000 0x0a
mc_enable 0x20
"""


def write_files(disk: Path, plan: Plan, node: str) -> None:
    """Put what the node's controller reads on the disk of the outside machine."""
    inside = f"{DIRECTORY}/{node}"
    directory = disk / inside.lstrip("/")
    (directory / "state").mkdir(parents=True, exist_ok=True)
    (directory / "chassis").write_text(CHASSIS.format(control=CONTROL, node=node))
    (directory / "chassis").chmod(0o755)
    (directory / "simulation").write_text(EMULATION)
    (directory / "lan.conf").write_text(LAN_CONF.format(
        node=node, address=plan.bmc_address(node), number=plan.number(node), directory=inside,
        user=BMC_USER, operator=BMC_OPERATOR, password=BMC_PASSWORD))
    (directory / "lan.conf").chmod(0o600)


def command(node: str) -> List[str]:
    """Return the command that is the node's controller, to be run on the outside machine."""
    directory = f"{DIRECTORY}/{node}"
    # -n: else it reads commands from stdin and quits at its end.
    return ["ipmi_sim", "-n", "-c", f"{directory}/lan.conf", "-f", f"{directory}/simulation",
            "-s", f"{directory}/state"]


def client_command(address: str, arguments: List[str], user: str = BMC_USER) -> List[str]:
    """Return an ipmitool command for a controller; it reads the password from IPMI_PASSWORD."""
    return ["ipmitool", "-I", "lanplus", "-C", "3", "-H", address, "-U", user, "-E", *arguments]
