# SPDX-License-Identifier: GPL-2.0-or-later
"""What one block device is and how it is: its kind, how it is connected, and whether it answers.

The kernel's own names and the place of the device in /sys/devices say it: a SCSI disk below
"session3" came by iSCSI, one below "rport-1:0-0" by Fibre Channel.

A recurring monitor loads this module.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from mailha.system.machine import Machine

VIRTUAL = "/devices/virtual/"
"""Where a device without hardware of its own is in /sys."""

MEMORY = "memory"
NBD = "network block device"

_PLACES = (("/session", "iSCSI"), ("/rport-", "Fibre Channel"), ("/end_device-", "SAS"),
           ("/usb", "USB"), ("/virtio", "virtio"), ("/vbd-", "Xen"), ("/ata", "SATA"))

_NAMES = (("drbd", "DRBD"), ("nbd", NBD), ("rbd", "Ceph RBD"), ("loop", "loop"), ("md", "md"),
          ("bcache", "bcache"), ("zram", MEMORY), ("ram", MEMORY), ("zd", "ZFS volume"),
          ("sr", "optical disk"), ("ubd", "user-mode Linux"))

_MAPPED = (("LVM-", "LVM"), ("CRYPT-", "encrypted"), ("mpath-", "multipath"))

_DEAD = ("offline", "transport-offline", "cancel", "deleted", "dead", "deleting",
         "deleting (no IO)")
"""The kernel's words for a disk that does not come back by itself: SCSI's (scsi_sysfs.c) and NVMe's
(nvme/host/sysfs.c). "blocked" and "connecting" pass by themselves."""

_ALIVE = ("", "running", "created", "live", "new")


class Look:
    """What was seen of a device.

    words: its kind, "" for a plain disk. dead: what is wrong if it can neither read nor write, ""
    if it can. warnings: for an administrator.
    """

    __slots__ = ("words", "dead", "warnings")

    def __init__(self, words: str) -> None:
        self.words = words
        self.dead = ""
        self.warnings: list[str] = []


def look(machine: Machine, base: str, link: str, name: str, partition: bool) -> Look:
    """Say what a block device is.

    base: its directory by number. link: where that leads in /sys/devices. partition: whether it is
    a part of another device, which is looked at next.
    """
    if partition:
        return Look("")
    found = Look(_kind(machine, base, link, name))
    # Hardware that is gone takes its directory with it.
    if VIRTUAL in link and text(machine, f"{base}/size") == "0":
        found.dead = "has no size: nothing is connected to it"
    if found.words == NBD:
        found.warnings.append(f"{name} is a network block device: while its server is away, writes "
                              "fail or wait")
    state = text(machine, f"{base}/device/state")
    if state in _DEAD:
        found.dead = f"is {state}"
    elif state not in _ALIVE:
        found.warnings.append(f"{name} does not answer at the moment: it is {state}")
    if name.startswith("dm-") and text(machine, f"{base}/dm/suspended") == "1":
        found.warnings.append(f"{name} is suspended: whoever writes to it waits until it is "
                              "resumed ('dmsetup info')")
    return found


def _kind(machine: Machine, base: str, link: str, name: str) -> str:
    """Return the kind of a whole device in words; "" if it is a disk like any other."""
    if name.startswith("dm-"):
        identity = text(machine, f"{base}/dm/uuid")
        label = text(machine, f"{base}/dm/name")
        for prefix, words in _MAPPED:
            # kpartx puts "part1-" before the identity of the whole.
            if identity.startswith(prefix) or identity.partition("-")[2].startswith(prefix):
                return f"{words} {label}".rstrip()
        return f"device mapper {label}".rstrip()
    if name.startswith("nvme"):
        transport = text(machine, f"{base}/device/transport")
        return f"NVMe over {transport}" if transport not in ("", "pcie") else "NVMe"
    for prefix, words in _NAMES:
        if name.startswith(prefix) and name[len(prefix):len(prefix) + 1].isdigit():
            return words
    for part, words in _PLACES:
        if part in link:
            return words
    return ""


def text(machine: Machine, path: str) -> str:
    """Return a small file of /sys without its line end; "" if it is not there or not readable."""
    try:
        return machine.files.read(path, 8192).decode("utf-8", "surrogateescape").rstrip("\n")
    except OSError:
        return ""
