# SPDX-License-Identifier: GPL-2.0-or-later
"""What a call is made of: the environment of an agent, as Pacemaker and other callers set it."""

from __future__ import annotations

import os
from typing import Dict

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailha.ocf import Action, Agent, Call, Parameter, budget
from mailha.validation import Name, Text
from ocf_agent import IN_CLUSTER, PARAMETERS, RECURRING

AGENT = Agent("trial", short="x", long="x", parameters=PARAMETERS, actions=(
    Action("start", lambda call: None, timeout=60),
    Action("monitor", lambda call: None, timeout=20, interval=30),
    Action("monitor", lambda call: None, timeout=40, interval=120, depth=10)))


def made(action: str = "monitor", **environment: str) -> Call:
    return Call(AGENT, action, environment, lambda: 100.0)


def with_parameter(name: str, value: str) -> Call:
    return made(**{"OCF_RESKEY_" + name: value})


@pytest.mark.parametrize("environment, probe", [
    ({}, True), ({"OCF_RESKEY_CRM_meta_interval": "0"}, True),
    ({"OCF_RESKEY_CRM_meta_interval": ""}, True), (RECURRING, False)])
def test_a_probe_is_a_monitor_without_interval(environment: Dict[str, str], probe: bool) -> None:
    call = made(**environment)
    assert (call.is_probe, call.is_recurring) == (probe, not probe)


def test_only_a_monitor_is_a_probe_or_recurring() -> None:
    for interval in ("", "10000"):
        call = made("start", OCF_RESKEY_CRM_meta_interval=interval)
        assert not call.is_probe and not call.is_recurring


def test_in_a_cluster_means_that_pacemaker_has_named_the_node() -> None:
    assert (made().in_cluster, made().node) == (False, "")
    assert made(OCF_RESKEY_CRM_meta_on_node="").in_cluster is False
    call = made(**IN_CLUSTER, OCF_RESOURCE_INSTANCE="mail:1")
    assert (call.in_cluster, call.node, call.resource) == (True, "alice", "mail:1")


def test_any_meta_attribute_can_be_read() -> None:
    call = made(OCF_RESKEY_CRM_meta_requires="quorum")
    assert call.meta("requires") == "quorum"
    assert call.meta("clone_max") == "" and call.meta("clone_max", "1") == "1"


def test_a_parameter_that_is_not_set_has_its_default() -> None:
    assert made().parameters == {"services": ("server", "dagent"), "data_dir": "/var/lib/kopano",
                                 "manager": "systemd", "patience": None, "strict": True}
    assert made().problems == []


@pytest.mark.parametrize("name", [parameter.name for parameter in PARAMETERS])
def test_an_empty_parameter_is_not_set(name: str) -> None:
    call = with_parameter(name, "")
    assert call.parameters == made().parameters and call.problems == []


@pytest.mark.parametrize("name, text, value", [
    ("services", "ical, server", ("ical", "server")), ("data_dir", "/srv/mail/", "/srv/mail"),
    ("manager", "direct", "direct"), ("patience", "5", 5), ("strict", "no", False)])
def test_a_parameter_has_the_value_that_was_set(name: str, text: str, value: object) -> None:
    call = with_parameter(name, text)
    assert call.parameters[name] == value and call.problems == []


@pytest.mark.parametrize("name, text, complaint", [
    ("services", "server imap", "has 'imap' in it, which is unknown"),
    ("services", "server server", "names 'server' twice"),
    ("data_dir", "/srv/my mail", "has a blank in it"), ("data_dir", "-rf", "begins with a dash"),
    ("data_dir", "'/srv'", "has a quote in it"), ("data_dir", "/srv\n/", "has a line break in it"),
    ("data_dir", os.fsdecode(b"/srv/\xff"), "is not UTF-8"), ("manager", "sysv", "is unknown"),
    ("patience", "0", "is out of range"), ("strict", "perhaps", "is neither"),
    ("strict", " ", "nothing but blanks")])
def test_an_invalid_parameter_has_its_default_and_is_a_problem_that_names_it(
        name: str, text: str, complaint: str) -> None:
    call = with_parameter(name, text)
    assert call.parameters == made().parameters
    [problem] = call.problems
    assert problem.startswith(f"parameter {name}: ") and complaint in problem


@given(st.sampled_from([parameter.name for parameter in PARAMETERS]),
       st.text() | st.binary().map(os.fsdecode))
def test_no_value_of_a_parameter_breaks_a_call(name: str, text: str) -> None:
    call = with_parameter(name, text)
    assert set(call.parameters) == {parameter.name for parameter in PARAMETERS}
    assert all(problem.isprintable() for problem in call.problems)


def test_a_parameter_that_the_agent_does_not_have_is_not_looked_at() -> None:
    assert with_parameter("no_such_thing", "-\n").problems == []


def test_a_required_parameter_that_is_not_set_is_a_problem() -> None:
    agent = Agent("x", short="x", long="x", actions=(), parameters=(
        Parameter("host", Name(), required=True, short="x", long="x"),
        Parameter("note", Text(), short="x", long="x")))
    call = Call(agent, "start", {}, lambda: 0.0)
    assert call.problems == [f"parameter host: not set, where {Name.expected} is expected"]
    assert call.parameters == {"host": "", "note": ""}
    assert Call(agent, "start", {"OCF_RESKEY_host": "bob"}, lambda: 0.0).problems == []


@pytest.mark.parametrize("text, level", [("", 0), ("10", 10), ("x", 0), ("-1", 0), ("9" * 99, 0)])
def test_the_check_level_is_a_number_whatever_is_written(text: str, level: int) -> None:
    assert made(OCF_CHECK_LEVEL=text).check_level == level


@pytest.mark.parametrize("told, level, seconds", [
    ("20000", "0", 20.0), ("600000", "0", 600.0), ("", "0", 20.0), ("", "10", 40.0),
    ("0", "0", 20.0), ("-5", "0", 20.0), ("20s", "0", 20.0), ("9" * 99, "0", 20.0),
    ("", "77", 20.0)])
def test_the_timeout_is_what_pacemaker_told_or_else_the_advertised_one(
        told: str, level: str, seconds: float) -> None:
    assert made(OCF_RESKEY_CRM_meta_timeout=told, OCF_CHECK_LEVEL=level).timeout == seconds


@pytest.mark.parametrize("timeout, kept", [(20.0, 2.0), (60.0, 6.0), (600.0, 60.0), (10.0, 2.0),
                                           (3.0, 1.5), (1.0, 0.5)])
def test_two_seconds_or_a_tenth_are_kept_for_the_answer_and_never_more_than_half(
        timeout: float, kept: float) -> None:
    assert budget.reserve(timeout) == pytest.approx(kept)


def test_the_budget_runs_out_and_is_never_negative() -> None:
    now = 100.0
    call = Call(AGENT, "start", {"OCF_RESKEY_CRM_meta_timeout": "30000"}, lambda: now)
    assert call.left() == pytest.approx(27.0)
    now = 120.0
    assert call.left() == pytest.approx(7.0)
    now = 500.0
    assert call.left() == 0.0
