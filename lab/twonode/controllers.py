# SPDX-License-Identifier: GPL-2.0-or-later
"""A node's management controller as the supervisor runs it: its processes, its address, its power.

A controller is two servers on one address: ipmi_sim, and an OpenSSH whose users get the shell of an
iDRAC. Both run on the outside machine, and both are gone when the controller has no power.
"""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path
from typing import Dict, List

from twonode import bmc, enter, idracaccess, network
from twonode.events import Events
from twonode.plan import BadPlan, Places, Plan

IPMI = "ipmi"
IDRAC = "idrac"

COMMANDS = {IPMI: bmc.command, IDRAC: idracaccess.command}
"""The servers of a controller -> what makes the command that each of them is."""


class Controller:
    """The management controller of one node; without power until `set_power`."""

    def __init__(self, node: str, plan: Plan, events: Events, outside: int) -> None:
        """Describe it.

        outside: a living process of the machine that the servers are to run on.
        """
        self.node = node
        self.muted = False
        self._plan = plan
        self._events = events
        self._outside = outside
        self._powered = False
        self._servers: Dict[str, int] = {}      # name -> its process, nsenter's

    @property
    def present(self) -> bool:
        """Whether the controller has power and both of its servers live."""
        return self._powered and set(self._servers) == set(COMMANDS)

    def set_power(self, on: bool) -> None:
        """Give the controller power, or take it; its address comes and goes with it.

        Giving power to one that has it brings back a server that has ended by itself.
        """
        if on != self._powered:
            self._powered = on
            network.set_bmc_address(self._plan, self.node, on)
        if on:
            for server in COMMANDS:
                if server not in self._servers:
                    self._start(server)
            return
        servers, self._servers, self.muted = self._servers, {}, False
        for process in servers.values():
            # What it started dies with it: see enter.Door, and idracaccess.command.
            os.kill(process, signal.SIGKILL)

    def set_muted(self, muted: bool) -> None:
        """Let the IPMI server stop where it stands, or go on; SSH is answered all the while.

        What is sent to a silent server waits in its socket, and is done when it goes on, as with a
        controller that hangs for a while. Raises BadPlan where there is no such server.
        """
        if IPMI not in self._servers:
            raise BadPlan(f"{self.node}'s controller is off: there is no IPMI to silence")
        self.muted = muted
        number = signal.SIGSTOP if muted else signal.SIGCONT
        # nsenter stops by itself with its child, and has to be woken as well.
        for process in [*_children(self._servers[IPMI]), *([] if muted else
                                                           [self._servers[IPMI]])]:
            os.kill(process, number)

    def _start(self, server: str) -> None:
        console = Places(self._plan.name).console(f"{self.node}-{server}")
        with enter.Door.of_process(self._outside) as door, open(console, "ab") as output:
            child = door.popen(COMMANDS[server](self.node), stdin=subprocess.DEVNULL,
                               stdout=output, stderr=output)
        self._servers[server] = child.pid
        self._events.when_ended(child.pid, lambda status: self._ended(server, child, status))

    def _ended(self, server: str, child: "subprocess.Popen[bytes]", status: int) -> None:
        """Note the end of a server; only one that we did not end is worth a line."""
        child.returncode = status       # it has been reaped; Popen need not try
        if self._servers.get(server) == child.pid:
            del self._servers[server]
            self._events.say(f"{self.node}: the {server} server of its controller ended by itself, "
                             f"wait status {status}")


def _children(process: int) -> List[int]:
    """Return the children of a process."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            # man 5 proc: number, (name), state, parent
            number, (_, parent) = int(stat.parent.name), stat.read_bytes().rpartition(
                b")")[2].split()[:2]
        except OSError:
            continue        # it has just ended
        if int(parent) == process:
            found.append(number)
    return found
