# SPDX-License-Identifier: GPL-2.0-or-later
"""A receiver on a node in a directory, and the end of a connection that talks to it."""

from __future__ import annotations

import contextlib
import grp
import os
import pwd
import socket
import threading
from pathlib import Path
from typing import Any, Iterator

from mailha.sync.files.entry import DIRECTORY, SYMLINK, Entry
from mailha.sync.passive import receiving
from mailha.sync.places import Places
from mailha.system.machine import Machine
from sync_sender import PATIENCE, RESOURCE, Sender, file_of


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
        from mailha.sync.passive.kept import Kept
        return sorted(f"{copy.path} {copy.why}"
                      for copy in Kept(self.machine, self.places).listing())

    def leftovers(self) -> list[str]:
        """Return the files that are being made, which there are none of between two batches."""
        return [str(path) for path in self.root.rglob(".mailha-sync-*")]

    def file(self, path: str, text: str, mode: int = 0o644, **more: Any) -> Entry:
        """Return the entry of a file with this content, owned by who runs the test."""
        return file_of(path, text, mode, **self._owned(more))

    def directory(self, path: str, mode: int = 0o755) -> Entry:
        """Return the entry of a directory."""
        return self.entry(path, DIRECTORY, mode)

    def link(self, path: str, target: str) -> Entry:
        """Return the entry of a symbolic link."""
        return self.entry(path, SYMLINK, 0o777, target=target)

    def entry(self, path: str, kind: str, mode: int, **more: Any) -> Entry:
        """Return an entry."""
        return Entry(path, kind, mode=mode, **self._owned(more))

    def _owned(self, more: dict[str, Any]) -> dict[str, Any]:
        return {"owner": self.user, "uid": os.getuid(), "group": self.group, "gid": os.getgid(),
                "mtime": 1700000000 * 10 ** 9, **more}

    @contextlib.contextmanager
    def session(self, **hello: Any) -> Iterator[Sender]:
        """Connect as a sender and give the connection, after the welcome."""
        with self.connected() as sender:
            sender.hello(**hello)
            welcome = sender.hear()
            assert welcome["type"] == "welcome", welcome
            yield sender

    @contextlib.contextmanager
    def connected(self) -> Iterator[Sender]:
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
