# SPDX-License-Identifier: GPL-2.0-or-later
"""The demonstration: a cluster, mail, two tests, a timeline of each fault, and what was lost."""

from __future__ import annotations

import argparse
import os
import signal
import socket
import subprocess
import sys
import time
from typing import List, Optional, Sequence, Set

from failover import configuration, products, timeline
from failover.cluster import Cluster, NotInTime
from failover.faults import Fault, NotPassed, changeover, node_failure, resource_failure
from failover.guardian import Guardian
from failover.mail import Postman
from failover.product import CannotLook, Product, places
from twonode import aptsources, evidence, image, launcher, layer, plan, preflight
from twonode.boot import BootFailed
from twonode.lab import Lab, LabError

LAST_DELIVERIES = 60.0
"""Seconds that the letters which still wait have at the end."""

KNOWN_ERRORS = (LabError, NotInTime, NotPassed, plan.BadPlan, image.ImageFailed, layer.LayerFailed,
                BootFailed, aptsources.NoSources, launcher.StillThere,
                configuration.ExampleChanged, subprocess.SubprocessError)

KEPT = """\
The laboratory is left as it is. Look inside with
    sudo lab/lab --name {name} exec alice crm_mon -1
    sudo lab/lab --name {name} shell alice
and take it down with
    sudo lab/lab --name {name} down
"""


class Demonstration:
    """One run of it."""

    def __init__(self, product: Product, name: str, *, keep: bool) -> None:
        """Prepare a run with a laboratory of this name.

        keep: say at the end how to go on with the laboratory.
        """
        self._started = time.monotonic()
        self._keep = keep
        self._cluster = Cluster(product, name)
        self._faults: List[Fault] = []

    def say(self, text: str) -> None:
        """Print a line of progress."""
        print(f"{time.monotonic() - self._started:6.1f} s  {text}", flush=True)

    def run(self) -> bool:
        """Do all of it; return whether every test passed and nothing was lost.

        The laboratory is left for the caller to take down.
        """
        self._cluster.up(self.say)
        postmen = self._cluster.product.postmen(self._connect)
        self.say("the cluster serves; from here on mail is delivered to the floating address, "
                 f"{sum(postman.per_second for postman in postmen):.0f} letters a second")
        for postman in postmen:
            postman.start()
        problems = self._try_everything(postmen)
        self.say("no more letters are written; those that wait are delivered")
        for postman in postmen:
            waiting = postman.finish(LAST_DELIVERIES)
            if waiting:
                problems.append(f"{waiting} letters were not accepted in {LAST_DELIVERIES:.0f} s "
                                f"after the tests; last answer: {postman.refusals[-1][1]}")
        acknowledged = {receipt.message_id for postman in postmen for receipt in postman.receipts}
        lost = len(acknowledged - self._what_is_there(acknowledged))
        if problems or lost or not acknowledged:
            self._save_evidence()
        for fault in self._faults:
            print("\n" + "\n".join(timeline.render(
                fault, [postman.receipts for postman in postmen])))
        print()
        if self._keep:
            print(KEPT.format(name=self._cluster.lab.name))
        for problem in problems:
            print(f"FAILED: {problem}")
        print(f"{lost} of {len(acknowledged)} acknowledged messages lost", flush=True)
        return bool(acknowledged) and not (problems or lost)

    def _save_evidence(self) -> None:
        """Keep what the nodes have to say, for whoever looks into a failure."""
        directory = evidence.PLACE / f"demonstration-{self._cluster.lab.name}"
        evidence.save(self._cluster.lab, directory)
        self.say(f"what the nodes had to say is in {directory}")

    def _try_everything(self, postmen: Sequence[Postman]) -> List[str]:
        """Run the tests until one does not pass; return why it did not, or nothing."""
        try:
            self._cluster.wait_until("the first letter is accepted", lambda: all(
                postman.acknowledged_since(0) for postman in postmen))
            for move in self._cluster.product.moves_before:
                self._add(changeover(self._cluster, postmen, move, self.say))
            self._add(node_failure(self._cluster, postmen, self.say))
            for move in self._cluster.product.moves_after:
                self._add(changeover(self._cluster, postmen, move, self.say))
            for service in self._cluster.product.killed:
                self._add(resource_failure(self._cluster, postmen, service, self.say))
        except (NotInTime, NotPassed, LabError, subprocess.SubprocessError) as error:
            return [str(error)]
        return []

    def _add(self, fault: Fault) -> None:
        self._faults.append(fault)
        self.say(f"  passed, {time.time() - fault.when:.0f} s after the fault")

    def _what_is_there(self, wanted: Set[str]) -> Set[str]:
        """Return which messages are there in every way in which they can be looked for."""
        state = self._cluster.state()
        try:
            return self._cluster.product.look_for(
                wanted, self._cluster.lab, places(state.active if state else {}), self._connect,
                self.say)
        except CannotLook as error:
            self.say(f"they cannot be looked for: {error}")
            return set()

    def _connect(self, address: str, port: int, timeout: float) -> socket.socket:
        """Connect to a floating address; raises OSError, whatever is in the way."""
        try:
            return self._cluster.lab.connect(address, port, timeout)
        except LabError as error:
            raise OSError(str(error)) from error


def main(arguments: Optional[List[str]] = None) -> int:
    """Run the demonstration as the command line says and return the exit code."""
    parser = argparse.ArgumentParser(
        prog="lab/demo", description="Show a failover on two real nodes, with mail running.")
    parser.add_argument("product", nargs="?", default="kopano", choices=products.names(),
                        help="what to show; without it %(default)s")
    parser.add_argument("--keep", action="store_true",
                        help="leave the laboratory up at the end, and say how to look inside")
    parser.add_argument("--name", default="demo",
                        help="the name of the laboratory, where several run side by side")
    options = parser.parse_args(arguments)
    findings = preflight.check()
    if findings:
        print("\n".join(f"lab/demo: {finding}" for finding in findings), file=sys.stderr)
        return 1
    if Lab(options.name).is_up():
        print(f"lab/demo: a laboratory {options.name} is up already; take it down with "
              f"lab/lab --name {options.name} down, or give this one another --name",
              file=sys.stderr)
        return 1
    _end_by_exception()
    product = products.load(options.product)
    print(product.introduction, flush=True)
    return _run(product, options.name, options.keep)


def _run(product: Product, name: str, keep: bool) -> int:
    """Run it under a guardian, who takes the laboratory down whatever happens here."""
    demonstration = Demonstration(product, name, keep=keep)
    guardian = Guardian(name)
    passed = finished = False
    try:
        passed = demonstration.run()
        finished = True
    except KNOWN_ERRORS as error:
        print(f"FAILED: {error}", flush=True)
    except BrokenPipeError:
        # Whoever read what we print has gone away; Python would say so once more at our end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 128 + signal.SIGPIPE
    finally:
        guardian.dismiss(keep=keep and finished)
    return 0 if passed else 1


def _end_by_exception() -> None:
    """Let a signal to end, or a closed terminal, go the way of every other end."""
    def end(number: int, frame: object) -> None:
        print("\ninterrupted", flush=True)
        sys.exit(128 + number)

    # SIGINT too: a shell starts what is to run in the background with that one ignored.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, end)


if __name__ == "__main__":
    os.umask(0o022)
    sys.exit(main())
