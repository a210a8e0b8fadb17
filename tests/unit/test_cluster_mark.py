# SPDX-License-Identifier: GPL-2.0-or-later
"""The mark of a fencing guard: there after a start, gone after a stop or a power loss."""

from __future__ import annotations

import errno

import pytest

from fake_machine import FakeMachine
from mailha import errors
from mailha.cluster.mark import Mark


def test_the_mark_is_there_between_start_and_stop_and_both_may_be_repeated() -> None:
    mark = FakeMachine().call(Mark, "guard")
    assert not mark.is_set()
    for _ in range(2):
        mark.set()
        assert mark.is_set()
    for _ in range(2):
        assert mark.clear() == ""
        assert not mark.is_set()


def test_a_power_loss_takes_the_mark_away() -> None:
    machine = FakeMachine()
    mark = machine.call(Mark, "guard")
    mark.set()
    machine.reboot()
    assert not mark.is_set()


def test_each_instance_of_a_clone_has_its_own_mark() -> None:
    machine = FakeMachine()
    machine.call(Mark, "guard:0").set()
    assert not machine.call(Mark, "guard:1").is_set()
    assert not machine.call(Mark, "guard").is_set()


@pytest.mark.parametrize("number", [errno.EROFS, errno.ENOSPC])
def test_a_mark_that_cannot_be_left_fails_the_start(number: int) -> None:
    machine = FakeMachine()
    machine.files.failing["/run"] = number
    with pytest.raises(errors.Failed) as caught:
        machine.call(Mark, "guard").set()
    assert "/run/mailha" in str(caught.value)
    assert not machine.call(Mark, "guard").is_set()


def test_a_mark_that_cannot_be_taken_away_is_a_warning_and_never_fences() -> None:
    machine = FakeMachine()
    mark = machine.call(Mark, "guard")
    mark.set()
    machine.files.failing["/run"] = errno.EROFS
    warning = mark.clear()
    assert "Read-only" in warning and mark.path in warning and "probe" in warning
    assert "\n" not in warning


def test_stopping_on_a_read_only_run_without_a_mark_is_no_warning() -> None:
    machine = FakeMachine()
    machine.files.failing["/run"] = errno.EROFS
    assert machine.call(Mark, "guard").clear() == ""


@pytest.mark.parametrize("name", ["", "..", "../kopano", "a/b", "a\0b"])
def test_a_name_cannot_lead_out_of_the_directory(name: str) -> None:
    with pytest.raises(errors.Failed):
        FakeMachine().call(Mark, name)
