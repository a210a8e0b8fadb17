# SPDX-License-Identifier: GPL-2.0-or-later
"""What lies between an agent and the controller, as data."""

from __future__ import annotations

from dataclasses import dataclass

CONTROLLER = "127.0.0.1"
"""Where the controller itself listens."""

PORT = 623
"""Of the controller, and of the relay on each of its addresses: the port of IPMI."""


@dataclass(frozen=True)
class Network:
    """A network. All but loopback are made by the relay, which has an address for each.

    address: what an agent believes to be the controller's.
    delay: seconds that a datagram takes, each way.
    loss: part of the datagrams that get lost, each way.
    """

    name: str
    address: str
    delay: float = 0.0
    loss: float = 0.0

    @property
    def relayed(self) -> bool:
        """Whether the relay is in between, and therefore counts the datagrams."""
        return self.address not in ("", CONTROLLER)


NOWHERE = Network("–", "")
"""For what needs no network."""

LOOPBACK = Network("loopback", CONTROLLER)

FAR = Network("20 ms RTT", "127.0.0.2", delay=0.010)

LOSSY = Network("5 % loss", "127.0.0.3", loss=0.05)

BAD = Network("20 % loss", "127.0.0.4", loss=0.20)

RELAYED = (FAR, LOSSY, BAD)
