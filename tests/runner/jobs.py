# SPDX-License-Identifier: GPL-2.0-or-later
"""One program of the suite, run and watched: a pytest, mypy, flake8."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import IO, Dict, List, Mapping, Sequence, Tuple

from runner.reporting import DESCRIPTOR
from runner.tally import FAILED, PASSED, Outcome, Tally

CHECKOUT = Path(__file__).resolve().parents[2]

TIME_LIMIT = 1500.0
"""Seconds after which a job is ended; the slowest one takes less than half of that."""

END_LIMIT = 60.0
"""Seconds that a job which was told to end has to take its laboratories down."""

NO_TESTS_COLLECTED = 5      # pytest's exit code

stopping = threading.Event()
"""Set when no further job is to be started."""

_running: List["subprocess.Popen[bytes]"] = []


def pytest(tally: Tally, *targets: str, label: str, tell: bool,
           environment: Mapping[str, str] = {}) -> None:
    """Run the tests of files or folders and add what comes of each.

    targets: relative to the checkout.
    label: stands before the name of each test where the same ones run more than once, else empty.
    tell: say a line for every test, not only for those that do not pass.
    """
    reader, writer = os.pipe()
    argv = [sys.executable, "-m", "pytest", "-p", "runner.reporting", "-p", "no:cacheprovider",
            "-q", *targets]
    with tempfile.TemporaryFile() as output:
        started = _start(argv, output, {**environment, DESCRIPTOR: str(writer)}, (writer,))
        os.close(writer)
        under_way = _listen(tally, reader, label, tell)
        code = _end(*started)
        output.seek(0)
        said = output.read().decode(errors="replace")
    if under_way:
        tally.add(Outcome(label + under_way, FAILED, 0, said,
                          f"pytest ended in the middle of it, with code {code}"), tell=tell)
    elif code not in (0, 1):
        why = "no test in it" if code == NO_TESTS_COLLECTED else f"pytest ended with code {code}"
        tally.add(Outcome(label + " ".join(targets), FAILED, 0, said, why), tell=tell)


def program(tally: Tally, name: str, argv: Sequence[str]) -> None:
    """Run a checker that is passed when it ends with 0."""
    started = time.monotonic()
    with tempfile.TemporaryFile() as output:
        code = _end(*_start(argv, output, {}, ()))
        output.seek(0)
        said = output.read().decode(errors="replace")
    tally.add(Outcome(name, FAILED if code else PASSED, time.monotonic() - started, said,
                      f"ended with code {code}" if code else ""), tell=True)


def interrupt() -> None:
    """Tell the jobs that run to end; each takes down what it has up. No other one starts."""
    stopping.set()
    enders = [threading.Thread(target=_make_end, args=(process,)) for process in list(_running)]
    for ender in enders:
        ender.start()
    for ender in enders:
        ender.join()


def _start(argv: Sequence[str], output: IO[bytes], environment: Mapping[str, str],
           keep: Sequence[int]) -> Tuple["subprocess.Popen[bytes]", threading.Timer]:
    """Start a job in the checkout, with nothing to read; return it, and what ends it in time."""
    path = os.pathsep.join(str(CHECKOUT / folder) for folder in ("lib", "lab", "tests"))
    process = subprocess.Popen(
        argv, cwd=CHECKOUT, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT,
        env={**os.environ, "PYTHONPATH": path,
             "HYPOTHESIS_STORAGE_DIRECTORY": "/dev/null/hypothesis", **environment},
        pass_fds=keep, start_new_session=True)
    _running.append(process)
    limit = threading.Timer(TIME_LIMIT, _make_end, (process,))
    limit.daemon = True
    limit.start()
    return process, limit


def _end(process: "subprocess.Popen[bytes]", limit: threading.Timer) -> int:
    """Wait for the end of a job and return its exit code."""
    try:
        return process.wait()
    finally:
        limit.cancel()
        _running.remove(process)


def _make_end(process: "subprocess.Popen[bytes]") -> None:
    """End a job: with a chance to take down what it has up, or else without."""
    process.send_signal(signal.SIGINT)
    try:
        process.wait(END_LIMIT)
    except subprocess.TimeoutExpired:
        process.kill()


def _listen(tally: Tally, reader: int, label: str, tell: bool) -> str:
    """Add what pytest reports until it ends; return the test that it was in then, or nothing."""
    under_way = ""
    with open(reader, encoding="utf-8") as reports:
        for line in reports:
            message: Dict[str, str] = json.loads(line)
            under_way = message.get("begins", "")
            if not under_way:
                tally.add(Outcome(label + message["test"], message["result"],
                                  float(message["seconds"]), message["text"],
                                  message.get("why", "")), tell=tell)
    return under_way
