# SPDX-License-Identifier: GPL-2.0-or-later
"""Who competes, as data: the programs, what they are told, and what they are asked to do.

A fence agent gets what pacemaker-fenced 2.1 gives it: its parameters on stdin, with the name of the
node as `nodename` and as `plug`, and an environment that says who is calling. All use cipher suite
3: the simulated controller has no other.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Dict, List, Tuple, Union

from fencecost.networks import BAD, FAR, LOOPBACK, LOSSY, NOWHERE, Network

NODE = "bob"
"""The node whose power it is."""

USER, PASSWORD = "fencer", "s3cret"

UNSPACED = "/opt/unspaced"
"""Where the sandbox has our agent once more, without the time between its two last readings."""

ENVIRONMENT = {
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "LC_ALL": "C",
    "HA_LOGFACILITY": "daemon", "HA_logfacility": "daemon",
    "HA_debug": "0", "PCMK_debug": "0",
    "PCMK_service": "pacemaker-fenced",
}


@dataclass(frozen=True)
class Request:
    """A program to be run: its arguments, its whole environment, and what it reads from stdin."""

    argv: Tuple[str, ...]
    environment: Dict[str, str]
    stdin: str = ""


@dataclass(frozen=True)
class Agent:
    """A fence agent.

    parameters: what the administrator configured, beside where the controller is.
    """

    name: str
    program: str
    parameters: Tuple[Tuple[str, str], ...] = ()

    def request(self, action: str, network: Network) -> Request:
        """Return what Pacemaker runs for an action on the node."""
        if network is NOWHERE:      # as stonith_admin --metadata does: nothing but the action
            return Request((self.program,), ENVIRONMENT, f"action={action}\n")
        told = {"action": action, "nodename": NODE, "plug": NODE, "ip": network.address,
                "username": USER, "password": PASSWORD, "lanplus": "1", "cipher": "3",
                **dict(self.parameters)}
        return Request((self.program,), ENVIRONMENT,
                       "".join(f"{name}={value}\n" for name, value in told.items()))


@dataclass(frozen=True)
class Ipmitool:
    """ipmitool, which gives the order and does not look what comes of it."""

    name: str = "ipmitool, looks not"

    def request(self, action: str, network: Network) -> Request:
        """Return the command for an action."""
        return Request(("/usr/bin/ipmitool", "-I", "lanplus", "-C", "3", "-H", network.address,
                        "-U", USER, "-E", "chassis", "power", action),
                       {**ENVIRONMENT, "IPMI_PASSWORD": PASSWORD})


@dataclass(frozen=True)
class Ipmipower:
    """FreeIPMI's program, in C, which waits until a reading says off; it is no fence agent."""

    name: str = "ipmipower, looks once"

    def request(self, action: str, network: Network) -> Request:
        """Return the command for an action."""
        ask = {"status": ("--stat",), "off": ("--off", "--wait-until-off")}[action]
        return Request(("/usr/sbin/ipmipower", "-D", "LAN_2_0", "-I", "3", "-W", "opensesspriv",
                        "-h", network.address, "-u", USER, "-p", PASSWORD, *ask), ENVIRONMENT)


@dataclass(frozen=True)
class Empty:
    """A Python program that does nothing: the least that any agent in Python costs."""

    name: str
    options: str

    def request(self, action: str, network: Network) -> Request:
        """Return the command; there is nothing that it could be asked."""
        return Request(("/usr/bin/python3", self.options, "-c", "pass"), ENVIRONMENT)


Program = Union[Agent, Ipmitool, Ipmipower, Empty]

PEER = Agent("fence_ipmilan", "/usr/sbin/fence_ipmilan")

PEER_TUNED = Agent("fence_ipmilan power_wait=0", "/usr/sbin/fence_ipmilan", (("power_wait", "0"),))

OURS = Agent("fence_ipmi", "/usr/sbin/fence_ipmi", (("node", NODE),))

OURS_UNSPACED = Agent("fence_ipmi, no spacing", f"{UNSPACED}/fence/fence_ipmi", (("node", NODE),))

OUR_PROGRAMS = (OURS, OURS_UNSPACED)


@dataclass(frozen=True)
class Contest:
    """One program doing one thing over one network: a row of the table.

    share: part of the rounds in which it has a turn. What takes a minute has few.
    least: how often it has a turn in any case; there are as many rounds as that takes.
    """

    program: Program
    action: str
    network: Network
    share: float = 1.0
    least: int = 1

    def times(self, rounds: int) -> int:
        """Return how often it is run, where `rounds` were asked for."""
        return max(round(rounds * self.share), self.least)

    @property
    def request(self) -> Request:
        """What is run."""
        return self.program.request(self.action, self.network)


AT_BAD_NETWORK = 20
"""How often ours has to succeed where every fifth datagram is lost."""

SELDOM = 0.25


def _contests() -> List[Contest]:
    """Return the rows of the table."""
    agents: Tuple[Program, ...] = (PEER, PEER_TUNED, OURS, OURS_UNSPACED)
    tools: Tuple[Program, ...] = (Ipmitool(), Ipmipower())
    found = [Contest(program, "metadata", NOWHERE) for program in (PEER, OURS)]
    found += [Contest(Empty(f"python3 {options} -c pass", options), "nothing", NOWHERE)
              for options in ("-I", "-IS")]
    for network in (LOOPBACK, FAR):
        found += [Contest(program, "off", network) for program in (*agents, *tools)]
        found += [Contest(program, "status", network) for program in (PEER, OURS, *tools)]
        found += [Contest(program, "reboot", network, SELDOM if program is PEER else 1.0)
                  for program in agents]
    found += [Contest(program, "off", LOSSY, SELDOM if program is PEER else 1.0)
              for program in (*agents, *tools)]
    found += [Contest(OURS, "off", BAD, least=AT_BAD_NETWORK)]
    found += [Contest(program, "off", BAD, SELDOM) for program in (PEER_TUNED, *tools)]
    return found


ALL: Tuple[Contest, ...] = tuple(_contests())
