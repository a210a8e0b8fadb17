# SPDX-License-Identifier: GPL-2.0-or-later
"""What is taken for a CIB, and what is made of anything else."""

from __future__ import annotations

from typing import Optional

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailha import errors
from mailha.cluster import cib, rules, stonith

SMALL = b'<configuration><nodes><node id="1" uname="alice"/></nodes></configuration>'


@pytest.mark.parametrize("data, word", [
    (b"", "well-formed"),
    (b"<cib>", "well-formed"),
    (SMALL[:-5], "well-formed"),
    (b"Call cib_query failed", "well-formed"),
    (b"<html/>", "<html>"),
    (b"<cib/>", "no configuration"),
    (b"<cib><configuration/></cib>", "names no node"),
    (b"<configuration><nodes><node id='1'/></nodes></configuration>", "names no node"),
    (b"<!DOCTYPE cib [<!ENTITY a 'aa'>]><cib>&a;</cib>", "document type"),
    (SMALL.decode().encode("utf-16"), "bytes that no CIB has"),
    (b"<?xml version='1.0' encoding='no-such'?>" + SMALL, "well-formed"),
    (b"<configuration>" + b" " * cib.LARGEST + b"</configuration>", "bytes or more")])
def test_what_is_no_cib_is_refused_with_a_reason(data: bytes, word: str) -> None:
    with pytest.raises(cib.CibUnreadable) as caught:
        cib.parse(data)
    assert word in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_configuration_and_a_whole_cib_are_both_read() -> None:
    for data in (SMALL, b"<cib>" + SMALL + b"<status/></cib>"):
        assert [node.name for node in cib.parse(data).nodes()] == ["alice"]


def test_deeply_nested_xml_ends_in_a_verdict() -> None:
    depth = 20_000
    data = SMALL.replace(b"</configuration>", b"<resources>" + b"<group>" * depth
                         + b"</group>" * depth + b"</resources></configuration>")
    assert stonith.examine(cib.parse(data), "alice").reason == ""


def test_rules_in_rules_without_end_are_unknown() -> None:
    depth = 200
    text = ('<rule id="r">' * depth + '<expression id="e" attribute="#uname" operation="eq" '
            'value="alice"/>' + "</rule>" * depth)
    information = cib.parse(SMALL.replace(b"</configuration>", text.encode() + b"</configuration>"))
    rule = information.by_id("r")
    assert rule is not None
    assert rules.rule_holds(information, rule, rules.Subject(information.nodes()[0])) is None


def test_a_rule_that_refers_to_itself_is_unknown() -> None:
    information = cib.parse(SMALL.replace(
        b"</configuration>", b'<rule id="r"><rule id-ref="r"/></rule></configuration>'))
    rule = information.by_id("r")
    assert rule is not None
    assert rules.rule_holds(information, rule, rules.Subject()) is None


@pytest.mark.parametrize("operator, one, two, expected", [
    ("and", True, True, True), ("and", True, False, False), ("and", True, None, None),
    ("and", False, None, False), ("or", False, False, False), ("or", True, None, True),
    ("or", False, None, None), ("or", True, False, True), ("and", None, None, None)])
def test_rules_join_what_is_known_and_what_is_not(operator: str, one: Optional[bool],
                                                  two: Optional[bool],
                                                  expected: Optional[bool]) -> None:
    kinds = {True: 'operation="eq" value="alice"', False: 'operation="eq" value="bob"',
             None: 'operation="gt" value="a"'}
    parts = "".join(f'<expression id="e{number}" attribute="#uname" {kinds[part]}/>'
                    for number, part in enumerate((one, two)))
    text = f'<rule id="r" boolean-op="{operator}">{parts}</rule></configuration>'
    information = cib.parse(SMALL.replace(b"</configuration>", text.encode()))
    rule = information.by_id("r")
    assert rule is not None
    assert rules.rule_holds(information, rule, rules.Subject(information.nodes()[0])) is expected


@pytest.mark.parametrize("text, value", [
    ("INFINITY", 1_000_000), ("+INFINITY", 1_000_000), ("-infinity", -1_000_000),
    ("red", -1_000_000), ("green", 0), ("12", 12), ("-3", -3), ("99999999", 1_000_000),
    ("", 0), ("x", 0)])
def test_scores(text: str, value: int) -> None:
    assert rules.score(text) == value


@pytest.mark.parametrize("text, value", [
    ("10", 10_000), ("10s", 10_000), ("2min", 120_000), ("500ms", 500), ("-1", -1000), ("0", 0),
    ("1h", 3_600_000), ("", None), ("auto", None), ("5 parsecs", None)])
def test_durations(text: str, value: int) -> None:
    assert rules.milliseconds(text) == value


@given(st.binary(max_size=300))
def test_no_bytes_at_all_raise_anything_but_a_reason(data: bytes) -> None:
    try:
        cib.parse(data)
    except errors.MailhaError as error:
        assert str(error)


TAGS = st.sampled_from(["resources", "constraints", "primitive", "group", "clone", "template",
                        "meta_attributes", "instance_attributes", "nvpair", "rule", "expression",
                        "rsc_location", "nodes", "node", "fencing-topology", "fencing-level",
                        "tags", "tag", "obj_ref", "crm_config", "cluster_property_set"])
NAMES = st.sampled_from(["id", "id-ref", "name", "value", "class", "type", "template", "rsc",
                         "node", "score", "target", "index", "devices", "uname", "operation",
                         "attribute", "rsc-pattern", "target-pattern", "boolean-op",
                         "score-attribute"])
VALUES = st.sampled_from(["a", "b", "alice", "bob", "stonith", "stonith-enabled", "pcmk_host_list",
                          "target-role", "Stopped", "1", "-INFINITY", "(", "!", "", "#uname", "eq"])
ATTRIBUTES = st.dictionaries(NAMES, VALUES, max_size=5)
TREES = st.recursive(
    st.tuples(TAGS, ATTRIBUTES, st.just([])),
    lambda inner: st.tuples(TAGS, ATTRIBUTES, st.lists(inner, max_size=4)), max_leaves=25)


def written(tree: object) -> str:
    """Return the XML of a generated tree."""
    tag, attributes, children = tree  # type: ignore
    text = "".join(f' {name}="{value}"' for name, value in attributes.items())
    return f"<{tag}{text}>{''.join(map(written, children))}</{tag}>"


@given(st.lists(TREES, max_size=6))
def test_every_configuration_gets_a_verdict(trees: object) -> None:
    """Whatever crm_verify would say to it: a finding, never an exception."""
    text = "".join(map(written, trees))  # type: ignore
    nodes = '<nodes><node id="1" uname="alice"/><node id="2" uname="bob"/></nodes>'
    information = cib.parse(f"<configuration>{nodes}{text}</configuration>".encode())
    found = stonith.examine(information, "alice")
    assert {"alice", "bob"} <= set(found.nodes)
    assert bool(found.reason) == bool(found.remedy)
