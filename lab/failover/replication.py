# SPDX-License-Identifier: GPL-2.0-or-later
"""Nodes that are paired for the replication of configuration before they boot.

What `mailha sync pair` leaves on two nodes is made here from outside: a key for each of them, what
it may do on the others, their host keys, and where they are. The command itself is tested apart.
"""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Dict, Mapping, Tuple

LIMIT = 60.0

UNIT = "etc/systemd/system/multi-user.target.wants/ssh.service"


def _keys(directory: Path, name: str) -> Tuple[str, str]:
    """Make a key and return its private and its public part."""
    path = directory / name
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", name, "-f", str(path)],
                   check=True, timeout=LIMIT, stdin=subprocess.DEVNULL)
    made = path.read_text(), (directory / f"{name}.pub").read_text().strip()
    path.unlink()
    return made


class Pairing:
    """Pairs all nodes with each other.

    directory: of its own, where keys can be made. addresses: of the nodes, by name.
    """

    def __init__(self, directory: Path, addresses: Mapping[str, str]) -> None:
        self._addresses = dict(addresses)
        self._hosts = {node: _keys(directory, f"host-{node}") for node in addresses}
        self._own = {node: _keys(directory, f"own-{node}") for node in addresses}

    def provision(self, node: str, disk: Path) -> None:
        """Give a node its keys and those of the others, and let its SSH server start at boot."""
        others = [other for other in self._addresses if other != node]
        known = "".join(f"{other} {' '.join(self._hosts[other][1].split()[:2])}\n"
                        for other in others)
        admitted = "".join('restrict,command="/usr/sbin/mailha sync receive" '
                           f"{' '.join(self._own[other][1].split()[:2])} mailha-sync@{other}\n"
                           for other in others)
        files: Dict[str, Tuple[str, int]] = {
            "etc/ssh/ssh_host_ed25519_key": (self._hosts[node][0], 0o600),
            "etc/ssh/ssh_host_ed25519_key.pub": (self._hosts[node][1] + "\n", 0o644),
            "etc/mailha/sync/key": (self._own[node][0], 0o600),
            "etc/mailha/sync/key.pub": (self._own[node][1] + "\n", 0o644),
            "etc/mailha/sync/known_hosts": (known, 0o600),
            "root/.ssh/authorized_keys": (admitted, 0o600)}
        for other in others:
            files[f"etc/mailha/sync/peers/{other}"] = (json.dumps(
                {"format": 1, "node": other, "address": self._addresses[other], "port": 22}), 0o600)
        for path, (text, mode) in files.items():
            place = disk / path
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_text(text)
            place.chmod(mode)
        for private in ("root/.ssh", "etc/mailha/sync", "etc/mailha/sync/peers"):
            (disk / private).chmod(0o700)
        wanted = disk / UNIT
        wanted.parent.mkdir(parents=True, exist_ok=True)
        os.symlink("/lib/systemd/system/ssh.service", wanted)
