# SPDX-License-Identifier: GPL-2.0-or-later
"""Which jobs a part of the suite consists of, and how many of them run at a time.

Two kinds of parts: what computes (unit, lint) has a job for each core, and what mostly waits, for
machines that boot and for controllers that say nothing (contract, lab, matrix), has several. All
that waits is one queue, whichever parts were named, with what takes longest first: each part's end
would be a core without work.
"""

from __future__ import annotations

import contextlib
import functools
import os
import queue
import sys
import tempfile
import threading
import time
import traceback
from pathlib import Path
from typing import Callable, Dict, Iterator, List, Mapping, NamedTuple, Sequence

from runner import jobs, schedule
from runner.tally import FAILED, Outcome, Tally

Job = Callable[[], None]


class Waiting(NamedTuple):
    """A job of what mostly waits. seconds: what it is likely to take."""

    seconds: float
    run: Job


UNIT_JOBS = 3
"""Each imports everything anew, and some tests wait for a process that hangs on purpose."""

UNIT_OPTIONS = ("--assert=plain", "--showlocals", *(f"-pno:{name}" for name in (
    "logging", "warnings", "faulthandler", "threadexception", "unraisableexception")))
"""Rewriting every assert before the first run takes a fifth of the whole time. What a failed one
compared is in the local variables; `python3 -m pytest FILE` spells it out. The plugins do something
before and after each of thousands of tests, and decide about none."""

MOST_AT_A_TIME = 6
"""Nodes of all laboratories share the 128 inotify instances that Linux gives to root."""

MEBIBYTES_EACH = 1000
"""Memory that a laboratory may take."""

SUITES = ("bullseye", "bookworm", "trixie")


def run(tally: Tally, names: Sequence[str]) -> None:
    """Run the parts with these names."""
    for name in names:
        if name in COMPUTING and not jobs.stopping.is_set():
            tally.say(f"{name}:")
            COMPUTING[name](tally)
    waiting = [job for name in names if name in WAITING for job in WAITING[name](tally)]
    waiting.sort(key=lambda job: -job.seconds)
    if waiting:
        tally.say(f"{', '.join(name for name in names if name in WAITING)}:")
        number = files_at_a_time(len(os.sched_getaffinity(0)), _free_mebibytes())
        idle, began = _idle_seconds(), time.monotonic()
        _at_a_time(number, tally, [job.run for job in waiting])
        of = (time.monotonic() - began) * (os.cpu_count() or 1)
        tally.say(f"{number} jobs at a time left the cores idle for "
                  f"{100 * (_idle_seconds() - idle) / of:.0f} % of it")


def unit(tally: Tally) -> None:
    """Run the tests that need neither root nor network."""
    with _quick_directory() as directory:
        _at_a_time(UNIT_JOBS, tally, [
            functools.partial(jobs.pytest, tally, *UNIT_OPTIONS, *map(str, files), label="",
                              tell=False, environment={"TMPDIR": directory})
            for files in schedule.parts_of_unit(_files("tests/unit"), UNIT_JOBS)])
    tally.say(f"unit: {len(tally.outcomes)} tests so far")


def lint(tally: Tally) -> None:
    """Check types and style."""
    with tempfile.TemporaryDirectory() as cache:
        checkers = {"mypy": [f"--cache-dir={cache}"], "flake8": []}
        _at_a_time(2, tally, [
            functools.partial(jobs.program, tally, name, [sys.executable, "-m", name, *options])
            for name, options in checkers.items()])


def contract(tally: Tally) -> List[Waiting]:
    """Return what checks the agents as files and loads the examples, in sandboxes."""
    return _waiting(tally, _files("tests/contract"))


def lab(tally: Tally) -> List[Waiting]:
    """Return what needs a cluster, on bookworm or on the release that LAB_SUITE names."""
    return _on(tally, os.environ.get("LAB_SUITE", "bookworm"), ["tests/lab"])


def matrix(tally: Tally) -> List[Waiting]:
    """Return what may differ between releases of Pacemaker, of its shells and of systemd, on each
    of them.
    """
    return [job for suite in SUITES for job in _on(tally, suite, schedule.MATRIX, f"{suite}: ")]


COMPUTING: Dict[str, Callable[[Tally], None]] = {"unit": unit, "lint": lint}

WAITING: Dict[str, Callable[[Tally], List[Waiting]]] = {
    "lab": lab, "matrix": matrix, "contract": contract}


def files_at_a_time(cores: int, mebibytes: int) -> int:
    """Return how many files of what mostly waits run side by side.

    cores: of this machine. mebibytes: of its memory that are free.
    """
    return max(2, min(2 * cores, MOST_AT_A_TIME, mebibytes // MEBIBYTES_EACH))


def _idle_seconds() -> float:
    """Return for how long the cores have had nothing to do, or waited for a disk, all together."""
    with open("/proc/stat", encoding="ascii") as lines:
        fields = next(lines).split()
    return (int(fields[4]) + int(fields[5])) / os.sysconf("SC_CLK_TCK")


def _free_mebibytes() -> int:
    with open("/proc/meminfo", encoding="ascii") as lines:
        return next(int(line.split()[1]) // 1024 for line in lines
                    if line.startswith("MemAvailable:"))


def _on(tally: Tally, suite: str, wanted: Sequence[str], label: str = "") -> List[Waiting]:
    """Return the jobs for files, or for the files of folders, on the nodes of a release."""
    _build_image(tally, suite)
    files = [path for each in wanted
             for path in ([Path(each)] if each.endswith(".py") else _files(each))]
    return _waiting(tally, files, label, {"LAB_SUITE": suite})


def _waiting(tally: Tally, files: Sequence[Path], label: str = "",
             environment: Mapping[str, str] = {}) -> List[Waiting]:
    """Return the jobs for these files."""
    return [Waiting(schedule.expected(batch), functools.partial(
        jobs.pytest, tally, *map(str, batch), label=label, tell=True, environment=environment))
        for batch in schedule.batches(files)]


@contextlib.contextmanager
def _quick_directory() -> Iterator[str]:
    """Make a directory in memory, if there is room: thousands of tests make one each, and a disk
    takes a millisecond to remove it.
    """
    memory = "/dev/shm"
    try:
        room = os.statvfs(memory)
        roomy = room.f_bavail * room.f_bsize >= 512 << 20 and os.access(memory, os.W_OK)
    except OSError:
        roomy = False
    with tempfile.TemporaryDirectory(prefix="mailha-", dir=memory if roomy else None) as made:
        yield made


def _build_image(tally: Tally, suite: str) -> None:
    """Build the root image beforehand, where its progress can be seen."""
    sys.path.insert(0, str(jobs.CHECKOUT / "lab"))
    from twonode import image

    if not image.place(suite).is_dir():
        tally.say(f"building the root image of {suite}")
        image.ensure(suite, tally.say)


def _files(folder: str) -> List[Path]:
    """Return the files of tests in a folder: the largest first."""
    files = [path.relative_to(jobs.CHECKOUT)
             for path in (jobs.CHECKOUT / folder).glob("test_*.py")]
    return sorted(files, key=lambda path: (-(jobs.CHECKOUT / path).stat().st_size, path))


def _at_a_time(number: int, tally: Tally, wanted: Sequence[Job]) -> None:
    """Run jobs in order, several at a time. One that cannot be run at all is a failure as well."""
    waiting: "queue.SimpleQueue[Job]" = queue.SimpleQueue()
    for job in wanted:
        waiting.put(job)

    def work() -> None:
        while not jobs.stopping.is_set():
            try:
                job = waiting.get_nowait()
            except queue.Empty:
                return
            try:
                job()
            except Exception as error:
                tally.add(Outcome(f"running {job}", FAILED, 0, traceback.format_exc(), str(error)),
                          tell=True)

    workers = [threading.Thread(target=work, daemon=True) for _ in range(number)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
