# SPDX-License-Identifier: GPL-2.0-or-later
"""The runbooks of the manual: every command in them is played by a test in a real cluster."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Iterator

import runbooks

TESTS = Path(__file__).resolve().parents[1]
MANUAL = TESTS.parent / "man"


def strings(folder: str) -> Iterator[str]:
    """Yield every string that the tests of a folder contain."""
    for path in (TESTS / folder).glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                yield node.value


def test_every_block_of_commands_has_a_name_of_its_own() -> None:
    names = [name for name, _ in runbooks.blocks()]
    assert len(names) > 20 and len(set(names)) == len(names) and all(names)
    sources = "".join(path.read_text() for path in runbooks.FOLDER.glob("*.in"))
    assert sources.count("\n.EX\n") == sources.count(" PLAYED ") == len(names)


def test_every_block_of_commands_is_played_somewhere() -> None:
    known = {name for name, _ in runbooks.blocks()}
    said = {*strings("lab"), *strings("contract")}
    assert sorted(known - said) == []


def test_every_runbook_is_part_of_the_manual() -> None:
    page = "".join(path.read_text() for path in MANUAL.glob("*.in"))
    for path in runbooks.FOLDER.glob("*.in"):
        assert f"@SECTION runbooks/{path.stem}@" in page


def test_a_word_of_the_manual_is_replaced_as_a_whole_and_names_may_be_swapped() -> None:
    said = runbooks.script("replace.files", bob="alice", alice="bob")
    assert "alice:/etc/corosync/" in said and "bob" not in said
    assert "\\-" not in said and "\\\n    alice:" in said
    assert runbooks.script("restore.stop.pcs", kopano="x").startswith(
        "pcs resource disable kopano_services\n")


def test_the_example_for_a_changeover_by_hand_says_the_same() -> None:
    readme = (TESTS.parent / "examples/manual-changeover/README.md").read_text()
    assert f"```sh\n{runbooks.script('by-hand.name')}```" in readme
