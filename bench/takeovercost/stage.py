# SPDX-License-Identifier: GPL-2.0-or-later
"""The cluster in which it happens: a disk and an address on one of two nodes, and fence devices."""

from __future__ import annotations

import os
import re
import time
from contextlib import contextmanager
from pathlib import Path
from typing import Callable, Iterator, List, Optional, Set, TypeVar

from failover import configuration, record
from failover.cluster import State, parse
from twonode import chassislog, evidence, plan
from twonode.lab import Lab

from takeovercost import contestants
from takeovercost.contestants import Contestant
from takeovercost.figures import Incomplete, Takeover, takeover

SUITE = "bookworm"

FIRMWARE_SECONDS = 6.0
"""A node must not be back before the fencing that killed it has returned; the slowest takes 4.3 s.
"""

PATIENCE = 120.0
"""Seconds until something that should happen is said not to."""

DISK, ADDRESS, GROUP = "disk", "address", "service"

# A start that fails once, say as fence_ipmilan lost a datagram and waited 14 s for its next try,
# would bar the device from the only node that it may run on, for all further rounds.
RESOURCES = """\
property stonith-enabled=true stonith-timeout=120s start-failure-is-fatal=false
rsc_defaults resource-stickiness=200
primitive disk ocf:heartbeat:Filesystem \
    params device=/dev/san-kopano directory=/srv fstype=ext4 \
    op start interval=0s timeout=60s op stop interval=0s timeout=60s
primitive address ocf:heartbeat:IPaddr2 params ip=198.51.100.100 cidr_netmask=24 \
    op start interval=0s timeout=20s op stop interval=0s timeout=20s
group service disk address
"""

Say = Callable[[str], None]
Found = TypeVar("Found")


class BenchFailed(Exception):
    """Something did not come to pass; the text says what was awaited."""


class Stage:
    """The cluster, and what is done to it."""

    def __init__(self, lab: Lab) -> None:
        """Take a lab that is up."""
        self.lab = lab
        self.nodes = lab.plan.nodes

    def configure(self) -> None:
        """Load resources and all devices, of which none runs yet."""
        text = RESOURCES + contestants.configuration(contestants.ALL, self.lab.plan)
        self._run("crm", "-F", "configure", "load", "update", "-", text=text)

    def enter(self, contestant: Contestant) -> None:
        """Have the devices of one contestant run, and no others, and everything else be well.

        The disk is then on the node that is in charge of the cluster, so that every survivor has to
        do the same things: to be elected, and then to decide.
        """
        self._wait("both nodes are in the cluster", self._is_whole)
        wanted = contestants.devices(contestant, self.lab.plan)
        for each in contestants.ALL:
            role = "Started" if each == contestant else "Stopped"
            for device in contestants.devices(each, self.lab.plan):
                self._run("crm_resource", "-r", device, "--meta", "--set-parameter", "target-role",
                          "--parameter-value", role)
        self._wait(f"the devices of {contestant.name} run, and all is well",
                   lambda: self._is_ready(set(wanted)))
        self._run("crm_resource", "-r", GROUP, "--move", "--node", self._in_charge(), check=False)
        # The devices have run before; whether the cluster has more to do only it can say.
        self._run("crm_resource", "--wait", f"--timeout={PATIENCE:.0f}")
        self._run("crm_resource", "-r", GROUP, "--clear")
        self._run("crm_resource", "--wait", f"--timeout={PATIENCE:.0f}")

    def take_over(self) -> Takeover:
        """Kill the Corosync of the node that has the disk; return when the other one has it.

        Raises BenchFailed, and Incomplete.
        """
        state = self._state()
        victim = state.only_place(DISK) if state else None
        if victim is None or victim != self._in_charge():
            raise BenchFailed("the disk is not mounted on the node in charge of the cluster, and "
                              "on no other")
        return self._kill(victim)

    def _kill(self, victim: str) -> Takeover:
        """Kill a node's Corosync; return when the other one has taken over."""
        survivor = next(node for node in self.nodes if node != victim)
        # The node's own clock, which is everybody's, and no time between the word and the deed.
        said = self.lab.execute(victim, ["sh", "-c", "date +%s.%N; exec killall -9 corosync"],
                                timeout=30).stdout
        fault = float(said)

        def look() -> Optional[Takeover]:
            return takeover(victim, fault, record.since(self.lab, [survivor], fault, survivor),
                            self.lab.chassis_log(victim, fault), DISK, ADDRESS)

        found = self._wait(f"{survivor} has taken over", look)
        orders = [entry.who for entry in self.lab.chassis_log(since=fault)
                  if entry.what == "power off"]
        if set(orders) != {chassislog.IPMI}:
            raise Incomplete(f"power was switched off by {', '.join(orders)}")
        return found

    def facts(self) -> List[str]:
        """Return what the nodes are, a fact a line."""
        said = self._run("sh", "-c", "pacemakerd --version | head -n 1; corosync -v | head -n 1; "
                         "corosync-cmapctl -g runtime.config.totem.token; "
                         "corosync-cmapctl -g runtime.config.totem.consensus")
        numbers = re.findall(r"= (\d+)", said)
        return [f"Debian {SUITE}: " + ", ".join(said.splitlines()[:2])
                + f"; token {numbers[0]} ms, consensus {numbers[1]} ms"]

    def _is_whole(self) -> bool:
        return all(self.lab.online(node) == set(self.nodes) for node in self.nodes)

    def _is_ready(self, devices: Set[str]) -> bool:
        state = self._state()
        if state is None:
            return False
        running = {name for name, nodes in state.active.items() if nodes}
        return running == {DISK, ADDRESS, *devices}

    def _state(self) -> Optional[State]:
        return parse(self._run("crm_mon", "-1", "--output-as=xml"))

    def _in_charge(self) -> str:
        """Return the node that decides for the cluster, Pacemaker's "DC"."""
        found = re.search(r"is: (\S+)", self._run("crmadmin", "--dc_lookup"))
        if found is None:
            raise BenchFailed("no node is in charge of the cluster")
        return found.group(1)

    def _run(self, *argv: str, text: str = "", check: bool = True) -> str:
        return self.lab.execute(self.nodes[0], list(argv), timeout=2 * PATIENCE, input=text,
                                check=check).stdout

    def _wait(self, what: str, look: Callable[[], Optional[Found]]) -> Found:
        deadline = time.monotonic() + PATIENCE
        while True:
            found = look()
            if found:
                return found
            if time.monotonic() > deadline:
                raise BenchFailed(f"after {PATIENCE:.0f} s it is still not so that {what}")
            time.sleep(0.2)


@contextmanager
def running(say: Say) -> Iterator[Stage]:
    """Bring up a lab with the cluster in it; take it down when this context ends."""
    _end_labs_of_dead_runs()
    lab = Lab(f"v{os.getpid()}", suite=SUITE, post_seconds=FIRMWARE_SECONDS,
              provision=[configuration.install_secret])
    try:
        lab.up(progress=say)
        stage = Stage(lab)
        say("loading the resources and the devices")
        stage.configure()
        yield stage
    except (BenchFailed, Incomplete):
        directory = evidence.PLACE / "bench-takeover"
        evidence.save(lab, directory)
        say(f"what the nodes had to say is in {directory}")
        raise
    finally:
        say("taking the lab down")
        lab.down()


def _end_labs_of_dead_runs() -> None:
    """Take down what an earlier run left that was killed."""
    for name in plan.existing():
        match = re.fullmatch(r"v(\d+)", name)
        if match and not Path(f"/proc/{match.group(1)}").exists():
            Lab(name).down()
