# SPDX-License-Identifier: GPL-2.0-or-later
"""bench/takeover: what counts as a takeover, what several come to, and what the verdicts are."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Dict, List, Optional, Sequence

import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "bench"), str(ROOT / "lab")]

from failover.record import Happening  # noqa: E402
from takeovercost import cli, contestants, figures, promises, report  # noqa: E402
from takeovercost.contestants import OURS, TUNED, USUAL, Contestant  # noqa: E402
from twonode.chassislog import Entry  # noqa: E402
from twonode.plan import Plan  # noqa: E402

PLAN = Plan("demo", "bookworm", "/image", ("alice", "bob"), {}, 1.0)

HAPPENINGS = [
    Happening(1001.0, "missed", "A processor", "alice", ""),
    Happening(1002.1, "lost", "bob", "alice", ""), Happening(1003.0, "fenced", "bob", "alice", ""),
    Happening(1003.2, "started", "disk", "alice", ""),
    Happening(1003.3, "started", "address", "alice", "")]

CHASSIS = [Entry(1002.4, "bob", "ipmi", "power off"), Entry(1002.5, "bob", "power", "off"),
           Entry(1002.9, "bob", "ipmi", "power on"), Entry(1002.9, "bob", "power", "on")]


def takeover(happenings: Sequence[Happening] = HAPPENINGS, chassis: Sequence[Entry] = CHASSIS
             ) -> Optional[figures.Takeover]:
    return figures.takeover("bob", 1000.0, happenings, chassis, "disk", "address")


def test_a_takeover_is_told_in_seconds_after_the_fault() -> None:
    found = takeover()
    assert found is not None and found.victim == "bob"
    assert {step: round(seconds, 3) for step, seconds in found.seconds.items()} == {
        "lost": 2.1, "off": 2.5, "fenced": 3.0, "mounted": 3.2, "address": 3.3}
    assert list(found.seconds) == list(figures.STEPS)


@pytest.mark.parametrize("missing", range(1, len(HAPPENINGS)))
def test_it_is_none_until_everything_has_been_told(missing: int) -> None:
    assert takeover([*HAPPENINGS[:missing], *HAPPENINGS[missing + 1:]]) is None
    assert takeover(chassis=CHASSIS[:1]) is None


def test_a_disk_that_was_mounted_before_the_power_was_off_is_no_takeover() -> None:
    late = [entry._replace(when=1003.25) if entry.what == "off" else entry for entry in CHASSIS]
    with pytest.raises(figures.Incomplete, match="off 3.250 s after the fault, and its disk"):
        takeover(chassis=late)


def test_a_node_that_was_switched_off_twice_is_no_takeover() -> None:
    with pytest.raises(figures.Incomplete, match="bob was off 2 times"):
        takeover(chassis=[*CHASSIS, Entry(1009.0, "bob", "power", "off")])


def measured(**seconds: List[float]) -> Dict[Contestant, figures.Measured]:
    """Return results in which the disk was mounted after these seconds, by key of contestant."""
    return {each: figures.Measured(each, [
        figures.Takeover("bob", {step: when for step in figures.STEPS})
        for when in seconds[each.key]]) for each in contestants.ALL}


@pytest.mark.parametrize("ours, met", [
    ([3.5, 3.7, 9.9], [True, True]), ([3.7, 3.9, 4.0], [False, True]), ([4.9], [False, False]),
])
def test_the_promises_are_about_medians(ours: List[float], met: List[bool]) -> None:
    verdicts = promises.judge(measured(ours=ours, tuned=[3.0, 3.2, 3.6], usual=[6.7, 6.8]))
    assert [verdict.met for verdict in verdicts] == met
    assert report.verdict_lines(verdicts)[-1] == (
        f"targets {'met' if all(met) else 'NOT MET'}: {sum(met)} of 2")


def test_the_table_has_a_row_for_each_contestant_and_tells_the_whole_spread() -> None:
    results = list(measured(ours=[3.5, 4.5, 4.0], tuned=[3.0], usual=[6.5]).values())
    head, rule, *rows = report.table(results).splitlines()
    assert [row.split("|")[1].strip() for row in rows] == [each.name for each in contestants.ALL]
    assert "3.50–4.50" in rows[0] and "4.00" in rows[0]
    assert {line.count("|") for line in (head, rule, *rows)} == {head.count("|")}


def test_the_raw_figures_have_every_run() -> None:
    results = measured(ours=[3.5, 4.5], tuned=[3.0], usual=[6.5])
    document = json.loads(report.as_json(list(results.values()), promises.judge(results),
                                         ["a machine"], [0.1, 0.2]))
    assert [len(each["takeovers"]) for each in document["contestants"]] == [2, 1, 1]
    assert document["contestants"][0]["takeovers"][1]["mounted"] == 4.5
    assert document["machine"] == ["a machine"] and document["targets_met"] is False


def test_only_what_makes_the_peers_slower_or_faster_differs_between_them() -> None:
    assert TUNED.parameters == f"{USUAL.parameters} power_wait=0"
    assert OURS.parameters == ""
    text = contestants.configuration(contestants.ALL, PLAN)
    for each in contestants.ALL:
        assert contestants.devices(each, PLAN) == {
            f"{each.key}_alice": "alice", f"{each.key}_bob": "bob"}
        line = next(line for line in text.splitlines()
                    if line.startswith(f"primitive {each.key}_bob "))
        assert f"stonith:{each.agent} " in line and f"ip={PLAN.bmc_address('bob')} " in line
        assert "pcmk_host_list=bob" in line and "pcmk_delay" not in line
        assert f"location {each.key}_bob_not_there {each.key}_bob -inf: bob" in text


@pytest.mark.parametrize("number", ["0", "-1", "x"])
def test_too_few_runs_are_refused(number: str) -> None:
    with pytest.raises(SystemExit):
        cli.parser().parse_args(["--runs", number])
