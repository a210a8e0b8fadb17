# SPDX-License-Identifier: GPL-2.0-or-later
"""An agent whose library is replaced while it runs makes its call once more."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any, Dict, List, Tuple

import pytest

from mailha import errors, replaced
from mailha.ocf import Call, budget, run
from ocf_agent import RECURRING, Trial

LONG_AGO = 10 * 365 * 86400.0


@pytest.fixture
def library(tmp_path: Path) -> str:
    """Return a library of one module."""
    (tmp_path / "services").mkdir()
    (tmp_path / "services/active.py").write_text("")
    return str(tmp_path)


@pytest.fixture
def again(monkeypatch: pytest.MonkeyPatch) -> List[Tuple[float, str]]:
    """Return the calls that were made once more, in place of making them."""
    calls: List[Tuple[float, str]] = []
    monkeypatch.setattr(replaced, "wait_until_whole", lambda: None)
    monkeypatch.setattr(replaced, "begin_again",
                        lambda environment, begun, flags: calls.append((begun, flags)))
    return calls


@pytest.fixture
def trial(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Trial:
    """Return an agent that is called by root, as it seems."""
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    return Trial(capfd)


def fail_with(failure: BaseException, trial: Trial, environment: Dict[str, str]) -> int:
    """Let the agent's monitor fail, and return its exit code."""
    def does(call: Call) -> None:
        raise failure

    trial.does = does
    return run.perform(trial.agent, ["trial", "monitor"],
                       {"OCF_RESOURCE_INSTANCE": "mail", **environment},
                       lambda error: run._begin_again(error, environment, 12.5))


def test_a_module_that_is_missing_for_a_moment_makes_the_agent_begin_again(
        trial: Trial, again: List[Any]) -> None:
    missing = ImportError("cannot import name 'look'", name="mailha.services.evidence")
    fail_with(missing, trial, RECURRING)
    assert again == [(12.5, "-IS")]


def test_it_begins_again_only_once(trial: Trial, again: List[Any]) -> None:
    missing = ImportError("cannot import name 'look'", name="mailha.services.evidence")
    environment = {**RECURRING, replaced.BEGUN: "3.0"}
    assert fail_with(missing, trial, environment) == errors.ERR_GENERIC
    assert again == []


@pytest.mark.parametrize("failure", [errors.Failed("the disk is gone"), OSError(5, "I/O error"),
                                     MemoryError(), KeyboardInterrupt(),
                                     ImportError("no module", name="pyghmi.ipmi")])
def test_a_failure_that_no_upgrade_makes_is_told_at_once(trial: Trial, again: List[Any],
                                                         failure: BaseException) -> None:
    fail_with(failure, trial, RECURRING)
    assert again == []


@pytest.mark.parametrize("kind", [AttributeError, TypeError, NameError])
def test_modules_of_two_releases_are_known_by_the_files_that_have_just_changed(
        library: str, monkeypatch: pytest.MonkeyPatch, kind: Any) -> None:
    assert replaced.by_an_upgrade(kind("what"), library)
    monkeypatch.setattr(replaced, "_began", lambda: time.time() + LONG_AGO)
    assert not replaced.by_an_upgrade(kind("what"), library)


def test_a_library_that_is_gone_altogether_counts_as_being_replaced(tmp_path: Path) -> None:
    gone = ImportError("No module named 'mailha.ocf'", name="mailha.ocf")
    assert replaced.by_an_upgrade(gone, str(tmp_path / "gone"))


def test_what_python_itself_writes_is_no_replacement(library: str) -> None:
    after = time.time() + 3600
    os.makedirs(library + "/__pycache__")
    assert not replaced.changed_since(after, library)
    assert replaced.changed_since(after - LONG_AGO, library)


def test_it_waits_until_the_package_is_whole_but_not_for_ever(library: str) -> None:
    now = [100.0]

    def sleep(seconds: float) -> None:
        now[0] += seconds
        os.utime(library + "/services/active.py")       # the packager goes on and on

    replaced.wait_until_whole(library, clock=lambda: now[0], sleep=sleep)
    assert replaced.LONGEST_WAIT <= now[0] - 100.0 < replaced.LONGEST_WAIT + 2 * replaced.PAUSE


def test_the_second_call_has_the_time_that_the_first_has_left(trial: Trial) -> None:
    environment = {**RECURRING, "OCF_RESKEY_CRM_meta_timeout": "20000", replaced.BEGUN: "95"}
    call = Call(trial.agent, "monitor", environment, lambda: 100.0)
    assert call.timeout == 15.0 and call.left() == 13.0


@pytest.mark.parametrize("begun", ["", "soon", "nan", "inf", "1e9", "-inf"])
def test_a_beginning_that_cannot_be_leaves_the_whole_time_or_ends_at_once(begun: str) -> None:
    assert budget.remaining(20.0, begun, 100.0) in (20.0, 1.0)


def test_this_process_has_begun_in_the_past() -> None:
    assert time.time() - 86400 < replaced._began() < time.time()
