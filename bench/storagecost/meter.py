# SPDX-License-Identifier: GPL-2.0-or-later
"""The meter: runs in the sandbox, makes the mounts, and says what everything costs there.

It reads the number of rounds from stdin and answers on stdout with one JSON document. Times are
milliseconds. Of a program: the user and system time of it and of all children that it waited for,
from wait4(2), and the time from its start to its end. Of what is done in process: the time alone,
measured in this process, which is as warm as a monitor that has loaded its modules.
"""

from __future__ import annotations

import contextlib
import gc
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from typing import Any, Callable, Dict, Iterator, List

from monitorcost import forks
from monitorcost.contestants import agent
from monitorcost.meter import TRACE_LIMIT, UMASK, WORKING_DIRECTORY, run_once, words
from sidebyside import order

from storagecost import mounts
from storagecost.contestants import (ALL, COUNTS, FURTHER, MASTER, MONITOR, PARTITION, SPOOL,
                                     VERDICT, Contestant)

LIBRARY = "/usr/lib/ocf/lib"

IN_PROCESS_TURNS = 20
"""How often a round repeats what is done in process: the first turns after another program find the
processor's caches full of that one, which belongs to the figures of a whole monitor."""

TURNS_WITH_MOST = 4

Row = Dict[str, List[float]]


def main() -> None:
    """Measure everything with each number of mounts."""
    rounds = int(sys.stdin.readline())
    os.chdir(WORKING_DIRECTORY)
    os.umask(UMASK)
    _start()
    answer: Dict[str, Any] = {"forks": {}, "mounts": {}}
    for contestant in ALL:
        answer["forks"][contestant.name] = _forks(contestant)
    for number in COUNTS:
        mounts.grow(number)
        with _cyrus():
            # With 20,000 mounts everything takes so long that noise is the smaller part of it.
            answer["mounts"][str(number)] = _measure(rounds if number < COUNTS[-1] else
                                                     max(rounds // 3, 3), number)
    print(json.dumps(answer))


def _start() -> None:
    """Let the agent find the storage fit, so that its monitor has something to do."""
    (argv, _), environment = MONITOR.command, agent("mailha", "cyrus-storage", action="start")[1]
    by_hand = {name: value for name, value in environment.items()
               if not name.startswith("OCF_RESKEY_CRM_meta_")}
    said = subprocess.run([argv[0], "start"], env=by_hand, timeout=TRACE_LIMIT,
                          stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, encoding="utf-8", errors="replace")
    if said.returncode != 0:
        sys.exit(f"the storage of the sandbox is not fit: {said.stdout.strip()}")


@contextlib.contextmanager
def _cyrus() -> Iterator[None]:
    """Have something run where Cyrus's master is, in a mount namespace of its own.

    Debian's unit gives it one (PrivateTmp=yes), with all the mounts of the node: the monitor looks
    at the paths in there as well.
    """
    os.makedirs(os.path.dirname(MASTER), exist_ok=True)
    if not os.path.exists(MASTER):
        shutil.copy("/bin/sleep", MASTER)
    process = subprocess.Popen(["/usr/bin/unshare", "--mount", "--propagation", "slave", MASTER,
                                str(TRACE_LIMIT * 1000)], stdin=subprocess.DEVNULL)
    try:
        while os.readlink(f"/proc/{process.pid}/exe") != MASTER:
            if process.poll() is not None:
                sys.exit(f"the stand-in of Cyrus's master ended with {process.returncode}")
            time.sleep(0.01)
        yield
    finally:
        process.kill()
        process.wait()


def _forks(contestant: Contestant) -> int:
    """Return how many children a program starts; it is run twice, the first time to warm up."""
    argv, environment = contestant.command
    code, _, _ = run_once(argv, environment)
    if code != 0:
        sys.exit(f"{contestant.name} ended with {code}: {words(argv, environment)}")
    with tempfile.NamedTemporaryFile("r") as file:
        subprocess.run([*forks.STRACE, "-o", file.name, *argv], env=environment,
                       timeout=TRACE_LIMIT, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                       stderr=subprocess.DEVNULL, check=True)
        return forks.count(file.read())[0]


def _measure(rounds: int, number: int) -> Dict[str, Row]:
    """Measure all contestants in turn, in an order that rotates."""
    here = _in_process()
    rows: Dict[str, Row] = {name: {"cpu": [], "wall": []}
                            for name in [*here, *(each.name for each in ALL)]}
    for each in range(rounds):
        print(f"{number} mounts: round {each + 1} of {rounds}", file=sys.stderr, flush=True)
        for contestant in order.rotated(ALL, each):
            code, cpu, wall = run_once(*contestant.command)
            if code != 0:
                sys.exit(f"{contestant.name} ended with {code}")
            rows[contestant.name]["cpu"].append(cpu * 1e3)
            rows[contestant.name]["wall"].append(wall * 1e3)
        for name, function in here.items():
            for _ in range(IN_PROCESS_TURNS if number < COUNTS[-1] else TURNS_WITH_MOST):
                begin = time.perf_counter()
                function()
                rows[name]["wall"].append((time.perf_counter() - begin) * 1e3)
    return rows


def _in_process() -> Dict[str, Callable[[], None]]:
    """Return what is measured in this process. The garbage collector is off, as in a monitor."""
    gc.disable()
    sys.path.insert(0, LIBRARY)
    from mailha.storage import rules, verdict
    from mailha.system.machine import Machine
    survey = verdict.Survey(Machine())

    def examine() -> None:
        _must_be_fit(verdict.examine(Machine(), PARTITION, rule=rules.BLOCK))

    def further() -> None:
        _must_be_fit(verdict.examine(survey.machine, SPOOL, rule=rules.BLOCK, survey=survey))

    examine()
    return {VERDICT: examine, FURTHER: further}


def _must_be_fit(found: Any) -> None:
    if not found.fit:
        sys.exit(f"the storage of the sandbox is not fit: {found.reason}")


if __name__ == "__main__":
    main()
