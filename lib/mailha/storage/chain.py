# SPDX-License-Identifier: GPL-2.0-or-later
"""What a mount stands on: from its source down to the disks, each by /proc and /sys alone.

/sys/dev/block has every block device of the machine by its number. Below it `slaves` names what a
device of the device mapper, of md or of bcache is made of, and `loop/backing_file` the file of a
loop device, which lies on a mount again. No device is opened but a loop device, and that in a child
(:mod:`mailha.storage.loops`); no file system is touched.

A recurring monitor loads this module.
"""

from __future__ import annotations

from mailha import errors
from mailha.storage import filesystems, transport
from mailha.storage.transport import text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from mailha.storage.filesystems import Kind
    from mailha.storage.mountinfo import Mount, Table
    from mailha.system.machine import Machine

_ELSEWHERE = (filesystems.NFS, filesystems.NETWORK, filesystems.FUSE, filesystems.UNKNOWN)

NUMBERS = "/sys/dev/block"
NAMES = "/sys/class/block"
DEV = "/dev/"
MOST_LINKS = 10
"""From a name in /dev to the device; udev makes one."""

MADE = ("md", "bcache")
"""Words of :mod:`mailha.storage.transport` for what is made of other devices, as all of dm is."""

REMOVED = " (deleted)"
"""What the kernel appends to the path of an open file that has been removed."""

DEEPEST = 16
"""Devices on each other; a volume in a loop file on a volume in a loop file has eight."""

LOOP_PATIENCE = 3.0
"""Seconds for asking a loop device about its file."""

NO_FILE = "mount the disk itself, not a file"


class Fault:
    """Why a mount does not stand on what it should.

    reason: what was found, as the end of a sentence that begins with the path and its mount.
    """

    __slots__ = ("reason", "remedy")

    def __init__(self, reason: str, remedy: str) -> None:
        self.reason = reason
        self.remedy = remedy


class Chain:
    """The devices under a mount.

    names: from the mount's own device down, as an administrator knows them: "dm-0 (LVM vg-mail)",
    "sdb1", "sdb (iSCSI)". numbers: of the devices that the file system itself knows: "8:17".
    faults: why it is unfit, the most telling first. warnings: what an administrator should know.
    """

    __slots__ = ("names", "numbers", "faults", "warnings")

    def __init__(self) -> None:
        self.names: list[str] = []
        self.numbers: list[str] = []
        self.faults: list[Fault] = []
        self.warnings: list[str] = []


def follow(machine: Machine, table: Table, mount: Mount, kinds: Sequence[Kind]) -> Chain:
    """Follow the devices under a mount whose type is accepted.

    table: our own mounts, where files of loop devices lie. kinds: the file systems on which such a
    file may lie. Raises errors.Failed where /sys cannot be read at all.
    """
    return _Walk(machine, table, kinds).from_mount(mount)


def number_of(machine: Machine, device: str) -> str:
    """Return the number ("8:17") of a block device by its path, "" if there is none such.

    device: "/dev/sdb1", "/dev/mapper/vg-mail", "/dev/disk/by-uuid/...". /dev is the kernel's own
    file system and never waits. Raises errors.Failed for a link that cannot be read.
    """
    path = device
    for _ in range(MOST_LINKS):
        if not path.startswith(DEV):
            return ""
        target = machine.files.link(path)
        if not target:
            break
        path = _joined(path, target)
    # The kernel writes the slash of a name such as cciss/c0d0 as an exclamation mark.
    number = text(machine, f"{NAMES}/{path[len(DEV):].replace('/', '!')}/dev")
    # Without udev, /dev/mapper/vg-mail is a device file of its own, and no link to /dev/dm-0.
    return number or machine.files.block_device(path)


class _Walk:
    """One walk down; what it finds is collected in a Chain."""

    def __init__(self, machine: Machine, table: Table, kinds: Sequence[Kind]) -> None:
        self._machine = machine
        self._table = table
        self._kinds = kinds
        self._chain = Chain()
        self._seen: set[str] = set()
        self._leaves = 0
        self._dead: list[str] = []
        self._source = ""

    def from_mount(self, mount: Mount) -> Chain:
        """Do what :func:`follow` says."""
        self._source = mount.source
        kind = filesystems.kind_of(mount.fstype)
        if kind in (filesystems.DISK, filesystems.CLUSTER):
            self._chain.numbers = self._numbers(mount)
            for number in self._chain.numbers:
                self._device(number, 0)
            self._judge_disks()
        elif kind is filesystems.POOL:
            self._chain.names.append(f"{mount.fstype} {mount.source}")
            self._chain.warnings.append(f"the disks of {mount.fstype} '{mount.source}' are known "
                                        f"to {mount.fstype} alone and were not looked at")
        return self._chain

    def _judge_disks(self) -> None:
        """Let dead disks count only if no other is left: a mirror or a path that lost one works."""
        if self._dead and len(self._dead) == self._leaves:
            self._fault("; ".join(self._dead), "see the kernel's log for what happened to it, "
                        "connect it, and mount it again")
        else:
            self._chain.warnings.extend(f"{dead}; other disks are left" for dead in self._dead)

    def _numbers(self, mount: Mount) -> list[str]:
        """Return the numbers of the devices that a file system names as its own."""
        if not mount.device.startswith("0:"):
            return [mount.device]
        number = number_of(self._machine, mount.source)
        if not number:
            self._fault(f"its device {mount.source} is gone",
                        "see the kernel's log for what happened to it, and mount it again")
            return []
        return _members(self._machine, number) if mount.fstype == "btrfs" else [number]

    def _fault(self, reason: str, remedy: str) -> None:
        self._chain.faults.append(Fault(reason, remedy))

    def _device(self, number: str, depth: int) -> None:
        """Describe a device and go on to what it is made of."""
        if number in self._seen:
            return
        self._seen.add(number)
        base = f"{NUMBERS}/{number}"
        link = self._machine.files.link(base)
        if not link:
            if not self._machine.files.names(NUMBERS):
                raise errors.Failed(f"cannot tell what block device {number} is: {NUMBERS} is "
                                    "empty", remedy="mount /sys")
            self._fault(f"its device {number} is gone", "see the kernel's log for what happened to "
                        "it, unmount what is mounted from it, and mount it again")
            return
        parent, name = link.split("/")[-2:]
        # A disk is in a directory "block", or, as NVMe, in that of its controller.
        partition = parent != "block" and text(self._machine, f"{base}/partition") != ""
        look = transport.look(self._machine, base, link, name, partition)
        self._chain.names.append(f"{name} ({look.words})" if look.words else name)
        self._chain.warnings.extend(look.warnings)
        if depth == 0 and text(self._machine, f"{base}/ro") == "1":
            self._fault(f"its device {name} is read-only",
                        "see the kernel's log for errors of it; a DRBD must be primary here")
        if look.words == transport.MEMORY and filesystems.MEMORY not in self._kinds:
            self._fault(f"{name} is kept in memory and lost with the power", "use a disk")
        if depth >= DEEPEST:
            self._fault(f"more than {DEEPEST} devices lie on each other under {name}",
                        "look at them with 'lsblk --inverse'")
        elif partition:
            self._device(text(self._machine, f"{NAMES}/{parent}/dev"), depth + 1)
        elif name.startswith("loop"):
            self._loop(number, name, depth)
        elif not self._slaves(base, name, depth, virtual=transport.VIRTUAL in link,
                              must=name.startswith("dm-") or look.words in MADE):
            self._leaves += 1
            if look.dead:
                self._dead.append(f"{name} {look.dead}")

    def _slaves(self, base: str, name: str, depth: int, *, virtual: bool, must: bool) -> bool:
        """Go on to the devices of which this one is made; False if it is not made of any.

        virtual: whether it has no hardware of its own. must: whether it cannot do without others.
        """
        # Hardware is made of nothing.
        slaves = self._machine.files.names(f"{base}/slaves") if virtual else []
        for slave in slaves:
            number = text(self._machine, f"{base}/slaves/{slave}/dev")
            if number:
                self._device(number, depth + 1)
            else:
                self._leaves += 1
                self._dead.append(f"{slave}, of which {name} is made, is gone")
        if must and not slaves:
            self._fault(f"{name} is made of no disk at all", "look at it with 'lsblk' and "
                        "'dmsetup table'")
        return bool(slaves)

    def _loop(self, number: str, name: str, depth: int) -> None:
        """Go on to what the file of a loop device lies on."""
        file = text(self._machine, f"{NUMBERS}/{number}/loop/backing_file")
        if not file.startswith("/") or file.endswith(REMOVED):
            self._fault(f"the file of its device {name} is gone: {file or 'it has none'}", NO_FILE)
            return
        # The path is the kernel's, so there are no links in it. A mount that was put over it later
        # hides where it really lies, but does not move it.
        visible = self._table.find(file)
        if filesystems.kind_of(visible.fstype) in _ELSEWHERE:
            self._bad_file(name, file, "lies", visible)
            return
        from mailha.storage import loops
        device = loops.device_of_file(self._machine, number, (f"/dev/{name}", self._source),
                                      LOOP_PATIENCE)
        if device not in (loops.NOT_TOLD, loops.SILENT) and not device.startswith("0:"):
            self._chain.names.append(f"'{file}'")
            self._device(device, depth + 1)
            return
        hidden = _elsewhere(self._table, file)
        kind = filesystems.kind_of(visible.fstype)
        if hidden is not None:
            self._bad_file(name, file, "may lie (a later mount hides it)", hidden)
        elif device == loops.SILENT:
            self._fault(f"the file of its device {name}, '{file}', does not answer", NO_FILE)
        # Each subvolume of a btrfs has a number of its own, which no table has.
        elif device not in (loops.NOT_TOLD, visible.device) and visible.fstype != "btrfs":
            self._fault(f"the file of its device {name}, '{file}', lies on a file system that is "
                        "not in sight from here", NO_FILE)
        elif kind not in self._kinds:
            self._bad_file(name, file, "lies", visible)
        else:
            self._chain.names.append(f"'{file}' on {visible.fstype} {visible.source}")
            if kind in (filesystems.DISK, filesystems.CLUSTER):
                for each in self._numbers(visible):
                    self._device(each, depth + 1)

    def _bad_file(self, name: str, file: str, lies: str, mount: Mount) -> None:
        self._fault(f"the file of its device {name}, '{file}', {lies} on {mount.fstype} "
                    f"'{mount.source}' at '{mount.mount_point}', which is "
                    f"{filesystems.kind_of(mount.fstype).words}", NO_FILE)


def _elsewhere(table: Table, path: str) -> Mount | None:
    """Return a server's mount on which a file of that path lies, if it was opened earlier."""
    prefix = path
    while prefix != "/":
        prefix = prefix.rpartition("/")[0] or "/"
        for mount in table.at(prefix):
            if filesystems.kind_of(mount.fstype) in _ELSEWHERE:
                return mount
    return None


def _members(machine: Machine, number: str) -> list[str]:
    """Return the numbers of all devices of the btrfs of which one device has this number."""
    name = machine.files.link(f"{NUMBERS}/{number}").rpartition("/")[2]
    for identity in machine.files.names("/sys/fs/btrfs"):
        directory = f"/sys/fs/btrfs/{identity}/devices"
        members = machine.files.names(directory)
        if name in members:
            return [text(machine, f"{directory}/{member}/dev") or member for member in members]
    return [number]


def _joined(path: str, target: str) -> str:
    """Return where a link at path leads; both are below /dev, where ".." means what it says."""
    parts = [] if target.startswith("/") else path.split("/")[1:-1]
    for part in target.split("/"):
        if part == "..":
            parts = parts[:-1]
        elif part not in ("", "."):
            parts.append(part)
    return "/" + "/".join(parts)
