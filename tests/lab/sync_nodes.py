# SPDX-License-Identifier: GPL-2.0-or-later
"""Two nodes that are paired, with a cable between them, a real OpenSSH, and a sender on either.

No cluster and no systemd: the sender runs in the foreground as its unit runs it, with the settings
that a start of the resource writes. What the nodes' files look like is read from outside.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, List, Optional, Sequence

from twonode.pair import Pair, Peer
from waiting import wait_for

RESOURCE = "conf"
RUN = f"/run/mailha/sync/{RESOURCE}"
STATE = f"/var/lib/mailha/sync/{RESOURCE}"
KEPT = f"{STATE}/kept"

APP = "/etc/app"
"""The directory that is replicated; small, so that a test can look at all of it."""

LIMIT = 120.0

SETTINGS = """
import json, sys
sys.path.insert(0, "/usr/lib/ocf/lib")
from mailha.sync.files.settings import Settings
from mailha.system.machine import Machine
given = json.load(sys.stdin)
names = [given.pop(name) for name in ("resource", "node", "generation")]
Settings(*names, **given).write(Machine())
"""


class Refused(AssertionError):
    """The sender answered a request with an error; the text is what it said."""


class Node:
    """One of the nodes."""

    def __init__(self, peer: Peer) -> None:
        self.peer = peer
        self.name = peer.name
        self.sandbox = peer.sandbox
        self._sender: "Optional[subprocess.Popen[bytes]]" = None

    def path(self, path: str) -> Path:
        """Return where the test finds a file of the node."""
        return self.sandbox.path(path)

    def write(self, path: str, content: str, mode: int = 0o644) -> None:
        """Write a file in place, as an editor of the simple kind does."""
        place = self.path(path)
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(content)
        place.chmod(mode)

    def read(self, path: str) -> Optional[str]:
        """Return the content of a file, None if there is none."""
        try:
            return self.path(path).read_text()
        except OSError:
            return None

    def sh(self, script: str) -> str:
        """Run a shell script there, which has to succeed, and return what it printed."""
        return self.sandbox.run(["/bin/sh", "-euc", script], timeout=LIMIT, check=True).stdout

    def call(self, *argv: str) -> "subprocess.CompletedProcess[str]":
        """Call the administrator's tool there."""
        done = self.sandbox.run(["mailha", "sync", *argv], timeout=LIMIT)
        assert "Traceback" not in done.stderr and "defect" not in done.stderr, done.stderr
        return done

    # the sender

    def start(self, generation: int, include: Sequence[str] = (APP,), **settings: Any) -> None:
        """Start the sender and return when it can be asked."""
        self.sandbox.run(["/usr/bin/python3", "-I", "-c", SETTINGS], timeout=LIMIT, check=True,
                         input=json.dumps({"resource": RESOURCE, "node": self.name,
                                           "generation": generation, "include": list(include),
                                           **settings}))
        self.resume()

    def resume(self) -> None:
        """Start the sender as it was, as systemd does when it has died."""
        self.sandbox.run(["rm", "-f", f"{RUN}/control"], timeout=LIMIT, check=True)
        with open(self.sandbox.scratch / "sender", "ab") as log:
            self._sender = self.sandbox.door.popen(
                ["/usr/sbin/mailha", "sync", "send", RESOURCE], stdin=subprocess.DEVNULL,
                stdout=log, stderr=log)
        wait_for(f"the sender on {self.name}", self._answers)

    def _answers(self) -> bool:
        sender = self._sender
        assert sender is not None and sender.poll() is None, self.log()
        try:
            self.ask("status")
        except OSError:
            return False
        return True

    def kill(self) -> None:
        """Kill the sender without any warning."""
        self._signal(signal.SIGKILL)
        self._end()

    def stop(self) -> None:
        """Stop the sender as its unit does."""
        self._signal(signal.SIGTERM)
        self._end()

    def _end(self) -> None:
        if self._sender is not None:
            self._sender.wait(timeout=LIMIT)
            self._sender = None

    @contextlib.contextmanager
    def frozen(self) -> Iterator[None]:
        """Let the sender do nothing for a while, not even read what the kernel tells it."""
        self._signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self._signal(signal.SIGCONT)
            if self._sender is not None:
                # nsenter, through which it was started, has stopped with it.
                self._sender.send_signal(signal.SIGCONT)

    def _signal(self, number: signal.Signals) -> None:
        found = self.programs("send")
        if found:
            self.sandbox.run(["kill", f"-{number.name[3:]}", *map(str, found)], timeout=LIMIT)

    def programs(self, verb: str) -> List[int]:
        """Return the processes there that run `mailha sync VERB`."""
        found = []
        for place in self.path("/proc").iterdir():
            if place.name.isdigit():
                with contextlib.suppress(OSError):
                    words = (place / "cmdline").read_bytes().split(b"\0")
                    if words[-4:-1] == [b"sync", verb.encode()] + words[-2:-1] \
                            or words[-3:-1] == [b"sync", verb.encode()]:
                        found.append(int(place.name))
        return found

    def ask(self, what: str, **more: Any) -> Dict[str, Any]:
        """Ask the sender; raises Refused with what it says if it cannot."""
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(LIMIT)
            connection.connect(str(self.path(f"{RUN}/control")))
            connection.sendall(json.dumps({"do": what, "timeout": LIMIT, **more}).encode() + b"\n")
            with connection.makefile("rb") as lines:
                for line in lines:
                    answer: Dict[str, Any] = json.loads(line)
                    if "error" in answer:
                        raise Refused(f"{answer['error']}; {answer.get('remedy', '')}")
                    if answer.get("done"):
                        return answer
        raise AssertionError(f"the sender on {self.name} has ended: {self.log()}")

    def peer_state(self) -> Dict[str, Any]:
        """Return what the sender says of its one peer."""
        found: Dict[str, Any] = self.ask("status")["peers"][0]
        return found

    def wait_state(self, state: str) -> Dict[str, Any]:
        """Wait until the sender says that of its one peer."""
        return wait_for(f"{self.name}'s peer to be {state}",
                        lambda: self.peer_state() if self.peer_state()["state"] == state else None)

    def wait_flushed(self) -> None:
        """Wait until all that was changed is acknowledged, through whatever trouble."""
        def flushed() -> bool:
            try:
                self.ask("flush", timeout=5)
                if self.peer_state()["differing"]:
                    self.ask("verify")      # what differed at the last comparison may not now
            except (Refused, OSError):
                return False
            return self.peer_state()["state"] == "in step"

        try:
            wait_for(f"everything of {self.name} to be acknowledged", flushed)
        except AssertionError as error:
            raise AssertionError(f"{error}; {self.ask('status')}; {self.log()}") from None

    def log(self) -> str:
        """Return what the sender printed."""
        place = self.sandbox.scratch / "sender"
        return place.read_text(errors="replace")[-4000:] if place.exists() else ""

    def kept(self, name: str, why: str) -> List[Path]:
        """Return the copies of a file of APP that are kept there for a reason."""
        place = self.path(KEPT + APP)
        return sorted(place.glob(f"{name}~*~{why}")) if place.exists() else []


class SyncNodes:
    """Both nodes, paired. alice sends unless a test says otherwise."""

    def __init__(self, pair: Pair) -> None:
        self.pair = pair
        self.alice, self.bob = map(Node, pair.peers)
        self.generation = 0
        self._let_administrator_in()
        done = self.alice.call("pair", "bob", "--ssh-option=StrictHostKeyChecking=no")
        assert done.returncode == 0, done.stderr

    def fresh(self, include: Sequence[str] = (APP,), **settings: Any) -> None:
        """Begin a test: empty directories, nothing remembered, a sender on alice.

        Where the test before has left a healthy sender, that is emptied in place of a new one.
        """
        if include == (APP,) and not settings and self._emptied():
            return
        self.end()
        for node in (self.alice, self.bob):
            node.sh(f"rm -rf {APP} {STATE} {RUN}; mkdir -p {APP}")
        self.start_sender(include, **settings)

    def _emptied(self) -> bool:
        """Empty both directories through the sender; tell whether nothing is left of a test."""
        try:
            if not self.alice.programs("send") or self.bob.programs("send"):
                return False
            shutil.rmtree(self.alice.path(APP))
            self.alice.path(APP).mkdir(mode=0o755)
            self.alice.ask("push", force=True)
            found = self.alice.ask("status")
        except (OSError, AssertionError):
            return False
        peer = found["peers"][0]
        return not (os.listdir(self.bob.path(APP)) or peer["conflicts"] or peer["set_aside"]
                    or peer["problems"] or peer["differing"] or found["withheld"]
                    or peer["state"] != "in step")

    def start_sender(self, include: Sequence[str] = (APP,), **settings: Any) -> None:
        """Start the sender on alice with a new generation, and wait until bob is in step."""
        self.generation += 1
        self.alice.start(self.generation, include, **settings)
        self.alice.wait_flushed()

    def end(self) -> None:
        """End all senders and receivers."""
        for node in (self.alice, self.bob):
            node.kill()
            left = [str(number) for number in node.programs("receive")]
            if left:
                node.sandbox.run(["kill", "-KILL", *left], timeout=LIMIT)
            wait_for("receivers to end", lambda: not node.programs("receive"))

    def same(self, top: str = APP) -> bool:
        """Tell whether a directory is the same on both nodes; see differences()."""
        return not self.differences(top)

    def differences(self, top: str = APP) -> List[str]:
        """Return what differs below a directory: kind, mode, owner, content, attributes, links."""
        here, there = (_picture(node.path(top)) for node in (self.alice, self.bob))
        return sorted(path for path in here.keys() | there.keys()
                      if here.get(path) != there.get(path))

    def acknowledged(self) -> None:
        """Wait for the acknowledgement of everything, and see that both sides are the same."""
        self.alice.wait_flushed()
        assert self.differences() == []

    def _let_administrator_in(self) -> None:
        """Let root log in from alice to bob, which a pairing starts from."""
        self.alice.sh("ssh-keygen -q -t ed25519 -N '' -f /root/.ssh/id_ed25519")
        public = self.alice.path("/root/.ssh/id_ed25519.pub").read_text()
        self.bob.write("/root/.ssh/authorized_keys", public, 0o600)


def _picture(top: Path) -> Dict[str, Any]:
    """Return what has to be equal, by path below a directory."""
    found: Dict[str, Any] = {}
    for directory, below, names in os.walk(top):
        for name in [*below, *names]:
            path = os.path.join(directory, name)
            try:
                facts = os.lstat(path)
                content: Any = None
                if os.path.islink(path):
                    content = os.readlink(path)
                elif os.path.isfile(path):
                    content = Path(path).read_bytes()
                attributes = {each: os.getxattr(path, each, follow_symlinks=False)
                              for each in os.listxattr(path, follow_symlinks=False)}
            except FileNotFoundError:
                continue
            found[os.path.relpath(path, top)] = (facts.st_mode, facts.st_uid, facts.st_gid,
                                                 content, attributes)
    return found


def until(seconds: float, look: Callable[[], bool]) -> bool:
    """Return whether something came true within some seconds."""
    deadline = time.monotonic() + seconds
    while not look():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True
