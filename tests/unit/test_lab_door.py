# SPDX-License-Identifier: GPL-2.0-or-later
"""The way into a machine of the lab that is about to go down."""

from __future__ import annotations

import os

import pytest
from twonode.enter import NOT_ENTERED, CommandFailed, Door


def test_a_machine_that_went_away_after_its_door_was_opened_is_a_failed_command() -> None:
    # What is written to it is refused, as by cgroup.procs of a cgroup that has been removed: met
    # when a node was asked for its boot while it rebooted.
    with Door({}, os.open("/dev/full", os.O_WRONLY)) as door:
        with pytest.raises(CommandFailed, match="has just gone down") as caught:
            door.run(["true"], timeout=60)
    assert caught.value.returncode == NOT_ENTERED
