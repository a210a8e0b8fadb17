# SPDX-License-Identifier: GPL-2.0-or-later
"""A sender on one node in a directory and a receiver on another; a socket stands for ssh."""

from __future__ import annotations

import os
import select
import socket
import threading
import time
from pathlib import Path
from typing import Any, Callable, Mapping

import pytest

from mailha import errors
from mailha.sync.active import control, sending, status
from mailha.sync.active.sending import Sender
from mailha.sync.connection import peers
from mailha.sync.connection.channel import Channel
from mailha.sync.connection.peers import Peer
from mailha.sync.connection.wire import Stream
from mailha.sync.files.settings import Settings
from mailha.sync.passive import receiving
from sync_receiver import RESOURCE, ReceivingNode

LONG = 60.0


class Told:
    """Stands for the signal that ends a sender."""

    def __init__(self) -> None:
        self.reader, self._writer = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self.told = False

    def __bool__(self) -> bool:
        return self.told

    def stop(self) -> None:
        self.told = True
        os.write(self._writer, b"!")


class Nodes:
    """alice, who sends, and bob, who receives."""

    def __init__(self, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        (root / "alice").mkdir()
        (root / "bob").mkdir()
        self.alice = ReceivingNode(root / "alice")
        self.bob = ReceivingNode(root / "bob")
        for node in (self.alice, self.bob):
            node.write("/proc/net/fib_trie", "")
            node.write("/proc/net/if_inet6", "")
            node.write("/etc/hostname", "host\n")
            node.write("/etc/hosts", "")
        peers.write(self.alice.machine, Peer("bob", "192.0.2.2"))
        self.settings: dict[str, Any] = {"include": ("/etc/",), "exclude": ("/etc/only-*",)}
        self.reachable = True
        self._monkeypatch = monkeypatch
        self._links: list[socket.socket] = []
        self._receivers: list[threading.Thread] = []
        self._told = Told()
        self._thread: threading.Thread | None = None
        monkeypatch.setattr(Channel, "_connect", lambda channel: self._connect())

    def _connect(self) -> Stream:
        """Take the place of Channel._connect: start a receiver on bob."""
        if not self.reachable:
            raise errors.Failed("bob (192.0.2.2) cannot be reached: Connection refused")
        ours, theirs = socket.socketpair()
        reader, writer = theirs.detach(), -1
        writer = os.dup(reader)

        def serve() -> None:
            try:
                receiving.serve(self.bob.machine, reader, writer)
            finally:
                os.close(reader)
                os.close(writer)

        thread = threading.Thread(target=serve)
        thread.start()
        self._receivers.append(thread)
        self._links.append(ours)
        return Stream(ours.fileno(), ours.fileno(), noise=True)

    @property
    def connections(self) -> int:
        """How many there have been."""
        return len(self._links)

    def cut(self) -> None:
        """Break the connection."""
        for link in self._links:
            try:
                link.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass

    def start(self, generation: int = 1) -> None:
        """Start a sender on alice. Raises what it ends with before it begins."""
        Settings(RESOURCE, "alice", generation, **self.settings).write(self.alice.machine)
        self._told = Told()
        begun = threading.Event()
        failed: list[BaseException] = []

        class Begun(Sender):
            """Tells that it could be made."""

            def __init__(self, *given: Any) -> None:
                super().__init__(*given)
                begun.set()

        def run() -> None:
            try:
                sending.send(self.alice.machine, RESOURCE,
                             self._told)        # type: ignore[arg-type]
            except errors.MailhaError as error:
                failed.append(error)
                print("SENDER ENDED WITH", repr(error), flush=True)
            finally:
                begun.set()

        self._monkeypatch.setattr(sending, "Sender", Begun)
        self._thread = threading.Thread(target=run)
        self._thread.start()
        assert begun.wait(LONG)
        if failed:
            raise failed[0]

    def stop(self) -> None:
        """Stop the sender, and wait until nothing of it is left."""
        self._told.stop()
        if self._thread is not None:
            self._thread.join(LONG)
            assert not self._thread.is_alive()
            self._thread = None
        self.cut()
        for receiver in self._receivers:
            receiver.join(LONG)
            assert not receiver.is_alive()

    def ask(self, what: str, **more: Any) -> Mapping[str, Any]:
        """Ask the sender; patiently, as it may just be starting."""
        end = time.monotonic() + LONG
        while True:
            try:
                return control.ask(self.alice.machine, RESOURCE, {"do": what, **more}, LONG)
            except control.NoSender:
                if time.monotonic() > end:
                    raise
                select.select([], [], [], 0.005)

    def flush(self) -> None:
        """Wait until bob has all that alice has."""
        self.ask("flush", timeout=LONG)

    def verdict(self) -> tuple[int, str]:
        """Return what a monitor is told."""
        self.ask("status")          # it may just be starting
        return status.ask(self.alice.machine, RESOURCE, LONG)

    def until(self, condition: Callable[[], bool]) -> None:
        """Wait until something holds."""
        end = time.monotonic() + LONG
        while not condition():
            assert time.monotonic() < end, "it never came to be"
            select.select([], [], [], 0.005)
