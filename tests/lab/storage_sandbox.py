# SPDX-License-Identifier: GPL-2.0-or-later
"""A sandbox with real file systems in it: on disks, in files, over one another, or served by us.

Everything is in the sandbox's own namespaces and ends with it, and the sandbox ends with whoever
made it, however that ends.
"""

from __future__ import annotations

import contextlib
import inspect
import os
import subprocess
from pathlib import Path
from types import ModuleType
from typing import Iterator, List, Mapping, Sequence, Union

from filesystems import autofs, lookalike
from twonode.sandbox import Sandbox
from waiting import wait_for

PROGRAMS = "/usr/local/sbin"


class Server:
    """A look-alike that is mounted. record: what the kernel asked it, in order."""

    def __init__(self, sandbox: Sandbox, process: "subprocess.Popen[bytes]", number: str,
                 record: Path) -> None:
        self._sandbox = sandbox
        self._process = process
        self._number = number
        self._record = record

    @property
    def record(self) -> List[str]:
        """Names of requests, as in <linux/fuse.h>."""
        return self._record.read_text().split()

    def stop(self) -> None:
        """Let it answer nothing any more, as a server whose network is cut."""
        self._signal("STOP")

    def go_on(self) -> None:
        """Undo stop()."""
        self._signal("CONT")

    def _signal(self, name: str) -> None:
        self._sandbox.run(["kill", f"-{name}", self._number], timeout=30, check=True)


class StorageSandbox:
    """The sandbox. Close it after use."""

    def __init__(self, image: Path, layer: Path) -> None:
        self._closing = contextlib.ExitStack()
        self.sandbox = self._closing.enter_context(Sandbox(image, layers=[layer]))
        for program in (lookalike, autofs):
            self._copy_in(program)

    def close(self) -> None:
        """End it and all that is in it."""
        self._closing.close()

    def run(self, argv: Sequence[str], *, timeout: float, input: Union[bytes, str, None] = None,
            check: bool = False, environment: Mapping[str, str] = {},
            ) -> "subprocess.CompletedProcess[str]":
        """Run a command in it."""
        return self.sandbox.run(argv, timeout=timeout, input=input, check=check,
                                environment=environment)

    def sh(self, script: str) -> str:
        """Run a shell script in it, which has to succeed, and return what it printed."""
        return self.run(["/bin/sh", "-euc", script], timeout=120, check=True).stdout

    def loop(self, file: str) -> str:
        """Return a block device over a file of the sandbox; it ends with the sandbox."""
        return self.sandbox.device(self.sandbox.path(file))

    def disk(self, name: str, mebibytes: int, make: str) -> str:
        """Return a block device with a file system on it; make: the command, without the device.

        What it is made of is on the host's own disk, where the sandbox has no path to it, as with
        the shared disks of the lab's nodes.
        """
        file = self.sandbox.scratch / name
        with open(file, "wb") as empty:
            empty.truncate(mebibytes << 20)
        device = self.sandbox.device(file)
        self.sh(f"{make} {device} >/dev/null")
        return device

    def mounted(self, device: str, where: str, *options: str) -> str:
        """Mount a block device and return where."""
        self.sh(f"mkdir -p {where}; mount {' '.join(options)} {device} {where}")
        return where

    @contextlib.contextmanager
    def served(self, subtype: str, where: str, source: str = "nas.example.com:/spool",
               files: str = "") -> Iterator[Server]:
        """Have a look-alike mounted for a while; files: what it serves, from the sandbox."""
        record = f"/var/tmp/record-{subtype}-{where.replace('/', '-')}"
        files = files or f"{record}.files"
        self.sh(f"mkdir -p {where} {files}; : > {record}")
        with self._serving(lookalike, subtype, source, where, files, record) as (process, number):
            try:
                server = Server(self.sandbox, process, number, self.sandbox.path(record))
                # The kernel greets it in its own time.
                wait_for("the first request", lambda: server.record)
                yield server
            finally:
                self.sh(f"kill -KILL {number}; umount -l {where} || :")

    @contextlib.contextmanager
    def automounted(self, where: str) -> Iterator[None]:
        """Have a trigger of an automounter that never answers."""
        self.sh(f"mkdir -p {where}")
        with self._serving(autofs, where) as (_, number):
            try:
                yield
            finally:
                # In this order: who waits for the automounter is let go by its end.
                self.sh(f"kill -KILL {number}; umount -l {where}")

    @contextlib.contextmanager
    def hanging(self, *argv: str) -> "Iterator[subprocess.Popen[bytes]]":
        """Have a command that waits in the kernel, and is let go or killed after the block.

        Fails if it does not wait, neither at first nor at the end of the block.
        """
        with self.sandbox.door.popen(["/bin/sh", "-c", 'echo $$; exec "$@"', "sh", *argv],
                                     stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as child:
            assert child.stdout is not None
            number = child.stdout.readline().decode().strip()

            def waits() -> bool:
                said = self.run(["cat", f"/proc/{number}/comm", f"/proc/{number}/wchan"],
                                timeout=30).stdout
                name, _, place = said.partition("\n")
                return name == os.path.basename(argv[0]) and place not in ("", "0")

            try:
                wait_for(f"{argv} hangs", waits)
                yield child
                assert child.poll() is None and waits(), f"{argv} did not wait at all"
            finally:
                self.run(["kill", "-KILL", number], timeout=30)
                child.kill()

    @contextlib.contextmanager
    def _serving(self, program: ModuleType, *arguments: str
                 ) -> "Iterator[tuple[subprocess.Popen[bytes], str]]":
        """Have one of our programs run; yields it and its number in the sandbox."""
        path = f"{PROGRAMS}/{os.path.basename(str(program.__file__))}"
        with self.sandbox.door.popen(
                ["/bin/sh", "-c", 'echo $$; exec "$@"', "sh", "/usr/bin/python3", "-I", path,
                 *arguments], stdout=subprocess.PIPE) as process:
            assert process.stdout is not None
            number = process.stdout.readline().decode().strip()
            try:
                assert process.stdout.readline() == b"ready\n", f"{path} did not come up"
                yield process, number
            finally:
                process.kill()

    def _copy_in(self, program: ModuleType) -> None:
        place = self.sandbox.path(f"{PROGRAMS}/{os.path.basename(str(program.__file__))}")
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(inspect.getsource(program))
