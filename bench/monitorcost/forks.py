# SPDX-License-Identifier: GPL-2.0-or-later
"""Counting forks and execs in what strace saw.

The trace is one of ``strace -f -qq -e trace=clone,clone3,fork,vfork,execve,execveat``. A call that
another process interrupted stands on two lines, and its result on the second:

    812 vfork( <unfinished ...>
    813 execve("/bin/cat", ["cat"], 0x55...) = 0
    812 <... vfork resumed>)              = 813
"""

from __future__ import annotations

import re
from typing import Tuple

STRACE = ("strace", "-f", "-qq", "-e", "signal=none",
          "-e", "trace=clone,clone3,fork,vfork,execve,execveat")
"""The command that makes such a trace; it writes to where -o says."""

_CALL = re.compile(
    r"^(?:\d+\s+)?(?:<\.\.\. )?(?P<call>clone3?|v?fork|execve(?:at)?)\b(?P<text>.*)"
    r"\)\s+=\s+(?P<result>-?\d+)")
_BEGIN = re.compile(r"^(?P<process>\d+)\s+clone3?\(.*CLONE_THREAD.*<unfinished \.\.\.>$")


def count(trace: str) -> Tuple[int, int]:
    """Return how many processes were forked and how many programs were executed.

    Calls that failed count for nothing, such as execvp trying the directories of PATH. Threads are
    no processes.
    """
    forks = execs = 0
    starting_thread = set()
    for line in trace.splitlines():
        begin = _BEGIN.match(line)
        if begin:
            starting_thread.add(begin.group("process"))
            continue
        found = _CALL.match(line)
        if found is None:
            continue
        process = line.split(" ", 1)[0]
        thread = "CLONE_THREAD" in line
        if "resumed>" in line and process in starting_thread:
            starting_thread.discard(process)
            thread = True
        result = int(found.group("result"))
        if found.group("call").startswith("exec"):
            execs += result == 0
        elif result > 0 and not thread:
            forks += 1
    return forks, execs


def count_execs_below(trace: str, directory: str) -> int:
    """Return how often a program in a directory, or below it, was tried to be executed."""
    return trace.count(f'execve("{directory}/')
