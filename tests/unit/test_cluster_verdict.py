# SPDX-License-Identifier: GPL-2.0-or-later
"""The verdict of one start: what is asked, what is recorded, who may start."""

from __future__ import annotations

from pathlib import Path
from typing import Any, List, Optional

import pytest

from configurations import DATA
from mailha import errors
from mailha.cluster import stonith
from mailha.system.files import Files


class Clock:
    """A clock that only sleeping moves."""

    def __init__(self) -> None:
        self.now = 0.0

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


class Children:
    """Plays cibadmin: answers in turn, the last one for ever; an exception is raised."""

    def __init__(self, clock: Clock, answers: List[Any]) -> None:
        self.clock = clock
        self.answers = answers
        self.calls: List[Any] = []

    def run(self, argv: Any, *, timeout: float, environment: Any = None, **_: Any) -> Any:
        self.calls.append((list(argv), timeout, environment))
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, errors.MailhaError):
            self.clock.now += timeout
            raise answer

        class Finished:
            stdout = answer
        return Finished()


class Box:
    """A machine with nothing but what a verdict needs."""

    def __init__(self, root: Path, *answers: Any) -> None:
        self.clock = Clock()
        self.children = Children(self.clock, list(answers))
        self.files = Files(str(root))


GOOD = (DATA / "crm_two_devices.xml").read_bytes()
OFF = (DATA / "crm_stonith_off.xml").read_bytes()
BUSY = errors.Failed("cibadmin ended with 113: Operation timed out")


def decide(box: Box, *, node: str = "alice", manual_node: str = "",
           timeout: float = 9.0) -> Optional[errors.MailhaError]:
    """Return the refusal, None if the node may start."""
    machine: Any = box
    try:
        stonith.verdict(machine, node=node, manual_node=manual_node, timeout=timeout)
    except errors.MailhaError as error:
        return error
    return None


def test_with_stonith_every_node_may_start_and_manual_node_means_nothing(tmp_path: Path) -> None:
    for manual_node in ("", "bob", "nobody"):
        assert decide(Box(tmp_path, GOOD), manual_node=manual_node) is None


def test_without_stonith_nobody_may_start_by_itself(tmp_path: Path) -> None:
    error = decide(Box(tmp_path, OFF))
    assert isinstance(error, errors.NotAllowedHere) and error.code == 5
    assert "STONITH is off" in str(error) and "manual_node" in str(error)
    assert "\n" not in str(error)


def test_without_stonith_only_the_named_node_may_start(tmp_path: Path) -> None:
    assert decide(Box(tmp_path, OFF), node="alice", manual_node="Alice") is None
    error = decide(Box(tmp_path, OFF), node="bob", manual_node="alice")
    assert isinstance(error, errors.NotAllowedHere)
    assert "only 'alice' may run this" in error.reason
    assert "make certain that 'alice' is off" in error.remedy
    assert "pcs resource update" in error.remedy and "crm resource param" in error.remedy


def test_a_manual_node_that_is_no_node_is_said_so(tmp_path: Path) -> None:
    error = decide(Box(tmp_path, OFF), node="bob", manual_node="alcie")
    assert isinstance(error, errors.NotAllowedHere)
    assert error.reason == ("manual_node names 'alcie', which is no node of this cluster "
                            "(alice, bob)")


def test_a_busy_cib_is_asked_again_inside_the_time(tmp_path: Path) -> None:
    box = Box(tmp_path, BUSY, b"", GOOD)
    assert decide(box) is None
    assert len(box.children.calls) == 3
    assert box.clock.now <= 9.0


def test_asking_the_cib_ends_inside_the_time(tmp_path: Path) -> None:
    box = Box(tmp_path, BUSY)
    error = decide(box, timeout=9.0)
    assert isinstance(error, errors.Failed) and error.code == 1
    assert "Operation timed out" in error.reason and "nothing was recorded" in error.reason
    assert 3.0 <= box.clock.now <= 9.0
    assert len(box.children.calls) >= 2


def test_only_the_local_configuration_is_asked_for(tmp_path: Path) -> None:
    box = Box(tmp_path, GOOD)
    decide(box)
    [(argv, _, _)] = box.children.calls
    assert argv[0] == "/usr/sbin/cibadmin" and "--local" in argv


def test_a_draft_in_the_environment_is_not_asked(tmp_path: Path,
                                                 monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CIB_file", "/tmp/draft.xml")
    monkeypatch.setenv("CIB_shadow", "draft")
    monkeypatch.setenv("PCMK_ipc_buffer", "1048576")
    box = Box(tmp_path, GOOD)
    decide(box)
    [(_, _, environment)] = box.children.calls
    assert "CIB_file" not in environment and "CIB_shadow" not in environment
    assert environment["PCMK_ipc_buffer"] == "1048576"


def test_an_unreadable_cib_falls_back_on_the_verdict_of_this_boot(tmp_path: Path) -> None:
    assert decide(Box(tmp_path, GOOD)) is None
    assert decide(Box(tmp_path, BUSY)) is None


def test_a_recorded_refusal_stays_a_refusal_except_for_the_named_node(tmp_path: Path) -> None:
    assert decide(Box(tmp_path, OFF)) is not None
    error = decide(Box(tmp_path, BUSY))
    assert isinstance(error, errors.NotAllowedHere) and "STONITH is off" in error.reason
    assert decide(Box(tmp_path, BUSY), manual_node="alice") is None
    assert isinstance(decide(Box(tmp_path, BUSY), manual_node="bob"), errors.NotAllowedHere)
    assert isinstance(decide(Box(tmp_path, BUSY), manual_node="dave"), errors.NotAllowedHere)


@pytest.mark.parametrize("damage", [b"", b"format 1\n", b"format 2\nnodes alice bob\nend\n",
                                    b"format 1\nnodes alice bob\n", b"\xff\xfe", b"format 1\nend\n",
                                    b"format 1\nnodes \nend\n"])
def test_a_damaged_record_is_no_record(tmp_path: Path, damage: bytes) -> None:
    assert decide(Box(tmp_path, GOOD)) is None
    (tmp_path / stonith.RECORD[1:]).write_bytes(damage)
    error = decide(Box(tmp_path, BUSY))
    assert isinstance(error, errors.Failed) and "nothing was recorded" in error.reason


def test_the_record_says_its_format(tmp_path: Path) -> None:
    decide(Box(tmp_path, GOOD))
    assert (tmp_path / stonith.RECORD[1:]).read_text() == "format 1\nnodes alice bob\nend\n"


def test_a_record_that_cannot_be_written_does_not_change_the_verdict(tmp_path: Path) -> None:
    (tmp_path / "run").write_text("in the way")
    assert decide(Box(tmp_path, GOOD)) is None
    assert isinstance(decide(Box(tmp_path, OFF)), errors.NotAllowedHere)
