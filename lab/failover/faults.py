# SPDX-License-Identifier: GPL-2.0-or-later
"""The two tests of the whitepaper's chapter on high availability, with mail running.

11.6, node failure: the node that runs Kopano loses its power. 11.7, resource failure: a service of
Kopano is killed; here one after the other, because each of them has to be noticed.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Callable, List, Sequence, Set

from failover import record
from failover.cluster import KOPANO, PATIENCE, Cluster, NotInTime, Say
from failover.mail import Postman
from failover.record import Happening
from kopano.layout import SERVICES

# The whitepaper kills the server; the others follow in the order in which they start.
KILLED_IN_TURN = SERVICES


class NotPassed(Exception):
    """A test found the cluster to do what it must not; the text says what."""


@dataclass
class Fault:
    """One fault and what came of it."""

    title: str
    what: str               # what was done, for the timeline
    when: float             # seconds since the epoch
    happenings: List[Happening] = field(default_factory=list)
    ended: float = 0.0      # when all was well again


def node_failure(cluster: Cluster, postman: Postman, say: Say) -> Fault:
    """Take the power from the node that runs Kopano; return when the cluster is whole again.

    Passed if the survivor fenced that node, then ran everything, then took mail; and if, once the
    node is back in the cluster, nothing has moved back. Raises NotInTime and NotPassed.
    """
    victim = _where_kopano_runs(cluster)
    survivor = next(node for node in cluster.nodes if node != victim)
    fault = Fault(f"Node failure (11.6 in Kopano's manual): {victim} loses its power",
                  f"{victim}'s power was cut",
                  time.time())
    say(f"{fault.title}")
    cluster.lab.poweroff(victim)
    watch = _Watch(cluster, fault, survivor, say)
    watch.until(f"{survivor} runs everything", lambda: cluster.survivor_runs(survivor))
    served = time.time()
    fencings = record.fencings(cluster.lab, survivor, victim)
    if fencings != ["success"]:
        raise NotPassed(f"everything runs on {survivor}, but the fencings of {victim} that the "
                        f"cluster knows of are: {', '.join(fencings) or 'none'}")
    watch.until("mail is accepted again", lambda: postman.acknowledged_since(served))
    fault.ended = time.time()
    watch.until(f"{victim} is back", lambda: cluster.all_run(survivor))
    return fault


def resource_failure(cluster: Cluster, postman: Postman, service: str, say: Say) -> Fault:
    """Kill a service of Kopano with signal 9; return when the cluster has recovered it.

    Passed if Pacemaker noticed by itself and recovered Kopano where it was, the service is another
    process than before, and mail is accepted. Raises NotInTime and NotPassed.
    """
    program = f"kopano-{service}"
    node = _where_kopano_runs(cluster)
    before = _processes(cluster, node, program)
    if not before:
        raise NotPassed(f"{program} does not run on {node}, although the cluster says so")
    fault = Fault(f"Resource failure (11.7): kill -9 {program}", f"{program} was killed",
                  time.time())
    say(fault.title)
    cluster.lab.execute(node, ["killall", "-9", program], timeout=20)
    watch = _Watch(cluster, fault, node, say)
    watch.until(f"Pacemaker has started {program} again", lambda: any(
        each.kind == "started" and each.subject.startswith("kopano_")
        for each in watch.happenings()) and cluster.all_run(node))
    served = time.time()
    fault.ended = served
    after = _processes(cluster, node, program)
    if not after or after & before:
        raise NotPassed(f"the cluster says that it recovered {program}, but its processes were "
                        f"{sorted(before)} and are {sorted(after)}")
    watch.until("mail is accepted", lambda: postman.acknowledged_since(served))
    watch.happenings()
    cluster.clean_up()
    return fault


class _Watch:
    """Tells what the logs say while something is awaited, each thing once."""

    def __init__(self, cluster: Cluster, fault: Fault, witness: str, say: Say) -> None:
        self._witness = witness
        self._cluster = cluster
        self._fault = fault
        self._say = say

    def until(self, what: str, look: Callable[[], object]) -> None:
        """Wait until `look` returns something true."""
        def look_and_tell() -> object:
            self.happenings()
            return look()

        self._cluster.wait_until(what, look_and_tell, timeout=PATIENCE)
        self.happenings()

    def happenings(self) -> Sequence[Happening]:
        """Return all that has happened since the fault; say what is new."""
        known = set(self._fault.happenings)
        found = record.since(self._cluster.lab, self._cluster.running_nodes(), self._fault.when,
                             self._witness)
        for each in found:
            if each not in known:
                self._say(f"  {each.text}")
        self._fault.happenings = sorted(known.union(found))
        return self._fault.happenings


def _where_kopano_runs(cluster: Cluster) -> str:
    state = cluster.state()
    node = state.only_place(KOPANO) if state else None
    if node is None:
        raise NotInTime(f"{KOPANO} does not run on exactly one node")
    return node


def _processes(cluster: Cluster, node: str, program: str) -> Set[str]:
    """Return the process numbers of a program on a node."""
    return set(cluster.lab.execute(node, ["pgrep", "-x", program], timeout=20,
                                   check=False).stdout.split())
