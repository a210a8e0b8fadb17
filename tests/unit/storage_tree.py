# SPDX-License-Identifier: GPL-2.0-or-later
"""A machine's mounts and block devices as a small tree of files, for Machine(root=...).

What cannot be had in a test for real: dm, md, nbd, DRBD, iSCSI, Fibre Channel, multipath, GFS2. The
names, links and texts are those of the kernel's own /proc and /sys. An example::

    tree = StorageTree(tmp_path)
    tree.disk("sdb", "8:16", place="platform/host3/session1/target3:0:0/3:0:0:1")
    tree.partition("sdb", "sdb1", "8:17")
    tree.mount("/var/spool/cyrus", "ext4", "/dev/sdb1", device="8:17")
    verdict.examine(tree.machine, "/var/spool/cyrus", rule=rules.BLOCK)
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Dict, List, Sequence

from mailha.system.machine import Machine


def escaped(text: str) -> str:
    """Escape a text as the kernel does in its table of mounts."""
    for character in "\\ \t\n":
        text = text.replace(character, f"\\{ord(character):03o}")
    return text


class StorageTree:
    """The tree. machine: what to examine. At first there is an ext4 on vda1, mounted at /."""

    def __init__(self, directory: Path) -> None:
        self.root = directory
        # Links of the directory itself would be taken for such of the machine.
        self.machine = Machine(os.path.realpath(directory))
        self._lines: List[str] = []
        self._ids: Dict[str, int] = {}
        self._number = 20
        self._places: Dict[str, str] = {}
        self.disk("vda", "254:0", place="pci0000:00/0000:00:04.0/virtio1")
        self.partition("vda", "vda1", "254:1")
        self.mount("/", "ext4", "/dev/vda1", device="254:1")

    def write(self, path: str, text: str) -> None:
        """Let a file be there."""
        place = self.root / path.lstrip("/")
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(text)

    def link(self, path: str, target: str) -> None:
        """Let a symbolic link be there."""
        place = self.root / path.lstrip("/")
        place.parent.mkdir(parents=True, exist_ok=True)
        place.symlink_to(target)

    def directory(self, path: str) -> None:
        """Let a directory be there."""
        (self.root / path.lstrip("/")).mkdir(parents=True, exist_ok=True)

    def mount(self, point: str, fstype: str, source: str, *, device: str, root: str = "/",
              options: str = "rw,relatime", super_options: str = "rw", on: str = "",
              process: str = "self") -> None:
        """Mount something. on: the mount point of the mount below, "" for the nearest one.

        Mounted on a mount point that exists already, it hides that one.
        """
        above = on or next(place for place in _upwards(point) if place in self._ids or place == "/")
        self._number += 1
        parent = self._ids.get(above, 1)
        self._ids[point] = self._number
        self._lines.append(f"{self._number} {parent} {device} {root} {escaped(point)} {options} "
                           f"shared:1 - {fstype} {escaped(source)} {super_options}\n")
        self.write(f"/proc/{process}/mountinfo", "".join(self._lines))
        if not source.startswith(("fuse", "filer:")) and point not in ("/proc",):
            self.directory(point)

    def disk(self, name: str, number: str, *, place: str = "", size: int = 2048,
             read_only: bool = False, state: str = "", **files: str) -> None:
        """Let a block device be there.

        place: where in /sys/devices, "" for a virtual one. size: sectors. state: device/state.
        files: further ones by path, "__" for "/".
        """
        # An NVMe disk is in its controller's directory and not in one that is called "block".
        where = f"{place}/{name}" if name.startswith("nvme") else \
            f"{place}/block/{name}" if place else f"virtual/block/{name}"
        self._add(name, number, where, size, read_only)
        if state:
            self.write(f"/sys/devices/{where}/device/state", state + "\n")
        for path, text in files.items():
            self.write(f"/sys/devices/{where}/{path.replace('__', '/')}", text + "\n")

    def partition(self, disk: str, name: str, number: str) -> None:
        """Let a partition of a disk be there."""
        where = f"{self._places[disk]}/{name}"
        self._add(name, number, where, 1024, False)
        self.write(f"/sys/devices/{where}/partition", "1\n")

    def mapped(self, name: str, number: str, slaves: Sequence[str], *, identity: str = "",
               label: str = "", **more: str) -> None:
        """Let a device of the device mapper, of md or of bcache be there, made of others."""
        files = {"dm__uuid": identity, "dm__name": label} if name.startswith("dm-") else {}
        self.disk(name, number, **{**files, **more})  # type: ignore[arg-type]
        for slave in slaves:
            self.link(f"/sys/devices/{self._places[name]}/slaves/{slave}",
                      str(Path(self.machine.root) / "sys/devices" / self._places[slave]))

    def loop(self, name: str, number: str, file: str) -> None:
        """Let a loop device be there; file: as the kernel names it, "" for none."""
        self.disk(name, number, **({"loop__backing_file": file} if file else {}))

    def node(self, path: str, target: str) -> None:
        """Let udev have made a link in /dev; target: "../../sdb1"."""
        self.link(path, target)

    def _add(self, name: str, number: str, where: str, size: int, read_only: bool) -> None:
        self._places[name] = where
        self.write(f"/sys/devices/{where}/dev", number + "\n")
        self.write(f"/sys/devices/{where}/size", f"{size}\n")
        self.write(f"/sys/devices/{where}/ro", f"{int(read_only)}\n")
        self.link(f"/sys/dev/block/{number}", f"../../devices/{where}")
        self.link(f"/sys/class/block/{name}", f"../../devices/{where}")


def _upwards(path: str) -> List[str]:
    """Return the path and every directory above it, the nearest first."""
    found = [path]
    while path != "/":
        path = path.rpartition("/")[0] or "/"
        found.append(path)
    return found
