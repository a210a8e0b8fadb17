# SPDX-License-Identifier: GPL-2.0-or-later
"""Every fence agent, as the tools of a cluster see it: the schema, stonith_admin, crm, pcs.

Beside them stand the agents that they take the place of: what those accept, ours accept.
"""

from __future__ import annotations

import os
import re
import resource
import shlex
import subprocess
from pathlib import Path
from typing import Callable, Dict, Iterator, List
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

import pytest

from twonode import image
from twonode.sandbox import Sandbox

AGENTS = sorted(path.name for path in (Path(__file__).resolve().parents[2] / "fence").iterdir()
                if path.is_file())

SUITE = os.environ.get("LAB_SUITE", "bookworm")

PEERS = {"fence_ipmi": "fence_ipmilan", "fence_racadm": "fence_drac5"}
"""What an administrator changes the name of."""

SCHEMA = "/usr/share/cluster/relaxng/metadata.rng"
"""Of fence agents; a part of the package resource-agents, of all places."""

LIMIT = 120.0
"""Seconds that any tool may take on a busy machine."""

GOOD: Dict[str, Dict[str, str]] = {
    "fence_ipmi": {"ip": "127.0.0.1", "username": "fencer", "password": "sesame", "node": "bob",
                   "lanplus": "1"},
    "fence_racadm": {"ip": "127.0.0.1", "username": "fencer", "password": "sesame", "node": "bob",
                     "host_key_checking": "accept-new", "known_hosts_file": "/run/idrac_keys"},
}
"""A definition without a fault."""

OLD: Dict[str, Dict[str, str]] = {
    "fence_ipmi": {"ipaddr": "127.0.0.1", "login": "fencer", "passwd": "sesame", "lanplus": "1",
                   "cipher": "3", "privlvl": "operator", "power_wait": "4", "method": "onoff"},
    "fence_racadm": {"ipaddr": "127.0.0.1", "login": "fencer", "passwd": "sesame", "secure": "1",
                     "login_timeout": "10", "power_wait": "4"},
}
"""One with the names of old, as the peer takes it."""

BAD: Dict[str, Dict[str, str]] = {
    "fence_ipmi": {"method": "cycle", "lanplus": "0", "auth": "md5", "cipher": "0",
                   "ip": "127.0.0.1 -A none", "delay": "soon", "hexadecimal_kg": "xyz",
                   "password_script": "/no/such", "password_file": "/etc/passwd"},
    "fence_racadm": {"method": "cycle", "ssh": "0", "host_key_checking": "no", "ip": "-X",
                     "delay": "soon", "identity_file": "/no/such", "password_script": "/no/such"},
}
"""Values that validation refuses."""

NOT_SHOWN_BY_PCS = ("help", "version", "debug", "debug_file", "verbose", "verbose_level")
"""pcs hides some of these, depending on its release."""

ERROR = re.compile(r"\b(Error|ERROR)\b")
"""How pcs begins an error. From 0.12 on it announces that some warnings may become errors."""

every_agent = pytest.mark.parametrize("agent", AGENTS)


@pytest.fixture(scope="module")
def machine() -> Iterator[Sandbox]:
    """A machine with the cluster's tools, the peers and the suite, without a cluster."""
    if os.geteuid():
        pytest.skip("the sandbox needs root")
    with Sandbox(image.ensure(SUITE)) as sandbox:
        yield sandbox


def run(machine: Sandbox, *argv: str, given: str = "") -> subprocess.CompletedProcess[str]:
    """Run a tool on the machine."""
    return machine.run(argv, timeout=LIMIT, input=given)


def metadata(machine: Sandbox, agent: str) -> Element:
    """Return the metadata as stonith_admin shows them."""
    done = run(machine, "stonith_admin", "--metadata", "--agent", agent)
    assert done.returncode == 0, done.stdout + done.stderr
    return ElementTree.fromstring(done.stdout)


def validates(machine: Sandbox, document: str) -> bool:
    """Say whether the schema of fence agents takes a document."""
    machine.path("/document.xml").write_text(document)
    return run(machine, "xmllint", "--noout", "--relaxng", SCHEMA, "/document.xml").returncode == 0


def as_options(values: Dict[str, str]) -> List[str]:
    """Return values as arguments of stonith_admin."""
    return [word for name, value in values.items() for word in ("--option", f"{name}={value}")]


def as_words(values: Dict[str, str]) -> List[str]:
    """Return values as arguments of crm and pcs."""
    return [f"{name}={value}" for name, value in values.items()]


def on_a_file(machine: Sandbox, command: str) -> subprocess.CompletedProcess[str]:
    """Run a command of a shell with an empty configuration in /cib.xml in place of a cluster's."""
    return run(machine, "sh", "-c", "cibadmin --empty > /cib.xml && export CIB_file=/cib.xml && "
               + command)


@every_agent
def test_the_schema_of_fence_agents_takes_the_metadata(machine: Sandbox, agent: str) -> None:
    done = run(machine, f"/usr/sbin/{agent}", "-o", "metadata")
    assert (done.returncode, done.stderr) == (0, "")
    assert validates(machine, done.stdout)


def swap(root: Element) -> None:
    root[0], root[1] = root[1], root[0]


def drop_getopt(root: Element) -> None:
    del root[2][0][0]


def use_unknown_type(root: Element) -> None:
    root[2][0][1].set("type", "time")


def say_yes(root: Element) -> None:
    root[2][0].set("required", "yes")


def add_longdesc(root: Element) -> None:
    ElementTree.SubElement(root[2][0], "longdesc").text = "x"


def add_timeout(root: Element) -> None:
    root[3][0].set("timeout", "20s")


@pytest.mark.parametrize("damage", [swap, drop_getopt, use_unknown_type, say_yes, add_longdesc,
                                    add_timeout])
def test_the_schema_would_see_a_mistake(machine: Sandbox,
                                        damage: Callable[[Element], None]) -> None:
    root = ElementTree.fromstring(run(machine, "/usr/sbin/fence_ipmi", "-o", "metadata").stdout)
    assert validates(machine, ElementTree.tostring(root, "unicode"))
    damage(root)
    assert not validates(machine, ElementTree.tostring(root, "unicode"))


@every_agent
def test_the_metadata_are_the_same_for_nobody_without_any_environment(
        machine: Sandbox, agent: str) -> None:
    done = run(machine, "setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups",
               "env", "--ignore-environment", f"/usr/sbin/{agent}", "-o", "metadata")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == run(machine, f"/usr/sbin/{agent}", given="action=metadata\n").stdout


@every_agent
def test_every_parameter_of_the_peer_is_there_and_of_the_same_type(machine: Sandbox,
                                                                   agent: str) -> None:
    ours, theirs = ({str(element.get("name")): str(element[1].get("type"))
                     for element in metadata(machine, name).iter("parameter")}
                    for name in (agent, PEERS[agent]))
    different = {name for name, kind in theirs.items() if ours.get(name) != kind}
    assert different == set()


@every_agent
def test_pacemaker_knows_the_agent_and_passes_the_nodes_name_as_plug(machine: Sandbox,
                                                                     agent: str) -> None:
    assert agent in run(machine, "stonith_admin", "--list-installed").stdout.split()
    root = metadata(machine, agent)
    required = {element.get("name") for element in root.iter("parameter")
                if element.get("required") == "1"}
    assert required == set() and root.find(".//parameter[@name='plug']") is not None
    on = root.find(".//action[@name='on']")
    assert on is not None and on.get("automatic") == "0"


@every_agent
@pytest.mark.parametrize("definition", [GOOD, OLD], ids=["good", "old"])
def test_stonith_admin_validates_a_good_definition(
        machine: Sandbox, agent: str, definition: Dict[str, Dict[str, str]]) -> None:
    values = dict(definition[agent])
    for name in (PEERS[agent], agent) if definition is OLD else (agent,):
        done = run(machine, "stonith_admin", "--validate", "--agent", name, *as_options(values))
        assert done.returncode == 0, done.stdout + done.stderr


@every_agent
def test_stonith_admin_shows_what_is_wrong_with_a_definition(machine: Sandbox, agent: str) -> None:
    for name, value in BAD[agent].items():
        done = run(machine, "stonith_admin", "--validate", "--agent", agent,
                   *as_options({**GOOD[agent], name: value}))
        said = done.stdout + done.stderr
        assert done.returncode != 0, f"{name}={value} was taken"
        assert name in said or value in said
        assert "ERROR: " in said and "Traceback" not in said and "sesame" not in said


@every_agent
def test_a_name_that_cannot_be_resolved_here_is_a_warning(machine: Sandbox, agent: str) -> None:
    values = {**GOOD[agent], "ip": "bmc-of-bob"}
    done = run(machine, f"/usr/sbin/{agent}",
               given="\n".join([*as_words(values), "action=validate-all"]))
    assert done.returncode == 0 and "WARNING: option ip: the name bmc-of-bob" in done.stderr


@every_agent
def test_crm_shows_every_parameter_and_every_action(machine: Sandbox, agent: str) -> None:
    done = run(machine, "crm", "ra", "info", f"stonith:{agent}")
    assert done.returncode == 0 and "ERROR" not in done.stdout + done.stderr
    found = "".join(done.stdout.split())
    for element in metadata(machine, agent).iter("parameter"):
        assert str(element.get("name")) in found
        assert "".join(str(element.findtext("shortdesc")).split()) in found


@every_agent
def test_pcs_shows_every_parameter_and_which_name_is_the_new_one(machine: Sandbox,
                                                                 agent: str) -> None:
    done = run(machine, "pcs", "stonith", "describe", agent, "--full")
    assert (done.returncode, done.stderr) == (0, "")
    found = "".join(done.stdout.split())
    for element in metadata(machine, agent).iter("parameter"):
        if element.get("name") in NOT_SHOWN_BY_PCS:
            continue
        assert "".join(str(element.findtext("shortdesc")).split()) in found
        if element.get("obsoletes"):
            assert f"{element.get('obsoletes')}(deprecatedby{element.get('name')})" in found


@every_agent
def test_pcs_creates_a_device_by_new_and_by_old_names(machine: Sandbox, agent: str) -> None:
    done = on_a_file(machine, shlex.join(["pcs", "-f", "/cib.xml", "stonith", "create", "bob-bmc",
                                          agent, *as_words(GOOD[agent]), "pcmk_host_list=bob"]))
    assert done.returncode == 0 and not ERROR.search(done.stderr), done.stderr
    # pcs wants the new names and takes the old ones; from 0.11 on it warns of each.
    done = on_a_file(machine, shlex.join(["pcs", "-f", "/cib.xml", "stonith", "create", "bob-bmc",
                                          agent, *as_words(OLD[agent]), "pcmk_host_list=bob"])
                     + " && pcs -f /cib.xml stonith config")
    assert done.returncode == 0 and not ERROR.search(done.stderr), done.stderr
    for name in ("ipaddr", "login", "passwd"):
        assert (f"'{name}' is deprecated" in done.stderr) is (SUITE != "bullseye")
        assert f"{name}={OLD[agent][name]}" in done.stdout


@every_agent
def test_crm_creates_a_device_by_new_and_by_old_names(machine: Sandbox, agent: str) -> None:
    for values in (GOOD[agent], OLD[agent]):
        done = on_a_file(machine, shlex.join(
            ["crm", "configure", "primitive", "bob-bmc", f"stonith:{agent}", "params",
             *as_words(values), "pcmk_host_list=bob", "op", "monitor", "interval=60s"])
            + " && crm configure show")
        assert done.returncode == 0 and "ERROR" not in done.stderr, done.stderr
        assert f"primitive bob-bmc stonith:{agent}" in done.stdout


@every_agent
def test_crm_and_pcs_refuse_a_parameter_that_does_not_exist(machine: Sandbox, agent: str) -> None:
    words = [*as_words(GOOD[agent]), "colour=blue"]
    done = on_a_file(machine, shlex.join(["pcs", "-f", "/cib.xml", "stonith", "create", "bob-bmc",
                                          agent, *words]))
    assert done.returncode != 0 and "colour" in done.stderr
    done = on_a_file(machine, shlex.join(["crm", "configure", "primitive", "bob-bmc",
                                          f"stonith:{agent}", "params", *words]))
    assert "colour" in done.stdout + done.stderr


@every_agent
def test_metadata_cost_less_than_half_of_what_those_of_the_peer_cost(machine: Sandbox,
                                                                     agent: str) -> None:
    # bench/fence measures it exactly (0.4); here it is only to be noticed when it changes much.
    run(machine, PEERS[agent], "-o", "metadata")
    costs = {agent: 1e9, PEERS[agent]: 1e9}
    for _ in range(9):
        for name in costs:
            before = resource.getrusage(resource.RUSAGE_CHILDREN)
            assert run(machine, f"/usr/sbin/{name}", "-o", "metadata").returncode == 0
            after = resource.getrusage(resource.RUSAGE_CHILDREN)
            spent = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
            costs[name] = min(costs[name], spent)
    assert costs[agent] < 0.5 * costs[PEERS[agent]], costs
