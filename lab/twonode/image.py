# SPDX-License-Identifier: GPL-2.0-or-later
"""The root image: a Debian with a cluster stack, built once and shared read-only by every node.

It lies in /var/cache/mailha-lab under the name of its release and of a hash of its recipe, so that
a changed recipe never meets an old image. It is built under a temporary name and renamed when
complete: what a killed build leaves is never taken for an image, and the next build removes it.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
import tempfile
import threading
from contextlib import contextmanager
from pathlib import Path
from typing import Callable, Iterator, List, Sequence

from twonode import aptsources

CACHE = Path("/var/cache/mailha-lab")

SUITES = ("bullseye", "bookworm", "trixie")

PACKAGES = (
    # a machine
    "systemd", "systemd-sysv", "dbus", "iproute2", "iputils-ping", "iputils-arping", "kmod",
    "procps", "psmisc", "e2fsprogs", "strace", "ca-certificates",
    # the cluster, and both of its shells
    "corosync", "pacemaker", "pacemaker-cli-utils", "resource-agents", "crmsh", "pcs",
    "libxml2-utils",
    # its baseboard management controllers, and how to reach them: ipmi_sim is part of openipmi
    "ipmitool", "openipmi", "openssh-server", "openssh-client", "python3-pyghmi", "python3-pexpect",
    # what the suite and its tests need
    "python3", "python3-lxml", "python3-pymysql", "python3-pytest", "python3-hypothesis",
    "man-db", "groff-base",
    # what the suite keeps available; ocf:heartbeat:apache does not start without curl or wget
    "mariadb-server", "apache2", "curl",
    # only drbdadm and DRBD's agent: the kernel module would have to be the host's
    "drbd-utils",
)

FENCE_AGENTS = {"bullseye": ("fence-agents",), "bookworm": ("fence-agents",)}
"""What holds every fence agent, where Debian has them in one package."""

FENCE_AGENTS_APART = ("fence-agents-ipmilan", "fence-agents-drac5", "fence-agents-apc-snmp")
"""From trixie on, Debian packages each fence agent by itself: the two peers that ours are compared
to, and the agent of the power strips in examples/fencing."""

LEFT_OUT = ("/usr/share/doc/*", "/usr/share/locale/*", "/usr/share/man/*", "/usr/share/info/*")

# Debian enables a service by installing its package, an old one by a link in /etc/rc?.d. On a node
# only the cluster may be enabled: a database that boots by itself is the very accident that the
# suite exists to prevent.
# MariaDB's files go because its data belong on the shared disk. The apt files go because they may
# hold the address and the password of the host's proxy.
FINISH = r"""#!/bin/sh
set -eu
mkdir -p "$1/etc/systemd/system-preset"
printf 'disable *\n' > "$1/etc/systemd/system-preset/00-lab.preset"
chroot "$1" systemctl --quiet preset-all --preset-mode=full
chroot "$1" systemctl --quiet enable corosync.service pacemaker.service
chroot "$1" systemctl --quiet set-default multi-user.target
chroot "$1" systemctl --quiet mask getty.target systemd-logind.service openipmi.service
rm -f "$1"/etc/rc?.d/S*
find "$1/var/lib/mysql" -mindepth 1 -delete
rm -f "$1/etc/apt/apt.conf.d/99mmdebstrap" "$1/etc/apt/sources.list" "$1"/etc/apt/sources.list.d/*
rm -f "$1"/etc/ssh/ssh_host_*
rm -f "$1/etc/hostname" "$1/etc/resolv.conf" "$1/etc/machine-id" "$1/etc/corosync/corosync.conf"
mkdir -p "$1/etc/mysql" "$1/var/log/journal"
"""

MUST_HAVE = ("lib/systemd/systemd", "usr/sbin/pacemakerd", "usr/sbin/corosync", "usr/bin/ipmi_sim",
             "usr/bin/ipmitool", "usr/sbin/fence_ipmilan", "usr/sbin/fence_drac5",
             "usr/sbin/fence_apc_snmp", "usr/sbin/crm", "usr/sbin/pcs", "usr/sbin/mariadbd",
             "usr/sbin/sshd", "usr/bin/ssh-keygen", "usr/bin/python3")

BUILD_LIMIT = 1800.0
"""Seconds that a build may take; on two cores and a near mirror it takes about one minute."""


class ImageFailed(Exception):
    """The image could not be built; the text says what mmdebstrap said last."""


class FetchFailed(ImageFailed):
    """A package that the sources name could not be fetched from them."""


def packages(suite: str) -> List[str]:
    """Return the names of the packages that the image of `suite` is made of."""
    return sorted(PACKAGES + FENCE_AGENTS.get(suite, FENCE_AGENTS_APART))


def place(suite: str) -> Path:
    """Return where the image of `suite` lies, or will lie once it is built."""
    recipe = "\0".join([*packages(suite), *LEFT_OUT, FINISH])
    return CACHE / f"{suite}-{hashlib.sha256(recipe.encode()).hexdigest()[:12]}"


def ensure(suite: str = "bookworm", progress: Callable[[str], None] = lambda line: None) -> Path:
    """Return the image's directory; build it first if there is none.

    suite: one of SUITES.
    progress: called with one line of text at a time while the image is being built.
    Raises ImageFailed, and aptsources.NoSources when the host has no sources to build from.
    """
    if suite not in SUITES:
        raise ImageFailed(f"no recipe for {suite}; there is one for {', '.join(SUITES)}")
    target = place(suite)
    if target.is_dir():
        return target
    CACHE.mkdir(parents=True, exist_ok=True)
    with _only_builder(suite) as lock:
        if not target.is_dir():
            for abandoned in CACHE.glob(f".building-{suite}-*"):
                shutil.rmtree(abandoned)
            try:
                _build(suite, target, aptsources.POCKETS, progress, lock)
            except FetchFailed as error:
                # The indexes of an old release's updates may name packages that its archive has
                # lost; the release itself never changes, and is as good to test on.
                progress(f"{error}; once more, from {suite} without its updates")
                _build(suite, target, ("",), progress, lock)
    return target


@contextmanager
def _only_builder(suite: str) -> Iterator[int]:
    """Hold the lock that lets one process at a time build the image of `suite`."""
    with open(CACHE / f".{suite}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield lock.fileno()


def _build(suite: str, target: Path, pockets: Sequence[str], progress: Callable[[str], None],
           lock: int) -> None:
    """Build the image under a temporary name and rename it to `target`."""
    building = Path(tempfile.mkdtemp(prefix=f".building-{suite}-", dir=CACHE))
    try:
        sources = building / "lab.sources"
        options = building / "apt.conf"
        sources.write_text(aptsources.render(aptsources.derive(
            aptsources.read_host(), host=aptsources.host_codename(), suite=suite,
            pockets=pockets)))
        options.touch(mode=0o600)
        options.write_text(aptsources.host_options())
        finish = building / "finish"
        finish.write_text(FINISH)
        finish.chmod(0o755)
        _run_mmdebstrap(suite, building / "root", sources, options, finish, progress, lock)
        missing = [path for path in MUST_HAVE if not os.path.lexists(building / "root" / path)]
        if missing:
            raise ImageFailed(f"the image of {suite} came out without {', '.join(missing)}")
        os.rename(building / "root", target)
    finally:
        shutil.rmtree(building, ignore_errors=True)


def _run_mmdebstrap(suite: str, root: Path, sources: Path, options: Path, finish: Path,
                    progress: Callable[[str], None], lock: int) -> None:
    """Run mmdebstrap so that no mount and no process of it outlives us, however we end.

    The lock is handed down as well: should a part of the build survive us after all, the next
    builder waits for it instead of deleting the ground under its feet.
    """
    command = ["setpriv", "--pdeathsig", "KILL",
               "unshare", "--mount", "--propagation", "private", "--pid", "--fork",
               "--kill-child", "--mount-proc",
               "mmdebstrap", "--mode=root", "--variant=minbase", "--format=directory",
               f"--include={','.join(packages(suite))}",
               f"--aptopt={options}",
               "--dpkgopt=force-unsafe-io",
               *[f"--dpkgopt=path-exclude={pattern}" for pattern in LEFT_OUT],
               f"--customize-hook={finish}",
               suite, str(root), str(sources)]
    said: List[str] = []
    environment = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LANG": "C.UTF-8", "HOME": "/root",
                   "DEBIAN_FRONTEND": "noninteractive", "TMPDIR": str(root.parent),
                   **{name: value for name, value in os.environ.items()
                      if name.lower().endswith("_proxy")}}
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, env=environment, pass_fds=(lock,),
                          encoding="utf-8", errors="replace", start_new_session=True) as build:
        assert build.stdout is not None
        limit = threading.Timer(BUILD_LIMIT, build.kill)
        limit.start()
        try:
            for line in build.stdout:
                said.append(line.rstrip())
                progress(line.rstrip())
            code = build.wait()
        finally:
            limit.cancel()
            build.kill()
    if code != 0:
        fetched = not any(line.startswith("E: Failed to fetch") for line in said)
        failure = ImageFailed if fetched else FetchFailed
        raise failure(f"mmdebstrap ended with {code}: {' | '.join(said[-5:])}")
