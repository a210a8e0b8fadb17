# SPDX-License-Identifier: GPL-2.0-or-later
"""ocf:mailha:config-sync on a machine in memory: it never harms the mail beside it."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any, Callable, Optional, Tuple

import pytest

from configurations import DATA
from fake_machine import FakeMachine, FakeUnit, Program
from mailha import errors
from mailha.agents import config_sync
from mailha.agents.config_sync import start as starting
from mailha.agents.config_sync import surroundings
from mailha.agents.config_sync.parameters import contradictions
from mailha.cluster.cib import QUERY
from mailha.ocf import Call
from mailha.ocf.output import Output
from mailha.sync.active import control, sender, status
from mailha.sync.files import settings
from mailha.sync.passive import receiving
from mailha.sync.places import Places
from mailha.system.child_failures import ChildTimedOut
from mailha.system.children import Finished
from mailha.system.machine import Machine

UNIT = "mailha-sync@sync.service"
CIB = (DATA / "pcs_host_map.xml").read_bytes()


class Node:
    """alice, with the unit of the sender and a cluster."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.machine = FakeMachine()
        self.unit = self.machine.systemd.add(UNIT, FakeUnit(
            program=Program("/usr/sbin/mailha"), notify_after=0.5))
        self.machine.children.answer([QUERY[0]], stdout=CIB)
        self.updater = self.machine.children.answer(["/usr/sbin/attrd_updater"])
        self.verdict: Callable[[float], Tuple[int, str]] = lambda timeout: (0, "")
        self.generation = 0
        monkeypatch.setattr(os, "geteuid", lambda: 0)
        monkeypatch.setattr(sender, "holder", lambda machine, resource: self.pid())
        monkeypatch.setattr(status, "ask", self._ask)
        monkeypatch.setattr(surroundings, "next_generation", self._next)
        monkeypatch.setattr(receiving, "finish_hooks", lambda *_, **__: {})
        monkeypatch.setattr(control, "ask", self._tell)
        self.mute_until = 0.0

    def _next(self, call: Call, machine: Any) -> int:
        self.generation += 1
        return self.generation

    def _ask(self, machine: Any, resource: str, timeout: float) -> Tuple[int, str]:
        if not self.pid():
            raise status.NotThere("the sender does not answer: Connection refused")
        return self.verdict(timeout)

    def _tell(self, machine: Any, resource: str, request: Any, timeout: float) -> Any:
        if not self.pid() or self.machine.clock.monotonic() < self.mute_until:
            raise control.NoSender("no sender of sync runs on this node")
        return {"since": float(self.generation)}

    def pid(self) -> int:
        """Return the pid of the sender, 0 if it does not live."""
        return next((pid for pid, running in self.machine.processes.table.items()
                     if running.cgroup == self.unit.cgroup), 0)

    def do(self, action: str, *, interval: int = 0, node: str = "alice", timeout: int = 60000,
           resource: str = "sync", **parameters: str) -> Optional[errors.MailhaError]:
        """Perform an action and return its failure."""
        environment = {"OCF_RESOURCE_INSTANCE": resource, "HA_logfacility": "none",
                       "OCF_RESKEY_CRM_meta_timeout": str(timeout),
                       "OCF_RESKEY_CRM_meta_interval": str(interval)}
        if node:
            environment["OCF_RESKEY_CRM_meta_on_node"] = node
        for name, value in {"profile": "cyrus", **parameters}.items():
            environment["OCF_RESKEY_" + name] = value
        call = Call(config_sync.AGENT, action, environment, self.machine.clock.monotonic)
        handler: Any = {"start": config_sync._start, "stop": config_sync._stop,
                        "monitor": config_sync._monitor,
                        "reload-agent": config_sync._reload_agent,
                        "validate-all": lambda *given: list(config_sync._findings(*given))}[action]
        try:
            handler(call, self.machine)
        except errors.MailhaError as error:
            return error
        return None

    def monitor(self) -> Optional[errors.MailhaError]:
        return self.do("monitor", interval=30000)

    def probe(self) -> Optional[errors.MailhaError]:
        return self.do("monitor")


@pytest.fixture
def node(monkeypatch: pytest.MonkeyPatch) -> Node:
    return Node(monkeypatch)


def code(failure: Optional[errors.MailhaError]) -> int:
    return 0 if failure is None else failure.code


def test_a_life(node: Node) -> None:
    assert code(node.probe()) == errors.NOT_RUNNING
    assert node.do("start") is None
    assert node.monitor() is None and node.probe() is None
    assert node.do("start") is None and node.generation == 1
    assert node.do("stop") is None
    assert not node.pid() and code(node.probe()) == errors.NOT_RUNNING
    assert node.do("stop") is None
    assert node.do("start") is None and node.generation == 2


def test_a_start_hands_over_what_it_was_told(node: Node) -> None:
    node.do("start", include="/etc/aliases /etc/app/", exclude="*.local", apply_sysctl="yes")
    told = settings.read(node.machine, "sync")      # type: ignore[arg-type]
    assert (told.resource, told.node, told.generation, told.profile) == ("sync", "alice", 1,
                                                                         "cyrus")
    assert told.include == ("/etc/aliases", "/etc/app/") and told.exclude == ("*.local",)
    assert told.apply_sysctl and told.in_cluster
    assert "alice" not in told.peers and told.peers
    assert node.machine.files.modes["/run/mailha/sync/sync/settings"] == 0o600


def test_the_addresses_that_the_cluster_moves_are_nobodys_own(node: Node) -> None:
    from mailha.cluster import cib
    assert isinstance(surroundings.addresses(cib.read(
        node.machine, 20.0)), list)     # type: ignore[arg-type]


def test_another_resource_that_carries_the_same_is_told(
        node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    # Buddies with the same profile: each one's change would be undone by the other.
    node.machine.children.answer([QUERY[0]], stdout=CIB.replace(b"<resources>", b"""<resources>
      <primitive id="theirs" class="ocf" provider="mailha" type="config-sync">
        <instance_attributes id="t"><nvpair id="t1" name="profile" value="none"/>
          <nvpair id="t2" name="include" value="/srv/other/ /etc/postfix/"/></instance_attributes>
      </primitive>
      <primitive id="fine" class="ocf" provider="mailha" type="config-sync">
        <instance_attributes id="f"><nvpair id="f1" name="profile" value="none"/>
          <nvpair id="f2" name="include" value="/srv/other/"/></instance_attributes>
      </primitive>"""))
    said = []
    monkeypatch.setattr(Output, "warning", lambda log, text: said.append(text))
    assert node.do("start") is None
    assert len(said) == 1 and "'theirs' carries /etc/postfix as well" in said[0]
    # The same where somebody only asks, be it by hand.
    said.clear()
    assert node.do("validate-all", node="") is None
    assert len([text for text in said if "'theirs' carries" in text]) == 1
    said.clear()
    assert node.do("start", exclude="/etc/postfix/*") is None and node.do("stop") is None
    assert node.do("validate-all", exclude="/etc/postfix") is None
    assert not [text for text in said if "'theirs'" in text]


def test_a_start_never_asks_a_peer(node: Node) -> None:
    node.do("start")
    assert not any("ssh" in str(ran.argv) for ran in node.machine.children.ran)


def test_a_sender_that_ends_at_once_fails_the_start_with_its_own_words(node: Node) -> None:
    node.unit.program = Program("/usr/sbin/mailha", exit_after=0.1, exit_code=1)
    node.machine.clock.after(0.05, lambda: node.machine.files.put(
        "/run/mailha/sync/sync/ended", b"the kernel gives no watches"))
    failure = node.do("start")
    assert code(failure) == 1 and "the kernel gives no watches" in str(failure)
    # And systemd does not bring it back behind the cluster's back.
    assert not node.machine.files.exists("/run/mailha/sync/sync/settings")


def test_a_start_is_over_when_the_sender_answers(node: Node) -> None:
    # A monitor that came a moment after it found nobody, and said so.
    node.mute_until = node.machine.clock.monotonic() + 5.0
    assert node.do("start") is None
    assert node.machine.clock.monotonic() >= node.mute_until and node.pid()
    # The same where systemd has just brought one back.
    node.mute_until = node.machine.clock.monotonic() + 5.0
    assert node.do("start") is None
    assert node.machine.clock.monotonic() >= node.mute_until and node.generation == 1


@pytest.mark.parametrize("name", ["caf\u00e9", "mail sync", "mail%i", "m" * 250])
def test_a_name_that_no_unit_can_have_is_told_and_nothing_runs(node: Node, name: str) -> None:
    failure = node.do("start", resource=name)
    assert code(failure) == errors.ERR_CONFIGURED and "give the resource another name" \
        in str(failure)
    assert code(node.do("monitor", resource=name)) == errors.NOT_RUNNING
    assert node.do("stop", resource=name) is None


def test_a_name_that_a_unit_can_have_is_one() -> None:
    assert Places("mail_sync-1.2:0").has_unit()


@pytest.mark.parametrize("load, word", [("not-found", "install the package"),
                                        ("masked", "unmask")])
def test_a_node_without_the_unit_is_told_so(node: Node, load: str, word: str) -> None:
    node.unit.load = load
    failure = node.do("start")
    assert code(failure) == errors.ERR_INSTALLED and word in str(failure)


def test_trouble_with_a_peer_is_never_worse_than_degraded(node: Node) -> None:
    node.do("start")
    node.verdict = lambda timeout: (190, "bob cannot be reached")
    failure = node.monitor()
    assert code(failure) == errors.DEGRADED and "bob cannot be reached" in str(failure)


def test_a_silent_sender_is_degraded(node: Node) -> None:
    def silent(timeout: float) -> Tuple[int, str]:
        node.machine.clock.sleep(timeout)
        raise status.NoAnswer("the sender did not answer")
    node.do("start")
    node.verdict = silent
    assert code(node.monitor()) == errors.DEGRADED


def test_a_dead_sender_is_a_failure(node: Node) -> None:
    node.do("start")
    node.machine.processes.table[node.pid()].signal(9)
    failure = node.monitor()
    assert code(failure) == errors.ERR_GENERIC and "dead" in str(failure)


def test_a_sender_that_systemd_brings_back_is_degraded(node: Node) -> None:
    node.do("start")
    node.unit.crash_loop = True
    node.machine.processes.table[node.pid()].signal(9)
    failure = node.monitor()
    assert code(failure) == errors.DEGRADED and "was gone" in str(failure)


def test_a_monitor_of_what_was_stopped_says_so(node: Node) -> None:
    assert code(node.monitor()) == errors.NOT_RUNNING


def test_a_stop_kills_what_does_not_let_go(node: Node) -> None:
    node.unit.program = Program("/usr/sbin/mailha", ignores_term=True)
    node.do("start")
    begin = node.machine.clock.monotonic()
    assert node.do("stop", timeout=40000) is None
    assert not node.pid() and node.machine.clock.monotonic() - begin < 10


def test_a_stop_that_waits_for_pacemaker_in_the_queue_of_systemd_tells_the_sender_itself(
        node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    # Pacemaker is being stopped: systemd holds back what is ordered to stop after it.
    node.do("start")
    node.unit.queued = True
    told = []

    def kill(pid: int, number: int) -> None:
        told.append(number)
        node.machine.processes.table[pid].signal(number)

    monkeypatch.setattr(os, "kill", kill)
    begin = node.machine.clock.monotonic()
    assert node.do("stop", timeout=40000) is None
    assert told == [15] and node.machine.clock.monotonic() - begin < 3


def test_only_a_sender_that_survives_being_killed_fails_a_stop(node: Node) -> None:
    node.unit.program = Program("/usr/sbin/mailha", unkillable=True)
    node.do("start")
    failure = node.do("stop", timeout=40000)
    assert code(failure) == errors.ERR_GENERIC and "survives SIGKILL" in str(failure)


def test_a_stop_needs_no_cluster_and_no_good_parameters(node: Node) -> None:
    node.do("start")
    node.machine.children.answer(["/usr/sbin/attrd_updater"], function=_silent)
    node.machine.children.answer([QUERY[0]], function=_silent)
    assert node.do("stop", profile="nonsense", timeout=20000) is None
    assert not node.pid()


def _silent(ran: Any) -> Finished:
    raise ChildTimedOut("it did not end", command=ran.argv)


def test_a_stop_takes_the_attributes_away(node: Node) -> None:
    node.do("start")
    node.do("stop")
    gone = [ran.argv[2] for ran in node.machine.children.ran if "-D" in ran.argv]
    assert gone == [f"mailha-sync-sync-{name}" for name in
                    ("state", "lag", "differing", "conflicts")]


def test_nothing_to_replicate_is_a_contradiction() -> None:
    assert list(contradictions({"profile": "none", "include": ()}))
    assert not list(contradictions({"profile": "none", "include": ("/etc/aliases",)}))
    assert not list(contradictions({"profile": "kopano", "include": ()}))


def test_what_can_be_replicated_nowhere_is_a_wrong_parameter(node: Node) -> None:
    failure = node.do("start", include="/usr/")
    assert code(failure) == errors.ERR_CONFIGURED and "/usr" in str(failure)


def test_changed_parameters_reach_the_sender_or_nothing_changes(
        node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []
    node.do("start")
    monkeypatch.setattr(control, "ask", lambda *given: asked.append(given[2]) or
                        {"since": min(2, len(asked))})
    assert node.do("reload-agent", exclude="*.local") is None
    # It is over when the one that has them answers, and not he who had them before.
    assert asked == [{"do": "reload"}, {"do": "status"}]
    told = json.loads(node.machine.files.content["/run/mailha/sync/sync/settings"])
    assert told["exclude"] == ["*.local"] and told["generation"] == 1
    assert code(node.do("reload-agent", include="/usr/")) == errors.ERR_CONFIGURED

    def refuse(*given: Any) -> None:
        raise errors.Failed("the sender did not answer")
    monkeypatch.setattr(control, "ask", refuse)
    assert code(node.do("reload-agent", exclude="*.other")) == errors.ERR_GENERIC
    told = json.loads(node.machine.files.content["/run/mailha/sync/sync/settings"])
    assert told["exclude"] == ["*.local"]


def test_a_start_does_not_wait_for_ever_for_what_was_still_due(
        node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    # A `postfix check` that hangs has a minute, and so has the start.
    given = []
    monkeypatch.setattr(receiving, "finish_hooks",
                        lambda *_, timeout, **__: given.append(timeout) or {})
    assert node.do("start") is None
    assert 0 < given[0] < 30


def test_a_start_waits_no_longer_than_it_may(node: Node) -> None:
    node.unit.notify_after = 1000.0
    begin = node.machine.clock.monotonic()
    assert code(node.do("start", timeout=60000)) == errors.ERR_GENERIC
    assert node.machine.clock.monotonic() - begin < 60
    assert starting.LEAST > 0


@pytest.mark.parametrize("mounted, found", [
    ("/var/spool/cyrus", True), ("/var", False), ("/srv", False)])
def test_the_number_is_kept_on_a_disk_of_its_own(tmp_path: Path, mounted: str, found: bool
                                                 ) -> None:
    # On /var it would count the starts of this node alone, be /var a file system of its own or not.
    table = tmp_path / "proc/self/mountinfo"
    table.parent.mkdir(parents=True)
    table.write_text("1 0 8:1 / / rw - ext4 /dev/sda1 rw\n"
                     f"2 1 8:2 / {mounted} rw - ext4 /dev/sdb1 rw\n")
    if found:
        surroundings._require_mount(Machine(str(tmp_path)), "/var/spool/cyrus")
        return
    with pytest.raises(errors.Failed, match="on no disk of its own"):
        surroundings._require_mount(Machine(str(tmp_path)), "/var/spool/cyrus")
