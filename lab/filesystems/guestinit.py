#!/usr/bin/python3 -I
# SPDX-License-Identifier: GPL-2.0-or-later
"""What a guest runs: its first process, which makes the machine and then runs what it is told.

The guest's root is the sandbox's, read-only, below a tmpfs of its own. So its own kernel shows an
overlay at "/", as on every other machine of the lab, and nothing of the guest outlives it.

Requests and answers are a line of JSON each, over the serial line. A request: argv, input (text or
null), timeout (seconds) and environment. An answer: code, stdout, stderr. A program that is not
done in time is killed and answered with code null, whether or not it can die.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tty
from typing import Any, Dict

LINE = "/dev/ttyS0"

# devtmpfs is there already; nothing else is mounted when a kernel without an initramfs begins.
SETUP = r"""
mount -t proc proc /proc
mount -t tmpfs tmpfs /run
modprobe overlay
mkdir /run/disk /run/work /run/root
mount -t overlay -o lowerdir=/,upperdir=/run/disk,workdir=/run/work root /run/root
cd /run/root
mount -t proc proc proc
mount -t sysfs sysfs sys
mount -t devtmpfs devtmpfs dev
mount -t tmpfs -o mode=755 tmpfs run
mount -t tmpfs tmpfs tmp
ip link set lo up
"""

ENVIRONMENT = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
               "LC_ALL": "C.UTF-8", "HOME": "/root"}


def run(argv: "list[str]", input: "str | None", timeout: float,
        environment: "dict[str, str]") -> "Dict[str, Any]":
    """Run a program to its end, or for as long as it may, and return the answer."""
    # Not as a context manager, which would wait for one that cannot die.
    child = subprocess.Popen(argv, env={**ENVIRONMENT, **environment}, start_new_session=True,
                             stdin=subprocess.DEVNULL if input is None else subprocess.PIPE,
                             stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                             encoding="utf-8", errors="replace")
    try:
        stdout, stderr = child.communicate(input, timeout)
    except subprocess.TimeoutExpired:
        os.killpg(child.pid, signal.SIGKILL)
        return {"code": None, "stdout": "", "stderr": ""}
    return {"code": child.returncode, "stdout": stdout, "stderr": stderr}


def serve() -> None:
    """Run what comes over the line, for ever."""
    line = open(os.open(LINE, os.O_RDWR | os.O_NOCTTY), "r+b", buffering=0)
    tty.setraw(line.fileno())
    line.write(b"ready\n")
    said = b""
    while True:
        said += line.read(65536)
        request, found, rest = said.partition(b"\n")
        if not found:
            continue
        said = rest
        try:
            answer = run(**json.loads(request))
        except Exception as error:      # the line must get an answer, whatever it is
            answer = {"code": None, "stdout": "", "stderr": repr(error)}
        line.write(json.dumps(answer).encode() + b"\n")


def main() -> None:
    """Make the machine, then serve."""
    os.environ.update(ENVIRONMENT)
    if sys.argv[1:] == ["serve"]:
        serve()
    subprocess.run(["/bin/sh", "-eu", "-c", SETUP], check=True)
    # pivot_root wants to be called by who lives in the new root; "." twice as in pivot_root(2).
    os.chdir("/run/root")
    subprocess.run(["pivot_root", ".", "."], check=True)
    os.chdir("/")
    subprocess.run(["umount", "-l", "/"], check=True)
    os.execv("/usr/bin/python3", ["python3", "-I", os.path.abspath(__file__), "serve"])


if __name__ == "__main__":
    main()
