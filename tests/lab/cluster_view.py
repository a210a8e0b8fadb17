# SPDX-License-Identifier: GPL-2.0-or-later
"""What the whole cluster says of itself: Pacemaker, the nodes' journals, systemd and the kernel."""

from __future__ import annotations

import html
import re
import subprocess
import time
from typing import Callable, Dict, FrozenSet, List, NamedTuple, Optional, TypeVar
from xml.etree import ElementTree

from failover import record
from failover.cluster import Cluster, State
from failover.products.kopano import KOPANO
from failover.record import Happening
from kopano.layout import SERVICES
from twonode.lab import LabError

Found = TypeVar("Found")

UNITS = tuple(f"kopano-{service}" for service in SERVICES)


SAME_FENCING = 3.0
"""Seconds within which two logs tell of the same fencing of a node."""


class Failure(NamedTuple):
    """One failed or degraded operation, as crm_mon lists it."""

    resource: str
    task: str
    node: str
    code: int
    reason: str


class Process(NamedTuple):
    """The main process of a unit: its number, and when systemd started it."""

    number: str
    started: str


class ClusterView:
    """A look at the cluster, and waiting for what is to be seen.

    cluster: whose it is. lab: its laboratory. nodes: its nodes' names. began: the moment from which
    on logs are read, seconds since the epoch.
    """

    def __init__(self, cluster: Cluster) -> None:
        """Look at a cluster from now on."""
        self.cluster = cluster
        self.lab = cluster.lab
        self.nodes = cluster.nodes
        self.began = time.time()

    def run(self, *argv: str, node: Optional[str] = None, timeout: float = 60.0,
            input: Optional[str] = None, check: bool = True) -> str:
        """Run a command on a node, or on the first that has power, and return what it printed."""
        place = node or self.cluster.running_nodes()[0]
        return self.lab.execute(place, list(argv), timeout=timeout, input=input,
                                check=check).stdout

    # -- what is so ---------------------------------------------------------------------------

    @property
    def active(self) -> str:
        """The node on which Kopano runs."""
        return self.place_of(KOPANO)

    def in_charge(self) -> str:
        """Return the node whose controller makes the decisions (Pacemaker's "DC")."""
        def look() -> Optional[str]:
            said = re.search(r"is: (\S+)", self.run("crmadmin", "--dc_lookup"))
            return said.group(1) if said else None

        return self.wait_until("one node is in charge", look)

    def other(self, node: str) -> str:
        """Return the node that is not this one."""
        return next(each for each in self.nodes if each != node)

    def place_of(self, resource: str) -> str:
        """Return the one node on which a resource runs, when it does.

        On a very busy machine a monitor may have run out of time, and a recovery be under way.
        """
        def look() -> Optional[str]:
            state = self.cluster.state()
            return state.only_place(resource) if state is not None else None

        return self.wait_until(f"{resource} runs in one place", look)

    def state(self, seen_by: Optional[str] = None) -> State:
        """Return how the cluster stands, as a node, or whichever answers first, sees it."""
        return self.wait_until("the cluster says how it stands",
                               lambda: self.cluster.state(seen_by))

    def failures(self, seen_by: Optional[str] = None) -> List[Failure]:
        """Return the failed and degraded operations that crm_mon lists."""
        root = ElementTree.fromstring(
            self.run("crm_mon", "-1", "--output-as=xml", node=seen_by))
        found = []
        for each in root.iterfind("failures/failure"):
            match = re.fullmatch(r"(.+)_([a-z-]+)_\d+", each.get("op_key", ""))
            assert match is not None, each.attrib
            found.append(Failure(match.group(1), match.group(2), each.get("node", ""),
                                 int(each.get("exitcode", "-1")),
                                 # Pacemaker 2.1 escapes it twice.
                                 html.unescape(each.get("exitreason", ""))))
        return found

    def await_failure(self, resource: str, task: str, *, node: str, code: int,
                      reason: str = "") -> Failure:
        """Wait until crm_mon lists this; reason: a pattern that is to be found in the reason."""
        def look() -> Optional[Failure]:
            for each in self.failures():
                if (each[:4] == (resource, task, node, code)
                        and re.search(reason, each.reason)):
                    return each
            return None

        return self.wait_until(f"{task} of {resource} on {node} ended with {code} ({reason})", look)

    def reasons(self, resource: str, task: str, node: str) -> str:
        """Return the reasons of the failed operations of a resource on a node that crm_mon lists.

        Each of the monitors may have found it before the recovery began.
        """
        found = [each.reason for each in self.failures() if each[:3] == (resource, task, node)]
        assert found, f"no failed {task} of {resource} on {node} is listed"
        return "; ".join(found)

    def fail_count(self, resource: str, node: str) -> int:
        """Return how often a resource has failed on a node; a start that failed counts as
        Pacemaker's INFINITY, which is a million."""
        said = self.run("crm_failcount", "--query", "-r", resource, "-N", node)
        match = re.search(r"value=(\d+|INFINITY)", said)
        assert match is not None, said
        return 1_000_000 if match.group(1) == "INFINITY" else int(match.group(1))

    def last_result(self, resource: str, interval: int, node: str) -> int:
        """Return the exit code of a recurring monitor; interval: its own, in seconds."""
        path = (f"//node_state[@uname='{node}']"
                f"//lrm_rsc_op[@id='{resource}_monitor_{interval * 1000}']")
        root = ElementTree.fromstring(self.run("cibadmin", "--query", "--xpath", path))
        return int(root.get("rc-code", "-1"))

    def happenings(self, *kinds: str, witness: Optional[str] = None) -> List[Happening]:
        """Return what the nodes' logs say happened in this test, of all kinds or of these."""
        found = record.since(self.lab, self.cluster.running_nodes(), self.began,
                             witness or self.nodes[0])
        return [each for each in found if not kinds or each.kind in kinds]

    def fenced(self) -> List[str]:
        """Return the node that each fencing in this test switched off, in order."""
        seen = sorted((each.when, each.subject) for node in self.cluster.running_nodes()
                      for each in self.happenings("fenced", witness=node))
        # Each witness has its own time for it; nobody boots and is fenced again within seconds.
        return [subject for number, (when, subject) in enumerate(seen)
                if not any(subject == other and when - earlier < SAME_FENCING
                           for earlier, other in seen[:number])]

    def fencings(self, node: str, seen_by: str) -> List[str]:
        """Return how the latest attempts to fence a node ended: "success", "failed", "pending"."""
        root = ElementTree.fromstring(
            self.run("crm_mon", "-1", "--output-as=xml", node=seen_by))
        return [event.get("status", "") for event in root.iterfind("fence_history/fence_event")
                if event.get("target") == node]

    def pids(self, node: str, program: str) -> List[str]:
        """Return the number of every process of a program, whoever started it."""
        return self.run("pidof", "-x", program, node=node, check=False).split()

    def processes(self, node: str) -> Dict[str, Process]:
        """Return the main process of each unit of Kopano that runs on a node."""
        said = self.run("systemctl", "show", "-p",
                        "Id,MainPID,ExecMainStartTimestampMonotonic", *UNITS, node=node)
        found = {}
        for block in said.strip().split("\n\n"):
            facts = dict(line.split("=", 1) for line in block.splitlines())
            if facts["MainPID"] != "0":
                found[facts["Id"].replace(".service", "")] = Process(
                    facts["MainPID"], facts["ExecMainStartTimestampMonotonic"])
        return found

    def journal(self, node: str, *units: str) -> str:
        """Return what a node's journal says of some units in this test, and in all boots of it."""
        return self.run("journalctl", "--no-pager", "-o", "cat", f"--since=@{self.began:.6f}",
                        *[f"--unit={unit}" for unit in units], node=node)

    def links_down(self, node: str) -> bool:
        """Say whether a node's corosync misses one of the links to the other node."""
        return "disconnected" in self.run("corosync-cfgtool", "-s", node=node)

    def mounts(self, node: str) -> List[str]:
        """Return the mount points of the shared disks on a node."""
        return re.findall(r"^/dev/san-\S+ (\S+)", self.run("cat", "/proc/mounts", node=node),
                          re.MULTILINE)

    def nodes_in_state(self, state: str) -> FrozenSet[str]:
        """Return the nodes of which crm_mon says that they are in a state, as "standby"."""
        root = ElementTree.fromstring(self.run("crm_mon", "-1", "--output-as=xml"))
        return frozenset(node.get("name", "") for node in root.iterfind("nodes/node")
                         if node.get(state) == "true")

    # -- waiting ------------------------------------------------------------------------------

    def wait_until(self, what: str, look: Callable[[], Optional[Found]]) -> Found:
        """Return what `look` returns as soon as it is true; raises NotInTime after its patience.

        A node that dies while it is looked at is no answer.
        """
        def careful() -> Optional[Found]:
            try:
                return look()
            except (LabError, subprocess.SubprocessError, ElementTree.ParseError):
                return None

        found = self.cluster.wait_until(what, careful)
        assert found is not None
        return found

    def all_run(self, on: Optional[str] = None) -> None:
        """Wait until everything runs, on the node if one is named, and both nodes are there."""
        self.wait_until(f"everything runs{f' on {on}' if on else ''}, with both nodes",
                        lambda: self.cluster.all_run(on))

    def kopano_runs(self, on: str) -> None:
        """Wait until everything runs, with both nodes, and assert that Kopano is on this one."""
        self.all_run()
        assert self.active == on

    def survivor_runs(self, survivor: str) -> None:
        """Wait until everything runs on one node, whatever the other does."""
        self.wait_until(f"{survivor} runs everything",
                        lambda: self.cluster.survivor_runs(survivor))

    def settle(self) -> None:
        """Wait until the cluster has nothing more to do."""
        # `crm_resource --wait` asks the same and takes two seconds at least.
        self.wait_until("the cluster has nothing more to do", self.idle)

    def idle(self) -> bool:
        """Say whether nothing is under way and the scheduler, asked now, wants nothing done."""
        # Not the summary before it, which also names what cannot be done.
        plan = re.search(r"^Executing cluster transition:(.*)^Revised", self.run(
            "crm_simulate", "--live-check", "--simulate"), re.DOTALL | re.MULTILINE | re.IGNORECASE)
        return plan is not None and "*" not in plan.group(1)
