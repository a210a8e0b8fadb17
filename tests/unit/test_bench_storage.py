# SPDX-License-Identifier: GPL-2.0-or-later
"""The parts of bench/storage that need no sandbox: verdict, table, contestants, the command."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any, Dict, List, Union

import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "bench"), str(ROOT / "lab")]

from storagecost import cli, contestants, figures, report  # noqa: E402
from storagecost.contestants import BARE, COUNTS, MONITOR, VERDICT  # noqa: E402


def results(*, first: Union[float, List[float]] = 0.2, last: float = 60.0, whole: float = 10.0,
            bare: float = 7.0, children: int = 0) -> figures.Results:
    """Return what the meter might have answered; times in milliseconds."""
    mounts: Dict[str, Any] = {}
    for number in COUNTS:
        in_process = {COUNTS[0]: first, COUNTS[-1]: last}.get(number, 2.0)
        mounts[str(number)] = {
            VERDICT: {"cpu": [], "wall": in_process if isinstance(in_process, list)
                      else [in_process] * 3},
            **{each.name: {"cpu": [5.0] * 3, "wall": [6.0] * 3} for each in contestants.ALL},
            MONITOR.name: {"cpu": [whole] * 3, "wall": [whole] * 3},
            BARE.name: {"cpu": [bare] * 3, "wall": [bare] * 3}}
    return figures.Results({"forks": {MONITOR.name: children, BARE.name: 0}, "mounts": mounts})


def met(found: figures.Results) -> List[bool]:
    """Return which promises are kept: few mounts, many mounts, the whole monitor, children."""
    return [verdict.met for verdict in figures.judge(found)]


@pytest.mark.parametrize("change, expected", [
    ({}, [True, True, True, True]),
    ({"first": 0.3, "last": 80.0, "whole": 12.0}, [True, True, True, True]),
    ({"first": 0.31}, [False, True, True, True]),
    ({"last": 80.1}, [True, False, True, True]),
    ({"whole": 12.1}, [True, True, False, True]),
    ({"whole": 16.0, "bare": 11.0}, [True, True, True, True]),  # a slower machine
    ({"whole": 16.1, "bare": 11.0}, [True, True, False, True]),
    ({"whole": 11.9, "bare": 3.0}, [True, True, True, True]),   # a faster one
    ({"children": 1}, [True, True, True, False])])
def test_targets_are_those_that_were_promised(change: Dict[str, Any],
                                              expected: List[bool]) -> None:
    assert met(results(**change)) == expected


def test_what_it_is_compared_with_stands_beside_it() -> None:
    said = report.verdicts(figures.judge(results()))
    assert "python3 -I -c pass" in said and "python3 -IS -c pass 5" in said


def test_one_disturbance_does_not_decide() -> None:
    assert met(results(first=[50.0, 0.2, 0.2])) == [True] * 4


def test_last_line_says_which_target_is_missed() -> None:
    good = report.verdicts(figures.judge(results()))
    bad = report.verdicts(figures.judge(results(last=99.0)))
    assert good.startswith("targets met: with 30 mounts") and "NO" not in good
    assert bad.startswith("targets NOT MET:")
    assert "with 20,000 mounts a verdict takes 99 (99 to 99) ms (80 allowed): NO" in bad


def test_table_is_aligned_and_has_a_row_for_everything() -> None:
    lines = report.table(results(first=0.1234)).splitlines()
    assert len(set(map(len, lines))) == 1
    assert len(lines) == 2 + 1 + len(contestants.ALL)
    cells = [cell.strip() for cell in lines[2].strip("|").split("|")]
    assert cells == [VERDICT, "0.123", "2", "60", "–", "–", "–", "–"]
    assert [cell.strip() for cell in lines[0].strip("|").split("|")][1:4] == [
        "30 mounts", "1,000 mounts", "20,000 mounts"]


def test_everybody_is_asked_about_a_path_of_the_mail() -> None:
    for each in (contestants.FINDMNT, contestants.DF):
        assert contestants.PARTITION in each.command[0]
    assert contestants.PARTITION in contestants.CONFIGURATION
    assert len({each.name for each in contestants.ALL}) == len(contestants.ALL)


def test_too_few_rounds_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.parser().parse_args(["--rounds", "2"])
    assert ended.value.code == 2 and "too few" in capsys.readouterr().err


def test_the_command_explains_itself() -> None:
    said = subprocess.run([str(ROOT / "bench/storage"), "--help"], capture_output=True, text=True,
                          timeout=60, check=True).stdout
    assert "--rounds" in said and "--json" in said
