# SPDX-License-Identifier: GPL-2.0-or-later
"""The sending end of a connection to a receiver, for tests: it says what it is told to."""

from __future__ import annotations

import hashlib
from typing import Any, Sequence, Union

from mailha.sync.connection import wire
from mailha.sync.files.entry import FILE, Entry

PATIENCE = 60.0
RESOURCE = "config"

Change = Union["tuple[Entry, str]", Entry, str]


def file_of(path: str, text: str, mode: int = 0o644, **more: Any) -> Entry:
    """Return the entry of a file with this content, root's unless something else is said."""
    data = text.encode()
    return Entry(path, FILE, mode=mode, size=len(data), digest=hashlib.sha256(data).hexdigest(),
                 **{"owner": "root", "uid": 0, "group": "root", "gid": 0,
                    "mtime": 1700000000 * 10 ** 9, **more})


class Sender:
    """The sending end of a connection: of a socket, or of two pipes.

    directories: what it says that it replicates.
    """

    def __init__(self, reader: int, writer: int = -1, directories: Sequence[str] = ("/etc",)
                 ) -> None:
        self.stream = wire.Stream(reader, reader if writer < 0 else writer)
        self._directories = list(directories)
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
            "selection": {"directories": self._directories, "files": [], "exclude": [],
                          "never": []}}
        self.say({**message, **changes})

    def batch(self, *changes: Change, force: bool = False) -> dict[str, Any]:
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

    def applied(self, *changes: Change, force: bool = False) -> dict[str, Any]:
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
