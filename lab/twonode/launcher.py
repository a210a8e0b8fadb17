# SPDX-License-Identifier: GPL-2.0-or-later
"""The launcher: makes the supervisor's namespaces, and sweeps up when the supervisor is gone.

It stays as the supervisor's parent, for the one case in which nobody else is there to clean up:
the supervisor was killed. When both are killed, the next "up" or "down" sweeps.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import signal
import sys
import time
import traceback
from contextlib import contextmanager
from typing import Callable, Iterator, Optional

from twonode import cgroup, linux
from twonode.plan import Places


class StillThere(Exception):
    """The supervisor of a lab does not die."""


def identity(process: int) -> Optional[str]:
    """Return what tells this process from any later one with its number; None if it is gone."""
    try:
        with open(f"/proc/{process}/stat", "rb") as stat:
            fields = stat.read().rpartition(b")")[2].split()
    except OSError:
        return None
    # man 5 proc: state is field 3, start time field 22, and the list begins with field 3.
    return None if fields[0] in (b"Z", b"X") else fields[19].decode()


def supervisor(name: str) -> Optional[int]:
    """Return the process number of the lab's living supervisor; None if there is none."""
    try:
        process, started = Places(name).supervisor.read_text().split()
        return int(process) if identity(int(process)) == started else None
    except (OSError, ValueError):
        return None


@contextmanager
def alone(name: str) -> Iterator[None]:
    """Keep others from bringing the lab up or down meanwhile; waits for those who are at it.

    The lock's file goes with the lab, so whoever waited for it looks whether it is still the one.
    """
    path = Places(name).lock
    path.parent.mkdir(parents=True, exist_ok=True)
    while True:
        with open(path, "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not (path.exists() and os.path.samestat(os.fstat(lock.fileno()), path.stat())):
                continue
            try:
                yield
            finally:
                if not Places(name).runtime.exists():
                    path.unlink()
            return


def kill(name: str, timeout: float = 30.0) -> None:
    """End the lab, if it runs, by killing its supervisor. Raises StillThere."""
    process = supervisor(name)
    if process is None:
        return
    os.kill(process, signal.SIGKILL)
    deadline = time.monotonic() + timeout
    while supervisor(name) is not None:
        if time.monotonic() > deadline:
            raise StillThere(f"supervisor {process} of lab {name} does not die; is a disk stuck?")
        time.sleep(0.005)


def sweep(name: str) -> None:
    """Remove what is left of a lab whose supervisor is gone; only its own, whatever there is."""
    places = Places(name)
    cgroup.remove_leftover(places.cgroup)
    for directory in (places.runtime, places.data):
        if directory.is_dir():
            shutil.rmtree(directory)


def launch(name: str, ready: int, supervise: Callable[[], None]) -> None:
    """Start `supervise` as process 1 of new namespaces, wait for its end, and sweep up.

    ready: the descriptor on which the supervisor reports; only the supervisor keeps it.
    """
    places = Places(name)
    os.set_inheritable(ready, False)
    known, tell = os.pipe()
    child = linux.fork_as_init()
    if child == 0:
        try:
            os.read(known, 1)       # not before it is written down whom to kill
            # Only here, or the launcher would keep networks and mounts alive.
            linux.unshare(linux.CLONE_NEWNS | linux.CLONE_NEWNET)
            linux.make_mounts_private()
            supervise()
        except BaseException:
            traceback.print_exc()
        sys.stderr.flush()
        os._exit(1)
    os.close(ready)
    record = f"{child} {identity(child)}"
    places.supervisor.write_text(record)
    os.write(tell, b"!")
    os.waitpid(child, 0)
    with alone(name):
        # Another lab of the same name may be up by now, or somebody else may have swept.
        if _read(places) == record:
            sweep(name)


def _read(places: Places) -> str:
    try:
        return places.supervisor.read_text()
    except OSError:
        return ""
