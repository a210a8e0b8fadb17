# SPDX-License-Identifier: GPL-2.0-or-later
"""The power of a node: what the button, the plug and the management controller act on.

A node is "off", in its "firmware" (powered, not booted yet), "on", or "dying": killed, but not gone
yet. It counts as powered in all of them but the first. It leaves "dying" only when its processes
have ended and its disks are let go, so that "off" is a promise: nothing of it writes any more.
"""

from __future__ import annotations

import os
import signal
import socket
import time
from pathlib import Path
from typing import Callable, Dict, List, Optional, Set

from twonode import boot, cgroup, chassislog, linux, network
from twonode.chassislog import ChassisLog
from twonode.events import Events
from twonode.loop import LoopDevice
from twonode.plan import NETWORKS, Places, Plan

SIGRTMIN_POWEROFF = signal.SIGRTMIN + 4     # systemd(1): starts poweroff.target

HOW_INIT_ENDS: Dict[int, str] = {signal.SIGHUP: "reboots", signal.SIGINT: "has shut down"}
"""What process 1 of a pid namespace dies of when it calls reboot(2) -> what that means."""

POLL = 0.01


class Node:
    """One node and its power."""

    def __init__(self, name: str, plan: Plan, events: Events, groups: Path,
                 log: ChassisLog) -> None:
        """Describe a node that is off.

        groups: where the lab's cgroups are.
        log: where it is noted when the node is on and off.
        """
        self.name = name
        self.state = "off"
        self.process: Optional[int] = None
        self.cut: Set[str] = set()
        self.sysrq: Optional[Path] = None
        self.group = groups / name
        self._plan = plan
        self._places = Places(plan.name)
        self._events = events
        self._log = log
        self._loops: Dict[str, LoopDevice] = {}
        self._then: Optional[str] = None        # what follows when it is off: None or "power on"
        self._cancel_firmware: Callable[[], None] = lambda: None
        self._booted_before = False

    @property
    def powered(self) -> bool:
        """What a management controller that tells the truth says."""
        return self.state != "off"

    def power_on(self) -> None:
        """Press the button of a node that is off; on one that is not, this does nothing."""
        if self.state == "dying":
            self._then = "power on"
        if self.state != "off":
            return
        # Without firmware a killed node can be back in the cluster before the fencing that killed
        # it has returned; then nothing fails over and nobody notices.
        wait = self._plan.post_seconds if self._booted_before else 0.0
        self.state = "firmware"
        self._events.say(f"{self.name}: powered on")
        self._log.note(self.name, chassislog.POWER, "on")
        if wait:
            self._cancel_firmware = self._events.after(wait, self._boot)
        else:
            self._boot()

    def power_off(self) -> None:
        """Take the power away. The node dies where it stands, and its disks with what they had."""
        if self.state == "firmware":
            self._cancel_firmware()
            self._set_off()
        elif self.state == "dying":
            self._then = None
        elif self.state == "on":
            assert self.process is not None
            self._stop_disks()
            os.kill(self.process, signal.SIGKILL)
            self.state, self._then = "dying", None
            self._events.say(f"{self.name}: power lost")

    def reset(self) -> None:
        """Press the reset button. A node that is off has nothing to reset."""
        if self.state in ("on", "firmware"):
            self.power_off()
            self._then = "power on"
            if self.state == "off":
                self.power_on()

    def shut_down(self) -> None:
        """Press the power button shortly: the node's systemd shuts it down, or does not."""
        if self.state == "on":
            assert self.process is not None
            os.kill(self.process, SIGRTMIN_POWEROFF)
            self._events.say(f"{self.name}: power button pressed")

    def set_carrier(self, link: str, up: bool) -> None:
        """Cut or mend one cable. A cut outlives a power cycle."""
        for candidate in NETWORKS:
            if candidate.name == link:
                (self.cut.discard if up else self.cut.add)(link)
                network.set_carrier(self.name, candidate, up)

    def _boot(self) -> None:
        """Make the node's first process, and plug in its cables when it asks for them."""
        self._booted_before = True
        machine = self._places.machine(self.name)
        cgroup.make(self.group)
        self._loops = {f"san-{disk}": LoopDevice(self._places.disk_image(disk), machine)
                       for disk in self._plan.disks}
        disks = {name: loop.device for name, loop in self._loops.items()}
        ours, theirs = socket.socketpair()
        with ours, theirs:
            self.process = boot.start(
                lambda: boot.node(self._plan, self.name, machine, self.group, self.sysrq, disks,
                                  theirs),
                self._places.console(self.name))
            theirs.close()
            self.state = "on"
            self._events.when_ended(self.process, self._ended)
            ours.settimeout(30)
            if ours.recv(1) == b"?":
                network.plug_cables(self._plan, self.name, self.process, self.cut)
                ours.sendall(b"!")

    def _stop_disks(self) -> None:
        """Stop the file systems that the node has on the shared disks, as a power loss does.

        Killing alone would not be one: the kernel writes the caches back when the last mount goes.
        """
        descriptors = self._mounted_shared_disks()
        for descriptor in descriptors:
            try:
                linux.shut_down_file_system(descriptor)
            except OSError as error:
                self._events.say(f"{self.name}: its caches may reach a disk: {error}")
            os.close(descriptor)

    def _mounted_shared_disks(self) -> List[int]:
        """Return open directories of the file systems that lie on the node's shared disks."""
        devices = {f"{os.major(loop.device)}:{os.minor(loop.device)}": loop
                   for loop in self._loops.values()}
        found: Dict[str, int] = {}
        try:
            lines = Path(f"/proc/{self.process}/mountinfo").read_bytes().splitlines()
        except OSError:
            return []       # it has ended by itself
        for line in lines:
            # man 5 proc: mount id, parent id, major:minor, root, mount point (with \040 for blanks)
            _, _, device, _, point = line.split()[:5]
            if device.decode() in devices and device.decode() not in found:
                path = b"/proc/%d/root%s" % (self.process or 0,
                                             point.decode("unicode_escape").encode("latin-1"))
                try:
                    found[device.decode()] = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
                except OSError as error:
                    self._events.say(f"{self.name}: its caches may reach a disk: {error}")
        return list(found.values())

    def _ended(self, status: int) -> None:
        """Find out why the first process ended, and follow what is left of the node to its end."""
        died_of = os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0
        if self.state == "on":
            self._then = "power on" if died_of == signal.SIGHUP else None
            how = HOW_INIT_ENDS.get(died_of, f"its first process ended, wait status {status}")
            self._events.say(f"{self.name}: {how}")
            self._log.note(self.name, chassislog.NODE, how)
        self.state, self.process = "dying", None
        for loop in self._loops.values():
            loop.close()
        self._wait_until_gone(time.monotonic())

    def _wait_until_gone(self, since: float) -> None:
        """Look again and again until the node has let go of its disks and left its cgroup."""
        if (any(loop.in_use for loop in self._loops.values())
                or not cgroup.remove(self.group, timeout=0)):
            self._events.after(POLL, lambda: self._wait_until_gone(since))
            return
        self._loops = {}
        network.unplug_cables(self.name)
        self._events.say(f"{self.name}: off, {time.monotonic() - since:.3f} s after its end")
        self._set_off()

    def _set_off(self) -> None:
        """Be off, or come back at once if that was asked for."""
        self.state = "off"
        self._log.note(self.name, chassislog.POWER, "off")
        then, self._then = self._then, None
        if then == "power on":
            self.power_on()
