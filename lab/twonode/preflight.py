# SPDX-License-Identifier: GPL-2.0-or-later
"""Whether this machine can run a lab: every finding a sentence that ends in what to do about it.

Where it is cheap the thing itself is tried, in namespaces that vanish with the trial, because a
kernel's configuration or a container's limits show in no file that could be read instead.
"""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import List

from twonode import image
from twonode.plan import DATA

OLDEST_KERNEL = (5, 10)
"""Overlays can be mounted "volatile" since 5.10, which is also Debian 11's kernel."""

MEMORY_MEBIBYTES = 1500
DISK_MEBIBYTES = 2500
TRIAL_LIMIT = 10.0

PROGRAMS = {"ip": "iproute2", "unshare": "util-linux", "nsenter": "util-linux",
            "setpriv": "util-linux", "mkfs.ext4": "e2fsprogs", "apt-config": "apt"}
"""What the lab runs on the host -> the package of Debian that has it."""

SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

# Tried in a child with a mount and a network namespace of its own: $1 is a directory for an
# overlay on the very file system that the nodes' disks are going to be on.
TRIALS = {
    "cgroup version 2": (
        # Not on /sys/fs/cgroup: where the host has it mounted there, that would be refused.
        'mkdir "$1/c" && mount -t cgroup2 cgroup2 "$1/c"',
        "boot a kernel with CONFIG_CGROUPS, and without cgroup_no_v1=all for containers"),
    "an overlay below /var/lib": (
        'mkdir "$1/l" "$1/u" "$1/w" "$1/m" && mount -t overlay overlay '
        '-o "lowerdir=$1/l,upperdir=$1/u,workdir=$1/w" "$1/m"',
        "let /var/lib be on ext4, xfs or btrfs, not inside of a container's overlay"),
    "a bridge and a virtual network card": (
        "ip link add t0 type bridge && ip link add t1 type veth peer name t2",
        "boot Debian's own kernel, which has the modules bridge and veth"),
}


def check(suite: str = "bookworm") -> List[str]:
    """Return what stands against running a lab with nodes of `suite` here; nothing if all is well.

    Takes less than 2 s and changes nothing.
    """
    if os.geteuid() != 0:
        return ["only root can make machines: run this with sudo"]
    findings = [*_kernel(), *_programs(suite), *_loop(), *_memory(), *_disk(suite)]
    return findings or _trials()


def _kernel() -> List[str]:
    release = platform.release()
    numbers = tuple(int("".join(filter(str.isdigit, part)) or 0)
                    for part in release.split("-")[0].split(".")[:2])
    if numbers >= OLDEST_KERNEL:
        return []
    return [f"the kernel is {release}, older than {OLDEST_KERNEL[0]}.{OLDEST_KERNEL[1]}: "
            f"boot the kernel of Debian 11 or later"]


def _programs(suite: str) -> List[str]:
    wanted = dict(PROGRAMS)
    if not image.place(suite).is_dir():
        wanted["mmdebstrap"] = "mmdebstrap"
    missing = sorted({package for program, package in wanted.items()
                      if shutil.which(program, path=SYSTEM_PATH) is None})
    return [f"packages are missing: apt-get install {' '.join(missing)}"] if missing else []


def _loop() -> List[str]:
    if Path("/dev/loop-control").exists():
        return []
    return ["there are no loop devices (/dev/loop-control): run modprobe loop, or leave the "
            "container you may be in"]


def _memory() -> List[str]:
    facts = dict(line.split(":", 1) for line in Path("/proc/meminfo").read_text().splitlines())
    available = int(facts["MemAvailable"].split()[0]) // 1024
    if available >= MEMORY_MEBIBYTES:
        return []
    return [f"{available} MiB of memory are available and two nodes want {MEMORY_MEBIBYTES}: "
            f"end something, or use a larger machine"]


def _disk(suite: str) -> List[str]:
    wanted = DISK_MEBIBYTES if not image.place(suite).is_dir() else DISK_MEBIBYTES // 2
    findings = []
    for path in (image.CACHE, DATA):
        while not path.exists():
            path = path.parent
        free = shutil.disk_usage(path).free >> 20
        if free < wanted:
            findings.append(f"{path} has {free} MiB free and the lab wants {wanted}: make room")
    return findings


def _trials() -> List[str]:
    findings = []
    DATA.mkdir(parents=True, exist_ok=True)
    for what, (script, remedy) in TRIALS.items():
        with tempfile.TemporaryDirectory(prefix=".trial-", dir=DATA) as directory:
            trial = subprocess.run(
                ["unshare", "--mount", "--propagation", "private", "--net", "--cgroup", "--pid",
                 "--fork", "sh", "-c", script, "sh", directory], timeout=TRIAL_LIMIT,
                stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                encoding="utf-8", errors="replace")
        if trial.returncode != 0:
            said = " ".join(trial.stdout.split())
            findings.append(f"{what} cannot be had here ({said}): {remedy}")
    return findings
