# SPDX-License-Identifier: GPL-2.0-or-later
"""The whole cluster of the example, with mail running, for tests that hurt it.

One cluster serves all tests. Each test begins with everything well and mail being accepted, and
ends when everything is well again and not one acknowledged message is lost; see begin() and end().
"""

from __future__ import annotations

import html
import re
import socket
import subprocess
import time
from pathlib import Path
from typing import Callable, Dict, FrozenSet, List, NamedTuple, Optional, TypeVar
from xml.etree import ElementTree

from failover import configuration, mailboxes, record
from failover.cluster import DATABASE, KOPANO, Cluster, State
from failover.mail import Postman
from failover.record import Happening
from kopano.layout import SERVICES
from kopano.provision import USERS
from twonode.lab import LabError

Found = TypeVar("Found")

FIRMWARE_SECONDS = 5.0
"""A node must not be back before the fencing that killed it has returned; that takes about 3 s."""

DEEP_INTERVAL = 5
"""Seconds between two monitors of depth 10; tests wait for them."""

LETTERS_PER_SECOND = 5.0
LMTP_PORT, POP3_PORT = 2003, 110

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"

UNITS = tuple(f"kopano-{service}" for service in SERVICES)

SECTIONS = ("crm_config", "resources", "constraints", "rsc_defaults", "op_defaults")
"""What a test may change of the configuration, and end() changes back."""


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


class ServingCluster:
    """The cluster and the mail that runs through it.

    lab: the laboratory. nodes: its nodes' names. spoilt: it has not been seen well since it was
    made, or since the last test began.
    """

    def __init__(self, name: str, suite: str) -> None:
        """Describe it; `up` makes it.

        name, suite: as of twonode.lab.Lab.
        """
        self._cluster = Cluster(name, suite, post_seconds=FIRMWARE_SECONDS)
        self._cluster.text, changed = re.subn(
            r"op monitor interval=\d+s (timeout=\d+s OCF_CHECK_LEVEL=10)",
            rf"op monitor interval={DEEP_INTERVAL}s \1", self._cluster.text)
        assert changed, "the example has no monitor of depth 10"
        self.lab = self._cluster.lab
        self.nodes = self._cluster.nodes
        self.spoilt = True
        self._whole: Dict[str, str] = {}
        self._postman: Optional[Postman] = None
        self._begin = 0.0

    # -- from test to test --------------------------------------------------------------------

    def up(self, say: Callable[[str], None]) -> None:
        """Bring it up, with everything running."""
        self._cluster.up(say)
        self._whole = self._sections()
        self.spoilt = False

    def begin(self) -> None:
        """Let mail run; return when the first letter is accepted."""
        self.spoilt = True
        self._begin = time.time()
        postman = Postman(lambda timeout: self._connect(LMTP_PORT, timeout),
                          [user.email for user in USERS], LETTERS_PER_SECOND)
        postman.start()
        self._postman = postman
        self.wait_until("the first letter is accepted", lambda: bool(postman.receipts))

    def end(self) -> None:
        """Undo what the test did, wait until all is well, and look for every acknowledged message.

        Raises failover.cluster.NotInTime, and AssertionError where mail is lost.
        """
        self._restore_machines()
        self._restore_configuration()
        self.settle()
        if self.state().failures:
            self.clean_up()
        self.wait_until("all is well again", self._all_well)
        self.settle()
        self._look_for_mail()
        self.spoilt = False

    def _restore_machines(self) -> None:
        status = self.lab.status()["nodes"]
        for node, facts in status.items():
            for link in facts["cut"]:
                self.lab.heal(node, link)
            if not facts["controller"]:
                self.lab.bmc_on(node)
            if facts["power"] == "off":
                self.lab.poweron(node)
        self.lab.wait_online()
        for node in self._nodes_of_state("standby"):
            self.run("crm_standby", "-N", node, "-D")

    def _restore_configuration(self) -> None:
        now = self._sections()
        for section, text in self._whole.items():
            if now.get(section) != text:
                self.run("cibadmin", "--replace", "--scope", section, "--xml-pipe", input=text)

    def _sections(self) -> Dict[str, str]:
        """Return the text of each section of the configuration."""
        root = ElementTree.fromstring(self.run("cibadmin", "--query", "--scope", "configuration"))
        texts = {}
        for section in root:
            if section.tag not in SECTIONS:
                continue
            for values in section.iter("cluster_property_set"):
                for pair in list(values):
                    # Whoever cleans up leaves the time of it there.
                    if pair.get("name") == "last-lrm-refresh":
                        values.remove(pair)
            texts[section.tag] = ElementTree.tostring(section, encoding="unicode")
        return texts

    def _all_well(self) -> bool:
        state = self._cluster.all_run()
        return state is not None and state.failures == 0

    def _look_for_mail(self) -> None:
        postman = self.postman
        waiting = postman.finish(60)
        assert waiting == 0, f"{waiting} letters wait; the last answer: {postman.refusals[-1:]}"
        acknowledged = {receipt.message_id for receipt in postman.receipts}
        node = self.place_of(DATABASE)
        lost = acknowledged - mailboxes.in_database(self.lab, node)
        assert not lost, f"{len(lost)} acknowledged messages are not in the database"
        read = mailboxes.by_pop3(lambda timeout: self._connect(POP3_PORT, timeout), USERS)
        unreadable = acknowledged - read
        assert not unreadable, f"{len(unreadable)} acknowledged messages cannot be read"
        # The next test has enough to read.
        self.run("mariadb", "-e", "DELETE FROM kopano.messages", node=node)

    # -- how things stand ---------------------------------------------------------------------

    @property
    def postman(self) -> Postman:
        """Who delivers the mail of this test."""
        assert self._postman is not None
        return self._postman

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
        """Return the one node on which a resource runs."""
        state = self.state()
        place = state.only_place(resource)
        assert place is not None, f"{resource} does not run in one place: {state}"
        return place

    def state(self, seen_by: Optional[str] = None) -> State:
        """Return how the cluster stands, as a node, or whichever answers first, sees it."""
        return self.wait_until("the cluster says how it stands",
                               lambda: self._cluster.state(seen_by))

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

    def happenings(self, *kinds: str, witness: Optional[str] = None) -> List[Happening]:
        """Return what the nodes' logs say happened in this test, of all kinds or of these."""
        found = record.since(self.lab, self._cluster.running_nodes(), self._begin,
                             witness or self.nodes[0])
        return [each for each in found if not kinds or each.kind in kinds]

    def fenced(self) -> List[str]:
        """Return the node that each fencing in this test switched off, in order."""
        found: Dict[str, str] = {}
        for node in self._cluster.running_nodes():
            for each in self.happenings("fenced", witness=node):
                found.setdefault(f"{each.when:.0f} {each.subject}", each.subject)
        return list(found.values())

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

    def refused(self, since: float = 0.0) -> List[str]:
        """Return why letters were not accepted at the first try, since a moment."""
        return [why for when, why in list(self.postman.refusals) if when >= since]

    def journal(self, node: str, *units: str) -> str:
        """Return what a node's journal says of some units in this test, and in all boots of it."""
        return self.run("journalctl", "--no-pager", "-o", "cat", f"--since=@{int(self._begin)}",
                        *[f"--unit={unit}" for unit in units], node=node)

    def links_down(self, node: str) -> bool:
        """Say whether a node's corosync misses one of the links to the other node."""
        return "disconnected" in self.run("corosync-cfgtool", "-s", node=node)

    def mounts(self, node: str) -> List[str]:
        """Return the mount points of the shared disks on a node."""
        return re.findall(r"^/dev/san-\S+ (\S+)", self.run("cat", "/proc/mounts", node=node),
                          re.MULTILINE)

    def _nodes_of_state(self, state: str) -> FrozenSet[str]:
        """Return the nodes of which crm_mon says that they are in a state, as "standby"."""
        root = ElementTree.fromstring(self.run("crm_mon", "-1", "--output-as=xml"))
        return frozenset(node.get("name", "") for node in root.iterfind("nodes/node")
                         if node.get(state) == "true")

    # -- what an administrator does -----------------------------------------------------------

    def run(self, *argv: str, node: Optional[str] = None, timeout: float = 60.0,
            input: Optional[str] = None, check: bool = True) -> str:
        """Run a command on a node, or on the first that has power, and return what it printed."""
        place = node or self._cluster.running_nodes()[0]
        return self.lab.execute(place, list(argv), timeout=timeout, input=input,
                                check=check).stdout

    def kill(self, node: str, *programs: str) -> None:
        """Kill every process of the programs with signal 9."""
        self.run("killall", "-9", *programs, node=node)

    def set_property(self, name: str, value: str) -> None:
        """Set a property of the cluster."""
        self.run("crm_attribute", "--name", name, "--update", value)

    def set_parameter(self, resource: str, name: str, value: str) -> None:
        """Set a parameter of a resource."""
        self.run("crm_resource", "-r", resource, "--set-parameter", name,
                 "--parameter-value", value)

    def set_meta(self, resource: str, name: str, value: str) -> None:
        """Set a meta-attribute of a resource."""
        self.run("crm_resource", "-r", resource, "--meta", "--set-parameter", name,
                 "--parameter-value", value)

    def clean_up(self) -> None:
        """Forgive all failures."""
        self.run("crm_resource", "--cleanup")

    def settle(self) -> None:
        """Wait until the cluster has nothing more to do."""
        # `crm_resource --wait` asks the same and takes two seconds at least.
        self.wait_until("the cluster has nothing more to do", self._idle)

    def _idle(self) -> bool:
        """Say whether the controller in charge is idle and the scheduler wants nothing of it."""
        if "S_IDLE" not in self.run("crmadmin", "--status", self.in_charge()):
            return False
        # Not the summary before it, which also names what cannot be done.
        plan = re.search(r"^Executing cluster transition:(.*)^Revised", self.run(
            "crm_simulate", "--live-check", "--simulate"), re.DOTALL | re.MULTILINE | re.IGNORECASE)
        return plan is not None and "*" not in plan.group(1)

    def load(self, path: str) -> None:
        """Load a file of the examples, with the laboratory's addresses and pace, over what is there.

        path: below examples/.
        """
        text = configuration.adapt((EXAMPLES / path).read_text(), self.lab.plan)
        self.run("crm", "-F", "configure", "load", "update", "-", input=text, timeout=120)

    def bring_to(self, node: str) -> None:
        """Have both groups on a node, with mail running, for a test that begins there."""
        groups = {"mysql": DATABASE, "kopano": KOPANO}
        state = self.state()
        if all(state.only_place(member) == node for member in groups.values()):
            return
        for group in groups:
            self.run("crm_resource", "-r", group, "--move", "--node", node)
        self.wait_until(f"everything runs on {node}", lambda: self._cluster.all_run(node))
        for group in groups:
            self.run("crm_resource", "-r", group, "--clear")
        self.settle()
        self.mail_is_accepted()

    # -- waiting ------------------------------------------------------------------------------

    def wait_until(self, what: str, look: Callable[[], Optional[Found]]) -> Found:
        """Return what `look` returns as soon as it is true; raises NotInTime after two minutes.

        A node that dies while it is looked at is no answer.
        """
        def careful() -> Optional[Found]:
            try:
                return look()
            except (LabError, subprocess.SubprocessError, ElementTree.ParseError):
                return None

        found = self._cluster.wait_until(what, careful)
        assert found is not None
        return found

    def all_run(self, on: Optional[str] = None) -> None:
        """Wait until everything runs, on the node if one is named, and both nodes are there."""
        self.wait_until(f"everything runs{f' on {on}' if on else ''}, with both nodes",
                        lambda: self._cluster.all_run(on))

    def survivor_runs(self, survivor: str) -> None:
        """Wait until everything runs on one node, whatever the other does."""
        self.wait_until(f"{survivor} runs everything",
                        lambda: self._cluster.survivor_runs(survivor))

    def mail_is_accepted(self) -> None:
        """Wait until a letter has been accepted from now on."""
        now = time.time()
        self.wait_until("mail is accepted", lambda: self.postman.acknowledged_since(now))

    def _connect(self, port: int, timeout: float) -> socket.socket:
        return self.lab.connect(configuration.KOPANO_ADDRESS, port, timeout)
