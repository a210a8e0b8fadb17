# SPDX-License-Identifier: GPL-2.0-or-later
"""Does mailha.cluster read fencing devices as Pacemaker's own fencer does?

Each case is put into the CIB of a running cluster in maintenance mode, where nothing is started.
Then alice's fencer is asked which devices can fence bob, and mailha which ones it counts. The
fencer follows a change of the CIB after a moment, so its answer is waited for; a device of a new
name in each case, with nothing in its way, tells the answer from that to the case before.
"""

from __future__ import annotations

from typing import Callable, List, NamedTuple, Set, Tuple
from xml.etree import ElementTree

import pytest
from waiting import wait_for

from mailha.cluster import cib, devices
from twonode.lab import Lab

QUERY = ["cibadmin", "--query", "--local", "--scope", "configuration"]


def pair(name: str, value: str) -> str:
    """Return one name and value; ids are given later."""
    return f'<nvpair name="{name}" value="{value}"/>'


def device(name: str, hosts: str = "bob", *, parameters: str = "", meta: str = "",
           kind: str = 'class="stonith" type="fence_ipmi"') -> str:
    """Return a fencing device. hosts: its pcmk_host_list, none if empty."""
    listed = pair("pcmk_host_list", hosts) if hosts else ""
    return (f'<primitive id="{name}" {kind}><meta_attributes>{meta}</meta_attributes>'
            f'<instance_attributes>{listed}{pair("ip", "192.0.2.99")}{parameters}'
            '</instance_attributes></primitive>')


def host_map(name: str, value: str) -> str:
    """Return a device with a host map instead of a list."""
    return device(name, "", parameters=pair("pcmk_host_map", value))


def host_check(name: str, value: str, hosts: str = "alice") -> str:
    """Return a device with a host check."""
    return device(name, hosts, parameters=pair("pcmk_host_check", value))


def role(value: str) -> str:
    """Return a target-role."""
    return pair("target-role", value)


def ban(resource: str, score: str = "-INFINITY", node: str = "alice") -> str:
    """Return a location constraint for a node."""
    return f'<rsc_location {resource} node="{node}" score="{score}"/>'


def ruled(resource: str, attribute: str, operation: str, value: str) -> str:
    """Return a ban with a rule."""
    return (f'<rsc_location rsc="{resource}"><rule score="-INFINITY"><expression attribute='
            f'"{attribute}" operation="{operation}" value="{value}"/></rule></rsc_location>')


def stopped_by_default(rule: str = "") -> str:
    """Return resource defaults that stop everything to which the rule applies."""
    return ("<rsc_defaults><meta_attributes>"
            f"{rule}{role('Stopped')}</meta_attributes></rsc_defaults>")


def for_class(name: str) -> str:
    """Return a rule for resources of one class."""
    return f'<rule score="INFINITY"><rsc_expression class="{name}"/></rule>'


STOPPED = f"<meta_attributes>{role('Stopped')}</meta_attributes>"


class Case(NamedTuple):
    """A configuration, the devices that fence bob, and those of them that mailha does not count."""

    resources: str
    fence: str
    constraints: str = ""
    more: str = ""
    options: str = ""
    not_counted: str = ""


CASES = {
    "host lists": Case(
        device("d1") + device("d2", "alice") + device("d3", "alice bob") + device("d4", "alice,bob")
        + device("d5", "BOB") + device("d6", "alice;bob") + device("d7", " bob ")
        + device("d8", "bobby"), "d1 d3 d4 d5 d6 d7"),
    "host maps": Case(
        host_map("d1", "alice:1;bob:2") + host_map("d2", "alice:1 bob:2") + host_map("d3", "bob=2")
        + host_map("d4", "BOB:2,3") + host_map("d5", ":bob") + host_map("d6", "bobby:1")
        + host_map("d7", "alice:1"), "d1 d2 d3 d4"),
    "host checks": Case(
        host_check("d1", "none") + host_check("d2", "static-list") + host_check("d3", "nonsense")
        + host_check("d4", "static-list", "bob") + host_check("d5", "static-list", "")
        + host_check("d6", "NONE"), "d1 d4 d6"),
    "target roles": Case(
        device("d1", meta=role("Stopped")) + device("d2", meta=role("stopped"))
        + device("d3", meta=role("Started")) + device("d4", meta=pair("is-managed", "false")),
        "d3 d4"),
    "defaults": Case(device("d1") + device("d2", meta=role("Started")), "d2",
                     more=stopped_by_default()),
    "defaults for another class": Case(device("d1"), "d1",
                                       more=stopped_by_default(for_class("ocf"))),
    "defaults for this class": Case(device("d1"), "",
                                    more=stopped_by_default(for_class("stonith"))),
    "containers": Case(
        f'<group id="g1">{STOPPED}{device("d1")}</group><group id="g2">{device("d2")}</group>'
        f'<clone id="c1">{STOPPED}{device("d3")}</clone><clone id="c2">{device("d4")}</clone>',
        "d2 d4"),
    "a member that is to run in a group that is not": Case(
        f'<group id="g1">{STOPPED}{device("d1", meta=role("Started"))}</group>', "d1",
        not_counted="d1"),
    "location": Case(
        "".join(device(f"d{number}") for number in range(1, 9))
        + f'<group id="g9">{device("d9")}</group>', "d3 d4 d6",
        constraints=ban('rsc="d1"') + ban('rsc="d2"', "-1") + ban('rsc="d3"', node="bob")
        + ban('rsc="d4"', "-5") + ban('rsc="d4"', "9") + ruled("d5", "#uname", "eq", "alice")
        + ruled("d6", "#uname", "ne", "alice") + ruled("d7", "#uname", "eq", "ALICE")
        + ruled("d8", "#kind", "eq", "cluster") + ban('rsc="g9"')),
    "location by pattern, tag and set": Case(
        device("p1") + device("t1") + device("s1") + device("q1"), "q1",
        constraints=ban('rsc-pattern="^p1$"') + ban('rsc="bmcs"')
        + '<rsc_location node="alice" score="-INFINITY"><resource_set><resource_ref id="s1"/>'
        '</resource_set></rsc_location>',
        more='<tags><tag id="bmcs"><obj_ref id="t1"/></tag></tags>'),
    "location by all but a pattern": Case(device("p1") + device("p2"), "p1",
                                          constraints=ban('rsc-pattern="!^(p1|seen)"')),
    "opt-in": Case(device("d1") + device("d2") + device("d3"), "d2 d3",
                   constraints=ban('rsc="d2"', "0") + ban('rsc="d3"', "10"),
                   options=pair("symmetric-cluster", "false")),
    "templates": Case(
        '<template id="t" class="stonith" type="fence_ipmi"><instance_attributes>'
        f'{pair("pcmk_host_list", "alice")}</instance_attributes></template>'
        f'<template id="u" class="stonith" type="fence_ipmi">{STOPPED}<instance_attributes>'
        f'{pair("pcmk_host_list", "bob")}</instance_attributes></template>'
        + device("d1", kind='template="t"') + device("d2", "", kind='template="t"')
        + device("d3", "", kind='template="u"')
        + device("d4", "", kind='template="u"', meta=role("Started")), "d1 d4"),
    "attribute sets with scores": Case(
        '<primitive id="d1" class="stonith" type="fence_ipmi"><instance_attributes score="1">'
        f'{pair("pcmk_host_list", "alice")}</instance_attributes><instance_attributes score="2">'
        f'{pair("pcmk_host_list", "bob")}</instance_attributes></primitive>', "d1"),
}


@pytest.fixture(scope="module")
def lab(make_lab: Callable[..., Lab]) -> Lab:
    """Return a lab with nothing but its cluster, and with the newest schema for its CIB."""
    made = make_lab()
    made.execute("alice", ["cibadmin", "--upgrade", "--force"], timeout=30)
    return made


def configure(lab: Lab, case: Case, seen: str) -> Set[str]:
    """Make the case the cluster's configuration, beside its options and its nodes.

    The one before goes first: the fencer of Pacemaker 2.0 overlooks that a device is gone where
    another one loses an attribute by the same change. seen: the device that is added. Returns the
    names of all resources.
    """
    resources = case.resources + device(seen, meta=role("Started"))
    constraints = case.constraints + ban(f'rsc="{seen}"', "1")
    replace(lab, "", "<resources/><constraints/>")
    return replace(lab, case.options, f"<resources>{resources}</resources>"
                                      f"<constraints>{constraints}</constraints>{case.more}")


def replace(lab: Lab, options: str, added: str) -> Set[str]:
    """Replace all but the cluster's own options and its nodes; return the resources' names."""
    root = ElementTree.fromstring(lab.execute("alice", QUERY, timeout=30).stdout)
    for section in list(root):
        if section.tag not in ("crm_config", "nodes"):
            root.remove(section)
    found = root.find("crm_config")
    assert found is not None
    for old in found.findall("cluster_property_set[@score='5']"):
        found.remove(old)
    found.append(ElementTree.fromstring(
        f'<cluster_property_set score="5">{options}{pair("maintenance-mode", "true")}'
        '</cluster_property_set>'))
    root.extend(list(ElementTree.fromstring(f"<all>{added}</all>")))
    for number, element in enumerate(root.iter()):
        if "id" not in element.attrib and element.tag not in (
                "configuration", "crm_config", "nodes", "resources", "constraints", "rsc_defaults",
                "tags"):
            element.set("id", f"x{number}")
    lab.execute("alice", ["cibadmin", "--replace", "--scope", "configuration", "--xml-pipe"],
                timeout=30, input=ElementTree.tostring(root))
    return {str(each.get("id")) for each in root.iter("primitive")}


def fencers_answer(lab: Lab) -> Set[str]:
    """Return the devices that alice's fencer would fence bob with."""
    listed = lab.execute("alice", ["stonith_admin", "--list", "bob"], timeout=60, check=False)
    return {line.strip().partition(":")[0] for line in listed.stdout.splitlines()
            if line.strip() and " " not in line.strip()}


def mailhas_answer(lab: Lab) -> Set[str]:
    """Return the devices that mailha counts for bob."""
    data = lab.execute("alice", QUERY, timeout=30).stdout.encode()
    return {each.identifier for each in devices.find(cib.parse(data)) if each.covers("bob")}


def parameters() -> List[Tuple[str, Case]]:
    """Return the cases with their names."""
    return list(CASES.items())


@pytest.mark.parametrize("name, case", parameters(), ids=[name for name, _ in parameters()])
def test_mailha_counts_the_devices_that_pacemaker_would_use(lab: Lab, name: str,
                                                            case: Case) -> None:
    seen = f"seen-{parameters().index((name, case))}"
    expected = {seen, *case.fence.split()}
    configured = configure(lab, case, seen)
    # The fencer of Pacemaker 2.0 keeps the members of a group that is gone: they are not asked for.
    wait_for(f"the fencer to answer {sorted(expected)} for {name}",
             lambda: fencers_answer(lab) & configured == expected)
    assert mailhas_answer(lab) == expected - set(case.not_counted.split())
