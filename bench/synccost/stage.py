# SPDX-License-Identifier: GPL-2.0-or-later
"""The stage: two nodes with a cable, a disk each, SSH for the peers, and their packages.

The tools of the peers log in as root with a key of their own, as their documents have it. The first
node is the one that sends.
"""

from __future__ import annotations

import contextlib
import subprocess
import time
from typing import Callable, Dict, Iterator, List, Sequence

from sidebyside import machine
from sidebyside.spread import spread
from twonode import image, layer
from twonode.pair import Pair, Peer

from synccost import accounting, changes
from synccost.disk import MOUNT, TREE, Disk

SUITE = "bookworm"

RECIPE = layer.Recipe("sync", ("lsyncd", "csync2", "incron", "rsync", "inotify-tools"))

KEY = "/root/.ssh/bench"

LIMIT = 60.0

QUIET, ENOUGH = 0.15, 20.0
"""Seconds without any work, after which a contestant has done all that it will; and how long that
is waited for, as one that polls is never quiet."""

# Whatever else this machine does shall disturb as little as may be. Where the kernel shares the CPU
# out among sessions first ("autogroups"), niceness counts only inside of a session.
FIRST = ("sh", "-c", '{ echo -20 > /proc/self/autogroup; } 2> /dev/null; exec nice -n -20 "$@"',
         "sh")

VERSIONS = ("python3 --version; ssh -V 2>&1; dpkg-query --show --showformat "
            "'${Package} ${Version}\\n' lsyncd csync2 incron rsync")


class BenchFailed(Exception):
    """Something that is needed to measure does not run; the text says what."""


class Node:
    """One of the two nodes."""

    def __init__(self, peer: Peer) -> None:
        self.name = peer.name
        self.peer = peer
        self.sandbox = peer.sandbox
        self.disk = Disk(peer.sandbox)

    def shell(self, script: str) -> str:
        """Run a shell script there and return what it printed. Raises BenchFailed."""
        done = self.sandbox.run(["/bin/bash", "-eu"], input=script, timeout=LIMIT)
        if done.returncode != 0:
            raise BenchFailed(f"on {self.name}: {(done.stderr or done.stdout).strip()[-1000:]}")
        return done.stdout

    def write(self, path: str, content: str, mode: int = 0o644) -> None:
        """Write a file there."""
        place = self.sandbox.path(path)
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(content)
        place.chmod(mode)

    @contextlib.contextmanager
    def program(self, *argv: str) -> Iterator["subprocess.Popen[bytes]"]:
        """Have a program run there in a session of its own, all of which ends with this context."""
        log = self.sandbox.scratch / "log"
        with open(log, "ab") as output:
            process = self.sandbox.door.popen(
                [*FIRST, *argv], stdin=subprocess.DEVNULL, stdout=output, stderr=output,
                start_new_session=True)
        try:
            yield process
        finally:
            process.kill()
            process.wait(timeout=LIMIT)

    @property
    def log(self) -> str:
        """What its programs have printed last."""
        return (self.sandbox.scratch / "log").read_text(errors="replace")[-2000:]


class Stage:
    """Where contestants run, one after the other. source sends, target receives."""

    def __init__(self, source: Node, target: Node, facts: List[str]) -> None:
        self.source = source
        self.target = target
        self.facts = facts
        self._sandboxes = (source.sandbox, target.sandbox)

    def clear(self, numbers: int) -> None:
        """Make the tree anew on the source, and none on the target."""
        for node in (self.source, self.target):
            node.disk.renew()
        changes.fill(self.source.disk.tree, numbers)

    def wait_identical(self, limit: float = LIMIT) -> None:
        """Wait until both trees are the same. Raises BenchFailed."""
        deadline = time.monotonic() + limit
        while True:
            found = changes.differing(self.source.disk.tree, self.target.disk.tree)
            if not found:
                return
            if time.monotonic() > deadline:
                raise BenchFailed(f"{len(found)} files, {found[0]} among them, do not arrive: "
                                  f"{self.source.log} {self.target.log}")
            time.sleep(0.05)

    def wait_quiet(self) -> None:
        """Wait until nothing goes on any more."""
        deadline = time.monotonic() + ENOUGH
        before: object = None
        while before != (now := accounting.busy(self._sandboxes)) and time.monotonic() < deadline:
            before = now
            time.sleep(QUIET)

    def cpu(self) -> float:
        """Return the seconds of CPU that what runs on both nodes has had."""
        return accounting.cpu(self._sandboxes)

    def memory(self) -> Dict[str, float]:
        """Return the mebibytes that what runs has, on either node."""
        return {"source": accounting.memory([self.source.sandbox]),
                "target": accounting.memory([self.target.sandbox])}

    def end_all(self) -> None:
        """Kill what a contestant has left running on either node, but not the SSH servers."""
        for node in (self.source, self.target):
            keep = {str(number) for number in node.peer.processes("sshd")}
            found = [place.name for place in node.sandbox.path("/proc").iterdir()
                     if place.name.isdigit() and place.name not in keep | {"1"}]
            if found:
                node.sandbox.run(["kill", "-KILL", *found], timeout=LIMIT)


@contextlib.contextmanager
def running(progress: Callable[[str], None]) -> Iterator[Stage]:
    """Set the stage; it is gone after this context."""
    packages = layer.ensure(SUITE, RECIPE, progress)
    with Pair(image.ensure(SUITE, progress), layers=[packages], scratch_at=MOUNT) as pair:
        source, target = map(Node, pair.peers)
        _let_in(source, target)
        facts = [machine.describe(),
                 f"Debian {SUITE}: {', '.join(source.shell(VERSIONS).splitlines())}",
                 f"an empty Python program takes {_empty_program() * 1e3:.0f} ms"]
        yield Stage(source, target, facts)


def rsh(target: Node, *, shared: bool) -> Sequence[str]:
    """Return how the tools of the peers reach the target. shared: over one open connection."""
    multiplex = ("-oControlMaster=auto", "-oControlPath=/run/bench-%C", "-oControlPersist=600")
    return ["/usr/bin/ssh", "-i", KEY, "-oStrictHostKeyChecking=no", "-oBatchMode=yes",
            "-oLogLevel=ERROR", *(multiplex if shared else ())]


def _empty_program() -> float:
    """Return the seconds that an empty Python program takes, to compare machines and hours."""
    found = []
    for _ in range(9):
        began = time.monotonic()
        subprocess.run(["/usr/bin/python3", "-I", "-c", "pass"], timeout=LIMIT, check=True)
        found.append(time.monotonic() - began)
    return spread(found).median


def _let_in(source: Node, target: Node) -> None:
    """Let the source's root in on the target, whose SSH server is set up as Debian's package does.
    """
    target.peer.stop_ssh()
    target.shell("sed -i 's/^UsePAM .*/UsePAM yes/' /etc/ssh/sshd_config")
    target.peer.start_ssh()
    source.shell(f"ssh-keygen -q -t ed25519 -N '' -f {KEY}")
    target.write("/root/.ssh/authorized_keys", source.sandbox.path(f"{KEY}.pub").read_text(), 0o600)


__all__ = ["BenchFailed", "FIRST", "Node", "RECIPE", "Stage", "TREE", "rsh", "running"]
