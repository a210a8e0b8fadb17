# SPDX-License-Identifier: GPL-2.0-or-later
"""The sandbox in which everything is measured, with a disk of the host mounted for the mail.

The disk is the one on which the lab keeps its data, by a bind mount: a real one, followed down to
its hardware as on any node, and another one than the sandbox's root, which is an overlay. A loop
device would do as well, but a node has none, and asking one about its file takes a child.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import Callable, Iterator, List

from sidebyside import machine
from twonode import boot, image, linux, package, rootfs
from twonode.enter import Door
from twonode.plan import DATA

from storagecost.contestants import CONFIGURATION, SPOOL, STATE

SUITE = "bookworm"
LIBRARY = "usr/lib/mailha-bench"

# What is mounted and what is made before anything is measured.
PREPARE = f"""
mkdir -p {SPOOL}/data/default {SPOOL}/meta/default {SPOOL}/archive/default {STATE}/sieve \
    /run/cyrus/lock /run/cyrus/proc /srv/tmpfs
mount -t tmpfs tmpfs /srv/tmpfs
for source in $(find /usr/lib/ocf/lib/mailha -name '*.py'); do
    name=${{source##*/}}
    ls "${{source%/*}}/__pycache__/${{name%.py}}".*.pyc >/dev/null
done
"""

START_LIMIT = 60.0
MEASURE_LIMIT = 1800.0


class BenchFailed(Exception):
    """Nothing can be measured; the text says why."""


@contextmanager
def running(progress: Callable[[str], None]) -> Iterator[Door]:
    """Have the sandbox for a while; yields the way in."""
    base = image.ensure(SUITE, progress)
    DATA.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".bench-storage-", dir=DATA) as directory:
        place = Path(directory)
        _fill(place, base, progress)
        process = _start(place, base)
        try:
            with Door.of_process(process) as door:
                door.run(["/bin/sh", "-euc", PREPARE], timeout=START_LIMIT)
                yield door
        finally:
            # Process 1 of its pid namespace: everything in there ends with it.
            os.kill(process, signal.SIGKILL)
            os.waitpid(process, 0)


def measure(door: Door, rounds: int) -> str:
    """Run the meter in the sandbox and return its answer. Raises BenchFailed."""
    code = f"import sys; sys.path.insert(0, '/{LIBRARY}'); from storagecost import meter; " \
           "meter.main()"
    with door.popen(["/usr/bin/python3", "-I", "-c", code], stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE) as process:
        try:
            answer, _ = process.communicate(f"{rounds}\n".encode(), timeout=MEASURE_LIMIT)
        except BaseException:
            process.kill()
            raise
    if process.returncode != 0:
        raise BenchFailed("the meter in the sandbox failed; its last words are above")
    return answer.decode()


def _fill(place: Path, base: Path, progress: Callable[[str], None]) -> None:
    """Put the suite, the meter and the configuration onto the disk of the sandbox."""
    disk = place / "disk"
    (disk / "etc").mkdir(parents=True)
    (disk / "etc/imapd.conf").write_text(CONFIGURATION)
    package.lay(base, (), place / "suite", progress)
    ours = Path(__file__).resolve().parent
    lab = Path(linux.__file__).resolve().parent
    for folder in (ours, ours.with_name("monitorcost"), ours.with_name("sidebyside"), lab):
        shutil.copytree(folder, disk / LIBRARY / folder.name,
                        ignore=shutil.ignore_patterns("__pycache__"))
    rootfs.adopt_directories(disk, base)
    for name in ("spool", "state"):
        (place / name).mkdir()


def _start(place: Path, base: Path) -> int:
    """Start process 1 of the sandbox and return its number. Raises BenchFailed."""
    ours, theirs = socket.socketpair()

    def first_process() -> None:
        linux.die_with_parent()
        boot.bench(base, place, "bench", ready=theirs, own_network=True,
                   shares={SPOOL: place / "spool", STATE: place / "state"},
                   layers=[place / "suite"])

    process = boot.start(first_process, place / "console")
    theirs.close()
    with ours:
        if ours.recv(1) != b"!":
            os.waitpid(process, 0)
            raise BenchFailed((place / "console").read_text().strip())
    return process


def describe(door: Door) -> List[str]:
    """Return what this machine is, a fact a line."""
    said = door.run(["/bin/sh", "-c", "python3 --version; findmnt --version"],
                    timeout=START_LIMIT).stdout.splitlines()
    return [machine.describe(), f"Debian {SUITE}: {', '.join(said)}"]
