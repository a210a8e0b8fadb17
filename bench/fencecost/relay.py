# SPDX-License-Identifier: GPL-2.0-or-later
"""The relay: a program that is the network between an agent and the controller.

The kernel can delay and lose datagrams (tc netem), but many a kernel is built without that. This
does it in user space: it listens on an address for each network, passes on to the controller what
arrives there, late or not at all, and the answers likewise, and counts what either side has sent.
By itself it costs less than 0.1 ms each way, and a delay comes out 0.3 ms too long.

It reads one request a line from stdin and answers each with a line, both JSON:

- ``{"do": "begin", "seed": n}`` opens the count of one run of an agent. Which datagrams get lost
  depends on the seed alone: with the same one, two agents lose the same first, second, n-th
  datagram of each direction.
- ``{"do": "end"}`` delivers what is still under way, so that no order of this run arrives in the
  next one, and answers ``{"sent": both ways, "lost": of these}``.
"""

from __future__ import annotations

import heapq
import json
import os
import random
import select
import socket
import sys
import time
from typing import Any, Callable, Dict, List, Optional, Sequence, Tuple

Address = Tuple[str, int]

LARGEST = 65536


class Direction:
    """One direction of one network during one run: decides the fate of each datagram."""

    def __init__(self, delay: float, loss: float, seed: str) -> None:
        """Start counting.

        delay: seconds. loss: part of the datagrams. seed: what the losses depend on.
        """
        self.sent = self.lost = 0
        self._delay = delay
        self._loss = loss
        self._random = random.Random(seed)

    def due(self, now: float) -> Optional[float]:
        """Count a datagram and return when it arrives, or None if it never does."""
        self.sent += 1
        if self._random.random() < self._loss:
            self.lost += 1
            return None
        return now + self._delay


class Relay:
    """The sockets of all networks, and the datagrams that are under way."""

    def __init__(self, networks: Sequence[Tuple[str, float, float]], port: int,
                 controller: Address) -> None:
        """Listen.

        networks: address, delay in seconds and loss of each.
        port: of all of them. controller: where the controller listens.
        """
        self._listeners: Dict[socket.socket, Tuple[float, float]] = {}
        for address, delay, loss in networks:
            listener = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            listener.bind((address, port))
            self._listeners[listener] = (delay, loss)
        self._controller = controller
        # One socket towards the controller for each client, so that answers find their way back.
        self._clients: Dict[socket.socket, Tuple[socket.socket, Address]] = {}
        self._upstream: Dict[Tuple[socket.socket, Address], socket.socket] = {}
        self._under_way: List[Tuple[float, int, Callable[[], object]]] = []
        self._number = 0
        self.begin(0)

    @property
    def sockets(self) -> List[socket.socket]:
        """All that may become readable."""
        return [*self._listeners, *self._clients]

    @property
    def addresses(self) -> List[Address]:
        """Where it listens."""
        return [listener.getsockname() for listener in self._listeners]

    def begin(self, seed: int) -> None:
        """Open the count of a run."""
        self._towards = {listener: Direction(*facts, f"{seed} towards")
                         for listener, facts in self._listeners.items()}
        self._back = {listener: Direction(*facts, f"{seed} back")
                      for listener, facts in self._listeners.items()}

    def end(self) -> Dict[str, int]:
        """Deliver all that is under way, forget the clients, and return the counts."""
        self.take(select.select(self.sockets, [], [], 0)[0])
        self.deliver(float("inf"))
        for upstream in self._clients:
            upstream.close()
        self._clients, self._upstream = {}, {}
        both = [*self._towards.values(), *self._back.values()]
        return {"sent": sum(each.sent for each in both), "lost": sum(each.lost for each in both)}

    def close(self) -> None:
        """Close every socket."""
        for each in self.sockets:
            each.close()

    def wait(self, now: float) -> Optional[float]:
        """Return the seconds until the next datagram is due; None if none is under way."""
        return max(self._under_way[0][0] - now, 0.0) if self._under_way else None

    def take(self, readable: Sequence[Any]) -> None:
        """Receive one datagram from each of these sockets and send it on its way."""
        for each in readable:
            if each in self._listeners:
                self._from_client(each)
            elif each in self._clients:
                self._from_controller(each)

    def deliver(self, now: float) -> None:
        """Deliver what is due."""
        while self._under_way and self._under_way[0][0] <= now:
            heapq.heappop(self._under_way)[2]()

    def _from_client(self, listener: socket.socket) -> None:
        data, client = listener.recvfrom(LARGEST)
        if (listener, client) not in self._upstream:
            made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            made.connect(self._controller)
            self._upstream[listener, client] = made
            self._clients[made] = (listener, client)
        upstream = self._upstream[listener, client]
        self._send(self._towards[listener], lambda: upstream.send(data))

    def _from_controller(self, upstream: socket.socket) -> None:
        data = upstream.recv(LARGEST)
        listener, client = self._clients[upstream]
        self._send(self._back[listener], lambda: listener.sendto(data, client))

    def _send(self, direction: Direction, delivery: Callable[[], object]) -> None:
        due = direction.due(time.monotonic())
        if due is not None:
            self._number += 1       # of two that are due at once, the first one goes first
            heapq.heappush(self._under_way, (due, self._number, delivery))


def serve(relay: Relay) -> None:
    """Relay, and answer requests, until stdin ends."""
    rest = b""
    while True:
        readable: List[Any] = select.select([sys.stdin, *relay.sockets], [], [],
                                            relay.wait(time.monotonic()))[0]
        relay.take(readable)
        relay.deliver(time.monotonic())
        if sys.stdin not in readable:
            continue
        said = os.read(0, LARGEST)
        if not said:
            return
        *requests, rest = (rest + said).split(b"\n")
        for request in map(json.loads, requests):
            if request["do"] == "begin":
                relay.begin(request["seed"])
                answer: Dict[str, int] = {}
            else:
                answer = relay.end()
            print(json.dumps(answer), flush=True)


def main() -> None:
    """Be the relay whose networks, port and controller the first argument says, in JSON."""
    facts = json.loads(sys.argv[1])
    serve(Relay(facts["networks"], facts["port"], (facts["controller"], facts["port"])))


if __name__ == "__main__":
    main()
