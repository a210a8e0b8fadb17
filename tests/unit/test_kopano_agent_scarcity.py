# SPDX-License-Identifier: GPL-2.0-or-later
"""ocf:mailha:kopano on a node with a full disk, a read-only /run, or no memory.

A check that cannot be made is a failure and never "not running", and only what lives makes a stop
fail: these are findings about the node that may be gone a moment later.
"""

from __future__ import annotations

import errno
from typing import Any

import pytest
from kopano_machine import NAMES, RESOURCE
from kopano_node import Node
from mailha import errors
from mailha.services import active
from mailha.storage import last_run
from mailha.system.children import ChildFailed


@pytest.mark.parametrize("place", ["/run", "/run/mailha", "/etc/systemd"])
@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS])
def test_a_start_that_cannot_write_starts_nothing(node: Node, place: str, number: int) -> None:
    node.machine.files.failing[place] = number
    assert node.probe().code == 7
    node.refuses(1, place, {errno.ENOSPC: "free space", errno.EROFS: "remount"}[number])
    node.stops()


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS])
def test_a_disk_that_fills_up_under_running_services(node: Node, number: int) -> None:
    node.started()
    node.machine.files.failing["/run"] = number
    assert node.probe().code == 0
    assert node.monitor().code == 0
    assert node.start().code in (0, 1)
    assert node.alive() == sorted(NAMES)
    assert node.stop().code == 0
    assert node.alive() == []
    assert node.monitor().code == 7


def test_a_data_disk_that_is_full(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*arguments: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(last_run, "_replace", full)
    assert node.probe().code == 7
    answer = node.start()
    assert answer.code == 1
    for word in (str(node.data), "No space left on device", "full"):
        assert word in answer.reason
    assert node.launched() == [] and not node.is_marked()
    node.stops()


def test_a_run_that_cannot_be_read(node: Node) -> None:
    node.started()
    node.machine.files.failing[active.path_of(RESOURCE)] = errno.EIO
    answer = node.monitor()
    assert answer.code == 0 and "cannot read" in answer.log
    assert node.probe().code == 0
    node.main("server").die()
    assert node.monitor().code == 1
    assert node.probe().code == 1
    assert node.stop().code == 0
    assert node.alive() == []
    assert node.probe().code == 7


def fail_for_memory(*arguments: Any, **named: Any) -> Any:
    raise errors.Failed("cannot ask the kernel: Cannot allocate memory", remedy="free memory")


def test_a_check_for_which_the_kernel_has_no_memory(node: Node) -> None:
    node.started()
    node.machine.sockets.listeners = fail_for_memory  # type: ignore[method-assign]
    for answer in (node.monitor(), node.probe()):
        assert answer.code == 1 and "Cannot allocate memory" in answer.reason
    node.stops()


@pytest.mark.parametrize("asked_before", [False, True])
def test_a_start_for_which_the_kernel_has_no_process(node: Node, asked_before: bool) -> None:
    """That passes, so it must not ban the node."""
    if asked_before:
        node.started().stops()
        node.machine.systemd.calls.clear()
    node.machine.children.run = no_process  # type: ignore[method-assign]
    node.machine.children.bounded = no_process  # type: ignore[method-assign]
    assert node.probe().code == 7
    node.refuses(1, "Cannot allocate memory")
    node.stops()


def no_process(*arguments: Any, **named: Any) -> Any:
    raise ChildFailed("cannot make a child: Cannot allocate memory", command=["x"],
                      errno=errno.ENOMEM)


def test_a_stop_fails_only_where_something_lives(node: Node) -> None:
    node.started()
    node.main("dagent").state = "D"
    answer = node.stop()
    assert answer.code == 1
    assert "/usr/sbin/kopano-dagent" in answer.reason and "fenced" in answer.reason
    assert node.alive() == ["dagent"]
