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
from typing import List, Optional, Set

from failover import configuration, mailboxes, timeline
from failover.cluster import DATABASE, Cluster, NotInTime
from failover.faults import (KILLED_IN_TURN, Fault, NotPassed, node_failure, resource_failure)
from failover.guardian import Guardian
from failover.mail import Postman
from kopano.provision import USERS, ProvisionFailed
from twonode import aptsources, evidence, image, launcher, plan, preflight
from twonode.boot import BootFailed
from twonode.lab import Lab, LabError

LETTERS_PER_SECOND = 5.0

LMTP_PORT = 2003
POP3_PORT = 110

LAST_DELIVERIES = 60.0
"""Seconds that the letters which still wait have at the end."""

KNOWN_ERRORS = (LabError, NotInTime, NotPassed, plan.BadPlan, image.ImageFailed, BootFailed,
                aptsources.NoSources, launcher.StillThere, ProvisionFailed,
                configuration.ExampleChanged, subprocess.SubprocessError)

INTRODUCTION = """\
mailha keeps a mail server available on two nodes. Here they are two real systems on this machine,
alice and bob: systemd, Corosync, Pacemaker, fencing, MariaDB and Apache are Debian's own. Only the
six services of Kopano are a stand-in, because Debian has no Kopano: programs of the same names that
behave as Kopano 8.7 does and keep their mail in MariaDB and on the shared disk.
"""

KEPT = """\
The laboratory is left as it is. Look inside with
    sudo lab/lab --name {name} exec alice crm_mon -1
    sudo lab/lab --name {name} shell alice
and take it down with
    sudo lab/lab --name {name} down
"""


class Demonstration:
    """One run of it."""

    def __init__(self, name: str, *, keep: bool) -> None:
        """Prepare a run with a laboratory of this name.

        keep: say at the end how to go on with the laboratory.
        """
        self._started = time.monotonic()
        self._keep = keep
        self._cluster = Cluster(name)
        self._faults: List[Fault] = []

    def say(self, text: str) -> None:
        """Print a line of progress."""
        print(f"{time.monotonic() - self._started:6.1f} s  {text}", flush=True)

    def run(self) -> bool:
        """Do all of it; return whether every test passed and nothing was lost.

        The laboratory is left for the caller to take down.
        """
        self._cluster.up(self.say)
        self.say("the cluster serves; from here on mail is delivered by LMTP to the floating "
                 f"address, {LETTERS_PER_SECOND:.0f} letters a second")
        postman = Postman(lambda timeout: self._connect(LMTP_PORT, timeout),
                          [user.email for user in USERS], LETTERS_PER_SECOND)
        postman.start()
        problems = self._try_everything(postman)
        self.say("no more letters are written; those that wait are delivered")
        waiting = postman.finish(LAST_DELIVERIES)
        if waiting:
            problems.append(f"{waiting} letters were not accepted in {LAST_DELIVERIES:.0f} s "
                            f"after the tests; last answer: {postman.refusals[-1][1]}")
        acknowledged = {receipt.message_id for receipt in postman.receipts}
        lost = len(acknowledged - self._what_is_there(acknowledged))
        if problems or lost or not acknowledged:
            self._save_evidence()
        for fault in self._faults:
            print("\n" + "\n".join(timeline.render(fault, postman.receipts)))
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

    def _try_everything(self, postman: Postman) -> List[str]:
        """Run the tests until one does not pass; return why it did not, or nothing."""
        try:
            self._cluster.wait_until("the first letter is accepted",
                                     lambda: postman.acknowledged_since(0))
            self._add(node_failure(self._cluster, postman, self.say))
            for service in KILLED_IN_TURN:
                self._add(resource_failure(self._cluster, postman, service, self.say))
        except (NotInTime, NotPassed, LabError, subprocess.SubprocessError) as error:
            return [str(error)]
        return []

    def _add(self, fault: Fault) -> None:
        self._faults.append(fault)
        self.say(f"  passed, {time.time() - fault.when:.0f} s after the fault")

    def _what_is_there(self, wanted: Set[str]) -> Set[str]:
        """Return the messages that are both in the database and to be read by POP3."""
        state = self._cluster.state()
        node = state.only_place(DATABASE) if state else None
        if node is None:
            self.say("the database runs nowhere, so nothing can be found in it")
            return set()
        self.say(f"looking for {len(wanted)} acknowledged messages in the database on {node}, "
                 "and by POP3")
        try:
            stored = mailboxes.in_database(self._cluster.lab, node)
            read = mailboxes.by_pop3(lambda timeout: self._connect(POP3_PORT, timeout), USERS)
        except (OSError, mailboxes.Refused, LabError, subprocess.SubprocessError) as error:
            self.say(f"they cannot be looked for: {error}")
            return set()
        self.say(f"{len(wanted & stored)} are in the database, {len(wanted & read)} can be read")
        return stored & read

    def _connect(self, port: int, timeout: float) -> socket.socket:
        """Connect to a port of the floating address; raises OSError, whatever is in the way."""
        try:
            return self._cluster.lab.connect(configuration.KOPANO_ADDRESS, port, timeout)
        except LabError as error:
            raise OSError(str(error)) from error


def main(arguments: Optional[List[str]] = None) -> int:
    """Run the demonstration as the command line says and return the exit code."""
    parser = argparse.ArgumentParser(
        prog="lab/demo", description="Show a failover on two real nodes, with mail running.")
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
    print(INTRODUCTION, flush=True)
    return _run(options.name, options.keep)


def _run(name: str, keep: bool) -> int:
    """Run it under a guardian, who takes the laboratory down whatever happens here."""
    demonstration = Demonstration(name, keep=keep)
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
