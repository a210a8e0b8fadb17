# SPDX-License-Identifier: GPL-2.0-or-later
"""Feeding a child and draining what it writes, all at once and with a deadline."""

from __future__ import annotations

import os
import select
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from subprocess import Popen

_SLICE = 0.02


class _Output:
    """What came out of one pipe; beyond the limit it is read and dropped, with a mark."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._data = bytearray()
        self._cut = False

    def add(self, piece: bytes) -> None:
        room = self._limit - len(self._data)
        self._data += piece[:room]
        self._cut = self._cut or len(piece) > room

    def value(self) -> bytes:
        mark = b"\n[output cut at %d bytes]\n" % self._limit
        return bytes(self._data) + (mark if self._cut else b"")


def exchange(child: Popen[bytes], stdin: bytes, deadline: float, limit: int,
             grace: float) -> tuple[bool, bytes, bytes]:
    """Write stdin to the child and read its output until it has ended.

    Returns (has it ended, stdout, stderr); False when the deadline (time.monotonic()) came first.
    Both outputs are drained together, so neither pipe can fill up and stop the child. Once it has
    ended, its pipes are read for at most `grace` seconds more: a grandchild may keep them open
    for ever. The pipes are closed in the end.
    """
    assert child.stdin and child.stdout and child.stderr
    feed = child.stdin.fileno()
    outputs = {child.stdout.fileno(): _Output(limit), child.stderr.fileno(): _Output(limit)}
    stdout, stderr = outputs.values()
    rest = memoryview(stdin)
    poller = select.poll()
    is_open = set(outputs)
    for descriptor in outputs:
        os.set_blocking(descriptor, False)
        poller.register(descriptor, select.POLLIN)
    if rest:
        os.set_blocking(feed, False)
        poller.register(feed, select.POLLOUT)
    else:
        child.stdin.close()
    ended_at = 0.0
    try:
        while True:
            now = time.monotonic()
            if child.poll() is not None:
                ended_at = ended_at or now
                if not is_open or now >= min(ended_at + grace, max(deadline, ended_at)):
                    return True, stdout.value(), stderr.value()
            elif now >= deadline:
                return False, stdout.value(), stderr.value()
            # The child's end shows in its pipes; the slice is for those that closed them before
            # and for those whose grandchild holds them.
            for descriptor, event in poller.poll(_SLICE * 1000):
                if descriptor == feed:
                    rest = _write(feed, rest)
                    if not rest:
                        poller.unregister(feed)
                        child.stdin.close()
                elif not _read(descriptor, outputs[descriptor]):
                    poller.unregister(descriptor)
                    is_open.discard(descriptor)
    finally:
        for pipe in (child.stdin, child.stdout, child.stderr):
            try:
                pipe.close()
            except OSError:
                pass


def _write(descriptor: int, rest: memoryview) -> memoryview:
    """Write what goes in now; return what is left, nothing when the child reads no more."""
    try:
        return rest[os.write(descriptor, rest[:65536]):]
    except BlockingIOError:
        return rest
    except OSError:
        return rest[:0]


def _read(descriptor: int, output: _Output) -> bool:
    """Read what is there; False at the end of the pipe."""
    try:
        piece = os.read(descriptor, 1 << 17)
    except BlockingIOError:
        return True
    except OSError:
        return False
    output.add(piece)
    return bool(piece)
