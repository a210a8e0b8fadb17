# SPDX-License-Identifier: GPL-2.0-or-later
"""What the benches have in common: statistics, order, table, the recipe of a layer, ending."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "bench"), str(ROOT / "lab")]

from sidebyside import machine, order, spread, table  # noqa: E402
from twonode import layer  # noqa: E402


def test_spread_is_median_and_quartiles() -> None:
    assert spread.spread([5, 1, 4, 2, 3]) == spread.Spread(2, 3, 4)
    assert spread.spread([7]) == spread.Spread(7, 7, 7)
    assert str(spread.Spread(1.04, 2, 3.06)) == "2.0 (1.0 to 3.1)"
    with pytest.raises(ValueError):
        spread.spread([])


def test_every_turn_comes_at_every_place_and_after_either_neighbour() -> None:
    orders = [order.rotated("abcd", number) for number in range(8)]
    assert all(sorted(each) == list("abcd") for each in orders)
    assert all({each[place] for each in orders} == set("abcd") for place in range(4))
    after = {pair for each in orders for pair in zip(each, each[1:])}
    assert {("a", "b"), ("b", "a"), ("c", "d"), ("d", "c")} <= after
    assert order.rotated("", 3) == []


@pytest.mark.parametrize("times", range(1, 21))
def test_who_has_few_turns_has_them_evenly_over_the_run(times: int) -> None:
    turns = [number for number in range(20) if order.comes(number, times, 20)]
    gaps = {after - before for before, after in zip(turns, turns[1:])}
    assert len(turns) == times and turns[-1] == 19
    assert not gaps or max(gaps) - min(gaps) <= 1


def test_table_is_aligned_and_markdown() -> None:
    lines = table.render(("name", "of", "ms"), [("a", "long one", "1.0"), ("b", "c", "100.0")],
                         texts=2).splitlines()
    assert lines == ["| name | of       |    ms |",
                     "| ---- | -------- | ----: |",
                     "| a    | long one |   1.0 |",
                     "| b    | c        | 100.0 |"]


def test_layer_has_a_place_of_its_own_for_each_recipe_and_each_change_of_it() -> None:
    first = layer.Recipe("one", ("nginx",), after="rm -f '/etc/rc?.d/{S,K}*'")
    others = [layer.Recipe("two", ("nginx",), after=first.after),
              layer.Recipe("one", ("nginx", "curl"), after=first.after),
              layer.Recipe("one", ("nginx",))]
    places = {layer.place("bookworm", recipe) for recipe in (first, *others)}
    assert len(places) == 4
    assert first.after in first.installation()
    syntax = subprocess.run(["sh", "-n"], input=first.installation(), encoding="utf-8", timeout=30)
    assert syntax.returncode == 0


def test_first_signal_unwinds_and_a_second_one_does_not_disturb_that() -> None:
    program = """
import os, signal, sys
sys.path.insert(0, sys.argv[1])
from sidebyside import ending
ending.raise_on_signals()
try:
    try:
        os.kill(os.getpid(), signal.SIGTERM)
    finally:
        os.kill(os.getpid(), signal.SIGINT)
        print("tidied up")
except ending.Ended as ended:
    print(ended)
    sys.exit(ended.code)
"""
    done = subprocess.run([sys.executable, "-I", "-c", program, str(ROOT / "bench")],
                          stdout=subprocess.PIPE, encoding="utf-8", timeout=30)
    assert done.stdout.splitlines() == ["tidied up", "ended by SIGTERM"]
    assert done.returncode == 128 + signal.SIGTERM


def test_machine_names_its_kernel() -> None:
    assert os.uname().release in machine.describe()
