# SPDX-License-Identifier: GPL-2.0-or-later
"""The demonstration: it passes, it says what happened, and it leaves nothing however it ends."""

from __future__ import annotations

import itertools
import os
import re
import signal
import subprocess
from pathlib import Path
from typing import IO, Iterator, List

import pytest

from test_lab import traces
from twonode.lab import Lab
from waiting import wait_for

DEMO = Path(__file__).resolve().parents[2] / "lab/demo"

WHOLE_RUN = 600.0
"""Seconds; it takes 90 where nothing else runs."""

_numbers = itertools.count(50)


@pytest.fixture
def name(image: Path) -> Iterator[str]:
    """The name of a laboratory that is down again at the end."""
    name = f"t{os.getpid()}-{next(_numbers)}"
    yield name
    Lab(name).down()


def start(name: str, output: IO[bytes], *options: str) -> "subprocess.Popen[bytes]":
    """Start the demonstration, from elsewhere, without a terminal."""
    return subprocess.Popen([DEMO, "--name", name, *options], cwd="/", stdin=subprocess.DEVNULL,
                            stdout=output, stderr=subprocess.STDOUT, start_new_session=True)


def test_a_failover_and_six_killed_services_lose_no_mail(name: str, tmp_path: Path) -> None:
    path = tmp_path / "output"
    with open(path, "wb") as output:
        demo = start(name, output, "--keep")
        try:
            code = demo.wait(WHOLE_RUN)
        finally:
            demo.terminate()
    said = path.read_text()
    lines = said.splitlines()
    last = re.fullmatch(r"0 of (\d+) acknowledged messages lost", lines[-1])
    assert code == 0 and last is not None, said
    assert int(last.group(1)) > 100, said
    node_failure, *killed = sections(lines)
    assert in_order(node_failure, "fault", "is lost", "fenced by", "mysql_guard started",
                    "mysql_fs started", "mysqld started", "kopano_fs started", "kopano_ip started",
                    "kopano_services started", "back in the cluster"), said
    assert sum("first mail accepted again" in line for line in node_failure) == 1
    services = ["server", "spooler", "dagent", "monitor", "gateway", "ical"]
    assert [section[0].rpartition("kopano-")[2] for section in killed] == services
    for section in killed:
        assert in_order(section, "was killed", "kopano_services on", "kopano_services stopped",
                        "kopano_services started"), said
        assert sum(" mail " in line for line in section) == 1
    assert f"sudo lab/lab --name {name} down" in said
    assert Lab(name).online("alice") == {"alice", "bob"}
    Lab(name).down()
    wait_for("the end of every trace", lambda: traces(name) == [])


def sections(lines: List[str]) -> List[List[str]]:
    """Return the timeline of each fault, its title first."""
    found: List[List[str]] = []
    for line in lines:
        if line.startswith(("Node failure", "Resource failure")):
            found.append([line])
        elif found and re.match(r" +\d+\.\d s  ", line) and found[-1][-1]:
            found[-1].append(line)
        elif found:
            found[-1].append("")
    return [[line for line in section if line] for section in found]


def in_order(section: List[str], *wanted: str) -> bool:
    """Say whether lines that contain these words come one after the other."""
    left = list(wanted)
    for line in section:
        if left and left[0] in line:
            left.pop(0)
    return not left


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGKILL])
@pytest.mark.parametrize("moment", ["booting", "filling the shared disks", "the cluster serves"])
def test_a_demonstration_that_is_ended_leaves_nothing(
        name: str, tmp_path: Path, number: int, moment: str) -> None:
    path = tmp_path / "output"
    with open(path, "wb") as output, start(name, output) as demo:
        wait_for(moment, lambda: moment in path.read_text())
        demo.send_signal(number)
        demo.wait(60)
    wait_for("the end of the laboratory", lambda: not Lab(name).is_up())
    wait_for("the end of every trace", lambda: traces(name) == [])
    if number != signal.SIGKILL:
        assert demo.returncode == 128 + number
        assert path.read_text().endswith("\ninterrupted\n")


def test_two_demonstrations_of_one_name_do_not_disturb_each_other(
        name: str, tmp_path: Path) -> None:
    lab = Lab(name)
    lab.up(wait=False)
    done = subprocess.run([DEMO, "--name", name], timeout=60, stdin=subprocess.DEVNULL,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, encoding="utf-8")
    assert done.returncode == 1
    assert done.stdout == (
        f"lab/demo: a laboratory {name} is up already; take it down with lab/lab --name {name} "
        "down, or give this one another --name\n")
    assert lab.is_up()
