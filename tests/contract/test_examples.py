# SPDX-License-Identifier: GPL-2.0-or-later
"""Every configuration in examples/, loaded by the real crm and pcs, planned by the real scheduler.

What a cluster would do is read from the scheduler's graph of actions, not from the order in which
it happens to list them: "before" means that one action cannot begin until the other is done.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Dict, Iterator, List, Tuple

import pytest

import clusterplan
from clusterplan import LIMIT
from twonode import image
from twonode.sandbox import Sandbox

SUITE = os.environ.get("LAB_SUITE", "bookworm")

OF_OLD = SUITE == "bullseye"
"""Whether this is Pacemaker 2.0, to which every resource is critical."""

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"

QUICK_PCS = Path(__file__).with_name("quick_pcs.py")

FENCED = ("kopano-shared-storage", "kopano-drbd")

RING = ("alice", "bob", "carol", "dave")
"""The nodes of the ring: instance n is at home on node n, its buddy is the next one."""

BUDDIES = ("cyrus-buddies", "ring")
"""Cyrus servers that are each other's buddies: a pair, and four in a ring."""

LEVELS = ("topology", "power-feeds", "second-path")
"""The fencing topologies, each to be loaded over a cluster of FENCED."""

FOLLOWING = {"follows-kopano": ("config-sync/kopano", "kopano-shared-storage"),
             "follows-cyrus": ("config-sync/cyrus", "cyrus-shared-storage"),
             "follows-2.0": ("config-sync/pacemaker-2.0", "kopano-shared-storage")}
"""Configuration that follows the active node: the file, and what it is loaded over."""

FOLLOWERS = (("follows-2.0", "kopano_services", "kopano_config"),
             *(() if OF_OLD else (("follows-kopano", "kopano_services", "kopano_config"),
                                  ("follows-cyrus", "cyrus_imapd", "cyrus_config"),
                                  ("config-sync", "bluemind_services", "bluemind_config"))))
"""What keeps its promise that the mail is never moved: all but the first by critical=false."""

EVERY = (*FENCED, "manual-changeover", "split-leaves", "cyrus-shared-storage", *BUDDIES,
         "bluemind-shared-storage", "config-sync", *LEVELS, *FOLLOWING)

# Without a running systemd Pacemaker cannot say what a systemd: resource is. Both tools then
# complain about it by its name, and pcs wants to be forced.
WITHOUT_SYSTEMD = ("systemd:mariadb", "systemd:cyrus-imapd")

# What the tools say of a sound configuration: that there is no cluster here, and what they did.
SMALL_TALK = re.compile(
    r"INFO: |Adding \S+ \S+ \(kind: |Defaults do not apply|node existence in the cluster"
    r"|Deprecat|-INFINITY' without|unknown attribute 'critical'"     # crmsh before 4.5
    r"|'(start|stop|monitor)' is not a valid operation name")        # of what it does not know

# pcs 0.12 has the agents look at the machine, which has neither the disks nor the network.
LOOKS_AROUND = re.compile(r"Validati(ng|on) |^  |Module drbd not found")

PCS = f"""#!/bin/sh
for word; do
    case $word in {"|".join(WITHOUT_SYSTEMD)}) set -- "$@" --force; break ;; esac
done
exec python3 -IS /shim/quick_pcs.py ask "$@"
"""

SHARED_ORDER = ("{group}_guard_start_0", "{group}_fs_start_0", "{group}_ip_start_0",
                "{service}_start_0")
DRBD_ORDER = ("{group}_guard_start_0", "drbd_{group}_clone_promote_0", "{group}_fs_start_0",
              "{group}_ip_start_0", "{service}_start_0")
SERVICES = {"mysql": "mysqld", "kopano": "kopano_services"}


@dataclass(frozen=True)
class Loaded:
    """One example as both tools have loaded it: the CIBs, and what the tools had to say."""

    crm: str
    pcs: str
    complaints: Tuple[str, ...]


@pytest.fixture(scope="module")
def machine() -> Iterator[Sandbox]:
    """A machine with the cluster's tools, the suite and the examples."""
    with machine_with_examples() as sandbox:
        yield sandbox


@contextlib.contextmanager
def machine_with_examples() -> Iterator[Sandbox]:
    """Make that machine."""
    if os.geteuid():
        pytest.skip("the sandbox needs root")
    with Sandbox(image.ensure(SUITE)) as sandbox:
        shutil.copytree(EXAMPLES, sandbox.path("/examples"))
        shim = sandbox.path("/shim/pcs")
        shim.parent.mkdir()
        shim.write_text(PCS)
        shim.chmod(0o755)
        shutil.copy(QUICK_PCS, shim.parent)
        yield sandbox


@pytest.fixture(scope="module")
def pacemaker(machine: Sandbox) -> Tuple[int, ...]:
    """The version of the machine's Pacemaker."""
    said = machine.run(["pacemakerd", "--version"], timeout=LIMIT, check=True).stdout
    found = re.search(r"Pacemaker (\d+)\.(\d+)\.(\d+)", said)
    assert found, said
    return tuple(int(number) for number in found.groups())


class Examples:
    """The examples by name, each loaded when it is first asked for."""

    def __init__(self, machine: Sandbox, pacemaker: Tuple[int, ...]) -> None:
        """Take the machine to load them on, and its Pacemaker's version."""
        self._machine = machine
        self._pacemaker = pacemaker
        self._found: Dict[str, Loaded] = {}

    def __getitem__(self, name: str) -> Loaded:
        if name not in self._found:
            self._found[name] = self._load(name)
        return self._found[name]

    def _load(self, name: str) -> Loaded:
        if name == "config-sync":
            return load(self._machine, "bluemind-shared-storage/config-sync",
                        over=self["bluemind-shared-storage"])
        if name == "split-leaves":
            return load(self._machine, "kopano-shared-storage/split-leaves",
                        over=self["kopano-shared-storage"])
        if name in FOLLOWING:
            file, base = FOLLOWING[name]
            return load(self._machine, file, over=self[base])
        if name in LEVELS:
            return load(self._machine, f"fencing/{name}", over=self["kopano-shared-storage"])
        if name == "kopano-drbd":
            if not self._machine.path("/usr/lib/ocf/resource.d/linbit/drbd").exists():
                pytest.skip("the image has no drbd-utils, which bring DRBD's agent")
            if self._pacemaker < (2, 1):
                self._use_old_role_names()
        if name == "ring":
            empty = clusterplan.empty_cib(self._machine, RING)
            return load(self._machine, "cyrus-buddies/ring", over=Loaded(empty, empty, ()))
        empty = clusterplan.empty_cib(self._machine)
        return load(self._machine, f"{name}/cluster", over=Loaded(empty, empty, ()))

    def _use_old_role_names(self) -> None:
        """Do what the README says for Pacemaker 2.0."""
        page = (EXAMPLES / "kopano-drbd/README.md").read_text()
        rename = re.search(r"`(sed -i .*)`", page)
        assert rename, "the README no longer tells how to rename the roles"
        self._machine.run(["sh", "-ec", f"cd /examples/kopano-drbd; {rename.group(1)}"],
                          timeout=LIMIT, check=True)


@pytest.fixture(scope="module")
def loaded(machine: Sandbox, pacemaker: Tuple[int, ...]) -> Examples:
    """Every example, as crm and as pcs have loaded it."""
    return Examples(machine, pacemaker)


def load(machine: Sandbox, name: str, *, over: Loaded) -> Loaded:
    """Load one example over what is there already, with crm and with pcs."""
    said = ""
    clusterplan.write(machine, "/crm.xml", over.crm)
    clusterplan.write(machine, "/pcs.xml", over.pcs)
    # Forced, or crm would refuse the whole file for the one resource that it cannot ask about.
    for argv, environment in (
            (["crm", "-F", "configure", "load", "update", f"/examples/{name}.crm"],
             {"CIB_file": "/crm.xml"}),
            (["python3", "-Es", "/shim/quick_pcs.py", "serve",
              "sh", f"/examples/{name}.pcs.sh", "-f", "/pcs.xml"],
             {"PATH": "/shim:/usr/sbin:/usr/bin:/sbin:/bin"})):
        done = machine.run(argv, timeout=5 * LIMIT, environment=environment)
        assert done.returncode == 0, f"{argv}: {done.stdout}{done.stderr}"
        said += done.stdout + done.stderr
    return Loaded(machine.path("/crm.xml").read_text(), machine.path("/pcs.xml").read_text(),
                  tuple(re.sub(r"\x1b\[\d+m", "", said).splitlines()))


def groups_in_order(form: str, node: str) -> List[List[str]]:
    """Return what must happen one after the other to bring both groups up on `node`."""
    chains = []
    for group, service in SERVICES.items():
        pattern = DRBD_ORDER if form == "kopano-drbd" else SHARED_ORDER
        chains.append([name.format(group=group, service=service) + (
            "" if "_clone_" in name else f" {node}") for name in pattern])
    return chains + [[f"mysqld_start_0 {node}", f"kopano_services_start_0 {node}"]]


def running(machine: Sandbox, cib: str) -> str:
    """Return the CIB once the cluster has done what it wants with both nodes up."""
    return clusterplan.plan(machine, ready(cib)).after


def ready(cib: str) -> str:
    """Return the CIB with both sides of DRBD up to date, which its agent says by these scores."""
    return clusterplan.with_attributes(
        cib, {f"master-drbd_{name}": "10000" for name in SERVICES})


@pytest.mark.parametrize("example", EVERY)
def test_crm_and_pcs_load_every_example_and_have_nothing_against_it(
        machine: Sandbox, loaded: Examples, example: str) -> None:
    accounted = [*WITHOUT_SYSTEMD]
    if example == "manual-changeover":
        accounted.append("Blind faith: not fencing unseen nodes")     # which is its very point
    complaints = [line for line in loaded[example].complaints
                  if line and not SMALL_TALK.search(line) and not LOOKS_AROUND.search(line)
                  and not any(name in line for name in accounted)]
    assert complaints == []


@pytest.mark.parametrize("example", EVERY)
def test_crm_verify_finds_neither_error_nor_warning(
        machine: Sandbox, loaded: Examples, example: str) -> None:
    for cib in (loaded[example].crm, loaded[example].pcs):
        clusterplan.write(machine, "/verify.xml", cib)
        done = machine.run(["crm_verify", "-V", "--xml-file", "/verify.xml"], timeout=LIMIT)
        assert (done.returncode, done.stdout + done.stderr) == (0, "")


@pytest.mark.parametrize("example", EVERY)
def test_the_form_for_crm_and_the_form_for_pcs_say_the_same(
        loaded: Examples, example: str) -> None:
    assert clusterplan.meaning(loaded[example].crm) == clusterplan.meaning(loaded[example].pcs)


@pytest.mark.parametrize("example", FENCED)
def test_both_groups_come_up_on_one_node_guard_first_and_database_before_kopano(
        machine: Sandbox, loaded: Examples, example: str) -> None:
    plan = clusterplan.plan(machine, ready(loaded[example].crm))
    for chain in groups_in_order(example, "bob"):
        assert plan.in_order(*chain), chain
    assert plan.fenced() == set()


@pytest.mark.parametrize("away", [False, True], ids=["both nodes up", "bob lost"])
def test_nothing_of_cyrus_starts_before_its_storage_has_been_found_fit(
        machine: Sandbox, loaded: Examples, away: bool) -> None:
    cib, node = loaded["cyrus-shared-storage"].crm, "bob"
    plan = clusterplan.plan(machine, cib)
    if away:
        plan, node = clusterplan.plan(machine, plan.after, "--node-fail", "bob"), "alice"
        assert plan.in_order("stonith 'reboot' bob", f"cyrus_guard_start_0 {node}")
    assert plan.in_order(*(f"cyrus_{name}_start_0 {node}" for name in (
        "guard", "lib", "spool", "storage", "ip", "imapd")))


def test_a_node_whose_storage_is_unfit_is_left_for_the_other_one(
        machine: Sandbox, loaded: Examples) -> None:
    cib = clusterplan.plan(machine, loaded["cyrus-shared-storage"].crm).after
    refused = clusterplan.plan(machine, cib, "--op-inject", "cyrus_storage_start_0@bob=5")
    for name in ("guard", "lib", "spool", "storage", "ip", "imapd"):
        assert refused.placed("start", f"cyrus_{name}") == "alice"


@pytest.mark.parametrize("example", FENCED)
def test_no_node_is_the_one_that_reports_its_own_death(
        machine: Sandbox, loaded: Examples, example: str) -> None:
    plan = clusterplan.plan(machine, ready(loaded[example].crm))
    assert plan.placed("start", "fence_bob") == "alice"
    assert plan.placed("start", "fence_alice") == "bob"
    alone = clusterplan.plan(machine, plan.after, "--node-fail", "bob")
    assert "fence_alice start" not in alone.changed()


@pytest.mark.parametrize("example", FENCED)
def test_a_lost_node_is_fenced_before_anything_of_its_starts_on_the_survivor(
        machine: Sandbox, loaded: Examples, example: str) -> None:
    plan = clusterplan.plan(machine, running(machine, loaded[example].crm), "--node-fail", "bob")
    assert plan.fenced() == {"bob"}
    for chain in groups_in_order(example, "alice"):
        assert plan.in_order(*chain), chain
        assert plan.in_order("stonith 'reboot' bob", chain[0]), chain[0]


@pytest.mark.parametrize("example", FENCED)
def test_a_node_that_comes_back_takes_nothing_back(
        machine: Sandbox, loaded: Examples, example: str) -> None:
    alone = clusterplan.plan(
        machine, running(machine, loaded[example].crm), "--node-fail", "bob").after
    back = clusterplan.plan(machine, alone, "--node-up", "bob").changed()
    assert "fence_alice start" in back
    assert {change for change in back if change.endswith((" stop", " demote", " promote"))} == set()


@pytest.mark.parametrize("example", FENCED)
def test_the_database_can_move_away_from_kopano(
        machine: Sandbox, loaded: Examples, example: str) -> None:
    banned = clusterplan.with_constraint(
        running(machine, loaded[example].crm),
        '<rsc_location id="away" rsc="mysql" node="bob" score="-INFINITY"/>')
    plan = clusterplan.plan(machine, banned)
    assert plan.placed("start", "mysqld") == "alice"
    assert plan.placed("start", "kopano_services") == "bob"
    assert "kopano_fs start" not in plan.changed() or plan.placed("start", "kopano_fs") == "bob"


def test_a_group_found_active_twice_is_stopped_only_where_it_should_not_be(
        machine: Sandbox, loaded: Examples, pacemaker: Tuple[int, ...]) -> None:
    cib = running(machine, loaded["kopano-shared-storage"].crm)
    plan = clusterplan.plan(machine, cib, "--op-inject", "kopano_services_monitor_0@alice=0")
    # Before 2.1.4 Pacemaker does not know multiple-active=stop_unexpected, and stops both.
    stopped = {"alice", "bob"} if pacemaker < (2, 1, 4) else {"alice"}
    assert plan.all_placed("stop", "kopano_services") == stopped


def test_drbd_is_not_promoted_where_the_guard_does_not_run(
        machine: Sandbox, loaded: Examples) -> None:
    cib = clusterplan.with_meta(
        ready(loaded["kopano-drbd"].crm), "kopano_guard", "target-role", "Stopped")
    changed = clusterplan.plan(machine, cib).changed()
    assert "drbd_mysql promote" in changed
    assert "drbd_kopano start" in changed
    assert "drbd_kopano promote" not in changed


@pytest.mark.parametrize("role", ["Master"] if OF_OLD else ["Master", "Promoted"])
def test_an_outdated_side_of_drbd_stays_secondary_when_the_other_is_lost(
        machine: Sandbox, loaded: Examples, role: str) -> None:
    """The constraint is the one that crm-fence-peer.9.sh makes; it says Master by default."""
    outdated = clusterplan.with_constraint(
        running(machine, loaded["kopano-drbd"].crm),
        '<rsc_location rsc="drbd_mysql_clone" id="drbd-fence-by-handler-mysql-drbd_mysql_clone">'
        f'<rule role="{role}" score="-INFINITY" id="handler-rule">'
        '<expression attribute="#uname" operation="ne" value="bob" id="handler-expr"/>'
        '</rule></rsc_location>')
    plan = clusterplan.plan(machine, outdated, "--node-fail", "bob")
    assert plan.fenced() == {"bob"}
    assert "drbd_mysql promote" not in plan.changed()
    assert "mysql_fs start" not in plan.changed()
    assert "kopano_services start" not in plan.changed()


# To Pacemaker 2.0 everything is critical.
@pytest.mark.parametrize("critical, moves", [("false", OF_OLD), ("true", True)])
def test_an_ical_that_keeps_dying_moves_the_mail_only_if_it_is_critical(
        machine: Sandbox, loaded: Examples, critical: str, moves: bool) -> None:
    cib = clusterplan.with_meta(running(machine, loaded["split-leaves"].crm),
                                "kopano_ical", "critical", critical)
    for _ in range(3):
        plan = clusterplan.plan(machine, cib, "--op-inject", "kopano_ical_monitor_30000@bob=1")
        cib = plan.after
    assert "kopano_ical stop" in plan.changed()
    assert ("kopano_services stop" in plan.changed()) is moves
    assert ("kopano_gateway stop" in plan.changed()) is moves


@pytest.mark.parametrize("example, mail, follower", FOLLOWERS)
def test_configuration_follows_the_mail_and_never_moves_it(
        machine: Sandbox, loaded: Examples, example: str, mail: str, follower: str) -> None:
    first = clusterplan.plan(machine, loaded[example].crm)
    assert first.in_order(f"{mail}_start_0 bob", f"{follower}_start_0 bob")
    cib = running(machine, loaded[example].crm)
    for failure in (f"{follower}_monitor_30000@bob=1", f"{follower}_start_0@bob=1",
                    f"{follower}_start_0@bob=5"):
        after = clusterplan.plan(machine, cib, "--op-inject", failure)
        assert f"{mail} stop" not in after.changed(), failure
    # However often it dies, it is started again where the mail is.
    dying = cib
    for _ in range(5):
        after = clusterplan.plan(machine, dying, "--op-inject", f"{follower}_monitor_30000@bob=1")
        assert f"{mail} stop" not in after.changed()
        assert after.placed("start", follower) == "bob"
        dying = after.after
    lost = clusterplan.plan(machine, cib, "--node-fail", "bob")
    assert lost.placed("start", follower) == "alice"


def test_split_leaves_gives_every_service_to_one_resource(loaded: Examples) -> None:
    services = [name for resource in ("kopano_services", "kopano_gateway", "kopano_ical")
                for name in clusterplan.parameters(
                    loaded["split-leaves"].crm, resource)["services"].split()]
    assert sorted(services) == ["dagent", "gateway", "ical", "monitor", "server", "spooler"]


def test_the_manual_changeover_of_the_readme_changes_every_name(
        machine: Sandbox, loaded: Examples) -> None:
    """All but the cleanup, which needs a running cluster."""
    page = (EXAMPLES / "manual-changeover/README.md").read_text()
    block = re.search(r"```sh\n(.*?done\n)", page, re.DOTALL)
    assert block, "the README no longer has the commands"
    clusterplan.write(machine, "/manual.xml", loaded["manual-changeover"].crm)
    machine.run(["sh", "-e", "-c", block.group(1)], timeout=LIMIT, check=True,
                environment={"CIB_file": "/manual.xml"})
    after = machine.path("/manual.xml").read_text()
    for cib, node in ((loaded["manual-changeover"].crm, "bob"), (after, "alice")):
        names = re.findall(r'name="manual_node" value="(\w+)"', cib)
        assert names == [node] * 3


@pytest.mark.parametrize("example", [*FENCED, *LEVELS])
def test_every_controller_is_told_its_node_twice(loaded: Examples, example: str) -> None:
    """In `node` for the agent, and in pcmk_host_list for Pacemaker."""
    devices = {name: parameters for name, (kind, _, agent, parameters, *_) in
               primitives(loaded[example].crm).items()
               if kind == "stonith" and agent != "fence_apc_snmp"}
    assert len(devices) >= 2
    for name, parameters in devices.items():
        node = name.split("_")[1]
        assert (parameters["node"], parameters["pcmk_host_list"]) == (node, node), name
        assert "pcmk_host_map" not in parameters
    delays = {name for name, parameters in devices.items() if "pcmk_delay_base" in parameters}
    assert delays == {"fence_bob"}


def primitives(cib: str) -> Dict[str, Tuple[Any, ...]]:
    """Return class, provider, type, parameters, meta attributes and operations by name."""
    found = clusterplan.meaning(cib)["primitives"]
    assert isinstance(found, dict)
    return found


@pytest.mark.parametrize("example", LEVELS)
def test_each_node_has_two_levels_and_every_device_in_them_exists(
        loaded: Examples, example: str) -> None:
    levels = clusterplan.meaning(loaded[example].crm)["levels"]
    assert isinstance(levels, set)
    assert {(target, index) for target, index, _ in levels} == {
        (node, index) for node in clusterplan.NODES for index in "12"}
    found = primitives(loaded[example].crm)
    for target, index, devices in levels:
        for device in devices.split(","):
            parameters = found[device][3]
            if "pcmk_host_list" in parameters:
                assert parameters["pcmk_host_list"] == target
            else:
                assert f"{target}:" in parameters["pcmk_host_map"]
        assert index == "2" or devices == f"fence_{target}"


def test_both_power_feeds_of_a_node_belong_to_one_level(loaded: Examples) -> None:
    """In two levels the first strip's success would be the whole proof, with the node alive."""
    levels = clusterplan.meaning(loaded["power-feeds"].crm)["levels"]
    assert isinstance(levels, set)
    assert {devices for _, index, devices in levels if index == "2"} == {
        "fence_feed_a,fence_feed_b"}
    found = primitives(loaded["power-feeds"].crm)
    strips = [found[name][3] for name in ("fence_feed_a", "fence_feed_b")]
    assert strips[0].pop("ip") != strips[1].pop("ip")
    assert strips[0] == strips[1]


@pytest.mark.parametrize("example", LEVELS)
def test_no_second_way_to_a_node_is_on_the_node_itself(
        machine: Sandbox, loaded: Examples, example: str) -> None:
    plan = clusterplan.plan(machine, ready(loaded[example].crm))
    for name, (kind, _, _, parameters, *_) in primitives(loaded[example].crm).items():
        if kind == "stonith" and "pcmk_host_list" in parameters:
            assert plan.placed("start", name) != parameters["pcmk_host_list"]
    assert plan.fenced() == set()
