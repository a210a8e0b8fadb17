# SPDX-License-Identifier: GPL-2.0-or-later
"""The vices that are switched on by a file: each one really is what it says."""

from __future__ import annotations

import socket
import time
from pathlib import Path
from typing import Iterator

import pytest

from standin_machine import Machine
from waiting import wait_for


@pytest.fixture(scope="module")
def node(image: Path) -> Iterator[Machine]:
    with Machine(image) as machine:
        yield machine


@pytest.fixture(autouse=True)
def fresh(node: Machine) -> None:
    node.reset()


def test_dead_but_exit_0_ends_at_once_with_0_and_without_a_word(node: Machine) -> None:
    node.vices("ical: dead_but_exit_0")
    process = node.daemon("ical")
    assert process.code() == 0
    assert process.output == "" and node.log("ical") == ""


def test_mute_falls_silent_and_recovers_while_the_service_runs(node: Machine) -> None:
    node.serve("server", "dagent")
    node.vices("dagent: mute")
    with node.connect(2003, timeout=1) as connection:
        with pytest.raises(socket.timeout):
            connection.recv(1)
    node.vices()
    with node.lmtp() as client:
        assert client.hear().startswith("220 ")


def test_ignore_term_leaves_only_sigkill(node: Machine) -> None:
    node.vices("monitor: ignore_term")
    process = node.serve("monitor")["monitor"]
    ignored = node.run(f"awk '/^SigIgn/ {{print $2}}' /proc/{process.pid}/status")
    assert int(ignored, 16) & 1 << 14
    process.kill("TERM")
    assert not process.ended()
    process.kill("KILL")
    assert process.code() == -9


@pytest.mark.parametrize("service", ["gateway", "spooler"])
def test_ignore_term_child_leaves_a_process_of_the_same_executable(
        node: Machine, service: str) -> None:
    node.vices(f"{service}: ignore_term_child")
    process = node.serve(service)[service]
    wait_for("the child", lambda: len(node.pids(service)) == (3 if service == "spooler" else 2))
    process.kill("TERM")
    assert process.code() == 0
    left = node.pids(service)
    assert left and process.pid not in left
    node.run(f"kill -TERM {' '.join(map(str, left))}")
    assert node.pids(service) == left


def test_slow_stop_takes_its_time_between_sigterm_and_the_end(node: Machine) -> None:
    node.vices("ical: slow_stop=2")
    process = node.serve("ical")["ical"]
    before = time.monotonic()
    process.kill("TERM")
    assert process.code() == 0
    assert time.monotonic() - before >= 2


@pytest.mark.parametrize("service, port", [("server", 236), ("dagent", 2003)])
def test_hang_on_start_opens_the_port_and_writes_no_pid_file(
        node: Machine, service: str, port: int) -> None:
    node.vices(f"{service}: hang_on_start")
    process = node.daemon(service)
    wait_for("the hang", lambda: "hanging on start" in node.log(service))
    node.connect(port).close()
    assert not node.path(f"/run/kopano/{service}.pid").exists()
    process.kill("TERM")
    assert process.code() == -15


def test_crash_after_dies_of_a_segmentation_fault(node: Machine) -> None:
    node.vices("gateway: crash_after=0.5")
    assert node.daemon("gateway").code() == -11


def test_send_for_leaves_a_spooler_child_that_delivers_on_after_its_parent_was_killed(
        node: Machine) -> None:
    node.vices("spooler: send_for=600")
    process = node.serve("spooler")["spooler"]
    wait_for("three processes", lambda: len(node.pids("spooler")) == 3)
    process.kill("KILL")
    process.code()
    left = node.pids("spooler")
    node.run(f"kill -TERM {' '.join(map(str, left))}")
    assert node.pids("spooler") == left


def test_a_misspelt_vice_is_no_silent_success(node: Machine) -> None:
    node.vices("ical: ignore_trem")
    process = node.daemon("ical")
    assert process.code() == 1
    assert "ignore_trem" in process.output and "Traceback" not in process.output
