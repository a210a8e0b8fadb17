# SPDX-License-Identifier: GPL-2.0-or-later
"""Which jobs a part of the suite consists of, and how many of them run at a time."""

from __future__ import annotations

import functools
import queue
import sys
import tempfile
import threading
import traceback
from pathlib import Path
from typing import Callable, List, Sequence

from runner import jobs
from runner.tally import FAILED, Outcome, Tally

Job = Callable[[], None]

FILES_AT_A_TIME = 2
"""A laboratory mostly waits, and so does much else; two files side by side suit two cores."""

SUITES = ("bullseye", "bookworm", "trixie")


def unit(tally: Tally) -> None:
    """Run the tests that need neither root nor network, a quarter of the files side by side.

    On two cores: a quarter of their time is the waiting for processes that hang on purpose.
    """
    files = [str(path) for path in _files("tests/unit")]
    _at_a_time(4, tally, [functools.partial(jobs.pytest, tally, *files[start::4], label="",
                                            tell=False) for start in range(4)])
    tally.say(f"unit: {len(tally.outcomes)} tests so far")


def lint(tally: Tally) -> None:
    """Check types and style."""
    with tempfile.TemporaryDirectory() as cache:
        jobs.program(tally, "mypy", [sys.executable, "-m", "mypy", f"--cache-dir={cache}"])
    jobs.program(tally, "flake8", [sys.executable, "-m", "flake8"])


def contract(tally: Tally) -> None:
    """Check the agents as files and load the examples, in sandboxes."""
    _at_a_time(FILES_AT_A_TIME, tally, [
        functools.partial(jobs.pytest, tally, str(path), label="", tell=True)
        for path in _files("tests/contract")])


def lab(tally: Tally) -> None:
    """Run the tests that need a cluster, on bookworm."""
    _lab(tally, "bookworm", label="")


def matrix(tally: Tally) -> None:
    """Run the tests that need a cluster on every release; one after the other."""
    for suite in SUITES:
        _lab(tally, suite, label=f"{suite}: ")


PARTS = {"unit": unit, "lint": lint, "contract": contract, "lab": lab, "matrix": matrix}


def _lab(tally: Tally, suite: str, label: str) -> None:
    _build_image(tally, suite)
    _at_a_time(FILES_AT_A_TIME, tally, [
        functools.partial(jobs.pytest, tally, str(path), label=label, tell=True,
                          environment={"LAB_SUITE": suite})
        for path in _files("tests/lab")])


def _build_image(tally: Tally, suite: str) -> None:
    """Build the root image beforehand, where its progress can be seen."""
    sys.path.insert(0, str(jobs.CHECKOUT / "lab"))
    from twonode import image

    if not image.place(suite).is_dir():
        tally.say(f"building the root image of {suite}")
        image.ensure(suite, tally.say)


def _files(folder: str) -> List[Path]:
    """Return the files of tests in a folder, the largest first, which mostly is the slowest."""
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
