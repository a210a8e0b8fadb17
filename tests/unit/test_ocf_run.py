# SPDX-License-Identifier: GPL-2.0-or-later
"""From the command line to the exit code and the one reason."""

from __future__ import annotations

import os
from typing import Any, Dict, Optional

import pytest

from mailha import errors
from mailha.ocf import Call, answer, metadata
from ocf_agent import IN_CLUSTER, RECURRING, Trial

ACTIONS = ["start", "stop", "monitor", "reload-agent"]

BAD = {"services": "server imap", "data_dir": "-/srv"}


@pytest.fixture
def trial(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Trial:
    """Return an agent that is called by root, as it seems."""
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    return Trial(capfd)


@pytest.mark.parametrize("action", ACTIONS)
def test_success_is_code_0_and_silent(trial: Trial, action: str) -> None:
    assert trial.call(action, environment=RECURRING) == (0, "", "")
    assert [call.action for call in trial.calls] == [action]


def test_what_follows_the_action_is_ignored(trial: Trial) -> None:
    assert trial.call("start", "stop", "--help", "").code == 0
    assert [call.action for call in trial.calls] == ["start"]


@pytest.mark.parametrize("action", ["notify", "promote", "demote", "migrate_to", "reload", "status",
                                    "usage", "START", " start", "-h", "a\nocf-exit-reason:b",
                                    os.fsdecode(b"\xff")])
def test_an_unknown_action_is_code_3_and_a_reason(trial: Trial, action: str) -> None:
    said = trial.call(action)
    assert said.code == 3 and said.out == "" and trial.calls == []
    assert "there is no action" in said.reason and "start, stop, monitor" in said.reason


@pytest.mark.parametrize("arguments", [[], [""]])
def test_no_action_is_code_3_and_the_usage(trial: Trial, arguments: Any) -> None:
    said = trial.call(*arguments)
    assert said.code == 3 and "usage: trial ACTION" in said.reason
    assert "start, stop, monitor, reload-agent, meta-data, validate-all" in said.reason


@pytest.mark.parametrize("action", ACTIONS)
def test_who_is_not_root_gets_code_4(trial: Trial, monkeypatch: pytest.MonkeyPatch,
                                     action: str) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 65534)
    said = trial.call(action)
    assert said.code == 4 and "needs root" in said.reason and "65534" in said.reason
    assert trial.calls == []


def test_anybody_may_ask_for_meta_data_and_validate(
        trial: Trial, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 65534)
    said = trial.call("meta-data")
    assert said == (0, metadata.document(trial.agent).decode(), "")
    assert trial.call("validate-all") == (0, "", "")


@pytest.mark.parametrize("name", ["", "../mail", "a/b", ".hidden", "-rf", "a\nb",
                                  os.fsdecode(b"\xff")])
def test_what_cannot_be_a_resource_is_refused_before_a_file_is_named_after_it(
        trial: Trial, name: str) -> None:
    said = trial.call("start", environment={"OCF_RESOURCE_INSTANCE": name})
    assert said.code == 1 and "no name of a resource" in said.reason and trial.calls == []


def test_start_refuses_wrong_parameters_with_code_6_and_names_all_of_them(trial: Trial) -> None:
    said = trial.call("start", parameters=BAD)
    assert said.code == 6 and trial.calls == []
    assert "parameter services: " in said.reason and "parameter data_dir: " in said.reason


@pytest.mark.parametrize("action", ["stop", "monitor", "reload-agent"])
def test_wrong_parameters_are_a_warning_everywhere_else_and_the_defaults_hold(
        trial: Trial, action: str) -> None:
    said = trial.call(action, parameters=BAD, environment=RECURRING)
    assert said.code == 0 and said.reasons == []
    warnings = said.err.splitlines()
    assert len(warnings) == 2 and all(line.startswith("WARNING: parameter ") for line in warnings)
    [call] = trial.calls
    assert call.parameters["services"] == ("server", "dagent")
    assert call.parameters["data_dir"] == "/var/lib/kopano"


def test_start_refuses_a_contradiction_and_stop_does_not_look_for_one(trial: Trial) -> None:
    trial.contradictions = ["critical services are optional"]
    said = trial.call("start")
    assert (said.code, said.reason) == (6, "critical services are optional")
    assert trial.call("stop") == (0, "", "")
    assert trial.call("monitor") == (0, "", "")


@pytest.mark.parametrize("error, code", [
    (errors.Failed("x"), 1), (errors.NotAllowedHere("x"), 5), (errors.NotInstalled("x"), 5),
    (errors.WrongParameter("x"), 6), (errors.Degraded("x"), 190), (errors.BudgetSpent("x"), 1)])
def test_a_failure_has_its_own_code_and_one_reason(
        trial: Trial, error: errors.MailhaError, code: int) -> None:
    trial.fail(error)
    said = trial.call("start")
    assert (said.code, said.reason) == (code, "x")


def test_a_reason_says_what_to_do(trial: Trial) -> None:
    trial.fail(errors.Failed("/srv is not mounted", remedy="mount it"))
    assert trial.call("start").reason == "/srv is not mounted; mount it"


def test_a_probe_that_finds_nothing_has_no_reason(trial: Trial) -> None:
    trial.fail(errors.NotRunning("nothing runs"))
    assert trial.call("monitor") == (7, "", "")
    assert trial.call("monitor", environment=IN_CLUSTER) == (7, "", "")
    zero = {**IN_CLUSTER, "OCF_RESKEY_CRM_meta_interval": "0"}
    assert trial.call("monitor", environment=zero) == (7, "", "")


def test_a_recurring_monitor_that_finds_nothing_says_so(trial: Trial) -> None:
    trial.fail(errors.NotRunning("nothing runs"))
    said = trial.call("monitor", environment=RECURRING)
    assert (said.code, said.reason) == (7, "nothing runs")


def test_degraded_has_a_reason(trial: Trial) -> None:
    trial.fail(errors.Degraded("ical is down"))
    said = trial.call("monitor", environment=RECURRING)
    assert (said.code, said.reason) == (190, "ical is down")


@pytest.mark.parametrize("action, environment, error, code", [
    ("stop", {}, errors.NotInstalled("x"), 1), ("stop", {}, errors.WrongParameter("x"), 1),
    ("stop", {}, errors.NotRunning("x"), 1), ("start", {}, errors.NotRunning("x"), 1),
    ("monitor", RECURRING, errors.NotInstalled("x"), 1),
    ("monitor", RECURRING, errors.WrongParameter("x"), 1),
    ("monitor", {}, errors.WrongParameter("x"), 1), ("monitor", {}, errors.NotInstalled("x"), 5),
    ("reload-agent", {}, errors.WrongParameter("x"), 1)])
def test_a_code_with_which_pacemaker_would_do_harm_becomes_a_plain_failure(
        trial: Trial, action: str, environment: Dict[str, str], error: errors.MailhaError,
        code: int) -> None:
    trial.fail(error)
    said = trial.call(action, environment=environment)
    assert (said.code, said.reason) == (code, "x")


def recursion(call: Call) -> None:
    """Go deeper than Python allows."""
    recursion(call)


@pytest.mark.parametrize("error, words", [
    (ZeroDivisionError("division by zero"), ["defect of the agent", "ZeroDivisionError",
                                             "division by zero"]),
    (KeyError("unit"), ["defect of the agent", "KeyError"]),
    (OSError(28, "No space left on device"), ["defect of the agent", "OSError", "No space left"]),
    (AssertionError(), ["defect of the agent", "AssertionError"]),
    (ValueError("two\nlines\x00 ocf-exit-reason:fine"), ["defect of the agent", "two lines"]),
    (UnicodeDecodeError("utf-8", b"\xff", 0, 1, "x"), ["defect of the agent", "UnicodeDecode"]),
    (SystemExit(0), ["defect of the agent", "SystemExit"]),
    (MemoryError(), ["MemoryError", "short of it, or it is a defect of the agent"]),
    (KeyboardInterrupt(), ["was interrupted"]),
    (None, ["defect of the agent", "RecursionError"])])
@pytest.mark.parametrize("action", ACTIONS)
def test_whatever_nobody_expected_is_code_1_and_one_line_that_says_where(
        trial: Trial, action: str, error: Optional[BaseException], words: Any) -> None:
    if error is None:
        trial.does = recursion
    else:
        trial.fail(error)
    said = trial.call(action)
    assert said.code == 1 and said.out == ""
    assert said.err.count("\n") == 1, "a traceback"
    for word in [*words, action, ".py:"]:
        assert word in said.reason


def test_the_place_of_a_defect_is_the_innermost_code_of_the_library(trial: Trial) -> None:
    from mailha.storage import version
    trial.does = lambda call: version.Version(None)     # type: ignore[arg-type]
    assert "at mailha/storage/version.py:" in trial.call("start").reason


def test_the_traceback_of_a_defect_is_there_for_who_asks(trial: Trial) -> None:
    trial.fail(KeyError("unit"))
    said = trial.call("start", environment={"HA_debug": "1"})
    assert "DEBUG: Traceback (most recent call last):" in said.err
    assert "defect of the agent" in said.reason


def test_a_failure_that_cannot_even_be_described_still_ends_in_one_line(
        trial: Trial, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_memory(*arguments: Any, **named: Any) -> int:
        raise MemoryError
    monkeypatch.setattr(answer, "give", no_memory)
    trial.fail(MemoryError())
    said = trial.call("start")
    assert said.code == 1 and "failed to say why" in said.reason


def test_validate_all_finds_every_wrong_parameter_and_says_it_as_crm_sorts_it(
        trial: Trial) -> None:
    said = trial.call("validate-all", parameters=BAD)
    assert said.code == 6 and said.out == ""
    lines = said.err.splitlines()
    assert [line[:17] for line in lines[:-1]] == ["ERROR: parameter "] * 2
    assert "services" in said.reason and "data_dir" in said.reason


def test_validate_all_refuses_a_contradiction(trial: Trial) -> None:
    trial.contradictions = ["this against that"]
    said = trial.call("validate-all")
    assert said.code == 6 and said.reason == "this against that"
    assert "ERROR: this against that\n" in said.err


def test_contradictions_are_not_sought_among_values_that_nobody_wrote(trial: Trial) -> None:
    trial.contradictions = ["this against that"]
    assert "this against" not in trial.call("validate-all", parameters=BAD).reason


@pytest.mark.parametrize("level", ["", "0", "9"])
def test_what_this_node_has_against_a_start_is_a_warning_at_level_0(
        trial: Trial, level: str) -> None:
    trial.found = [errors.NotInstalled("no kopano-server"), errors.Failed("not mounted")]
    said = trial.call("validate-all", environment={"OCF_CHECK_LEVEL": level})
    assert said == (0, "", "WARNING: no kopano-server\nWARNING: not mounted\n")


def test_what_this_node_has_against_a_start_is_the_answer_from_level_10_on(trial: Trial) -> None:
    trial.found = [errors.NotInstalled("no kopano-server"), errors.Failed("not mounted")]
    said = trial.call("validate-all", environment={"OCF_CHECK_LEVEL": "10"})
    assert (said.code, said.reason) == (5, "no kopano-server")
    assert said.err.startswith("ERROR: no kopano-server\n")


def test_a_finding_that_is_raised_counts_like_one_that_is_returned(
        trial: Trial, monkeypatch: pytest.MonkeyPatch) -> None:
    def raising(call: Call) -> Any:
        raise errors.Failed("cannot look")
    monkeypatch.setattr(trial.agent, "findings", raising)
    assert trial.call("validate-all") == (0, "", "WARNING: cannot look\n")
    assert trial.call("validate-all", environment={"OCF_CHECK_LEVEL": "10"}).code == 1


def test_the_handler_of_the_depth_is_called(trial: Trial) -> None:
    trial.call("monitor", environment={"OCF_CHECK_LEVEL": "10"})
    assert trial.calls[0].timeout == 40.0


def test_an_action_that_ran_into_the_watchdog_has_failed_whatever_it_says(
        trial: Trial, monkeypatch: pytest.MonkeyPatch) -> None:
    def swallow(call: Call) -> None:
        try:
            while True:
                pass
        except errors.MailhaError:
            pass
    trial.does = swallow
    said = trial.call("stop", environment={"OCF_RESKEY_CRM_meta_timeout": "80"})
    assert said.code == 1
    assert "stop was not done when the 0.08 s that it has were nearly over" in said.reason
