# SPDX-License-Identifier: GPL-2.0-or-later
"""One change, or a thousand: how long until the other side is identical.

The bench looks at both trees from outside, by itself, and asks no contestant whether it is done.
Only where one says that a change is durable, the moment in which it knew that counts as well.
"""

from __future__ import annotations

import os
import threading
import time
from contextlib import contextmanager
from typing import Dict, Iterator, List, Optional, Tuple

from twonode import linux

from synccost.changes import (ALL, CONTENT, DIRECTORIES, FILES, Change, burst,
                              identical)
from synccost.contestant import Contestant, Running
from synccost.stage import Stage

INTERVAL = 0.0003
"""Seconds between two looks; a look takes a fiftieth of that."""

ASKED = 0.02
"""Seconds after which it is asked when a change was durable. The answer names the moment, so it may
come late; asked at once, the question would hold up what it asks for."""

BURST_LIMIT = 60.0

CHUNK, PAUSE = 4 << 20, 0.2
"""The other writer on the target's disk: so many bytes, and so many seconds until the next. It
never syncs, so that who syncs the disk has to write its data as well."""


def one(stage: Stage, running: Running, contestant: Contestant, change: Change, number: int,
        ) -> Optional[float]:
    """Make a change and return the seconds until it had arrived; None for never."""
    began = time.monotonic()
    change.make(stage.source.disk.tree, number)
    return _arrival(stage, running, change.paths(number), began, contestant.limit)


def together(stage: Stage, running: Running, contestant: Contestant, number: int,
             ) -> Dict[str, Optional[float]]:
    """Make one change of each kind at once; return the same for each."""
    began = time.monotonic()
    for change in ALL:
        change.make(stage.source.disk.tree, number)
    found: Dict[str, Optional[float]] = {}
    waiting = list(ALL)
    while waiting and time.monotonic() - began < contestant.limit:
        for change in waiting[:]:
            if all(_same(stage, path) for path in change.paths(number)):
                found[change.name] = time.monotonic() - began
                waiting.remove(change)
        time.sleep(INTERVAL)
    return {change.name: found.get(change.name) for change in ALL}


def thousand(stage: Stage, running: Running, mark: str) -> Tuple[Optional[float], float]:
    """Rewrite a thousand files.

    Returns the seconds from the first on until all had arrived, None for never; and until the last
    was written.
    """
    began = time.monotonic()
    paths = burst(stage.source.disk.tree, mark)
    written = time.monotonic() - began
    return _arrival(stage, running, paths, began, BURST_LIMIT), written


def writing_alone(stage: Stage, mark: str) -> float:
    """Return the seconds that it takes to rewrite a thousand files that nobody replicates."""
    # As they lie on the disk; what was never written to it is rewritten in half of the time.
    linux.sync_file_system(str(stage.source.disk.tree))
    began = time.monotonic()
    burst(stage.source.disk.tree, mark)
    return time.monotonic() - began


def disk_alone(stage: Stage) -> float:
    """Return the seconds that the target's disk needs to take one file durably, without a network.

    Written beside the old one, synced, renamed, its directory synced: less cannot be done.
    """
    place = stage.target.disk.beside / "alone"
    began = time.monotonic()
    with open(f"{place}.new", "wb") as file:
        file.write(CONTENT)
        file.flush()
        os.fsync(file.fileno())
    os.rename(f"{place}.new", place)
    directory = os.open(place.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)
    return time.monotonic() - began


def disk_alone_thousand(stage: Stage) -> float:
    """Return the seconds that the target's disk needs to take a thousand files durably.

    All are written, then synced at once, then renamed, and their directories synced.
    """
    place = stage.target.disk.fresh()
    for directory in range(DIRECTORIES):
        os.mkdir(f"{place}/{directory}")
    began = time.monotonic()
    names = [f"{place}/{directory}/{file}" for directory in range(DIRECTORIES)
             for file in range(FILES)]
    for name in names:
        with open(f"{name}.new", "wb") as file_:
            file_.write(CONTENT)
    linux.sync_file_system(str(place))
    for name in names:
        os.rename(f"{name}.new", name)
    linux.sync_file_system(str(place))
    return time.monotonic() - began


@contextmanager
def another_writer(stage: Stage) -> Iterator[None]:
    """Have somebody write to the disk of the target meanwhile."""
    ended = threading.Event()
    path = stage.target.disk.beside / "other"
    data = bytes(CHUNK)

    def write() -> None:
        with open(path, "wb", buffering=0) as file:
            while not ended.wait(PAUSE):
                if file.tell() >= 16 * CHUNK:
                    file.seek(0)
                file.write(data)

    thread = threading.Thread(target=write)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
        path.unlink()


def _arrival(stage: Stage, running: Running, paths: List[str], began: float, limit: float,
             ) -> Optional[float]:
    source, target = str(stage.source.disk.tree), str(stage.target.disk.tree)
    waiting = list(paths)
    while waiting:
        there = _state(f"{target}/{waiting[-1]}")
        if identical(f"{source}/{waiting[-1]}", f"{target}/{waiting[-1]}"):
            waiting.pop()
            continue
        # Looked at whole only when something has happened to it: the bench itself needs CPU.
        while there == _state(f"{target}/{waiting[-1]}"):
            if time.monotonic() - began > limit:
                return None
            time.sleep(INTERVAL)
    seen = time.monotonic()
    time.sleep(ASKED)
    return max(seen, running.acknowledged()) - began


def _state(path: str) -> Optional[Tuple[int, ...]]:
    """Return what changes with every change of a path; None if nothing is there."""
    try:
        found = os.lstat(path)
    except OSError:
        return None
    return found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns


def _same(stage: Stage, path: str) -> bool:
    return identical(f"{stage.source.disk.tree}/{path}", f"{stage.target.disk.tree}/{path}")
