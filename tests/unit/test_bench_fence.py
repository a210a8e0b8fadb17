# SPDX-License-Identifier: GPL-2.0-or-later
"""The parts of bench/fence that need no machine: what is run, what counts, verdicts, the relay."""

from __future__ import annotations

import json
import os
import select
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Iterator, List, Optional, Sequence, Tuple

import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "bench"), str(ROOT / "lab")]

from fencecost import (contestants, controller, figures, meter, networks,  # noqa: E402
                       promises, relay, report, stage)
from fencecost.contestants import (OURS, OURS_UNSPACED, PEER, PEER_TUNED, Contest,  # noqa: E402
                                   Ipmitool)

PATIENCE = 30.0

OFF_RUN = ("1", "0")
REBOOT_RUN = ("1", "0", "1")


def ran(wall: float = 100.0, *, code: Optional[int] = 0, chassis: Sequence[str] = OFF_RUN,
        cpu: float = 10.0, datagrams: Optional[int] = None, said: str = "") -> figures.Run:
    """Return a run with these figures; by default a good "off"."""
    return figures.Run(code, tuple(chassis), cpu, wall, datagrams, 0, said)


# What is run


def test_agents_are_told_what_pacemaker_tells_them() -> None:
    request = Contest(OURS, "off", networks.FAR).request
    told = dict(line.split("=", 1) for line in request.stdin.splitlines())
    assert request.argv == ("/usr/sbin/fence_ipmi",)
    assert request.environment["PCMK_service"] == "pacemaker-fenced"
    assert told["nodename"] == told["plug"] == told["node"] == contestants.NODE
    assert told["ip"] == networks.FAR.address and told["action"] == "off"
    assert told["cipher"] == "3"


def test_no_password_stands_in_an_agents_argv_or_environment() -> None:
    for contest in contestants.ALL:
        request = contest.request
        if isinstance(contest.program, contestants.Agent):
            assert contestants.PASSWORD not in " ".join(
                [*request.argv, *request.environment.values()])


def test_agents_are_compared_with_the_same_parameters() -> None:
    def told(program: contestants.Agent) -> List[str]:
        return Contest(program, "off", networks.LOOPBACK).request.stdin.splitlines()

    assert set(told(OURS)) - set(told(PEER)) == {f"node={contestants.NODE}"}
    assert set(told(PEER_TUNED)) - set(told(PEER)) == {"power_wait=0"}
    assert told(OURS) == told(OURS_UNSPACED)


def test_metadata_is_asked_for_as_stonith_admin_does() -> None:
    assert Contest(OURS, "metadata", networks.NOWHERE).request.stdin == "action=metadata\n"


def test_rows_are_told_apart_and_every_promise_has_its_rows() -> None:
    rows = [(each.program.name, each.action, each.network.name) for each in contestants.ALL]
    assert len(set(rows)) == len(rows)
    assert len(promises.judge(results())) == 8


@pytest.mark.parametrize("rounds, times", [(3, 20), (20, 20), (25, 25)])
def test_ours_is_run_twenty_times_over_the_bad_network_however_few_the_rounds(
        rounds: int, times: int) -> None:
    ours = [each for each in contestants.ALL
            if each.program is OURS and each.network is networks.BAD]
    assert [each.times(rounds) for each in ours] == [times]


def test_what_takes_a_minute_has_few_turns_but_at_least_one() -> None:
    contest = Contest(PEER, "off", networks.BAD, contestants.SELDOM)
    assert contest.times(20) == 5 and contest.times(1) == 1


# What counts


@pytest.mark.parametrize("action, chassis, good", [
    ("off", OFF_RUN, True),
    ("off", ("1", "0", "0"), True),             # ordered again, as an answer was lost
    ("off", ("1",), False),                     # never ordered
    ("off", ("1", "0", "1"), False),            # on again
    ("off", ("1", "reset"), False),
    ("reboot", REBOOT_RUN, True),
    ("reboot", ("1", "0", "0", "1", "1"), True),
    ("reboot", ("1",), False),                  # never off
    ("reboot", ("1", "1"), False),
    ("reboot", ("1", "0"), False),              # left off
    ("status", ("1",), True),
    ("status", ("1", "0"), False),              # a status that switches off
    ("metadata", ("1",), True),
])
def test_a_run_is_good_only_if_the_chassis_has_been_through_it(
        action: str, chassis: Tuple[str, ...], good: bool) -> None:
    run = ran(chassis=chassis)
    assert run.succeeded(action) is good and run.lied(action) is not good


@pytest.mark.parametrize("code", [1, 2, None])
def test_a_run_that_owns_up_to_its_failure_is_neither_good_nor_a_lie(code: Optional[int]) -> None:
    for chassis in (OFF_RUN, ("1",)):
        run = ran(code=code, chassis=chassis)
        assert not run.succeeded("off") and not run.lied("off")


def test_times_of_failed_runs_do_not_count() -> None:
    measured = figures.Measured(Contest(OURS, "off", networks.FAR), [
        ran(1.0, datagrams=18), ran(9.0, code=1, datagrams=99, said="no"), ran(3.0)])
    assert measured.wall == [1.0, 3.0] and measured.datagrams == [18]
    assert measured.complaint == "ended with 1, chassis 1 0: no"


# Verdicts


def results(**changes: List[figures.Run]) -> promises.Results:
    """Return results with which every promise is kept, except for the named rows.

    The names are those of ROWS.
    """
    found: promises.Results = {}
    for name, (program, action, network, runs) in ROWS.items():
        contest = Contest(program, action, network)
        found[contest] = figures.Measured(contest, changes.get(name, runs))
    return found


ROWS = {
    "peer_near": (PEER, "off", networks.LOOPBACK, [ran(2000.0)]),
    "ours_near": (OURS, "off", networks.LOOPBACK, [ran(600.0)]),
    "peer_far": (PEER, "off", networks.FAR, [ran(3000.0)]),
    "ours_far": (OURS, "off", networks.FAR, [ran(900.0, datagrams=22)]),
    "tuned_near": (PEER_TUNED, "off", networks.LOOPBACK, [ran(100.0)]),
    "unspaced_near": (OURS_UNSPACED, "off", networks.LOOPBACK, [ran(55.0)]),
    "tuned_far": (PEER_TUNED, "off", networks.FAR, [ran(1000.0)]),
    "unspaced_far": (OURS_UNSPACED, "off", networks.FAR, [ran(300.0)]),
    "ours_bad": (OURS, "off", networks.BAD, [ran(12000.0)] * 20),
    "peer_metadata": (PEER, "metadata", networks.NOWHERE, [ran(cpu=50.0)]),
    "ours_metadata": (OURS, "metadata", networks.NOWHERE, [ran(cpu=20.0)]),
}


def broken(**changes: List[figures.Run]) -> List[str]:
    """Return the texts of the promises that are broken with these changes."""
    return [verdict.text for verdict in promises.judge(results(**changes)) if not verdict.met]


def test_promises_are_kept_exactly_at_what_is_allowed() -> None:
    assert broken() == []


@pytest.mark.parametrize("row, runs, text", [
    ("ours_near", [ran(600.1)], "off, both at their defaults, loopback"),
    ("ours_far", [ran(900.1)], "off, both at their defaults, 20 ms RTT"),
    ("unspaced_near", [ran(55.1)], "off, without the spacing, loopback"),
    ("unspaced_far", [ran(300.1)], "off, without the spacing, 20 ms RTT"),
    ("ours_far", [ran(900.0, datagrams=18), ran(900.0, datagrams=23)], "datagrams of an off"),
    ("ours_bad", [ran(9.0)] * 19 + [ran(12000.1)], "off, 20 % loss each way"),
    ("ours_bad", [ran(9.0)] * 19 + [ran(code=1)], "off, 20 % loss each way"),
    ("ours_bad", [ran(9.0)] * 19, "off, 20 % loss each way"),       # not even tried 20 times
    ("ours_metadata", [ran(cpu=20.1)], "metadata"),
    ("unspaced_near", [ran(1.0), ran(code=1)], "off, without the spacing, loopback"),
    ("ours_near", [ran(code=1)], "off, both at their defaults, loopback"),
    ("peer_near", [ran(code=1)], "off, both at their defaults, loopback"),
])
def test_each_promise_can_be_broken(row: str, runs: List[figures.Run], text: str) -> None:
    found = broken(**{row: runs})
    assert any(each.startswith(text) for each in found), found


def test_one_success_without_one_breaks_the_promise() -> None:
    assert any(each.startswith("success without one: 1 times")
               for each in broken(ours_bad=[ran(9.0)] * 20 + [ran(chassis=("1",))]))


def test_what_was_not_measured_cannot_be_judged() -> None:
    with pytest.raises(ValueError):
        promises.judge({})


# What is printed


def test_table_has_every_figure() -> None:
    bad = Contest(Ipmitool(), "off", networks.BAD)
    lines = report.table([
        figures.Measured(Contest(OURS, "off", networks.FAR), [
            ran(1.0, datagrams=18), ran(2.0, datagrams=18), ran(3.0, datagrams=20)]),
        figures.Measured(bad, [ran(code=1)])]).splitlines()
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    assert cells[2] == ["20 ms RTT", "off", "fence_ipmi", "2.0", "1.5–2.5", "3.0", "10.0",
                        "10.0–10.0", "18 (18–20)", "3 of 3"]
    assert cells[3] == ["20 % loss", "off", "ipmitool, looks not", *["–"] * 6, "0 of 1"]


def test_last_line_says_whether_all_targets_are_met() -> None:
    good, bad = promises.Verdict(True, "this"), promises.Verdict(False, "that")
    assert report.verdict_lines([good]) == ["met     this", "targets met: 1 of 1"]
    assert report.verdict_lines([good, bad])[1:] == ["NOT MET that", "targets NOT MET: 1 of 2"]


def test_json_has_the_raw_figures() -> None:
    measured = figures.Measured(Contest(OURS, "off", networks.FAR), [ran(1.0, datagrams=18)])
    document = json.loads(report.as_json([measured], [promises.Verdict(True, "x")], ["m"], [0.5]))
    assert document["targets_met"] is True
    assert document["contests"][0]["runs"][0]["datagrams"] == 18


# The stage


def test_spacing_is_taken_out_of_the_library_as_it_is() -> None:
    source = (ROOT / "lib/mailha/fencing/transition.py").read_text()
    changed = stage.without_spacing(source)
    different = [(before, after) for before, after in zip(source.splitlines(),
                                                          changed.splitlines()) if before != after]
    assert len(different) == 1 and different[0][1].endswith(" = 0.0")


@pytest.mark.parametrize("source", ["", "SPACING = 0.5\nSPACING = 0.5\n", "SPACING = x\n"])
def test_spacing_that_is_not_to_be_found_is_no_measurement(source: str) -> None:
    with pytest.raises(stage.BenchFailed):
        stage.without_spacing(source)


def test_chassis_answers_ipmi_sim_and_remembers_every_order(tmp_path: Path) -> None:
    past = tmp_path / "past"
    script = tmp_path / "chassis"
    script.write_text(controller.SCRIPT.replace(meter.CHASSIS, str(past)))

    def ask(*words: str) -> str:
        return subprocess.run(["sh", str(script), "0x20", *words], stdout=subprocess.PIPE,
                              encoding="utf-8", timeout=PATIENCE, check=True).stdout

    past.write_text("1\n")
    assert ask("get", "power") == "power:1\n"
    assert ask("set", "power", "0") == "" and ask("get", "power") == "power:0\n"
    assert ask("set", "reset", "1") == "" and ask("get", "power", "boot") == (
        "power:0\nboot:default\n")
    assert past.read_text().split() == ["1", "0", "reset"]


@pytest.fixture
def chassis(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return where the meter finds the past of the chassis."""
    monkeypatch.setattr(meter, "CHASSIS", str(tmp_path / "past"))
    return tmp_path / "past"


def test_meter_counts_the_cpu_of_grandchildren_and_reports_the_chassis(chassis: Path) -> None:
    burn = "import time\nwhile time.process_time() < 0.1: pass"
    answer = meter.run(["/bin/sh", "-c", f'read -r line; "{sys.executable}" -I -c "{burn}"; '
                        f'echo "$line" >> {chassis}; echo done >&2; exit 3'],
                       {"PATH": os.environ["PATH"]}, "0\n", PATIENCE)
    assert answer["code"] == 3 and answer["chassis"] == ["1", "0"] and answer["said"] == "done"
    assert answer["wall"] >= 0.1 and answer["cpu"] >= 0.1


def test_meter_kills_an_agent_and_its_children_at_the_limit(chassis: Path) -> None:
    answer = meter.run(["/bin/sh", "-c", "sleep 3600 & wait"], {"PATH": os.environ["PATH"]}, "",
                       0.2)
    assert answer["code"] is None and answer["chassis"] == ["1"]


# The relay


@pytest.mark.parametrize("loss", [0.05, 0.2])
def test_losses_are_as_many_as_asked_for_and_the_same_for_the_same_seed(loss: float) -> None:
    def fates(seed: str) -> List[bool]:
        direction = relay.Direction(0.0, loss, seed)
        return [direction.due(0.0) is None for _ in range(10000)]

    assert fates("7 back") == fates("7 back") != fates("8 back")
    assert sum(fates("7 back")) / 10000 == pytest.approx(loss, rel=0.15)


def test_a_direction_delays_and_counts() -> None:
    direction = relay.Direction(0.25, 0.0, "")
    assert [direction.due(10.0), direction.due(11.0)] == [10.25, 11.25]
    assert (direction.sent, direction.lost) == (2, 0)


class Network:
    """A relay on loopback between a client and a controller that answers everything."""

    def __init__(self, delay: float, loss: float) -> None:
        self.controller, self.client = (socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
                                        for _ in range(2))
        self.controller.bind(("127.0.0.1", 0))
        self.relay = relay.Relay([("127.0.0.1", delay, loss)], 0, self.controller.getsockname())
        self.client.connect(self.relay.addresses[0])
        self.heard: List[bytes] = []

    def until_answered(self) -> bytes:
        """Let datagrams pass until the client has one."""
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            readable = select.select([self.controller, self.client, *self.relay.sockets], [], [],
                                     self.relay.wait(time.monotonic()))[0]
            if self.client in readable:
                return self.client.recv(100)
            if self.controller in readable:
                data, sender = self.controller.recvfrom(100)
                self.heard.append(data)
                self.controller.sendto(b"answer to " + data, sender)
            self.relay.take(readable)
            self.relay.deliver(time.monotonic())
        raise AssertionError("no answer")


@pytest.fixture
def near() -> Iterator[Network]:
    """Return a network without delay and loss."""
    yield from _network(0.0, 0.0)


@pytest.fixture
def far() -> Iterator[Network]:
    """Return a network with a delay of 50 ms each way."""
    yield from _network(0.05, 0.0)


@pytest.fixture
def cut() -> Iterator[Network]:
    """Return a network on which everything is lost."""
    yield from _network(0.0, 1.0)


def _network(delay: float, loss: float) -> Iterator[Network]:
    network = Network(delay, loss)
    yield network
    network.relay.close()
    network.client.close()
    network.controller.close()


def test_relay_passes_on_and_counts_both_ways(near: Network) -> None:
    near.relay.begin(1)
    for text in (b"one", b"two"):
        near.client.send(text)
        assert near.until_answered() == b"answer to " + text
    assert near.relay.end() == {"sent": 4, "lost": 0}
    near.relay.begin(2)
    near.client.send(b"three")              # a client that comes back after the end of a run
    assert near.until_answered() == b"answer to three"
    assert near.relay.end() == {"sent": 2, "lost": 0}


def test_relay_delays_both_ways(far: Network) -> None:
    started = time.monotonic()
    far.client.send(b"x")
    far.until_answered()
    assert time.monotonic() - started >= 0.1


def test_what_is_under_way_at_the_end_of_a_run_arrives_before_the_next(far: Network) -> None:
    far.relay.begin(1)
    far.client.send(b"close the session")
    assert select.select(far.relay.sockets, [], [], PATIENCE)[0]
    assert far.relay.end() == {"sent": 1, "lost": 0}
    assert select.select([far.controller], [], [], PATIENCE)[0]
    assert far.controller.recv(100) == b"close the session"
    assert far.relay.wait(time.monotonic()) is None


def test_lost_datagrams_are_counted_and_never_arrive(cut: Network) -> None:
    cut.relay.begin(1)
    cut.client.send(b"x")
    assert select.select(cut.relay.sockets, [], [], PATIENCE)[0]
    assert cut.relay.end() == {"sent": 1, "lost": 1}
    assert not select.select([cut.controller], [], [], 0)[0]


def test_programs_of_the_bench_run_even_where_they_may_not_go_first() -> None:
    done = subprocess.run([*stage.FIRST, "echo", "a  b", "c"], stdout=subprocess.PIPE,
                          stderr=subprocess.DEVNULL, encoding="utf-8", timeout=PATIENCE)
    assert done.stdout == "a  b c\n"
