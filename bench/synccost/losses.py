# SPDX-License-Identifier: GPL-2.0-or-later
"""What gets lost: cases in which a tool says nothing, and the other side is not identical.

Each case returns how often it lost, of how often it was tried.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import struct
import time
from pathlib import Path
from typing import Callable, Dict, Iterator, Tuple

from synccost.changes import CONTENT, SUBJECTS, identical
from synccost.contestant import Contestant, Running
from synccost.stage import Stage

Count = Tuple[int, int]

TRIES = 3

# <linux/fs.h>
FS_IOC_GETFLAGS = 0x80086601
FS_IOC_SETFLAGS = 0x40086602
FS_IMMUTABLE_FL = 0x00000010

AFTERWARDS = 5.0
"""Seconds, beyond its own slowest change, that a contestant has for a change which it could not
bring over when it was made."""


def rewritten(stage: Stage, running: Running, contestant: Contestant) -> Count:
    """A file is rewritten twice in a second, with the same size: a port, by a script."""
    lost, tries = 0, 1 if contestant.together else TRIES
    for number in range(tries):
        source, target = _pair(stage, f"port-{number}")
        _write(source, b"port = 0025\n" + CONTENT)
        _arrives(source, target, contestant.limit)
        # Early in a second, so that both fall into it.
        time.sleep(1 - time.time() % 1)
        _write(source, b"port = 0026\n" + CONTENT)
        _arrives(source, target, 0.8)
        _write(source, b"port = 0027\n" + CONTENT)
        lost += not _arrives(source, target, contestant.limit)
    return lost, tries


def refused(stage: Stage, running: Running, contestant: Contestant) -> Count:
    """The target cannot be written to for a while: an immutable directory, later corrected."""
    source, target = _pair(stage, "refused/file")
    source.parent.mkdir()
    _write(source, CONTENT)
    if not _arrives(source, target, contestant.limit):
        return 1, 1             # a file in a new directory has not even come once
    with _immutable(target.parent):
        _write(source, CONTENT + b"# changed\n")
        other = _pair(stage, "other")
        _write(other[0], CONTENT)
        _arrives(*other, contestant.limit)
        stage.wait_quiet()
    return int(not _arrives(source, target, contestant.limit + AFTERWARDS)), 1


def edited(stage: Stage, running: Running, contestant: Contestant) -> Count:
    """Somebody edits a file on the target: it has to be put right, or at least to be told."""
    source, target = _pair(stage, "edited")
    _write(source, CONTENT)
    _arrives(source, target, contestant.limit)
    stage.wait_quiet()
    _write(target, CONTENT + b"# by hand, on the wrong node\n")
    noticed = _arrives(source, target, 2.0) or running.notices(f"{SUBJECTS}/edited")
    return int(not noticed), 1


def half_written(stage: Stage, running: Running, contestant: Contestant) -> Count:
    """A program is still writing a file when another one changes: half a file must not be seen."""
    source, target = _pair(stage, "half")
    with open(source, "wb") as file:
        file.write(CONTENT[:100])
        file.flush()
        other = _pair(stage, "whole")
        _write(other[0], CONTENT)
        _arrives(*other, contestant.limit)
        stage.wait_quiet()
        seen = target.exists()
        file.write(CONTENT[100:])
    _arrives(source, target, contestant.limit)
    return int(seen), 1


def unplugged(stage: Stage, running: Running, contestant: Contestant) -> Count:
    """The target loses its power when a change has just arrived. Needs a disk with a plug."""
    pairs = [_pair(stage, f"durable-{number}") for number in range(TRIES)]
    for source, target in pairs:
        _write(source, CONTENT)
        if not _arrives(source, target, contestant.limit):
            return TRIES, TRIES
    running.acknowledged()
    stage.target.disk.cut_power()
    stage.target.peer.stop_ssh()
    stage.end_all()
    stage.target.disk.reboot()
    stage.target.peer.start_ssh()
    return sum(not identical(str(source), str(_pair(stage, source.name)[1]))
               for source, _ in pairs), TRIES


Case = Callable[[Stage, Running, Contestant], Count]

UNPLUGGED = "arrived, then power cut"

CASES: Dict[str, Case] = {
    "rewritten in the same second": rewritten,
    "target refuses for a while": refused,
    "edited on the target, unnoticed": edited,
    "half-written file seen": half_written,
}


def _pair(stage: Stage, name: str) -> Tuple[Path, Path]:
    return (stage.source.disk.tree / SUBJECTS / name, stage.target.disk.tree / SUBJECTS / name)


def _write(path: Path, content: bytes) -> None:
    with open(path, "wb") as file:
        file.write(content)


def _arrives(source: Path, target: Path, limit: float) -> bool:
    """Wait until both are identical; False if they are not in time."""
    deadline = time.monotonic() + limit
    while not identical(str(source), str(target)):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.002)
    return True


@contextlib.contextmanager
def _immutable(directory: Path) -> Iterator[None]:
    """Let a directory take no change for a while, as `chattr +i` does."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        flags = struct.unpack("i", fcntl.ioctl(descriptor, FS_IOC_GETFLAGS, b"\0" * 4))[0]
        _set_flags(descriptor, flags | FS_IMMUTABLE_FL)
        try:
            yield
        finally:
            _set_flags(descriptor, flags)
    finally:
        os.close(descriptor)


def _set_flags(descriptor: int, flags: int) -> None:
    fcntl.ioctl(descriptor, FS_IOC_SETFLAGS, struct.pack("i", flags))
