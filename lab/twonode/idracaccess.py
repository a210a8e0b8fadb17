# SPDX-License-Identifier: GPL-2.0-or-later
"""The way into a controller by SSH: a real OpenSSH on its address, with the shell of an iDRAC.

Every lab has host keys of its own, and one key that is let in beside the password. Nodes find that
key, and the host keys of all controllers, where an administrator would have put them.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Dict, List

from twonode import bmc, idrac
from twonode.bare import BareSandbox
from twonode.plan import BMC_PASSWORD, BMC_USER, Plan

KEY = "/etc/mailha/idrac-key"
"""Where a node has the key that its controllers let in."""

KNOWN_HOSTS = "/etc/mailha/idrac-known-hosts"
"""Where a node has the host keys of the controllers."""

HOST_KEY = "idrac-host-key"
CONFIGURATION = "idrac-sshd.conf"
SHELL = "idrac-shell"
"""Names below a controller's directory on the outside machine."""

AUTHORIZED_KEYS = f"{bmc.DIRECTORY}/idrac-authorized-keys"

SSHD_CONF = """\
ListenAddress {address}
HostKey {directory}/{host_key}
AuthorizedKeysFile {authorized_keys}
AllowUsers {user}
PermitRootLogin yes
PasswordAuthentication yes
KbdInteractiveAuthentication no
UsePAM no
UseDNS no
PidFile none
PrintMotd no
PrintLastLog no
DisableForwarding yes
ForceCommand exec {directory}/{shell}
"""

# Which file says how a controller misbehaves is known to whoever wants it to; see idrac.
SHELL_SCRIPT = """\
#!/bin/sh
exec /usr/bin/python3 -IS {directory}/idrac.py --chassis '{directory}/chassis idrac' \\
    --manners {directory}/idrac-manners
"""

KEYGEN = """
umask 077
mkdir /keys
cd /keys
for name; do
    ssh-keygen -q -t ed25519 -N '' -C "$name" -f "$name"
done
openssl passwd -6 -stdin > password
"""

USER_KEY = "user"
"""The name of the key that is let in; the others are named after the nodes."""


@dataclass(frozen=True)
class Secrets:
    """What is made anew for every lab."""

    private: Dict[str, str]     # node -> the host key of its controller; USER_KEY -> that key
    public: Dict[str, str]      # the same names -> the public halves, "type base64"
    password: str               # the crypted password


def make_secrets(sandbox: BareSandbox, plan: Plan) -> Secrets:
    """Make keys for every controller and for its user; the sandbox has the tools for it."""
    names = [USER_KEY, *plan.nodes]
    sandbox.run(["sh", "-ec", KEYGEN, "sh", *names], input=BMC_PASSWORD + "\n", timeout=60,
                check=True)
    keys = sandbox.path("/keys")
    return Secrets({name: (keys / name).read_text() for name in names},
                   {name: " ".join((keys / f"{name}.pub").read_text().split()[:2])
                    for name in names},
                   (keys / "password").read_text().strip())


def write_servers(disk: Path, plan: Plan, secrets: Secrets) -> None:
    """Put what the controllers' SSH reads on the disk of the outside machine, and its user."""
    _write(disk, AUTHORIZED_KEYS, secrets.public[USER_KEY] + "\n")
    for node in plan.nodes:
        directory = f"{bmc.DIRECTORY}/{node}"
        _write(disk, f"{directory}/{HOST_KEY}", secrets.private[node], 0o600)
        _write(disk, f"{directory}/{CONFIGURATION}", SSHD_CONF.format(
            address=plan.bmc_address(node), directory=directory, host_key=HOST_KEY,
            authorized_keys=AUTHORIZED_KEYS, user=BMC_USER, shell=SHELL))
        _write(disk, f"{directory}/{SHELL}", SHELL_SCRIPT.format(directory=directory), 0o755)
        _write(disk, f"{directory}/idrac.py", Path(idrac.__file__).read_text())
    # Another name of root, because the shell has to reach the supervisor's socket.
    for path, line, mode in (
            ("etc/passwd", f"{BMC_USER}:x:0:0:iDRAC:/root:/bin/sh\n", 0o644),
            ("etc/shadow", f"{BMC_USER}:{secrets.password}:19000:0:99999:7:::\n", 0o600)):
        _write(disk, path, (Path(plan.image) / path).read_text() + line, mode)


def write_client(disk: Path, plan: Plan, secrets: Secrets) -> None:
    """Put the key, and the host keys of all controllers, on the disk of a machine."""
    _write(disk, KEY, secrets.private[USER_KEY], 0o600)
    _write(disk, KNOWN_HOSTS, "".join(f"{plan.bmc_address(node)} {secrets.public[node]}\n"
                                      for node in plan.nodes))


def command(node: str) -> List[str]:
    """Return the command that is the node's SSH server, to be run on the outside machine."""
    # In a pid namespace of its own, or the sessions would outlive the server and go on when the
    # controller has power again.
    return ["sh", "-c", 'mkdir -p /run/sshd && exec unshare --pid --kill-child --mount-proc '
            '/usr/sbin/sshd -D -e -f "$1"', "sh", f"{bmc.DIRECTORY}/{node}/{CONFIGURATION}"]


def client_command(address: str, arguments: List[str]) -> List[str]:
    """Return an ssh command for a controller; without arguments it is interactive."""
    return ["ssh", "-i", KEY, "-o", f"UserKnownHostsFile={KNOWN_HOSTS}", "-o", "BatchMode=yes",
            "-o", "ConnectTimeout=20", "-l", BMC_USER, address, *arguments]


def _write(disk: Path, path: str, text: str, mode: int = 0o644) -> None:
    """Write a file that is nobody else's from the first moment on."""
    place = disk / path.lstrip("/")
    place.parent.mkdir(parents=True, exist_ok=True)
    with open(os.open(place, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode), "w") as file:
        file.write(text)
    place.chmod(mode)
