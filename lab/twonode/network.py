# SPDX-License-Identifier: GPL-2.0-or-later
"""The networks of a lab: a bridge each in the supervisor's network namespace, and cables to nodes.

A cable is a pair of virtual cards; cutting it takes down the end at the bridge, so that the node
sees what it would see on a real machine: no carrier.
"""

from __future__ import annotations

import subprocess
from typing import Collection, List

from twonode.plan import FIRST_NODE_NUMBER, LAN, MANAGEMENT, NETWORKS, OUTSIDE_NUMBER, Network, Plan


def run_ip(commands: List[str], *, go_on: bool = False) -> None:
    """Run commands of ip(8) in the current network namespace, all in one process.

    go_on: do the rest when one of them fails, and say nothing.
    Raises RuntimeError with what ip said.
    """
    result = subprocess.run(["ip", *(["-force"] if go_on else []), "-batch", "-"], timeout=30,
                            input="\n".join(commands) + "\n", stdout=subprocess.PIPE,
                            stderr=subprocess.STDOUT, universal_newlines=True)
    if result.returncode != 0 and not go_on:
        raise RuntimeError(f"ip: {result.stdout.strip()}")


def build_bridges() -> None:
    """Make the networks, with the outside machine in all of them but the interconnect."""
    commands = ["link set lo up"]
    for number, network in enumerate(NETWORKS):
        # A bridge without an address of its own takes the lowest one of its ports, so it changes
        # when a node's cable goes. Then for half a minute nobody who had spoken to a BMC reaches
        # it: fencing a dead node took 41 s instead of 5.
        commands.append(f"link add {network.name} address {_mac(number, OUTSIDE_NUMBER)}"
                        f" type bridge"
                        f" forward_delay 0 stp_state 0 mcast_snooping 0")
        if network in (LAN, MANAGEMENT):
            commands.append(f"addr add {network.address(OUTSIDE_NUMBER)}/24 dev {network.name}")
        commands.append(f"link set {network.name} up")
    run_ip(commands)


def _mac(network: int, machine: int) -> str:
    """Return the hardware address of a machine in a network; from the locally administered range.
    """
    return f"02:00:00:00:{network:02x}:{machine:02x}"


def cable(node: str, network: Network) -> str:
    """Return the name of the end of a node's cable that is at the bridge."""
    return f"{node}-{network.interface}"


def plug_cables(plan: Plan, node: str, process: int, cut: Collection[str]) -> None:
    """Give the network namespace of `process` the node's network cards, each with its cable.

    cut: the names of the networks whose cable stays without carrier.
    """
    commands = []
    for number, network in enumerate(NETWORKS):
        mac = _mac(number, FIRST_NODE_NUMBER + plan.number(node))
        end = cable(node, network)
        commands += [
            f"link add {end} type veth peer name {network.interface} address {mac} netns {process}",
            f"link set {end} master {network.name}"]
        if network.name not in cut:
            commands.append(f"link set {end} up")
    run_ip(commands)


def unplug_cables(node: str) -> None:
    """Remove the node's cables. The kernel does so too, but when it finds the time, and the next
    power-on wants the names."""
    run_ip([f"link del {cable(node, network)}" for network in NETWORKS], go_on=True)


def set_carrier(node: str, network: Network, up: bool) -> None:
    """Mend or cut the node's cable in a network; a node that is off has none, which is fine."""
    run_ip([f"link set {cable(node, network)} {'up' if up else 'down'}"], go_on=True)


def configure_cards(plan: Plan, node: str) -> None:
    """Give the cards of the node whose network namespace we are in their addresses."""
    commands = ["link set lo up"]
    for network in NETWORKS:
        commands += [f"addr add {plan.address(node, network)}/24 dev {network.interface}",
                     f"link set {network.interface} up"]
    run_ip(commands)


def set_bmc_address(plan: Plan, node: str, present: bool) -> None:
    """Make the node's management controller answer on its address, or nobody."""
    verb = "replace" if present else "del"
    run_ip([f"addr {verb} {plan.bmc_address(node)}/24 dev {MANAGEMENT.name}"], go_on=not present)
