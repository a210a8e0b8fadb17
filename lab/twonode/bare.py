# SPDX-License-Identifier: GPL-2.0-or-later
"""A bare sandbox: a throwaway machine of the image alone, for programs that need no cluster.

It has the tools of the image (crm, pcs, crm_resource, ocf-tester, man), no systemd, and no network
but loopback. It starts in a fraction of a second and vanishes with whoever made it. Packages are
built and installed in such ones; twonode.sandbox has the suite on top.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tempfile
from pathlib import Path
from types import TracebackType
from typing import List, Mapping, Optional, Sequence, Type, TypeVar, Union

from twonode import boot, linux, rootfs
from twonode.enter import Door
from twonode.loop import LoopDevice
from twonode.plan import DATA

NAME = "sandbox"

Self = TypeVar("Self", bound="BareSandbox")


class BareSandbox:
    """A throwaway machine, as a context manager.

    door: the way in, for what `run` does not do.
    scratch: a directory of the host that vanishes with the sandbox, for disks of it.
    """

    def __init__(self, image: Path, *, layers: Sequence[Path] = (), disk: Optional[Path] = None,
                 name: str = NAME, scratch_at: str = "") -> None:
        """Describe a sandbox; entering the context starts it.

        image: what image.ensure returned.
        layers: what layer.ensure returned, the uppermost first.
        disk: keep what is written in this directory instead of throwing it away.
        name: its host name.
        scratch_at: where `scratch` appears in the sandbox: a file system of the host, on which a
            sync is one. The root of a sandbox leaves out every sync.
        """
        self._image = image
        self._layers = list(layers)
        self._given_disk = disk
        self.name = name
        self._scratch_at = scratch_at
        self._devices: List[LoopDevice] = []

    def __enter__(self: Self) -> Self:
        DATA.mkdir(parents=True, exist_ok=True)
        self._machine = Path(tempfile.mkdtemp(prefix=".sandbox-", dir=DATA))
        self._disk = self._given_disk or self._machine / "disk"
        self.scratch = self._machine / "scratch"
        self.scratch.mkdir()
        if self._given_disk is not None:
            (self._machine / "disk").symlink_to(self._given_disk.resolve())
        try:
            self._start()
        except BaseException:
            shutil.rmtree(self._machine, ignore_errors=True)
            raise
        return self

    def __exit__(self, kind: Optional[Type[BaseException]], error: Optional[BaseException],
                 trace: Optional[TracebackType]) -> None:
        self.door.close()
        assert self._holder.stdin is not None
        self._holder.stdin.close()      # which is what it waits for
        self._holder.wait(timeout=30)
        for device in self._devices:
            device.close()

    @property
    def process(self) -> int:
        """Its process 1, as the host counts; it lives as long as the sandbox."""
        return self._process

    def run(self, argv: Sequence[str], *, timeout: float, input: Union[bytes, str, None] = None,
            check: bool = False, environment: Mapping[str, str] = {},
            ) -> subprocess.CompletedProcess[str]:
        """Run a command in the sandbox; see Door.run."""
        return self.door.run(argv, timeout=timeout, input=input, check=check,
                             environment=environment)

    def path(self, inside: str) -> Path:
        """Return where the host finds the file that the sandbox calls `inside`.

        It may be written to as well, also while the sandbox runs.
        """
        return Path(f"/proc/{self._process}/root") / inside.lstrip("/")

    def device(self, file: Path) -> str:
        """Return the path, in the sandbox, of a block device over a file of the host.

        It ends with the sandbox, and with the last mount of it.
        """
        device = LoopDevice(file, self.path("/dev"))
        self._devices.append(device)
        path = f"/dev/loop{device.number}"
        with contextlib.suppress(FileExistsError):
            os.mknod(self.path(path), stat.S_IFBLK | 0o600, device.device)
        return path

    def _start(self) -> None:
        (self._disk / "etc").mkdir(parents=True, exist_ok=True)
        (self._disk / "etc/hosts").write_text(f"127.0.0.1 localhost {self.name}\n")
        layers = self._lower(self._machine)
        rootfs.adopt_directories(self._disk, self._image)
        self._holder = subprocess.Popen(
            [sys.executable, "-m", "twonode.bare", self.name, self._scratch_at,
             str(self._machine), str(self._image), *map(str, layers)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True,
            cwd=Path(__file__).resolve().parents[1])
        assert self._holder.stdin is not None and self._holder.stdout is not None
        answer = self._holder.stdout.readline().decode()
        self._holder.stdout.close()
        if not answer.strip().isdigit():
            self._holder.wait(timeout=30)
            self._holder.stdin.close()
            raise boot.BootFailed((self._machine / "console").read_text().strip())
        self._process = int(answer)
        self.door = Door.of_process(self._process)

    def _lower(self, machine: Path) -> Sequence[Path]:
        """Return what lies between the image and the disk, the uppermost first.

        machine: a directory of the host that vanishes with the sandbox.
        """
        return self._layers


def hold(name: str, scratch_at: str, machine: Path, image: Path, layers: Sequence[Path]) -> None:
    """Start the sandbox's process 1, report it on stdout, live until stdin ends, and clean up.

    stdin ends with whoever made the sandbox, and process 1 dies with us: both may be killed in any
    way, nothing of the sandbox goes on running.
    """
    ours, theirs = socket.socketpair()

    def first_process() -> None:
        linux.die_with_parent()
        boot.bench(image, machine, name, ready=theirs, own_network=True, layers=layers,
                   shares={scratch_at: machine / "scratch"} if scratch_at else {})

    process = boot.start(first_process, machine / "console")
    theirs.close()
    if ours.recv(1) == b"!":
        print(process, flush=True)
        sys.stdin.read()
        os.kill(process, signal.SIGKILL)
        os.waitpid(process, 0)
        shutil.rmtree(machine)


if __name__ == "__main__":
    hold(sys.argv[1], sys.argv[2], Path(sys.argv[3]), Path(sys.argv[4]),
         [Path(layer) for layer in sys.argv[5:]])
