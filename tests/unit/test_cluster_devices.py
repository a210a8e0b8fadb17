# SPDX-License-Identifier: GPL-2.0-or-later
"""Which node a fencing device covers, and from where it may be used."""

from __future__ import annotations

import pytest

from configurations import BOTH, configuration, device, properties, refusal


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


@pytest.mark.parametrize("text", ["alice bob", "alice,bob", "ALICE, Bob", " bob", "alice\tbob",
                                  "alice;bob"])
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
    information = configuration(resources=device("st"),
                                more=defaults("Stopped", rule.format("ocf")))
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
