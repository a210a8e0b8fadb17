# SPDX-License-Identifier: GPL-2.0-or-later
"""fence_ipmi and fence_racadm as Pacemaker's fence devices, judged by the chassis log.

What Pacemaker remembers of a fencing is compared with what the laboratory's power saw of it. The
configuration is that of examples/fencing, with the laboratory's addresses, or a device by itself.
"""

from __future__ import annotations

import calendar
import re
import time
from pathlib import Path
from typing import Callable, Dict, Iterator, List, NamedTuple, Set
from xml.etree import ElementTree

import pytest
from chassis import orders
from waiting import wait_for

from failover import configuration
from twonode import idracaccess
from twonode.chassislog import IDRAC, IPMI, POWER
from twonode.lab import Lab
from twonode.plan import BMC_USER

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"

AGENTS = {"fence_ipmi": "password_script=/etc/mailha/bmc-password",
          "fence_racadm": (f"identity_file={idracaccess.KEY} "
                           f"known_hosts_file={idracaccess.KNOWN_HOSTS}")}
"""Each agent, and how it logs in here."""

SECTIONS = ("resources", "constraints", "fencing-topology")

FENCING_LIMIT = 150.0
"""Seconds for one fencing that was asked for; a level that is silent takes 10 of them."""

FIRMWARE_SECONDS = 5.0


class Fencing(NamedTuple):
    """One fencing that Pacemaker remembers."""

    client: str         # who wanted it
    target: str
    action: str
    status: str
    delegate: str       # the node that carried it out
    completed: float    # seconds since the epoch, to the microsecond where Pacemaker says so


@pytest.fixture(scope="module")
def lab(make_lab: Callable[..., Lab]) -> Lab:
    """Return two nodes with what the examples' devices log in with, and no device yet."""
    lab = make_lab(post_seconds=FIRMWARE_SECONDS, provision=[configuration.install_secret])
    load(lab, "property stonith-enabled=true stonith-timeout=120s")
    return lab


@pytest.fixture
def empty(lab: Lab) -> Iterator[Lab]:
    """Return the laboratory without devices; afterwards both nodes are in the cluster again."""
    root = ElementTree.fromstring(crm(lab, "cibadmin", "--query", "--scope", "configuration"))
    for section in SECTIONS:
        for element in root.findall(section):
            element.clear()
    crm(lab, "cibadmin", "--replace", "--scope", "configuration", "--xml-pipe",
        text=ElementTree.tostring(root, encoding="unicode"))
    crm(lab, "crm_resource", "--cleanup")
    wait_for("the fencer to know no device", lambda: registered(lab, "alice") == set())
    yield lab
    for node, facts in lab.status()["nodes"].items():
        if facts["muted"]:
            lab.unmute_ipmi(node)
        if facts["power"] == "off":
            lab.poweron(node)
    lab.wait_online()


def crm(lab: Lab, *argv: str, node: str = "alice", text: str = "", check: bool = True) -> str:
    """Run a command of the cluster on a node; return what it printed."""
    done = lab.execute(node, list(argv), timeout=FENCING_LIMIT, input=text, check=check)
    return done.stdout + done.stderr


def load(lab: Lab, text: str) -> None:
    """Load a configuration in the language of crmsh over what is there."""
    crm(lab, "crm", "-F", "configure", "load", "update", "-", text=text + "\n")


def device(lab: Lab, name: str, agent: str, bmc_of: str, **parameters: str) -> str:
    """Return a device that reaches the controller of a node, as text for crmsh."""
    more = " ".join(f"{key}={value}" for key, value in parameters.items())
    login = AGENTS.get(agent, "password_script=/etc/mailha/bmc-password lanplus=1 cipher=3")
    return (f"primitive {name} stonith:{agent} params ip={lab.bmc(bmc_of).address} "
            f"username={BMC_USER} {login} {more} op start timeout=60s interval=0s "
            f"op monitor interval=120s timeout=60s")


def registered(lab: Lab, node: str) -> Set[str]:
    """Return the devices that a node's fencer knows."""
    return names(crm(lab, "stonith_admin", "--list-registered", node=node, check=False))


def can_fence(lab: Lab, target: str, asked: str) -> Set[str]:
    """Return the devices with which a node's fencer would fence another one."""
    return names(crm(lab, "stonith_admin", "--list", target, node=asked, check=False))


def names(listed: str) -> Set[str]:
    """Return the devices that stonith_admin lists, one a line."""
    lines = [line.strip() for line in listed.splitlines()]
    return {line for line in lines if re.fullmatch(r"[a-z]\w*", line)}


def started(lab: Lab) -> Dict[str, str]:
    """Return the node on which each device runs that is well."""
    root = ElementTree.fromstring(crm(lab, "crm_mon", "-1", "--output-as=xml"))
    return {str(each.get("id")): str(node.get("name")) for each in root.iter("resource")
            if each.get("role") == "Started" and each.get("failed") == "false"
            and each.get("pending") is None for node in each.iter("node")}


def history(lab: Lab, target: str, asked: str) -> List[Fencing]:
    """Return what a node remembers of the fencings of another one that these tests asked for.

    The cluster wants a node that it misses to be fenced as well; Pacemaker merges that with what is
    under way, and remembers both.
    """
    # Without --verbose it keeps the failed ones to itself.
    said = lab.execute(asked, ["stonith_admin", "--history", target, "--verbose",
                               "--output-as=xml"], timeout=60).stdout
    root = ElementTree.fromstring(said)
    found = [Fencing(*(str(event.get(name)) for name in
                       ("client", "target", "action", "status", "delegate")),
                     completed=moment(str(event.get("completed"))))
             for event in root.iter("fence_event")]
    return [each for each in found if each.client.startswith("stonith_admin")]


def moment(text: str) -> float:
    """Return the seconds since the epoch of a time that Pacemaker has written; nodes have UTC."""
    found = re.match(r"(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d)(\.\d+)?", text)
    if found:
        return calendar.timegm(time.strptime(found[1], "%Y-%m-%d %H:%M:%S")) + float(found[2] or 0)
    return float(calendar.timegm(time.strptime(text)))      # before 2.1, as ctime


def agrees(lab: Lab, target: str, asked: str, since: float) -> None:
    """Assert that Pacemaker remembers one reboot, and that the power saw it go just like that."""
    found = [each for each in history(lab, target, asked) if each.completed >= since - 1]
    assert [each[1:5] for each in found] == [(target, "reboot", "success", asked)]
    log = lab.chassis_log(target, since)
    off, on = ([entry.when for entry in log if (entry.who, entry.what) == (POWER, state)]
               for state in ("off", "on"))
    assert len(off) == len(on) == 1 and off[0] < on[0], log
    # Pacemaker of Debian 11 tells whole seconds.
    assert on[0] < found[0].completed + 1, (log, found)
    readings = [entry for entry in log if entry.what == "read off" and entry.when < on[0]]
    assert len(readings) >= 2 and readings[-1].when - readings[0].when >= 0.5, log


def topology(lab: Lab) -> str:
    """Return examples/fencing/topology.crm as the laboratory can load it."""
    text = configuration.adapt((EXAMPLES / "fencing/topology.crm").read_text(), lab.plan)
    return text + "".join(f"location fence_{node}_not_on_{node} fence_{node} -inf: {node}\n"
                          for node in lab.plan.nodes)


@pytest.mark.parametrize("agent", AGENTS)
def test_stonith_admin_finds_the_agent_reads_its_metadata_and_validates(
        lab: Lab, agent: str) -> None:
    assert agent in crm(lab, "stonith_admin", "--list-installed")
    described = crm(lab, "stonith_admin", "--metadata", "--agent", agent)
    root = ElementTree.fromstring(described[described.index("<resource-agent"):])
    assert root.get("name") == agent
    assert {"ip", "node", "password_script"} <= {
        str(each.get("name")) for each in root.iter("parameter")}
    assert {"on", "off", "reboot", "status", "monitor"} <= {
        str(each.get("name")) for each in root.iter("action")}

    def verdict(*options: str) -> int:
        words = [word for option in options for word in ("--option", option)]
        return lab.execute("alice", ["stonith_admin", "--validate", "--agent", agent, *words],
                           timeout=60, check=False).returncode

    login = AGENTS[agent].split()
    good = [f"ip={lab.bmc('bob').address}", f"username={BMC_USER}", *login, "node=bob"]
    assert verdict(*good) == 0
    assert verdict(*good, "power_timeout=soon") != 0
    assert verdict(*good, "method=cycle") != 0


def test_the_example_with_two_levels_loads_and_both_agents_are_well_where_they_belong(
        empty: Lab) -> None:
    load(empty, topology(empty))
    wait_for("all devices", lambda: started(empty) == {
        "fence_bob": "alice", "fence_bob_ssh": "alice",
        "fence_alice": "bob", "fence_alice_ssh": "bob"})
    for node, other in (("alice", "bob"), ("bob", "alice")):
        assert can_fence(empty, other, asked=node) >= {f"fence_{other}", f"fence_{other}_ssh"}
    assert "Failed" not in crm(empty, "crm_mon", "-1")


@pytest.mark.parametrize("agent", AGENTS)
def test_pcs_creates_a_device_that_works(empty: Lab, agent: str) -> None:
    crm(empty, "pcs", "stonith", "create", "made_by_pcs", agent,
        f"ip={empty.bmc('bob').address}", f"username={BMC_USER}", *AGENTS[agent].split(),
        "node=bob", "pcmk_host_list=bob")
    wait_for("the device", lambda: set(started(empty)) == {"made_by_pcs"})
    refused = crm(empty, "pcs", "stonith", "create", "unheard_of", agent,
                  f"ip={empty.bmc('bob').address}", "username=x", "no_such_option=1", check=False)
    assert "no_such_option" in refused
    assert "unheard_of" not in crm(empty, "cibadmin", "--query")


def test_without_node_and_list_pacemaker_believes_that_any_device_can_fence_any_node(
        empty: Lab) -> None:
    """And with `node` it does not: its status check is then a question about that node."""
    load(empty, "\n".join([device(empty, "peer", "fence_ipmilan", "bob"),
                           device(empty, "open", "fence_ipmi", "bob"),
                           device(empty, "closed", "fence_ipmi", "bob", node="bob"),
                           device(empty, "closed_ssh", "fence_racadm", "bob", node="bob")]))
    everybody = {"peer", "open", "closed", "closed_ssh"}
    wait_for("all devices", lambda: set(started(empty)) == everybody)
    begin = time.time()
    assert can_fence(empty, "bob", asked="alice") == everybody
    assert can_fence(empty, "alice", asked="bob") == {"peer", "open"}
    # All of them really asked bob's controller, or refused to.
    assert {entry.who for entry in empty.chassis_log("bob", begin)} == {IPMI, IDRAC}
    assert empty.chassis_log("alice", begin) == []


def test_a_device_under_the_wrong_list_kills_nobody(empty: Lab) -> None:
    """Bob's controller, said to be alice's: fence_ipmilan would kill bob and report alice dead."""
    load(empty, device(empty, "mistyped", "fence_ipmi", "bob", node="bob",
                       pcmk_host_list="alice") + "\nlocation away mistyped -inf: alice")
    wait_for("the device", lambda: started(empty) == {"mistyped": "bob"})
    begin = time.time()
    failed = empty.execute("bob", ["stonith_admin", "--reboot", "alice"], timeout=FENCING_LIMIT,
                           check=False)
    assert failed.returncode != 0
    assert [each.status for each in history(empty, "alice", "bob")
            if each.completed >= begin - 1] == ["failed"]
    journal = crm(empty, "journalctl", "--no-pager", "-o", "cat", f"--since=@{int(begin)}",
                  node="bob")
    assert re.search(r"asked for node alice, but the controller at \S+ is that of node bob",
                     journal)
    assert "timed out" not in journal
    for node in empty.plan.nodes:
        assert orders(empty, node, begin) == []
    assert empty.online("alice") == {"alice", "bob"}


def test_a_reboot_goes_as_pacemaker_says_and_only_the_right_node_loses_its_power(
        empty: Lab) -> None:
    load(empty, topology(empty))
    wait_for("all devices", lambda: len(started(empty)) == 4)
    begin = time.time()
    crm(empty, "stonith_admin", "--reboot", "alice", node="bob")
    assert orders(empty, "alice", begin) == [
        (IPMI, "power off"), (POWER, "off"), (IPMI, "power on"), (POWER, "on")]
    assert orders(empty, "bob", begin) == []
    agrees(empty, "alice", "bob", begin)


def test_where_the_first_level_s_controller_is_silent_the_second_level_does_it(
        empty: Lab) -> None:
    load(empty, topology(empty))
    wait_for("all devices", lambda: len(started(empty)) == 4)
    empty.mute_ipmi("bob")
    begin = time.time()
    crm(empty, "stonith_admin", "--reboot", "bob")
    assert orders(empty, "bob", begin) == [
        (IDRAC, "power off"), (POWER, "off"), (IDRAC, "power on"), (POWER, "on")]
    assert orders(empty, "alice", begin) == []
    agrees(empty, "bob", "alice", begin)
    # Nothing that level 1 sent may come to pass when its controller is heard again.
    empty.unmute_ipmi("bob")
    wait_for("IPMI", lambda: "is on" in empty.ipmitool("bob", "power", "status",
                                                       check=False).stdout)
    assert (IPMI, "power off") not in orders(empty, "bob", begin)


def test_two_feeds_of_one_level_are_both_off_before_either_is_on_again(empty: Lab) -> None:
    """As examples/fencing/power-feeds has it; the strips are played by two devices for one BMC."""
    feeds = [device(empty, name, "fence_ipmi", "bob", node="bob", pcmk_host_list="bob")
             for name in ("feed_a", "feed_b")]
    load(empty, "\n".join([*feeds, "location a feed_a -inf: bob", "location b feed_b -inf: bob",
                           "fencing_topology bob: feed_a,feed_b"]))
    wait_for("both devices", lambda: started(empty) == {"feed_a": "alice", "feed_b": "alice"})
    begin = time.time()
    crm(empty, "stonith_admin", "--reboot", "bob")
    assert orders(empty, "bob", begin) == [
        (IPMI, "power off"), (POWER, "off"), (IPMI, "power on"), (POWER, "on")]
    # The second one's order to a node that is off already is an order all the same.
    journal = crm(empty, "journalctl", "--no-pager", "-o", "cat", f"--since=@{int(begin)}")
    assert re.findall(r"^action=(off|on) node=bob .*result=ok ", journal, re.MULTILINE) == [
        "off", "off", "on", "on"]
    assert [each.status for each in history(empty, "bob", "alice")
            if each.completed >= begin - 1] == ["success"]
