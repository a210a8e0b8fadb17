# SPDX-License-Identifier: GPL-2.0-or-later
"""The chassis log: who asked what of a node's power, and what became of it.

It is kept on the side of the power, so it is the witness for whatever is said about fencing: a
fence agent, Pacemaker and a person at the button all leave a line here, and only here stands when
the node was really off.
"""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Dict, List, NamedTuple, Sequence, Tuple

IPMI = "ipmi"           # the controller was asked by IPMI
IDRAC = "idrac"         # the controller was asked by SSH
BUTTON = "button"       # somebody stands before the machine: the lab's own verbs
NODE = "node"           # the node did it by itself
POWER = "power"         # nobody asks, it is so: "on" or "off"

ORDERS: Dict[Tuple[str, str], str] = {
    ("power", "0"): "power off", ("power", "1"): "power on", ("reset", "1"): "reset",
    ("shutdown", "1"): "shutdown"}
"""What a controller sets, name and value -> what that means."""


class Entry(NamedTuple):
    """One line of the log."""

    when: float     # seconds since the epoch
    node: str       # whose power
    who: str        # one of the names above
    what: str       # an order as in ORDERS, "read on", "read off", "on", "off", or other words

    def __str__(self) -> str:
        clock = time.strftime("%H:%M:%S", time.localtime(self.when))
        return f"{clock}.{int(self.when % 1 * 1000):03d}  {self.node}  {self.who:<6}  {self.what}"


class ChassisLog:
    """The log as the supervisor writes it."""

    def __init__(self, path: Path) -> None:
        """Write to this file, an object of JSON a line."""
        self._path = path

    def note(self, node: str, who: str, what: str) -> None:
        """Add a line, with the time of now."""
        with open(self._path, "a") as log:
            log.write(json.dumps(Entry(time.time(), node, who, what)._asdict()) + "\n")


def read(path: Path) -> List[Entry]:
    """Return all lines of a log, in order; a log that nobody has written to yet has none."""
    if not path.exists():
        return []
    return [Entry(**json.loads(line)) for line in path.read_text().splitlines()]


def orders(pairs: Sequence[str]) -> List[str]:
    """Return what a controller's names and values ("power", "0", ...) order, as words."""
    return [ORDERS.get((name, value), f"{name} {value}")
            for name, value in zip(pairs[::2], pairs[1::2])]
