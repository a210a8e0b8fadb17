# SPDX-License-Identifier: GPL-2.0-or-later
"""tests/run's runner: nothing that did not run to a good end is counted as passed."""

from __future__ import annotations

import functools
import io
import sys
import threading
from pathlib import Path
from typing import Dict, List

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from runner import jobs, parts, schedule  # noqa: E402
from runner.tally import FAILED, PASSED, SKIPPED, Outcome, Tally  # noqa: E402

EVERY_KIND = """
import pytest

def test_good(): pass
def test_bad(): assert 1 == 2, "one is not two"
def test_skipped(): pytest.skip("no reason")
@pytest.mark.xfail(strict=False)
def test_expected_to_fail(): assert False
@pytest.fixture
def broken(): raise ValueError("broken fixture")
def test_with_a_broken_fixture(broken): pass
@pytest.fixture
def breaking():
    yield
    raise ValueError("broken end")
def test_that_ends_badly(breaking): pass
"""


@pytest.fixture
def tally() -> Tally:
    return Tally(io.StringIO())


def results(tally: Tally) -> Dict[str, str]:
    return {outcome.name.rpartition("::")[2]: outcome.result for outcome in tally.outcomes}


def run(tally: Tally, directory: Path, text: str) -> None:
    """Run the text as a file of tests."""
    path = directory / "test_it.py"
    path.write_text(text)
    jobs.pytest(tally, str(path), label="", tell=False)


def test_only_a_test_that_ran_and_found_nothing_is_passed(tally: Tally, tmp_path: Path) -> None:
    run(tally, tmp_path, EVERY_KIND)
    assert results(tally) == {
        "test_good": PASSED, "test_bad": FAILED, "test_skipped": SKIPPED,
        "test_expected_to_fail": SKIPPED, "test_with_a_broken_fixture": FAILED,
        "test_that_ends_badly": FAILED}
    assert not tally.conclude()
    said = tally._output.getvalue()  # type: ignore[attr-defined]
    assert said.splitlines()[-1] == "1 passed, 5 failed"
    assert "test_bad: AssertionError: one is not two" in said
    assert "test_skipped: Skipped: no reason" in said
    assert "test_that_ends_badly: ValueError: broken end" in said


def test_a_file_that_cannot_be_collected_is_a_failure(tally: Tally, tmp_path: Path) -> None:
    run(tally, tmp_path, "import a_module_that_is_not_there\ndef test_one(): pass\n")
    assert [outcome.result for outcome in tally.outcomes][:1] == [FAILED]
    assert "a_module_that_is_not_there" in tally.outcomes[0].text


def test_a_file_that_skips_itself_is_a_failure(tally: Tally, tmp_path: Path) -> None:
    run(tally, tmp_path, "import pytest\npytest.skip('not today', allow_module_level=True)\n")
    assert tally.outcomes and not any(outcome.passed for outcome in tally.outcomes)


def test_a_test_in_which_pytest_dies_is_named(tally: Tally, tmp_path: Path) -> None:
    run(tally, tmp_path, "import os\ndef test_a(): pass\ndef test_dies(): os._exit(3)\n")
    assert results(tally) == {"test_a": PASSED, "test_dies": FAILED}
    assert "with code 3" in tally.outcomes[-1].why


def test_a_file_without_tests_is_a_failure(tally: Tally, tmp_path: Path) -> None:
    run(tally, tmp_path, "")
    assert [outcome.why for outcome in tally.outcomes] == ["no test in it"]


def test_a_checker_that_complains_is_a_failure(tally: Tally) -> None:
    jobs.program(tally, "good", [sys.executable, "-c", "pass"])
    jobs.program(tally, "bad", [sys.executable, "-c", "print('line 7'); raise SystemExit(1)"])
    assert results(tally) == {"good": PASSED, "bad": FAILED}
    assert "line 7" in tally.outcomes[1].text


def test_a_job_that_cannot_be_run_is_a_failure(tally: Tally) -> None:
    def broken() -> None:
        raise OSError("no memory")

    done = []
    parts._at_a_time(2, tally, [broken, lambda: done.append(1)])
    assert [outcome.why for outcome in tally.outcomes] == ["no memory"]
    assert done == [1]


def test_a_run_without_any_test_is_not_passed(tally: Tally) -> None:
    assert not tally.conclude()


def test_a_run_in_which_all_passed_is(tally: Tally) -> None:
    tally.add(Outcome("one", PASSED, 0.1), tell=False)
    assert tally.conclude()
    assert tally._output.getvalue() == "1 passed, 0 failed\n"  # type: ignore[attr-defined]


def test_a_job_that_hangs_is_ended_and_named(
        tally: Tally, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    begun = tmp_path / "begun"

    class Timer(threading.Timer):
        """Let the time be over as soon as the test hangs, however slow the machine is."""

        def run(self) -> None:
            assert self.interval == jobs.TIME_LIMIT
            while not begun.exists():
                if self.finished.wait(0.02):
                    return
            self.function(*self.args, **self.kwargs)

    monkeypatch.setattr(jobs.threading, "Timer", Timer)
    run(tally, tmp_path, "import pathlib, time\ndef test_hangs():\n"
                         f"    pathlib.Path({str(begun)!r}).touch()\n    time.sleep(1000)\n")
    assert [(outcome.name.rpartition("::")[2], outcome.result) for outcome in tally.outcomes] == [
        ("test_hangs", FAILED)]


def test_what_took_longest_is_said_and_the_last_line_stays_the_last(tally: Tally) -> None:
    for name, seconds in (("a.py::one", 0.7), ("b.py::one", 30.0), ("a.py::two", 0.8),
                          ("c.py::one", 0.1)):
        tally.add(Outcome(name, PASSED, seconds), tell=False)
    assert tally.conclude()
    said = tally._output.getvalue().splitlines()  # type: ignore[attr-defined]
    assert [line.split() for line in said[-3:-1]] == [
        ["30.0", "s", "1", "tests", "b.py"], ["1.5", "s", "2", "tests", "a.py"]]
    assert said[-1] == "4 passed, 0 failed"


@pytest.mark.parametrize("cores, mebibytes, number", [
    (2, 24000, 4), (1, 24000, 2), (16, 64000, 6), (2, 3100, 3), (2, 500, 2)])
def test_as_many_files_run_side_by_side_as_fit_into_the_machine(
        cores: int, mebibytes: int, number: int) -> None:
    assert parts.files_at_a_time(cores, mebibytes) == number


def test_all_that_mostly_waits_is_one_queue_and_what_computes_comes_first(
        tally: Tally, monkeypatch: pytest.MonkeyPatch) -> None:
    done: List[str] = []
    both = threading.Barrier(2)

    def job(name: str) -> None:
        both.wait(60)       # one part's job runs while the other's does
        done.append(name)

    monkeypatch.setattr(parts, "COMPUTING", {"unit": lambda tally: done.append("unit")})
    monkeypatch.setattr(parts, "WAITING", {
        name: lambda tally, name=name: [parts.Waiting(1.0, functools.partial(job, name))]
        for name in ("lab", "contract")})
    parts.run(tally, ["contract", "unit", "lab"])
    assert done[0] == "unit" and sorted(done[1:]) == ["contract", "lab"] and not tally.outcomes


def test_each_file_runs_in_one_job_and_what_takes_longest_begins_first() -> None:
    files = parts._files("tests/lab") + parts._files("tests/contract")
    batches = schedule.batches(files)
    assert sorted(path for batch in batches for path in batch) == sorted(files)
    seconds = [schedule.expected(batch) for batch in batches]
    assert seconds == sorted(seconds, reverse=True)
    known = {path.name for path in files}
    assert {name for names in schedule.TOGETHER for name in names} <= known
    assert set(schedule.SECONDS) <= known
    assert max(seconds) < jobs.TIME_LIMIT / 2


def test_files_that_share_a_laboratory_run_in_the_same_jobs() -> None:
    together = {name for names in schedule.TOGETHER for name in names}
    assert {path.name for path in parts._files("tests/lab")
            if path.name.startswith(("test_cluster_", "test_agent_"))} <= together


def test_the_unit_tests_are_shared_out_evenly() -> None:
    files = parts._files("tests/unit")
    lists = schedule.parts_of_unit(files, 3)
    assert sorted(path for each in lists for path in each) == sorted(files)
    costs = [sum(schedule.UNIT_SECONDS.get(path.name, schedule.UNIT_UNKNOWN) for path in each)
             for each in lists]
    assert max(costs) - min(costs) < 1.0
    assert set(schedule.UNIT_SECONDS) <= {path.name for path in files}
