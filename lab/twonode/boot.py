# SPDX-License-Identifier: GPL-2.0-or-later
"""How a machine comes to life: what its first process does before it becomes the machine's init.

Two kinds of machines are made here. A node ends in systemd. A bench has no init of its own: its
first process only waits, and whoever needs to run something there enters it.
"""

from __future__ import annotations

import os
import signal
import socket
from pathlib import Path
from typing import Callable, Mapping, NoReturn, Optional, Sequence

from twonode import cgroup, linux, network, rootfs
from twonode.plan import Plan

SYSTEMD = "/lib/systemd/systemd"

ENVIRONMENT = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
               "LANG": "C.UTF-8"}


class BootFailed(Exception):
    """A machine did not come to life; its console says why."""


def start(first_process: Callable[[], None], console: Path) -> int:
    """Fork process 1 of a new machine and return its process number.

    first_process: what it does; it returns only to fail.
    console: the file that gets its output.
    """
    child = linux.fork_as_init()
    if child != 0:
        return child
    try:
        _detach_from_parent(console)
        first_process()
    except BaseException as error:
        os.write(2, f"{type(error).__name__}: {error}\n".encode())
    os._exit(1)


def node(plan: Plan, name: str, machine: Path, group: Path, sysrq: Optional[Path],
         disks: Mapping[str, int], cables: socket.socket) -> NoReturn:
    """Be process 1 of a node: build the machine around us and become its systemd.

    machine: the machine's directory.
    group: the machine's cgroup.
    sysrq: a FIFO that takes the place of /proc/sysrq-trigger, where the kernel has one.
    disks: name in /dev -> device number.
    cables: over this socket the supervisor, who holds the other ends, is asked to plug them in.
    """
    linux.unshare(linux.CLONE_NEWNS | linux.CLONE_NEWUTS | linux.CLONE_NEWIPC | linux.CLONE_NEWNET)
    cgroup.join(group)
    linux.unshare(linux.CLONE_NEWCGROUP)
    cables.sendall(b"?")
    if cables.recv(1) != b"!":
        raise BootFailed("the supervisor did not plug in the cables")
    cables.close()
    linux.make_mounts_private()
    socket.sethostname(name)
    network.configure_cards(plan, name)
    root = machine / "root"
    rootfs.assemble(Path(plan.image), machine / "disk", machine / "work", root,
                    layers=[Path(layer) for layer in plan.layers], block_devices=disks)
    rootfs.mount_cgroups(root)
    trigger = root / "proc/sysrq-trigger"
    if sysrq is not None and trigger.exists():
        # Pacemaker panics by writing here; unguarded, that would reset the host.
        linux.bind(sysrq, trigger)
    linux.pivot_root(root)
    # systemd leaves this to whoever made its container. Without it a service with mounts of its own
    # (corosync and apache have a private /tmp) keeps a disk mounted that the node has unmounted;
    # the other node mounts it as well, and the file system is destroyed in a minute.
    linux.make_mounts_shared()
    linux.drop_capabilities()
    os.execve(SYSTEMD, [SYSTEMD, "--show-status=0"], {**ENVIRONMENT, "container": "lab"})


def bench(plan_image: Path, machine: Path, name: str, *, ready: socket.socket,
          own_network: bool, shares: Mapping[str, Path] = {},
          layers: Sequence[Path] = ()) -> NoReturn:
    """Be process 1 of a machine without init: put it together, say so on `ready`, then wait.

    own_network: give it a network namespace with nothing but loopback; else it keeps ours.
    shares: directory on the machine -> directory of the host that appears there.
    layers: what lies over the image, the uppermost first.
    """
    linux.unshare(linux.CLONE_NEWNS | linux.CLONE_NEWUTS | linux.CLONE_NEWIPC
                  | (linux.CLONE_NEWNET if own_network else 0))
    linux.make_mounts_private()
    socket.sethostname(name)
    if own_network:
        network.run_ip(["link set lo up"])
    root = machine / "root"
    rootfs.assemble(plan_image, machine / "disk", machine / "work", root, layers=layers)
    for inside, outside in shares.items():
        (root / inside.lstrip("/")).mkdir(parents=True, exist_ok=True)
        linux.bind(outside, root / inside.lstrip("/"))
    linux.pivot_root(root)
    linux.drop_capabilities()
    ready.sendall(b"!")
    ready.close()
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)       # orphans end without a trace
    while True:
        signal.pause()


def _detach_from_parent(console: Path) -> None:
    """Keep of the parent nothing but its memory: no terminal, no signal handler, no session."""
    signal.set_wakeup_fd(-1)
    for number in (signal.SIGCHLD, signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGPIPE):
        signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, [])
    os.setsid()
    nothing = os.open("/dev/null", os.O_RDONLY)
    output = os.open(console, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    os.dup2(nothing, 0)
    os.dup2(output, 1)
    os.dup2(output, 2)
