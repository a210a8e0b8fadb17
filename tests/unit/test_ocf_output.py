# SPDX-License-Identifier: GPL-2.0-or-later
"""What an agent says, to whom, and that saying it never harms or hangs."""

from __future__ import annotations

import os
import socket
from pathlib import Path
from typing import Iterator, List

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mailha import systemlog
from mailha.ocf.output import LONGEST, Output

CLUSTER = {"OCF_RESKEY_CRM_meta_on_node": "alice", "OCF_RESOURCE_INSTANCE": "mail:0"}


@pytest.fixture
def journal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[socket.socket]:
    """Return the other end of the system's log."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as end:
        end.bind(str(tmp_path / "log"))
        end.setblocking(False)
        monkeypatch.setattr(systemlog, "SOCKET", str(tmp_path / "log"))
        yield end


def test_lines_begin_as_crm_sorts_them(capfd: pytest.CaptureFixture[str]) -> None:
    log = Output("trial", {})
    log.error("a")
    log.warning("b")
    log.info("c")
    log.debug("d")
    assert tuple(capfd.readouterr()) == ("", "ERROR: a\nWARNING: b\nINFO: c\n")


@pytest.mark.parametrize("value, shown", [("1", True), ("0", False), ("", False), ("2", True)])
def test_details_are_shown_when_debugging_is_asked_for(
        capfd: pytest.CaptureFixture[str], value: str, shown: bool) -> None:
    Output("trial", {"HA_debug": value}).debug("d")
    assert ("DEBUG: d\n" in capfd.readouterr().err) is shown


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=st.text() | st.binary().map(os.fsdecode)
       | st.lists(st.sampled_from(["ocf-exit-reason:", "ocf-exit-", "reason:", "\n", "\x1b[2J",
                                   "\u2028", "\r", "x"])).map("".join))
def test_a_reason_is_one_line_with_one_mark_whatever_is_quoted_in_it(
        capfd: pytest.CaptureFixture[str], text: str) -> None:
    capfd.readouterr()
    Output("trial", {}).reason(text)
    said = capfd.readouterr().err
    assert said.startswith("ocf-exit-reason:") and said.count("ocf-exit-reason:") == 1
    assert said.endswith("\n") and said[:-1].isprintable()


def test_a_log_line_cannot_become_the_reason(capfd: pytest.CaptureFixture[str]) -> None:
    Output("trial", {}).info("the server said 'ocf-exit-reason:all is well'")
    assert "ocf-exit-reason:" not in capfd.readouterr().err


def test_bytes_that_are_not_utf8_are_shown(capfd: pytest.CaptureFixture[str]) -> None:
    Output("trial", {}).reason(os.fsdecode(b"no \xff here"))
    assert capfd.readouterr().err == "ocf-exit-reason:no \\xff here\n"


def test_a_reason_is_not_endless(capfd: pytest.CaptureFixture[str]) -> None:
    Output("trial", {}).reason("word " * 100_000)
    assert len(capfd.readouterr().err) == len("ocf-exit-reason:") + LONGEST + 1


@pytest.mark.parametrize("mark, used", [("reason=", "reason="), ("", "ocf-exit-reason:"),
                                        ("a\nb", "ocf-exit-reason:")])
def test_the_mark_is_the_one_that_the_caller_wants(
        capfd: pytest.CaptureFixture[str], mark: str, used: str) -> None:
    Output("trial", {"OCF_EXIT_REASON_PREFIX": mark}).reason("x reason= ocf-exit-reason:")
    said = capfd.readouterr().err
    assert said.startswith(used) and said.count(used) == 1


def test_in_a_cluster_the_log_goes_to_the_systems_log_too(
        journal: socket.socket, capfd: pytest.CaptureFixture[str]) -> None:
    Output("trial", CLUSTER).warning("one\ntwo")
    record = journal.recv(4096).decode()
    assert record.startswith("<28>")       # daemon, warning
    assert record.endswith(f" trial(mail:0)[{os.getpid()}]: WARNING: one two")
    assert capfd.readouterr().err == "WARNING: one two\n"


def records(journal: socket.socket) -> List[str]:
    """Return the texts that the system's log was sent, without head."""
    found = []
    try:
        while True:
            found.append(journal.recv(4096).decode().partition("]: ")[2])
    except BlockingIOError:
        return found


def test_a_reason_that_pacemaker_will_cut_goes_to_the_systems_log_in_full(
        journal: socket.socket, capfd: pytest.CaptureFixture[str]) -> None:
    Output("trial", CLUSTER).reason("x" * 128)
    assert records(journal) == []
    Output("trial", CLUSTER).reason("x" * 129)
    assert records(journal) == ["ERROR: " + "x" * 129]
    assert capfd.readouterr().err.count("ERROR") == 0


def test_a_trace_bothers_nobody_but_those_who_look_for_it(
        journal: socket.socket, capfd: pytest.CaptureFixture[str]) -> None:
    log = Output("trial", CLUSTER)
    log.trace("line 1")
    log.debug("not even there")
    assert records(journal) == ["DEBUG: line 1"] and capfd.readouterr().err == ""
    Output("trial", {**CLUSTER, "HA_debug": "1"}).trace("line 2")
    assert records(journal) == ["DEBUG: line 2"]
    assert capfd.readouterr().err == "DEBUG: line 2\n"


@pytest.mark.parametrize("environment", [{}, {**CLUSTER, "HA_logfacility": "none"}])
def test_by_hand_or_where_it_is_not_wanted_nothing_goes_to_the_systems_log(
        journal: socket.socket, environment: dict[str, str]) -> None:
    Output("trial", environment).warning("x")
    Output("trial", environment).trace("x")
    Output("trial", environment).reason("x" * 200)
    assert records(journal) == []


def test_a_system_log_that_is_stuck_or_gone_holds_nobody_up(
        journal: socket.socket, capfd: pytest.CaptureFixture[str],
        monkeypatch: pytest.MonkeyPatch) -> None:
    log = Output("trial", CLUSTER)
    for number in range(2000):      # far more than the socket has room for
        log.info(f"line {number}")
    assert "INFO: line 1999\n" in capfd.readouterr().err
    monkeypatch.setattr(systemlog, "SOCKET", "/nowhere/log")
    log.info("last")
    assert capfd.readouterr().err == "INFO: last\n"
