# SPDX-License-Identifier: GPL-2.0-or-later
"""Which resources a CIB has, and what their agents are called with."""

from __future__ import annotations

import pytest
from cli_machine import FILESYSTEM, configuration, kopano

from mailha import errors
from mailha.cluster import cib, resources
from mailha.cluster.resources import Resource

UNIQUE = ('<clone id="cl"><meta_attributes id="m"><nvpair id="u" name="globally-unique" '
          'value="true"/></meta_attributes>{}</clone>')


def found(name: str, *xml: str) -> Resource:
    """Return the resource of that name."""
    resource = resources.find(cib.parse(configuration(*xml)), name)
    assert resource is not None
    return resource


def test_resources_are_found_wherever_they_are() -> None:
    parsed = cib.parse(configuration(
        FILESYSTEM, f'<group id="g">{kopano("one")}{kopano("two")}</group>',
        f'<clone id="c"><group id="cg">{kopano("three")}</group></clone>',
        f'<master id="m">{kopano("four")}</master>', f'<bundle id="b">{kopano("five")}</bundle>'))
    assert [(each.identifier, each.agent, each.containers) for each in resources.every(parsed)] == [
        ("fs", "ocf:heartbeat:Filesystem", []), ("one", "ocf:mailha:kopano", ["g"]),
        ("two", "ocf:mailha:kopano", ["g"]), ("three", "ocf:mailha:kopano", ["c", "cg"]),
        ("four", "ocf:mailha:kopano", ["m"]), ("five", "ocf:mailha:kopano", ["b"])]


def test_no_resource_is_found_under_the_name_of_a_group_or_of_nothing() -> None:
    parsed = cib.parse(configuration(f'<group id="g">{kopano("one")}</group>'))
    assert resources.find(parsed, "g") is None
    assert resources.find(parsed, "on") is None
    assert resources.find(parsed, "") is None


def test_a_template_gives_the_agent_and_the_weaker_parameters() -> None:
    template = ('<template id="t" class="ocf" provider="mailha" type="kopano"><instance_attributes '
                'id="ta"><nvpair id="t1" name="services" value="server"/><nvpair id="t2" '
                'name="data_dir" value="/srv"/></instance_attributes></template>')
    resource = found("one", template, kopano("one", template="t", services="gateway"))
    assert resource.agent == "ocf:mailha:kopano"
    assert resource.values("services") == {"gateway"}
    assert resource.values("data_dir") == {"/srv"}
    assert resource.values("config_dir") == {None}


def test_a_parameter_with_a_rule_has_several_values() -> None:
    rule = ('<instance_attributes id="r" score="10"><rule id="ru" score="0"><expression id="e" '
            'attribute="site" operation="eq" value="east"/></rule><nvpair id="rs" name="services" '
            'value="server"/></instance_attributes></primitive>')
    xml = kopano("one", services="gateway").replace("</primitive>", rule)
    assert found("one", xml).values("services") == {"server", "gateway"}


@pytest.mark.parametrize("name", ["one", "one:0", "one:17"])
def test_all_instances_of_an_anonymous_clone_have_the_name_of_the_resource(name: str) -> None:
    for xml in (f'<clone id="cl">{kopano("one")}</clone>',
                UNIQUE.replace("true", "false").format(kopano("one"))):
        assert found(name, xml).instance(name) == "one"


def test_each_instance_of_a_unique_clone_has_a_name_of_its_own() -> None:
    resource = found("one:1", UNIQUE.format(f'<group id="g">{kopano("one")}</group>'))
    assert resource.instance("one:1") == "one:1"
    with pytest.raises(errors.Failed, match="globally unique clone.*'one:0'"):
        resource.instance("one")


def test_what_is_in_no_clone_has_no_instances() -> None:
    resource = found("one:0", kopano("one"))
    assert resource.instance("one") == "one"
    with pytest.raises(errors.Failed, match="in no clone, so there is no 'one:0'; name 'one'"):
        resource.instance("one:0")


@pytest.mark.parametrize("name, plain", [
    ("one", "one"), ("one:0", "one"), ("one:12", "one"), ("one:", "one:"), ("one:x", "one:x"),
    (":0", ":0"), ("", ""), ("one:²", "one:²")])
def test_only_a_number_behind_a_colon_is_an_instance(name: str, plain: str) -> None:
    assert resources.without_instance(name) == plain
