# SPDX-License-Identifier: GPL-2.0-or-later
"""A laboratory with the example's cluster in it, and how the cluster says that things stand."""

from __future__ import annotations

import subprocess
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Callable, Dict, FrozenSet, List, Optional, Set, TypeVar
from xml.etree import ElementTree

from failover import configuration
from failover.product import Product
from failover.replication import Pairing
from twonode.lab import Lab, LabError

Found = TypeVar("Found")
Say = Callable[[str], None]

PATIENCE = 240.0
"""Seconds until something that should happen is said not to; a busy machine may take long."""

CONFIGURATION = "/root/cluster.crm"
"""Where the configuration that was loaded lies on the node that loaded it."""


class NotInTime(Exception):
    """Something did not come to pass; the text says what was awaited and how things stand."""


@dataclass(frozen=True)
class State:
    """How one node sees the cluster."""

    online: FrozenSet[str]              # full members, not those that still join
    active: Dict[str, FrozenSet[str]]   # resource -> the nodes on which it runs and is well
    failures: int                       # operations that failed and were not cleaned up
    idle: bool = True                   # no operation is under way that somebody waits for

    def only_place(self, resource: str) -> Optional[str]:
        """Return the node on which the resource runs; None if on none or on several."""
        nodes = self.active.get(resource, frozenset())
        return next(iter(nodes)) if len(nodes) == 1 else None


def parse(crm_mon: str) -> Optional[State]:
    """Return the state that XML of crm_mon describes; None where it is no such XML."""
    try:
        root = ElementTree.fromstring(crm_mon)
    except ElementTree.ParseError:
        return None
    online = {node.get("name", "") for node in root.iterfind("nodes/node")
              if node.get("online") == "true" and node.get("pending") == "false"}
    active: Dict[str, Set[str]] = {}
    for resource in root.iterfind(".//resource"):
        places = active.setdefault(resource.get("id", ""), set())
        if (resource.get("role") == "Started" and resource.get("active") == "true"
                and resource.get("failed") == "false" and _settled(resource)):
            places.update(node.get("name", "") for node in resource.iterfind("node"))
    return State(frozenset(online), {name: frozenset(nodes) for name, nodes in active.items()},
                 len(root.findall("failures/failure")),
                 root.find(".//resource[@pending]") is None)


def _settled(resource: ElementTree.Element) -> bool:
    """Say whether nothing but a monitor is under way for a resource."""
    return resource.get("pending", "Monitoring") == "Monitoring"


class Cluster:
    """The cluster of a product's example in a laboratory."""

    def __init__(self, product: Product, name: str, suite: str = "", **options: Any) -> None:
        """Describe it; `up` makes it.

        name, suite, options: as of Lab.
        """
        self.product = product
        self.lab = Lab(name, suite=suite or product.suite, disks=product.disks,
                       layers=product.layers, provision=[self._provision], **options)
        self.nodes = self.lab.plan.nodes
        self.text = configuration.cluster(product, self.lab.plan)
        self.resources = configuration.resources(self.text)
        self._pairing: Optional[Pairing] = None

    def up(self, say: Say = lambda line: None) -> None:
        """Bring up the nodes with filled disks, load the configuration, and wait until all runs.

        Raises what Lab.up raises, twonode.enter.CommandFailed, and NotInTime.
        """
        self.lab.up(wait=False, progress=say)
        say("waiting for both nodes to be in the cluster")
        self.lab.wait_online()
        # Not before: a booting systemd empties /tmp, and a database's first tables with it.
        self.product.prepare_shared(self.lab, say)
        say(f"loading examples/{self.product.example}/cluster.crm with the laboratory's addresses, "
            "and monitors ten times as often")
        self.load(self.nodes[0])
        self.wait_until("all resources run", self.all_run)

    def load(self, node: str) -> None:
        """Load the configuration from a node, as the example's README says."""
        self.lab.copy_in(node, CONFIGURATION, self.text.encode())
        self.lab.execute(node, ["crm", "configure", "load", "update", CONFIGURATION], timeout=120)

    def state(self, seen_by: Optional[str] = None) -> Optional[State]:
        """Return how a node sees the cluster, or the first one that answers; None if none does."""
        for node in [seen_by] if seen_by else self.running_nodes():
            try:
                said = self.lab.execute(node, ["crm_mon", "-1", "--output-as=xml"], timeout=20,
                                        check=False)
            except (LabError, subprocess.TimeoutExpired):
                continue
            state = parse(said.stdout)
            if state is not None:
                return state
        return None

    def running_nodes(self) -> List[str]:
        """Return the nodes that have power and have been booted."""
        return [node for node, facts in self.lab.status()["nodes"].items()
                if facts["power"] == "on"]

    def all_run(self, on: Optional[str] = None, *, of: str = "") -> Optional[State]:
        """Return the state if every resource runs where it should, else None.

        on: the node on which the groups have to be; None for one node each, whichever.
        of: the one resource that `on` is about, instead of all.
        """
        state = self.state(on)
        if state is None or state.online != frozenset(self.nodes):
            return None
        if of and state.only_place(of) != on:
            return None
        return state if self._runs(state, frozenset(self.nodes), None if of else on) else None

    def survivor_runs(self, survivor: str) -> Optional[State]:
        """Return the state if every resource runs on the survivor, whatever the other node does."""
        state = self.state(survivor)
        if state is None or not self._runs(state, frozenset([survivor]), survivor):
            return None
        return state

    def _runs(self, state: State, clones: FrozenSet[str], on: Optional[str]) -> bool:
        """Say whether clones run at least on `clones`, and everything else in just one place."""
        for resource in self.resources:
            places = state.active.get(resource, frozenset())
            if resource in self.product.everywhere:
                if not places >= clones:
                    return False
            elif len(places) != 1 or (on is not None and places != {on}):
                return False
        return True

    def clean_up(self) -> None:
        """Forgive all failures, as the administrator does after having seen to them."""
        # Forgiven while its first monitor is under way, a resource is taken off the executor, whose
        # answer the transition then awaits in vain for two minutes.
        self.wait_until("nothing is under way", self.is_idle)
        self.lab.execute(self.running_nodes()[0], ["crm_resource", "--cleanup"], timeout=60)
        self.wait_until("the failures are forgiven", lambda: self._forgiven())

    def is_idle(self) -> bool:
        """Say whether nothing is under way in the cluster."""
        state = self.state()
        return state is not None and state.idle

    def _forgiven(self) -> bool:
        state = self.all_run()
        return state is not None and state.failures == 0

    def wait_until(self, what: str, look: Callable[[], Found], *,
                   timeout: float = PATIENCE) -> Found:
        """Return what `look` returns as soon as it is true.

        what: as in "after 120 s it is still not so that WHAT".
        Raises NotInTime.
        """
        deadline = time.monotonic() + timeout
        while True:
            found = look()
            if found:
                return found
            if time.monotonic() > deadline:
                raise NotInTime(f"after {timeout:.0f} s it is still not so that {what}; "
                                f"the cluster says: {self._in_words()}")
            time.sleep(0.3)

    def _in_words(self) -> str:
        """Return how things stand, in one line."""
        state = self.state()
        if state is None:
            return "nothing"
        stopped = [name for name in self.resources if not state.active.get(name)]
        return (f"online {', '.join(sorted(state.online)) or 'nobody'}; "
                f"not running {', '.join(stopped) or 'nothing'}; {state.failures} failures")

    def _provision(self, node: str, disk: Path) -> None:
        self.product.provision(node, disk, self.lab.plan)
        if self.product.over:
            if self._pairing is None:
                with tempfile.TemporaryDirectory() as place:
                    self._pairing = Pairing(Path(place), {
                        each: self.lab.plan.address(each) for each in self.nodes})
            self._pairing.provision(node, disk)
        configuration.install(disk, [configuration.SECRET, *self.product.node_files])
