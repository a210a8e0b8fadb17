# SPDX-License-Identifier: GPL-2.0-or-later
"""The parts of bench/sync that need no sandbox: changes, comparison, verdict, tables."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any, Dict, List, Optional

import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "bench"), str(ROOT / "lab")]

from synccost import changes, cli, contestants, figures  # noqa: E402
from synccost import losses, promises, report, rounds  # noqa: E402
from synccost.contestants import LSYNCD, OURS  # noqa: E402
from synccost.figures import Measured  # noqa: E402


def measured(name: str, *, latency: Optional[float] = 0.002, burst: Optional[float] = 0.2,
             lost: int = 0) -> Measured:
    """Return what a contestant might have come to; seconds."""
    return Measured(
        name, {each.name: [latency] * 3 for each in changes.ALL}, [burst] * 3, [burst] * 3,
        {each: (lost, 1) for each in [*losses.CASES, losses.UNPLUGGED]}, [0.001] * 3,
        [0.15] * 3, [0.16] * 3, [0.1] * 3, 40,
        [{"source": 20.0, "target": 10.0}] * 3, [burst and burst / 2] * 3, [0.1] * 3)


def results(**ours: Any) -> Dict[str, Measured]:
    """Return those of a run."""
    found = {OURS.name: measured(OURS.name, **ours)}
    found.update({each.name: measured(each.name, latency=0.1) for each in LSYNCD})
    return found


def met(found: Dict[str, Measured]) -> List[bool]:
    """Return which promises are kept: each change, faster than lsyncd, burst, no loss."""
    return [verdict.met for verdict in promises.judge(found)]


@pytest.mark.parametrize("change,expected", [
    ({}, [True, True, True, True]),
    ({"latency": 0.0032}, [False, True, True, True]),
    ({"latency": 0.0034}, [False, False, True, True]),
    ({"burst": 0.31}, [True, True, False, True]),
    ({"burst": None}, [True, True, False, True]),
    ({"lost": 1}, [True, True, True, False])])
def test_a_promise_is_kept_or_not(change: Dict[str, Any], expected: List[bool]) -> None:
    assert met(results(**change)) == expected


def test_one_kind_of_change_that_is_slow_breaks_the_promise() -> None:
    found = results()
    found[OURS.name].latency["xattr"] = [0.002, None, None]
    assert met(found)[0] is False
    assert "xattr, is durable after ∞ ms" in promises.judge(found)[0].text


def test_what_never_arrives_is_later_than_all_else() -> None:
    assert figures.middle([1.0, None, None]) is None
    assert figures.middle([1.0, 2.0, None]) == 2.0
    assert figures.middle([1.0, 3.0]) == 2.0
    assert figures.middle([]) is None


def test_the_verdict_says_what_the_disk_takes_and_excuses_nothing() -> None:
    first, _, burst, _ = promises.judge(results(latency=0.004, burst=0.4))
    assert not first.met and "4 ms (3 allowed; the disk alone takes 1)" in first.text
    assert not burst.met and "400 ms (300 allowed; the disk alone takes 150; the writing alone " \
        "takes 100, and 200 are left after the last)" in burst.text


def test_who_waits_a_quarter_of_a_minute_is_measured_in_fewer_rounds(
        monkeypatch: pytest.MonkeyPatch) -> None:
    measured_in: List[str] = []
    monkeypatch.setattr(rounds, "_round", lambda stage, contestant, *rest, **more:
                        measured_in.append(contestant.name))
    stage: Any = None
    rounds.run(stage, [OURS, LSYNCD[0]], 5, lambda text: None)
    assert measured_in.count(OURS.name) == 5
    assert measured_in.count(LSYNCD[0].name) == LSYNCD[0].rounds == 2
    del measured_in[:]
    rounds.run(stage, [OURS, LSYNCD[0]], 1, lambda text: None)
    assert sorted(measured_in) == sorted([OURS.name, LSYNCD[0].name])


def test_the_tables_say_never_where_nothing_arrives() -> None:
    found = results()
    found[LSYNCD[0].name].latency["chmod"] = [None] * 3
    said = report.tables(found)
    assert "never" in said and said.count("\n\n") == 2
    assert said.count("the disk alone") == 2
    document = json.loads(report.as_json(found, promises.judge(found), ["a machine"], [0.1, 0.2]))
    assert document["targets_met"] and len(document["results"]) == len(found)


@pytest.mark.parametrize("change", changes.ALL, ids=lambda change: change.name)
def test_each_change_is_seen_until_it_was_carried(tmp_path: Path, change: changes.Change) -> None:
    if change.name in ("chown",) and os.geteuid() != 0:
        change = changes.ALL[0]
    here, there = tmp_path / "here", tmp_path / "there"
    for root in (here, there):
        (root / changes.SUBJECTS).mkdir(parents=True)
        change.prepare(root, 0)
    assert changes.differing(here, there) == []
    try:
        change.make(here, 0)
    except OSError as error:
        assert change.name == "xattr", error        # a file system without any
        return
    found = changes.differing(here, there)
    assert set(change.paths(0)) <= set(found) or change.name.startswith("mkdir")
    assert found, change.name
    change.make(there, 0)
    assert changes.differing(here, there) == []


def test_a_burst_rewrites_a_thousand_files(tmp_path: Path) -> None:
    changes.fill(tmp_path, 0)
    before = {path: (tmp_path / path).read_bytes() for path in changes.burst(tmp_path, "one")}
    assert len(before) == 1000
    changes.burst(tmp_path, "two")
    assert all((tmp_path / path).read_bytes() != content for path, content in before.items())


def test_a_change_while_it_is_compared_is_no_error(tmp_path: Path) -> None:
    assert changes.identical(str(tmp_path / "none"), str(tmp_path / "none"))
    (tmp_path / "one").write_text("1")
    assert not changes.identical(str(tmp_path / "one"), str(tmp_path / "none"))
    assert not changes.identical(str(tmp_path / "none"), str(tmp_path / "one"))


def test_every_contestant_can_be_chosen() -> None:
    names = [each.name for each in contestants.ALL]
    assert len(set(names)) == len(names)
    parsed = cli.parser().parse_args(["--only", names[-1], "--rounds", "1"])
    assert parsed.only == [names[-1]]
    with pytest.raises(SystemExit):
        cli.parser().parse_args(["--rounds", "0"])
