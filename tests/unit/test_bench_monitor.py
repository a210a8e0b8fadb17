# SPDX-License-Identifier: GPL-2.0-or-later
"""The parts of bench/monitor that need no machine: verdict, counting, turns, table."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import List

import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "bench"), str(ROOT / "lab")]

from monitorcost import contestants, figures, forks, report, rounds  # noqa: E402
from sidebyside.order import rotated  # noqa: E402


def measured(name: str, *cpu: float, forks: int = 0, systemd: float = 0.0) -> figures.Measured:
    """Return a result with these figures."""
    return figures.Measured(name, list(cpu), [{"systemd": systemd} for _ in cpu], list(cpu),
                            forks, 1)


def test_cpu_that_is_caused_in_systemd_counts() -> None:
    result = measured("x", 1.0, 2.0, systemd=0.5)
    assert result.total == [1.5, 2.5] and result.caused == [0.5, 0.5]


@pytest.mark.parametrize("ours, children, met", [
    ([12.0, 12.0, 12.0], 0, True),          # exactly what is allowed
    ([12.1, 12.1, 12.1], 0, False),
    ([8.0, 8.0, 8.0], 1, True),
    ([8.0, 8.0, 8.0], 2, False),
    ([40.0, 9.0, 9.0], 0, True),            # one disturbance does not decide
])
def test_target_is_five_milliseconds_and_one_child(ours: List[float], children: int,
                                                   met: bool) -> None:
    bare = measured("bare", 7.0, 7.0, 7.0)
    assert figures.judge(measured("ours", *ours, forks=children), bare).met is met


def test_what_slowed_both_in_a_round_decides_nothing() -> None:
    bare = measured("bare", 7.0, 7.0, 20.0, 20.0, 20.0)
    ours = measured("ours", 11.0, 11.0, 24.0, 24.0, 24.0)
    verdict = figures.judge(ours, bare)
    assert verdict.met and "4.0 (4.0 to 4.0)" in verdict.text


def test_verdict_counts_systemds_time_too() -> None:
    bare = measured("bare", 7.0)
    assert not figures.judge(measured("ours", 11.0, systemd=1.1), bare).met


TRACE = """\
810 execve("/bin/sh", ["sh"], 0x7ffd /* 8 vars */) = 0
810 clone(child_stack=NULL, flags=CLONE_CHILD_CLEARTID|SIGCHLD, child_tidptr=0x7f) = 811
811 execve("/usr/local/bin/cat", ["cat"], 0x55 /* 8 vars */) = -1 ENOENT (No such file or directory)
811 execve("/bin/cat", ["cat"], 0x55 /* 8 vars */) = 0
810 vfork( <unfinished ...>
812 execve("/bin/ls", ["ls"], 0x55 /* 8 vars */ <unfinished ...>
810 <... vfork resumed>) = 812
812 <... execve resumed>) = 0
810 clone3({flags=CLONE_VM|CLONE_FS|CLONE_THREAD, exit_signal=0}, 88) = 813
814 clone3({flags=CLONE_VM|CLONE_THREAD <unfinished ...>
814 <... clone3 resumed> => {parent_tid=[815]}, 88) = 815
810 fork() = -1 EAGAIN (Resource temporarily unavailable)
810 fork() = 816
810 clone3({flags=CLONE_VM|CLONE_VFORK, exit_signal=SIGCHLD} <unfinished ...>
817 execve("/bin/true", ["true"], 0x55 /* 8 vars */) = 0
810 <... clone3 resumed>, 88) = 817
"""


def test_forks_and_execs_are_those_that_succeeded() -> None:
    assert forks.count(TRACE) == (4, 4)
    assert forks.count("") == (0, 0)


def test_programs_of_a_directory_are_counted() -> None:
    assert forks.count_execs_below(TRACE, "/bin") == 4
    assert forks.count_execs_below(TRACE, "/usr/lib/ocf") == 0


def test_every_contestant_has_its_turns_and_every_turn_comes_at_every_place() -> None:
    turns = rounds.turns_of(contestants.ALL)
    assert {each.name: turns.count(each) for each in contestants.ALL} == {
        each.name: each.turns for each in contestants.ALL}
    orders = [rotated(turns, number) for number in range(2 * len(turns))]
    assert all(sorted(map(id, order)) == sorted(map(id, turns)) for order in orders)
    for place in range(len(turns)):
        assert {order[place].name for order in orders} == {each.name for each in turns}


def test_second_turns_of_neighbours_follow_each_other() -> None:
    names = [each.name for each in rounds.turns_of(contestants.ALL)]
    pair = [contestants.BARE_WITHOUT_SITE.name, contestants.KOPANO.name]
    assert sum(names[place:place + 2] == pair for place in range(len(names))) == contestants.TURNS


def test_contestants_are_told_apart_by_name() -> None:
    names = [each.name for each in contestants.ALL]
    assert len(set(names)) == len(names)


def test_a_recurring_monitor_is_told_its_interval_and_a_level_only_if_it_has_one() -> None:
    _, plain = contestants.agent("mailha", "kopano")
    _, deep = contestants.agent("mailha", "kopano", level=10, data_dir="/srv")
    assert plain["OCF_RESKEY_CRM_meta_interval"] != "0" and "OCF_CHECK_LEVEL" not in plain
    assert deep["OCF_CHECK_LEVEL"] == "10" and deep["OCF_RESKEY_data_dir"] == "/srv"


def test_table_is_aligned_and_has_every_figure() -> None:
    lines = report.table([measured("long name of a monitor", 10.0, 12.0, 14.0, systemd=1.0),
                          measured("short", 1000.0, forks=557)],
                         measured("bare", 6.5)).splitlines()
    assert len(lines) == 4 and len(set(map(len, lines))) == 1
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    assert cells[2] == ["long name of a monitor", "13.0", "12.0–14.0", "2.0", "1.0",
                        "12.0", "11.0–13.0", "0", "1"]
    assert cells[3][7] == "557"


def test_last_line_says_whether_the_target_is_met() -> None:
    good, bad = figures.Verdict(True, "this"), figures.Verdict(False, "that")
    assert report.verdicts([good], [bad]) == ["for information: that", "target met: this"]
    assert report.verdicts([good, bad], [])[-1] == "target NOT MET: this; that"


def test_json_has_the_raw_figures() -> None:
    text = report.as_json([measured("x", 1.0, 2.0)], [figures.Verdict(False, "y")], ["m"], [0.5])
    document = json.loads(text)
    assert document["monitors"][0]["cpu_ms"] == [1.0, 2.0] and document["target_met"] is False


def test_bluemind_has_a_target_of_its_own() -> None:
    field = contestants.bluemind_field(["a.service", "b.service"])
    assert field.promised == (contestants.BLUEMIND,) and field.allowed == 8.0
    assert "2 × systemctl is-active" in [each.name for each in field.everybody]
    bare, ours = measured("bare", 7.0), measured("ours", 14.9)
    assert figures.judge(ours, bare, field.allowed).met and not figures.judge(ours, bare).met
    assert "(8.0 allowed)" in figures.judge(ours, bare, field.allowed).text
