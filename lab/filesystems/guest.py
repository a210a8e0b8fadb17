# SPDX-License-Identifier: GPL-2.0-or-later
"""A guest: a machine with a kernel of its own, for file systems that the host's kernel has not.

It is Debian's user-mode-linux, a Linux kernel that is a plain process and needs neither /dev/kvm
nor a module of the host. It runs in a sandbox, from the sandbox's own files, boots in a few
seconds, has no network but loopback, and vanishes with whoever made it.
"""

from __future__ import annotations

import json
import os
import select
import shutil
import subprocess
import time
from pathlib import Path
from types import TracebackType
from typing import List, Mapping, Optional, Sequence, Type, Union

from twonode.enter import CommandFailed
from twonode.sandbox import Sandbox

INIT = Path(__file__).with_name("guestinit.py")
INIT_PLACE = "/usr/local/sbin/guestinit"
CONSOLE = "/var/log/guest"

BOOT_LIMIT = 120.0
"""Seconds until the guest has to be ready; it takes three."""

ANSWER_RESERVE = 60.0
"""Seconds that an answer may take beyond what the command was given."""

MEMORY = "256M"
DISK_MEBIBYTES = 96


class GuestFailed(Exception):
    """The guest did not boot or does not answer; the text ends in what its kernel said last."""


class Guest:
    """A guest, as a context manager; `run` is that of a sandbox."""

    def __init__(self, image: Path, layers: Sequence[Path], *, disks: int = 0) -> None:
        """Describe a guest; entering the context boots it.

        image, layers: as for a sandbox; the layer is that of filesystems.recipe.
        disks: how many empty block devices it has, /dev/ubda and so on.
        """
        self._sandbox = Sandbox(image, layers=layers)
        self._disks = disks

    def __enter__(self) -> Guest:
        self._sandbox.__enter__()
        try:
            self._boot()
        except BaseException:
            self._sandbox.__exit__(None, None, None)
            raise
        return self

    def __exit__(self, kind: Optional[Type[BaseException]], error: Optional[BaseException],
                 trace: Optional[TracebackType]) -> None:
        self._process.kill()
        self._process.wait()
        for end in (self._process.stdin, self._process.stdout):
            assert end is not None
            end.close()
        self._sandbox.__exit__(kind, error, trace)

    def run(self, argv: Sequence[str], *, timeout: float, input: Union[bytes, str, None] = None,
            check: bool = False, environment: Mapping[str, str] = {},
            ) -> subprocess.CompletedProcess[str]:
        """Run a command in the guest to its end and return its code and output, as text.

        timeout: seconds; then it is killed and subprocess.TimeoutExpired raised. check: raise
        CommandFailed for a code other than 0. Raises GuestFailed if the guest does not answer.
        """
        text = input.decode() if isinstance(input, bytes) else input
        request = {"argv": list(argv), "input": text, "timeout": timeout,
                   "environment": dict(environment)}
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(request).encode() + b"\n")
        self._process.stdin.flush()
        answer = json.loads(self._line(timeout + ANSWER_RESERVE))
        if answer["code"] is None:
            raise subprocess.TimeoutExpired(list(argv), timeout, answer["stdout"],
                                            answer["stderr"])
        result = subprocess.CompletedProcess(list(argv), int(answer["code"]),
                                             str(answer["stdout"]), str(answer["stderr"]))
        if check and result.returncode != 0:
            raise CommandFailed(result.returncode, result.args, result.stdout, result.stderr)
        return result

    def _boot(self) -> None:
        """Start the kernel and wait until its first process is ready."""
        place = self._sandbox.path(INIT_PLACE)
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(INIT, place)
        place.chmod(0o755)
        disks: List[str] = []
        for number in range(self._disks):
            with open(self._sandbox.path(f"/disk{number}"), "wb") as disk:
                disk.truncate(DISK_MEBIBYTES << 20)
            disks.append(f"ubd{number}=/disk{number}")
        # The kernel's memory is a file there, which has to be executable and should be in memory.
        self._sandbox.run(["mount", "-o", "remount,exec", "/dev/shm"], timeout=30, check=True)
        # Not the sandbox's "/" itself: its /proc, /sys and /dev would show through.
        self._sandbox.run(["sh", "-euc", "mkdir /guest; mount --bind / /guest"], timeout=30,
                          check=True)
        with open(self._sandbox.path(CONSOLE), "wb") as console:
            self._process = self._sandbox.door.popen(
                ["linux.uml", f"mem={MEMORY}", "rootfstype=hostfs", "rootflags=/guest", "ro",
                 f"init={INIT_PLACE}", "con=null", "con0=null,fd:2", "ssl=null",
                 "ssl0=fd:0,fd:1", *disks],
                environment={"TMPDIR": "/dev/shm"}, stdin=subprocess.PIPE,
                stdout=subprocess.PIPE, stderr=console)
        self._said = b""
        while self._line(BOOT_LIMIT) != b"ready":
            pass

    def _line(self, timeout: float) -> bytes:
        """Return the next line that the guest says. Raises GuestFailed."""
        assert self._process.stdout is not None
        deadline = time.monotonic() + timeout
        while b"\n" not in self._said:
            left = max(0.0, deadline - time.monotonic())
            ready = select.select([self._process.stdout], [], [], left)[0]
            piece = os.read(self._process.stdout.fileno(), 65536) if ready else b""
            if not piece:
                raise GuestFailed(f"the guest {'has ended' if ready else 'does not answer'}; its "
                                  f"kernel said last: {self.console()[-2000:]}")
            self._said += piece
        line, _, self._said = self._said.partition(b"\n")
        return line.strip(b"\r")

    def console(self) -> str:
        """Return what the guest's kernel has said."""
        return self._sandbox.path(CONSOLE).read_text(errors="replace")
