# SPDX-License-Identifier: GPL-2.0-or-later
"""A receiver on a node in a directory, and the end of a connection that talks to it."""

from __future__ import annotations

import contextlib
import hashlib
import os
import pwd
import grp
import socket
import threading
from pathlib import Path
from typing import Any, Iterator

from mailha.sync import receiving, wire
from mailha.sync.entry import DIRECTORY, FILE, SYMLINK, Entry
from mailha.sync.places import Places
from mailha.system.machine import Machine

PATIENCE = 60.0
RESOURCE = "config"
DIRECTORIES = ("/etc",)


class ReceivingNode:
    """A node whose root is a directory; who runs the test is its root.

    root: made if it is not there; what is there already stays.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.user = pwd.getpwuid(os.getuid()).pw_name
        self.group = grp.getgrgid(os.getgid()).gr_name
        for name in ("etc", "proc/self", "proc/sys/kernel/random", "run", "var/lib/dpkg"):
            (root / name).mkdir(parents=True, exist_ok=True)
        self.write("/proc/self/mountinfo", "")
        self.write("/proc/sys/kernel/random/boot_id", "8a3f4c1e-0000-4000-8000-000000000001\n")
        self.write("/etc/passwd", f"root:x:0:0::/root:/bin/sh\n"
                                  f"{self.user}:x:{os.getuid()}:{os.getgid()}::/:/bin/sh\n")
        self.write("/etc/group", f"root:x:0:\n{self.group}:x:{os.getgid()}:\n")
        self.machine = Machine(str(root))
        self.places = Places(RESOURCE)

    def path(self, path: str) -> Path:
        """Return where a path of the node is on this machine."""
        return self.root / path.lstrip("/")

    def write(self, path: str, text: str) -> None:
        """Write a file, and the directories above it."""
        place = self.path(path)
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(text)

    def read(self, path: str) -> str:
        """Return the content of a file."""
        return self.path(path).read_text()

    def kept(self) -> list[str]:
        """Return the kept copies: the path each is of, and why it was kept, sorted."""
        from mailha.sync.kept import Kept
        return sorted(f"{copy.path} {copy.why}"
                      for copy in Kept(self.machine, self.places).listing())

    def leftovers(self) -> list[str]:
        """Return the files that are being made, which there are none of between two batches."""
        return [str(path) for path in self.root.rglob(".mailha-sync-*")]

    def file(self, path: str, text: str, mode: int = 0o644, **more: Any) -> Entry:
        """Return the entry of a file with this content, owned by who runs the test."""
        data = text.encode()
        return self.entry(path, FILE, mode, size=len(data),
                          digest=hashlib.sha256(data).hexdigest(), **more)

    def directory(self, path: str, mode: int = 0o755) -> Entry:
        """Return the entry of a directory."""
        return self.entry(path, DIRECTORY, mode)

    def link(self, path: str, target: str) -> Entry:
        """Return the entry of a symbolic link."""
        return self.entry(path, SYMLINK, 0o777, target=target)

    def entry(self, path: str, kind: str, mode: int, **more: Any) -> Entry:
        """Return an entry."""
        more = {"owner": self.user, "uid": os.getuid(), "group": self.group, "gid": os.getgid(),
                "mtime": 1700000000 * 10 ** 9, **more}
        return Entry(path, kind, mode=mode, **more)

    @contextlib.contextmanager
    def session(self, **hello: Any) -> Iterator["Sender"]:
        """Connect as a sender and give the connection, after the welcome."""
        with self.connected() as sender:
            sender.hello(**hello)
            welcome = sender.hear()
            assert welcome["type"] == "welcome", welcome
            yield sender

    @contextlib.contextmanager
    def connected(self) -> Iterator["Sender"]:
        """Connect and give the connection; the receiver ends with it."""
        ours, theirs = socket.socketpair()
        reader, writer = theirs.fileno(), os.dup(theirs.fileno())
        thread = threading.Thread(target=receiving.serve, args=(self.machine, reader, writer))
        thread.start()
        try:
            yield Sender(ours.fileno())
        finally:
            ours.close()
            thread.join(PATIENCE)
            os.close(writer)
            theirs.close()
            assert not thread.is_alive(), "the receiver did not end with its connection"


class Sender:
    """The sending end of a connection."""

    def __init__(self, descriptor: int) -> None:
        self.stream = wire.Stream(descriptor, descriptor)
        self._batches = 0

    def say(self, message: dict[str, Any]) -> None:
        """Send a message."""
        self.stream.send(message)
        self.stream.flush(PATIENCE)

    def hear(self) -> dict[str, Any]:
        """Return the next message; the receiver's hello is left out."""
        message = self.stream.message(PATIENCE)
        return self.hear() if message["type"] == "hello" else message

    def ask(self, message: dict[str, Any]) -> dict[str, Any]:
        """Send a message and return the answer."""
        self.say(message)
        return self.hear()

    def hello(self, **changes: Any) -> None:
        """Say who we are."""
        message: dict[str, Any] = {
            "type": "hello", "version": 1, "resource": RESOURCE, "role": "sender",
            "generation": 1, "node": "alice", "packages": {}, "patterns": [],
            "selection": {"directories": list(DIRECTORIES), "files": [], "exclude": [],
                          "never": []}}
        self.say({**message, **changes})

    def batch(self, *changes: "tuple[Entry, str] | Entry | str", force: bool = False
              ) -> dict[str, Any]:
        """Send a batch and return the answer.

        A change is a pair of a file's entry and its content, another entry, or, for a deletion, a
        path.
        """
        self._batches += 1
        self.stream.send({"type": "batch", "id": self._batches, "force": force})
        for change in changes:
            if isinstance(change, str):
                self.stream.send({"type": "delete", "path": change})
            elif isinstance(change, Entry):
                self.stream.send({"type": "put", "entry": change.to_message(), "length": 0})
            else:
                entry, text = change
                self.stream.send({"type": "put", "entry": entry.to_message(),
                                  "length": len(text.encode())})
                self.stream.send_data(text.encode())
        return self.ask({"type": "commit"})

    def applied(self, *changes: "tuple[Entry, str] | Entry | str", force: bool = False
                ) -> dict[str, Any]:
        """Send a batch that has to be applied without a problem."""
        answer = self.batch(*changes, force=force)
        assert answer["type"] == "applied" and answer["problems"] == [], answer
        return answer

    def inventory(self) -> dict[str, dict[str, Any]]:
        """Return what the receiver has, by path."""
        self.say({"type": "inventory"})
        entries: dict[str, dict[str, Any]] = {}
        while True:
            answer = self.hear()
            entries.update({entry["path"]: entry for entry in answer["entries"]})
            if not answer["more"]:
                return entries
