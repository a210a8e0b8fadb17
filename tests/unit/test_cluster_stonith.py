# SPDX-License-Identifier: GPL-2.0-or-later
"""Whether STONITH is on, and whether it reaches every node."""

from __future__ import annotations

import pytest

from configurations import BOTH, DATA, configuration, device, properties, refusal
from mailha.cluster import cib, stonith


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
