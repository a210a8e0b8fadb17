# SPDX-License-Identifier: GPL-2.0-or-later
"""Two sandboxes with a cable between them and a real SSH server on each: what replication needs.

No cluster, no systemd. Each machine has a network of its own; the cable is a pair of virtual cards
that is born inside of the two and vanishes with them, so nothing of it is ever seen outside.
"""

from __future__ import annotations

import contextlib
import subprocess
import time
from pathlib import Path
from types import TracebackType
from typing import Dict, List, Optional, Sequence, Set, Tuple, Type

from twonode.network import run_ip
from twonode.sandbox import Sandbox

INTERFACE = "lan"

NETWORK = "192.168.77"
"""The first three parts of the addresses of the two, which count from 1."""

PORT = 22

START_LIMIT = 60.0

# The lab's image comes without host keys, and with settings for a server that serves people.
PREPARE = """
mkdir -p /run/sshd /root/.ssh
chmod 0700 /root /root/.ssh
ssh-keygen -q -t ed25519 -N '' -f /etc/ssh/ssh_host_ed25519_key
cat > /etc/ssh/sshd_config <<END
HostKey /etc/ssh/ssh_host_ed25519_key
PermitRootLogin prohibit-password
PasswordAuthentication no
KbdInteractiveAuthentication no
UsePAM no
UseDNS no
PrintMotd no
PrintLastLog no
END
"""


class Peer:
    """One of the two machines. name: its host name. address: on the cable."""

    def __init__(self, sandbox: Sandbox, address: str) -> None:
        self.sandbox = sandbox
        self.name = sandbox.name
        self.address = address
        self._server: Optional[subprocess.Popen[bytes]] = None

    def start_ssh(self) -> None:
        """Start the SSH server and return when it takes connections; raises TimeoutError."""
        self._server = self.sandbox.door.popen(
            ["/usr/sbin/sshd", "-D", "-e"], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL)
        deadline = time.monotonic() + START_LIMIT
        # Asking the kernel, because a connection to try it out would be a session of its own.
        while not self.sandbox.run(["ss", "-Hltn", f"sport = :{PORT}"],
                                   timeout=START_LIMIT).stdout.strip():
            if self._server.poll() is not None or time.monotonic() > deadline:
                raise TimeoutError(f"the SSH server of {self.name} does not come up")
            time.sleep(0.02)

    def stop_ssh(self) -> None:
        """Kill the SSH server with all of its sessions and what runs in them, as a crash would."""
        if self._server is None:
            return
        family = [str(number) for number in self.processes("sshd")]
        if family:
            self.sandbox.run(["kill", "-KILL", *family], timeout=START_LIMIT)
        self._server.kill()
        self._server.wait(timeout=START_LIMIT)
        self._server = None

    def processes(self, program: str) -> List[int]:
        """Return the processes of a program and all their descendants, as the machine counts."""
        parents: Dict[int, int] = {}
        found: Set[int] = set()
        for place in self.sandbox.path("/proc").iterdir():
            if place.name.isdigit():
                with contextlib.suppress(OSError):
                    name, parent = _identity(place)
                    parents[int(place.name)] = parent
                    if name == program:
                        found.add(int(place.name))
        while True:
            more = {each for each, parent in parents.items() if parent in found} - found
            if not more:
                return sorted(found)
            found |= more


class Pair:
    """Both machines, as a context manager. Both know each other's name and address."""

    def __init__(self, image: Path, names: Tuple[str, str] = ("alice", "bob"), *,
                 layers: Sequence[Path] = (), scratch_at: str = "") -> None:
        """Describe the pair; entering the context starts it.

        image, layers, scratch_at: as for a Sandbox.
        """
        self._closing = contextlib.ExitStack()
        self._image, self._names, self._layers = image, names, layers
        self._scratch_at = scratch_at
        self.peers: List[Peer] = []

    def __enter__(self) -> Pair:
        with contextlib.ExitStack() as closing:
            for number, name in enumerate(self._names, 1):
                sandbox = closing.enter_context(Sandbox(
                    self._image, layers=self._layers, name=name, scratch_at=self._scratch_at))
                self.peers.append(Peer(sandbox, f"{NETWORK}.{number}"))
            self._connect()
            for peer in self.peers:
                peer.sandbox.run(["/bin/sh", "-eu"], input=PREPARE, timeout=START_LIMIT, check=True)
                peer.start_ssh()
                closing.callback(peer.stop_ssh)
            self._closing = closing.pop_all()
        return self

    def __exit__(self, kind: Optional[Type[BaseException]], error: Optional[BaseException],
                 trace: Optional[TracebackType]) -> None:
        self._closing.close()

    def cut(self) -> None:
        """Cut the cable: nothing is refused, nothing arrives."""
        self._set("down")

    def mend(self) -> None:
        """Undo cut()."""
        self._set("up")

    def _set(self, state: str) -> None:
        # The end of the second, so that the first, which sends, keeps its address and its route.
        self.peers[1].sandbox.run(["ip", "link", "set", INTERFACE, state], timeout=START_LIMIT,
                                  check=True)

    def _connect(self) -> None:
        one, other = (peer.sandbox.process for peer in self.peers)
        run_ip([f"link add {INTERFACE} netns {one} type veth peer name {INTERFACE} netns {other}"])
        hosts = "127.0.0.1 localhost\n" + "".join(
            f"{peer.address} {peer.name}\n" for peer in self.peers)
        for peer in self.peers:
            peer.sandbox.path("/etc/hosts").write_text(hosts)
            peer.sandbox.run(["ip", "-batch", "-"], timeout=START_LIMIT, check=True, input=(
                f"addr add {peer.address}/24 dev {INTERFACE}\nlink set {INTERFACE} up\n"))


def _identity(place: Path) -> Tuple[str, int]:
    """Return the name and the parent of the process whose directory in /proc this is."""
    head, _, rest = (place / "stat").read_text().rpartition(")")
    return head.partition("(")[2], int(rest.split()[1])
