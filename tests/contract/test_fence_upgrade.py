# SPDX-License-Identifier: GPL-2.0-or-later
"""The package is upgraded, or taken away altogether, while a fence agent is at work.

An agent that waits for its definition has begun, and has not said a word to the controller yet. If
from then on it finds everything it needs without the library, no upgrade can do it any harm.
"""

from __future__ import annotations

import os
import subprocess
import time
from contextlib import contextmanager
from typing import Iterator

import fence_ipmi_machine
import idrac_host
import pytest
from twonode import image
from twonode.sandbox import Sandbox

LIMIT = 60.0
"""Seconds for what takes one; a busy machine may need them."""

LIBRARY = "/usr/lib/ocf/lib/mailha"


@pytest.fixture(scope="module")
def machine() -> Iterator[Sandbox]:
    """A machine with the suite's package."""
    if os.geteuid():
        pytest.skip("the sandbox needs root")
    with Sandbox(image.ensure(os.environ.get("LAB_SUITE", "bookworm"))) as sandbox:
        yield sandbox


@contextmanager
def begun(machine: Sandbox, agent: str) -> Iterator["subprocess.Popen[bytes]"]:
    """Start an agent and let it come as far as to wait for its definition."""
    with machine.door.popen([f"/usr/sbin/{agent}"], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                            stderr=subprocess.PIPE) as process:
        try:
            end = time.monotonic() + LIMIT
            while "pipe_read" not in machine.run(
                    ["ps", "-C", agent, "-o", "wchan:32="], timeout=LIMIT).stdout:
                assert process.poll() is None and time.monotonic() < end, "it reads nothing"
                time.sleep(0.05)
            yield process
        finally:
            process.kill()


@contextmanager
def without_library(machine: Sandbox) -> Iterator[None]:
    """Take the library away for a while."""
    machine.run(["mv", LIBRARY, "/away"], timeout=LIMIT, check=True)
    try:
        yield
    finally:
        machine.run(["mv", "/away", LIBRARY], timeout=LIMIT, check=True)


def ends_well(process: "subprocess.Popen[bytes]", definition: str) -> None:
    """Give an agent its definition and prove that it switches the power off."""
    stdout, stderr = process.communicate(definition.encode(), timeout=LIMIT)
    assert (process.returncode, stdout, stderr) == (0, b"Success: Powered OFF\n", b"")


def test_fence_ipmi_fences_although_its_library_is_gone(machine: Sandbox) -> None:
    host = fence_ipmi_machine.Machine(machine, fence_ipmi_machine.RELEASES[0])
    controller = host.controller()
    given = {"action": "off", "nodename": "bob", **controller.options}
    try:
        with begun(machine, "fence_ipmi") as process, without_library(machine):
            ends_well(process, "".join(f"{name}={value}\n" for name, value in given.items()))
        fence_ipmi_machine.assert_proven(controller.events())
        assert not controller.is_on()
    finally:
        host.stop_controllers()


def test_fence_racadm_fences_although_its_library_is_gone(machine: Sandbox) -> None:
    idrac = idrac_host.Idrac(idrac_host.Machine(machine))
    try:
        with begun(machine, "fence_racadm") as process, without_library(machine):
            ends_well(process, idrac.options("off"))
        assert not idrac.on
    finally:
        idrac.stop()
