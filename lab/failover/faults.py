# SPDX-License-Identifier: GPL-2.0-or-later
"""The two tests, with mail running: a node loses its power, and a service is killed."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Callable, List, Sequence

from failover import record
from failover.cluster import PATIENCE, Cluster, NotInTime, Say
from failover.mail import Postman
from failover.product import Move
from failover.record import Happening


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


def node_failure(cluster: Cluster, postmen: Sequence[Postman], say: Say) -> Fault:
    """Take the power from the node that runs the mail server; return when the cluster is whole.

    Passed if the survivor fenced that node, then ran everything, then took mail; and if, once the
    node is back in the cluster, nothing has moved back. Raises NotInTime and NotPassed.
    """
    victim = _where_it_runs(cluster)
    survivor = next(node for node in cluster.nodes if node != victim)
    fault = Fault(f"{cluster.product.node_failure}: {victim} loses its power",
                  f"{victim}'s power was cut",
                  time.time())
    changed = cluster.product.change_configuration(cluster.lab, victim)
    if changed:
        say(f"{changed} on {victim}, and {survivor} has acknowledged it")
        fault.when = time.time()
    say(f"{fault.title}")
    cluster.lab.poweroff(victim)
    watch = _Watch(cluster, fault, survivor, say)
    watch.until(f"{survivor} runs everything", lambda: cluster.survivor_runs(survivor))
    served = time.time()
    fencings = record.fencings(cluster.lab, survivor, victim)
    if fencings != ["success"]:
        raise NotPassed(f"everything runs on {survivor}, but the fencings of {victim} that the "
                        f"cluster knows of are: {', '.join(fencings) or 'none'}")
    watch.until("mail is accepted again", lambda: _is_accepted(postmen, served))
    fault.ended = time.time()
    if changed:
        watch.until(f"{survivor} serves with what was changed",
                    lambda: cluster.product.serves_with_it(cluster.lab.connect))
    load = cluster.product.load(cluster.lab, survivor)
    if load:
        say(f"  {load}")
    watch.until(f"{victim} is back", lambda: cluster.all_run(survivor))
    return fault


def changeover(cluster: Cluster, postmen: Sequence[Postman], move: Move, say: Say) -> Fault:
    """Move a group as an administrator does; return when it has arrived and all mail is taken.

    Passed if it came there without a fencing, and stayed when the order was taken back.
    Raises NotInTime and NotPassed.
    """
    lab, witness = cluster.lab, cluster.nodes[0]
    fault = Fault(f"Changeover on command: {move.group} to {move.node}",
                  f"{move.group} was ordered to {move.node}", time.time())
    say(fault.title)
    lab.execute(witness, ["crm_resource", "--move", "--resource", move.group,
                          "--node", move.node], timeout=60)
    watch = _Watch(cluster, fault, witness, say)
    watch.until(f"{move.group} runs on {move.node}",
                lambda: cluster.all_run(move.node, of=move.resource))
    served = time.time()
    watch.until("mail is accepted", lambda: _is_accepted(postmen, served))
    fault.ended = time.time()
    lab.execute(witness, ["crm_resource", "--clear", "--resource", move.group], timeout=60)
    watch.until(f"{move.group} stays there", lambda: cluster.is_idle()
                and cluster.all_run(move.node, of=move.resource))
    return fault


def resource_failure(cluster: Cluster, postmen: Sequence[Postman], service: str, say: Say) -> Fault:
    """Kill a service with signal 9; return when the cluster has recovered it.

    Passed if Pacemaker noticed by itself and recovered the resource where it was, the service is
    another process than before, and mail is accepted. Of an optional service it has to notice that
    it is gone, while nothing else stops; the administrator starts it again.
    Raises NotInTime and NotPassed.
    """
    product, resource = cluster.product, cluster.product.resource_of(service)
    node = _where_it_runs(cluster, resource)
    before = product.processes(cluster.lab, node, service)
    if not before:
        raise NotPassed(f"{service} does not run on {node}, although the cluster says so")
    fault = Fault(f"{product.resource_failure}: kill -9 {service}", f"{service} was killed",
                  time.time())
    say(fault.title)
    product.kill(cluster.lab, node, service)
    watch = _Watch(cluster, fault, node, say)
    if product.is_optional(service):
        watch.until(f"{resource} is degraded", lambda: any(
            each.kind == "found" and each.subject == resource and record.DEGRADED in each.text
            for each in watch.happenings()))
        cluster.lab.execute(node, ["systemctl", "start", service], timeout=60)
    else:
        watch.until(f"Pacemaker has started {service} again", lambda: any(
            each.kind == "started" and each.subject == resource
            for each in watch.happenings()) and cluster.all_run(node, of=resource))
    served = time.time()
    fault.ended = served
    after = product.processes(cluster.lab, node, service)
    if not after or after & before:
        raise NotPassed(f"the cluster says that it recovered {service}, but its processes were "
                        f"{sorted(before)} and are {sorted(after)}")
    watch.until("mail is accepted", lambda: _is_accepted(postmen, served))
    if product.is_optional(service) and any(each.kind == "stopped" for each in fault.happenings):
        raise NotPassed(f"{service} is optional, but the cluster has stopped something for it")
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


def _where_it_runs(cluster: Cluster, resource: str = "") -> str:
    """Return the node of a resource, or of the mail server."""
    resource = resource or cluster.product.main
    state = cluster.state()
    node = state.only_place(resource) if state else None
    if node is None:
        raise NotInTime(f"{resource} does not run on exactly one node")
    return node


def _is_accepted(postmen: Sequence[Postman], since: float) -> bool:
    """Say whether every postman got rid of a letter after a moment."""
    return all(postman.acknowledged_since(since) for postman in postmen)
