# SPDX-License-Identifier: GPL-2.0-or-later
"""Which configurations let a node start, and what is said where they do not."""

from __future__ import annotations

from pathlib import Path
from typing import Any, List, Optional

import pytest

from mailha import errors
from mailha.cluster import cib, stonith
from mailha.system.files import Files

DATA = Path(__file__).parent / "data" / "cib"


def device(name: str, *, targets: str = "", agent: str = "fence_ipmilan", more: str = "",
           target_role: str = "", parameters: str = "") -> str:
    """Return the XML of a fencing device."""
    if targets:
        parameters += f'<nvpair id="{name}-l" name="pcmk_host_list" value="{targets}"/>'
    role = f'<nvpair id="{name}-r" name="target-role" value="{target_role}"/>'
    meta = f'<meta_attributes id="{name}-m">{role}</meta_attributes>' if target_role else ""
    return (f'<primitive id="{name}" class="stonith" type="{agent}">{meta}'
            f'<instance_attributes id="{name}-i">{parameters}</instance_attributes>{more}'
            '</primitive>')


def properties(**values: str) -> str:
    """Return the XML of the bootstrap property set."""
    pairs = "".join(f'<nvpair id="o-{name}" name="{name.replace("_", "-")}" value="{value}"/>'
                    for name, value in values.items())
    return f'<cluster_property_set id="cib-bootstrap-options">{pairs}</cluster_property_set>'


def configuration(*, options: str = "", resources: str = "", constraints: str = "",
                  nodes: str = '<node id="1" uname="alice"/><node id="2" uname="bob"/>',
                  more: str = "") -> cib.Cib:
    """Return a parsed configuration of two nodes."""
    return cib.parse(f"<configuration><crm_config>{options}</crm_config><nodes>{nodes}</nodes>"
                     f"<resources>{resources}</resources><constraints>{constraints}</constraints>"
                     f"{more}</configuration>".encode())


BOTH = device("st-alice", targets="alice") + device("st-bob", targets="bob")


def refusal(information: cib.Cib, node: str = "alice", **more: str) -> str:
    """Return why the node may not start, empty if it may."""
    return stonith.examine(information, node, **more).reason


# What real tools write

@pytest.mark.parametrize("name", ["crm_two_devices", "crm_template_and_rule", "crm_cloned_device",
                                  "pcs_host_map", "diskless_sbd", "pacemaker3_pcs"])
def test_configurations_of_crm_and_pcs_that_fence_let_both_nodes_start(name: str) -> None:
    information = cib.parse((DATA / f"{name}.xml").read_bytes())
    assert refusal(information, "alice") == ""
    assert refusal(information, "bob") == ""


def test_crm_with_stonith_off_is_refused() -> None:
    information = cib.parse((DATA / "crm_stonith_off.xml").read_bytes())
    found = stonith.examine(information, "alice")
    assert found.reason == "STONITH is off (cluster property stonith-enabled=false)"
    assert "crm configure property" in found.remedy and "pcs property set" in found.remedy


def test_a_device_that_pcs_disabled_leaves_its_node_uncovered() -> None:
    information = cib.parse((DATA / "pcs_disabled.xml").read_bytes())
    assert refusal(information, "alice") == ("node 'bob' cannot be fenced: its device 'st-bob' "
                                             "(fence_ipmilan) is stopped (target-role)")
    assert refusal(information, "bob") == ""


def test_the_second_level_of_a_topology_covers_where_the_first_is_disabled() -> None:
    information = cib.parse((DATA / "pcs_topology.xml").read_bytes())
    assert refusal(information, "alice") == ""


# Is STONITH on

@pytest.mark.parametrize("word", ["false", "off", "no", "n", "0", "FALSE", "Off"])
def test_every_spelling_of_false_switches_stonith_off(word: str) -> None:
    information = configuration(options=properties(stonith_enabled=word), resources=BOTH)
    assert refusal(information).startswith("STONITH is off")


@pytest.mark.parametrize("word", ["true", "on", "yes", "y", "1", "TRUE"])
def test_every_spelling_of_true_leaves_stonith_on(word: str) -> None:
    information = configuration(options=properties(stonith_enabled=word), resources=BOTH)
    assert refusal(information) == ""


def test_stonith_is_on_where_nothing_is_said() -> None:
    assert refusal(configuration(resources=BOTH)) == ""


def test_a_word_that_is_no_boolean_is_not_relied_on() -> None:
    information = configuration(options=properties(stonith_enabled="maybe"), resources=BOTH)
    assert "'maybe'" in refusal(information)


@pytest.mark.parametrize("version, new, old, allowed", [
    ("3.0.2-1", "true", "false", True), ("3.0.2-1", "false", "true", False),
    ("2.1.5-a3f44794f94", "true", "false", False), ("2.1.5-a3f44794f94", "false", "true", True),
    ("", "true", "false", False), ("", "false", "true", False), ("", "true", "true", True)])
def test_the_new_name_wins_only_where_pacemaker_knows_it(version: str, new: str, old: str,
                                                         allowed: bool) -> None:
    options = properties(fencing_enabled=new, stonith_enabled=old, dc_version=version)
    information = configuration(options=options, resources=BOTH)
    assert (refusal(information) == "") == allowed


def test_fencing_enabled_alone_switches_off() -> None:
    options = properties(fencing_enabled="false", dc_version="3.0.2-1")
    assert "off" in refusal(configuration(options=options, resources=BOTH))


def property_set(name: str, value: str, score: str = "", rule: str = "") -> str:
    """Return a property set that sets stonith-enabled."""
    return (f'<cluster_property_set id="{name}"{score and f" score={score!r}"}>{rule}'
            f'<nvpair id="{name}-e" name="stonith-enabled" value="{value}"/>'
            '</cluster_property_set>')


def test_the_bootstrap_set_goes_before_any_score() -> None:
    options = property_set("other", "false", "100") + property_set("cib-bootstrap-options", "true")
    assert refusal(configuration(options=options, resources=BOTH)) == ""


def test_among_other_sets_the_highest_score_wins() -> None:
    options = property_set("low", "true", "1") + property_set("high", "false", "2")
    assert "off" in refusal(configuration(options=options, resources=BOTH))
    options = property_set("low", "false", "1") + property_set("high", "true", "2")
    assert refusal(configuration(options=options, resources=BOTH)) == ""


def test_of_two_equal_sets_the_one_that_switches_off_counts() -> None:
    for first, second in (("true", "false"), ("false", "true")):
        options = property_set("one", first) + property_set("two", second)
        assert "may be" in refusal(configuration(options=options, resources=BOTH))


def test_a_rule_can_switch_off_but_not_on() -> None:
    rule = ('<rule id="r"><date_expression id="d" operation="gt" start="2030-01-01"/></rule>')
    options = property_set("ruled", "false", "9", rule) + property_set("plain", "true", "1")
    assert "may be, by a rule" in refusal(configuration(options=options, resources=BOTH))
    options = property_set("ruled", "true", "9", rule) + property_set("plain", "false", "1")
    assert "off" in refusal(configuration(options=options, resources=BOTH))


def test_startup_fencing_off_is_no_protection() -> None:
    information = configuration(options=properties(startup_fencing="false"), resources=BOTH)
    assert "startup-fencing" in refusal(information)


@pytest.mark.parametrize("requires", ["nothing", "quorum", "Quorum"])
def test_a_resource_that_does_not_require_fencing_is_not_protected(requires: str) -> None:
    assert f"requires={requires}" in refusal(configuration(resources=BOTH), requires=requires)


def test_requires_fencing_is_what_is_wanted() -> None:
    assert refusal(configuration(resources=BOTH), requires="fencing") == ""


# Which devices cover which node

def test_no_device_at_all_is_refused() -> None:
    assert refusal(configuration()) == "node 'bob' cannot be fenced: there is no fencing device"


def test_a_device_that_names_only_this_node_covers_nobody_else() -> None:
    information = configuration(resources=device("st-alice", targets="alice"))
    assert refusal(information, "alice") == ("node 'bob' cannot be fenced: none of the fencing "
                                             "devices ('st-alice') is for it")
    assert refusal(information, "bob") == ""


def test_one_uncovered_node_of_three_is_named() -> None:
    nodes = "".join(f'<node id="{number}" uname="{name}"/>'
                    for number, name in enumerate(("alice", "bob", "carol")))
    information = configuration(nodes=nodes, resources=BOTH)
    assert "'carol'" in refusal(information, "alice")
    assert refusal(information, "carol") == ""


@pytest.mark.parametrize("text", ["alice bob", "alice,bob", "ALICE, Bob", " bob", "alice\tbob"])
def test_host_lists_are_read_as_pacemaker_does(text: str) -> None:
    information = configuration(resources=device("st", targets=text))
    assert refusal(information, "alice") == ""


def host_map(text: str) -> str:
    """Return a device with a host map."""
    return device("st", parameters=f'<nvpair id="m" name="pcmk_host_map" value="{text}"/>')


@pytest.mark.parametrize("text", ["alice:1;bob:2", "alice:1 bob:2", "bob=2", "BOB:2,3"])
def test_host_maps_are_read_as_pacemaker_does(text: str) -> None:
    assert refusal(configuration(resources=host_map(text))) == ""


@pytest.mark.parametrize("text", ["bob", "alice:bob", "bob:", ":bob", "bobby:1"])
def test_a_host_map_without_the_node_does_not_cover_it(text: str) -> None:
    assert "is for it" in refusal(configuration(resources=host_map(text)))


def host_check(text: str) -> str:
    """Return a device with a host check and a list that names only alice."""
    return device("st", targets="alice",
                  parameters=f'<nvpair id="c" name="pcmk_host_check" value="{text}"/>')


@pytest.mark.parametrize("text", ["dynamic-list", "status", "none"])
def test_a_device_that_is_asked_may_be_for_any_node(text: str) -> None:
    assert refusal(configuration(resources=host_check(text))) == ""


@pytest.mark.parametrize("text", ["static-list", "nonsense"])
def test_other_host_checks_cover_what_is_listed_at_most(text: str) -> None:
    assert "is for it" in refusal(configuration(resources=host_check(text)))


def test_a_device_without_a_list_may_be_for_any_node() -> None:
    assert refusal(configuration(resources=device("st"))) == ""


@pytest.mark.parametrize("agent", ["null", "fence_dummy", "ssh", "external/ssh"])
def test_agents_that_only_pretend_do_not_count(agent: str) -> None:
    assert "says success" in refusal(configuration(resources=device("st", agent=agent)))


@pytest.mark.parametrize("role", ["Stopped", "stopped"])
def test_a_stopped_device_covers_nobody(role: str) -> None:
    information = configuration(resources=device("st", target_role=role))
    assert "target-role" in refusal(information)


@pytest.mark.parametrize("around", ["group", "clone"])
def test_a_device_in_a_stopped_container_covers_nobody(around: str) -> None:
    stopped = '<meta_attributes id="x"><nvpair id="y" name="target-role" value="Stopped"/>' \
              '</meta_attributes>'
    resources = f'<{around} id="outer">{stopped}{device("st")}</{around}>'
    assert "target-role" in refusal(configuration(resources=resources))
    assert refusal(configuration(resources=f'<{around} id="outer">{device("st")}</{around}>')) == ""


def defaults(value: str, rule: str = "") -> str:
    """Return resource defaults with a target-role."""
    return (f'<rsc_defaults><meta_attributes id="d">{rule}<nvpair id="dr" name="target-role" '
            f'value="{value}"/></meta_attributes></rsc_defaults>')


def test_resource_defaults_stop_a_device_that_says_nothing() -> None:
    information = configuration(resources=device("st"), more=defaults("Stopped"))
    assert "target-role" in refusal(information)
    information = configuration(resources=device("st", target_role="Started"),
                                more=defaults("Stopped"))
    assert refusal(information) == ""


def test_defaults_for_another_class_of_resource_do_not_stop_a_device() -> None:
    rule = '<rule id="dx"><rsc_expression id="dy" class="{}"/></rule>'
    information = configuration(resources=device("st"), more=defaults("Stopped", rule.format("ocf")))
    assert refusal(information) == ""
    information = configuration(resources=device("st"),
                                more=defaults("Stopped", rule.format("stonith")))
    assert "target-role" in refusal(information)


def test_a_device_in_a_bundle_is_none() -> None:
    assert "no fencing device" in refusal(
        configuration(resources=f'<bundle id="b">{device("st")}</bundle>'))


def test_a_host_list_that_depends_on_a_rule_covers_nobody() -> None:
    rule = '<rule id="r"><date_expression id="e" operation="lt" end="2030-01-01"/></rule>'
    more = (f'<instance_attributes id="ruled">{rule}<nvpair id="n" name="pcmk_host_list" '
            'value="bob"/></instance_attributes>')
    assert "depends on a rule" in refusal(configuration(resources=device("st", more=more)))


# From where a device may be used

def location(name: str, where: str, *, resource: str = "st") -> str:
    """Return a location constraint."""
    return f'<rsc_location id="{name}" rsc="{resource}" {where}</rsc_location>'


def test_a_device_that_is_banned_everywhere_covers_nobody() -> None:
    constraints = location("one", 'node="alice" score="-INFINITY">') + \
        location("two", 'node="bob" score="-INFINITY">')
    information = configuration(resources=device("st"), constraints=constraints)
    assert refusal(information) == ("node 'bob' cannot be fenced: no other node may use its device "
                                    "'st' (location constraints or symmetric-cluster)")


def test_a_device_that_only_its_target_may_use_covers_nobody() -> None:
    """The whitepaper's classic mistake: the constraints the wrong way round."""
    constraints = location("one", 'node="alice" score="-INFINITY">')
    information = configuration(resources=device("st", targets="bob"), constraints=constraints)
    assert "no other node may use" in refusal(information)


def test_any_negative_score_bans_a_device_as_in_pacemaker() -> None:
    constraints = location("one", 'node="ALICE" score="-1">')
    information = configuration(resources=device("st", targets="bob"), constraints=constraints)
    assert "no other node may use" in refusal(information)
    constraints += location("two", 'node="alice" score="5">')
    information = configuration(resources=device("st", targets="bob"), constraints=constraints)
    assert refusal(information) == ""


@pytest.mark.parametrize("expression, allowed", [
    ('attribute="#uname" operation="eq" value="alice"', False),
    ('attribute="#uname" operation="eq" value="bob"', True),
    ('attribute="#uname" operation="ne" value="bob"', False),
    ('attribute="#id" operation="eq" value="1"', False),
    ('attribute="#kind" operation="eq" value="remote"', True),
    ('attribute="site" operation="eq" value="east"', False),
    ('attribute="site" operation="ne" value="EAST"', True),
    ('attribute="site" operation="defined"', False),
    ('attribute="ping" operation="lt" value="1"', False),
    ('attribute="#uname" operation="defined"', False),
    ('attribute="#uname" operation="not_defined"', True)])
def test_rules_of_location_constraints(expression: str, allowed: bool) -> None:
    """A ban whose rule cannot be evaluated is taken as one that is in force."""
    nodes = ('<node id="1" uname="alice"><instance_attributes id="a"><nvpair id="s" name="site" '
             'value="east"/></instance_attributes></node><node id="2" uname="bob"/>')
    rule = f'><rule id="r" score="-INFINITY"><expression id="e" {expression}/></rule>'
    information = configuration(resources=device("st", targets="bob"), nodes=nodes,
                                constraints=location("l", rule))
    assert (refusal(information) == "") == allowed


def test_an_opt_in_cluster_needs_a_constraint_that_allows_the_device() -> None:
    options = properties(symmetric_cluster="false")
    assert "symmetric-cluster" in refusal(configuration(options=options, resources=device("st")))
    constraints = location("l", 'node="alice" score="100">')
    assert refusal(configuration(options=options, resources=device("st"),
                                 constraints=constraints)) == ""


@pytest.mark.parametrize("constraint", [
    '<rsc_location id="l" rsc-pattern="^st-.*" node="alice" score="-INFINITY"/>',
    '<rsc_location id="l" rsc-pattern="!^other" node="alice" score="-INFINITY"/>',
    '<rsc_location id="l" rsc="bmcs" node="alice" score="-INFINITY"/>',
    '<rsc_location id="l" rsc="outer" node="alice" score="-INFINITY"/>',
    '<rsc_location id="l" node="alice" score="-INFINITY"><resource_set id="s">'
    '<resource_ref id="st-bob"/></resource_set></rsc_location>'])
def test_a_ban_by_pattern_tag_group_or_set_counts(constraint: str) -> None:
    tags = '<tags><tag id="bmcs"><obj_ref id="st-bob"/></tag></tags>'
    resources = f'<group id="outer">{device("st-bob", targets="bob")}</group>'
    information = configuration(resources=resources, constraints=constraint, more=tags)
    assert "no other node may use" in refusal(information)


# Templates

def test_a_device_inherits_from_its_template_and_overrides_it() -> None:
    template = ('<template id="t" class="stonith" type="fence_ipmilan"><instance_attributes '
                'id="ti"><nvpair id="tl" name="pcmk_host_list" value="alice"/>'
                '</instance_attributes></template>')
    own = ('<instance_attributes id="oi"><nvpair id="ol" name="pcmk_host_list" value="bob"/>'
           '</instance_attributes>')
    assert "is for it" in refusal(configuration(
        resources=template + '<primitive id="st" template="t"/>'))
    assert refusal(configuration(
        resources=template + f'<primitive id="st" template="t">{own}</primitive>')) == ""


def test_an_attribute_set_by_reference_is_found() -> None:
    shared = device("st-alice", targets="bob")
    other = ('<primitive id="st" class="stonith" type="fence_ipmilan">'
             '<instance_attributes id-ref="st-alice-i"/></primitive>')
    information = configuration(resources=shared.replace("fence_ipmilan", "null") + other)
    assert refusal(information) == ""


# Topology

def level(devices: str, index: str = "1", target: str = 'target="bob"') -> str:
    """Return a fencing level."""
    return f'<fencing-level id="f{index}{devices}" index="{index}" devices="{devices}" {target}/>'


@pytest.mark.parametrize("levels, complaint", [
    (level("st-bob"), ""),
    (level("st-bob,gone"), "names 'gone'"),
    (level("gone") + level("st-bob", "2"), ""),
    (level("st-alice"), "uses 'st-alice', which is not for it"),
    (level("st-bob,stopped"), "target-role"),
    (level(""), "names no device"),
    (level("gone", "10"), ""), (level("gone", "0"), ""), (level("gone", "one"), ""),
    (level("gone", target='target="BOB"'), "names 'gone'"),
    (level("gone", target='target-pattern="^b.b$"'), "names 'gone'"),
    (level("gone", target='target-pattern="^B"'), ""),
    (level("gone", target='target-pattern="("'), ""),
    (level("gone", target='target-attribute="rack" target-value="2"'), "names 'gone'"),
    (level("gone", target='target-attribute="rack" target-value="3"'), ""),
    (level("gone", target='target-pattern="b"') + level("st-bob"), ""),
    (level("gone", target='target-pattern="b"') + level("st-bob", target='target-pattern="bo"'),
     "names 'gone'")])
def test_a_topology_leaves_only_the_devices_of_its_levels(levels: str, complaint: str) -> None:
    nodes = ('<node id="1" uname="alice"/><node id="2" uname="bob"><instance_attributes id="a">'
             '<nvpair id="r" name="rack" value="2"/></instance_attributes></node>')
    resources = BOTH + device("stopped", targets="bob", target_role="Stopped")
    information = configuration(resources=resources, nodes=nodes,
                                more=f"<fencing-topology>{levels}</fencing-topology>")
    found = refusal(information)
    assert (complaint in found) if complaint else found == ""


# Diskless SBD

@pytest.mark.parametrize("timeout, watchdog, allowed", [
    ("10", "true", True), ("10s", "true", True), ("-1", "true", True), ("2min", "yes", True),
    ("auto", "true", True), ("0", "true", False), ("0s", "true", False), ("10s", "false", False)])
def test_diskless_sbd_counts_where_it_is_really_in_use(timeout: str, watchdog: str,
                                                       allowed: bool) -> None:
    options = properties(stonith_watchdog_timeout=timeout, have_watchdog=watchdog)
    assert (refusal(configuration(options=options)) == "") == allowed


def test_sbd_without_a_watchdog_timeout_is_sbd_with_a_disk() -> None:
    assert refusal(configuration(options=properties(have_watchdog="true"))) != ""


def test_the_new_name_of_the_watchdog_timeout_counts_where_pacemaker_knows_it() -> None:
    for version, allowed in (("3.0.2-1", True), ("2.1.5-1", False), ("", False)):
        options = properties(fencing_watchdog_timeout="10", have_watchdog="true",
                             dc_version=version)
        assert (refusal(configuration(options=options)) == "") == allowed


def test_a_fence_watchdog_device_limits_sbd_to_its_nodes() -> None:
    options = properties(stonith_watchdog_timeout="10", have_watchdog="true")
    resources = device("watchdog", agent="fence_watchdog", targets="alice")
    information = configuration(options=options, resources=resources)
    assert "'bob'" in refusal(information, "alice")
    assert refusal(information, "bob") == ""


def test_a_fence_watchdog_device_alone_fences_nobody() -> None:
    information = configuration(resources=device("watchdog", agent="fence_watchdog"))
    assert "no fencing device" in refusal(information)


# Nodes

@pytest.mark.parametrize("kind", ["remote", "ping"])
def test_only_members_have_to_be_covered(kind: str) -> None:
    nodes = f'<node id="1" uname="alice"/><node id="x" uname="box" type="{kind}"/>'
    assert refusal(configuration(nodes=nodes)) == ""


@pytest.mark.parametrize("kind", ["member", "normal", ""])
def test_members_have_to_be_covered_whatever_their_type_is_called(kind: str) -> None:
    nodes = f'<node id="1" uname="alice"/><node id="x" uname="box" type="{kind}"/>'
    assert "'box'" in refusal(configuration(nodes=nodes))


def test_case_in_the_own_name_means_nothing() -> None:
    assert refusal(configuration(resources=device("st", targets="bob")), "ALICE") == ""


def test_standby_and_maintenance_change_nothing() -> None:
    nodes = ('<node id="1" uname="alice"/><node id="2" uname="bob"><instance_attributes id="a">'
             '<nvpair id="s" name="standby" value="on"/></instance_attributes></node>')
    options = properties(maintenance_mode="true")
    assert refusal(configuration(nodes=nodes, options=options, resources=BOTH)) == ""
    assert refusal(configuration(nodes=nodes, options=options)) != ""


# The verdict

class Clock:
    """A clock that only sleeping moves."""

    def __init__(self) -> None:
        self.now = 0.0

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


class Children:
    """Plays cibadmin: answers in turn, the last one for ever; an exception is raised."""

    def __init__(self, clock: Clock, answers: List[Any]) -> None:
        self.clock = clock
        self.answers = answers
        self.calls: List[Any] = []

    def run(self, argv: Any, *, timeout: float, environment: Any = None, **_: Any) -> Any:
        self.calls.append((list(argv), timeout, environment))
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, errors.MailhaError):
            self.clock.now += timeout
            raise answer

        class Finished:
            stdout = answer
        return Finished()


class Box:
    """A machine with nothing but what a verdict needs."""

    def __init__(self, root: Path, *answers: Any) -> None:
        self.clock = Clock()
        self.children = Children(self.clock, list(answers))
        self.files = Files(str(root))


GOOD = (DATA / "crm_two_devices.xml").read_bytes()
OFF = (DATA / "crm_stonith_off.xml").read_bytes()
BUSY = errors.Failed("cibadmin ended with 113: Operation timed out")


def decide(box: Box, *, node: str = "alice", manual_node: str = "",
           timeout: float = 9.0) -> Optional[errors.MailhaError]:
    """Return the refusal, None if the node may start."""
    machine: Any = box
    try:
        stonith.verdict(machine, node=node, manual_node=manual_node, timeout=timeout)
    except errors.MailhaError as error:
        return error
    return None


def test_with_stonith_every_node_may_start_and_manual_node_means_nothing(tmp_path: Path) -> None:
    for manual_node in ("", "bob", "nobody"):
        assert decide(Box(tmp_path, GOOD), manual_node=manual_node) is None


def test_without_stonith_nobody_may_start_by_itself(tmp_path: Path) -> None:
    error = decide(Box(tmp_path, OFF))
    assert isinstance(error, errors.NotAllowedHere) and error.code == 5
    assert "STONITH is off" in str(error) and "manual_node" in str(error)
    assert "\n" not in str(error)


def test_without_stonith_only_the_named_node_may_start(tmp_path: Path) -> None:
    assert decide(Box(tmp_path, OFF), node="alice", manual_node="Alice") is None
    error = decide(Box(tmp_path, OFF), node="bob", manual_node="alice")
    assert isinstance(error, errors.NotAllowedHere)
    assert "only 'alice' may run this" in error.reason
    assert "make certain that 'alice' is off" in error.remedy
    assert "pcs resource update" in error.remedy and "crm resource param" in error.remedy


def test_a_manual_node_that_is_no_node_is_said_so(tmp_path: Path) -> None:
    error = decide(Box(tmp_path, OFF), node="bob", manual_node="alcie")
    assert isinstance(error, errors.NotAllowedHere)
    assert error.reason == "manual_node names 'alcie', which is no node of this cluster (alice, bob)"


def test_a_busy_cib_is_asked_again_inside_the_time(tmp_path: Path) -> None:
    box = Box(tmp_path, BUSY, b"", GOOD)
    assert decide(box) is None
    assert len(box.children.calls) == 3
    assert box.clock.now <= 9.0


def test_asking_the_cib_ends_inside_the_time(tmp_path: Path) -> None:
    box = Box(tmp_path, BUSY)
    error = decide(box, timeout=9.0)
    assert isinstance(error, errors.Failed) and error.code == 1
    assert "Operation timed out" in error.reason and "nothing was recorded" in error.reason
    assert 3.0 <= box.clock.now <= 9.0
    assert len(box.children.calls) >= 2


def test_only_the_local_configuration_is_asked_for(tmp_path: Path) -> None:
    box = Box(tmp_path, GOOD)
    decide(box)
    [(argv, _, _)] = box.children.calls
    assert argv[0] == "/usr/sbin/cibadmin" and "--local" in argv


def test_a_draft_in_the_environment_is_not_asked(tmp_path: Path,
                                                 monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CIB_file", "/tmp/draft.xml")
    monkeypatch.setenv("CIB_shadow", "draft")
    monkeypatch.setenv("PCMK_ipc_buffer", "1048576")
    box = Box(tmp_path, GOOD)
    decide(box)
    [(_, _, environment)] = box.children.calls
    assert "CIB_file" not in environment and "CIB_shadow" not in environment
    assert environment["PCMK_ipc_buffer"] == "1048576"


def test_an_unreadable_cib_falls_back_on_the_verdict_of_this_boot(tmp_path: Path) -> None:
    assert decide(Box(tmp_path, GOOD)) is None
    assert decide(Box(tmp_path, BUSY)) is None


def test_a_recorded_refusal_stays_a_refusal_except_for_the_named_node(tmp_path: Path) -> None:
    assert decide(Box(tmp_path, OFF)) is not None
    error = decide(Box(tmp_path, BUSY))
    assert isinstance(error, errors.NotAllowedHere) and "STONITH is off" in error.reason
    assert decide(Box(tmp_path, BUSY), manual_node="alice") is None
    assert isinstance(decide(Box(tmp_path, BUSY), manual_node="bob"), errors.NotAllowedHere)
    assert isinstance(decide(Box(tmp_path, BUSY), manual_node="dave"), errors.NotAllowedHere)


@pytest.mark.parametrize("damage", [b"", b"format 1\n", b"format 2\nnodes alice bob\nend\n",
                                    b"format 1\nnodes alice bob\n", b"\xff\xfe", b"format 1\nend\n",
                                    b"format 1\nnodes \nend\n"])
def test_a_damaged_record_is_no_record(tmp_path: Path, damage: bytes) -> None:
    assert decide(Box(tmp_path, GOOD)) is None
    (tmp_path / stonith.RECORD[1:]).write_bytes(damage)
    error = decide(Box(tmp_path, BUSY))
    assert isinstance(error, errors.Failed) and "nothing was recorded" in error.reason


def test_the_record_says_its_format(tmp_path: Path) -> None:
    decide(Box(tmp_path, GOOD))
    assert (tmp_path / stonith.RECORD[1:]).read_text() == "format 1\nnodes alice bob\nend\n"


def test_a_record_that_cannot_be_written_does_not_change_the_verdict(tmp_path: Path) -> None:
    (tmp_path / "run").write_text("in the way")
    assert decide(Box(tmp_path, GOOD)) is None
    assert isinstance(decide(Box(tmp_path, OFF)), errors.NotAllowedHere)
