# SPDX-License-Identifier: GPL-2.0-or-later
"""The life of the resource under real systemd and without it: start, monitor, stop, who may call.

Every answer in these tests is judged beside what the test asks for (see calling.judge): one exit
reason on failure and none otherwise, no traceback, nothing on stdout, and the caller's pipes come
to their end with the agent.
"""

from __future__ import annotations

import pytest

from agent_node import ALL, Node
from waiting import wait_for

MANAGERS = ["systemd", "direct"]
NOBODY = 65534


@pytest.mark.parametrize("manager", MANAGERS)
def test_the_order_of_ocf_tester(node: Node, manager: str) -> None:
    assert node.probe(manager=manager).code == 7
    assert node.monitor(manager=manager).code == 7
    node.started(manager=manager)
    before = node.living()
    assert set(before) == set(ALL.split())
    for level in (0, 10, 20):
        answer = node.monitor(level, manager=manager)
        assert answer.code == 0, str(answer)
    assert node.probe(manager=manager).code == 0
    node.started(manager=manager)
    assert node.living() == before, "a second start has disturbed what runs"
    node.stopped(manager=manager)
    assert node.monitor(manager=manager).code == 7
    assert node.probe(manager=manager).code == 7
    node.stopped(manager=manager)


def test_directly_managed_daemons_belong_to_nobody(node: Node) -> None:
    node.started(manager="direct")
    assert "inactive\n" * 6 == node.sh(f"cd /; systemctl is-active {units()} || :")
    for service, pids in node.living().items():
        rows = node.sh(f"ps -o pid=,ppid=,pgid=,sid=,tty= -p {','.join(map(str, pids))}")
        for pid, parent, group, session, terminal in map(str.split, rows.splitlines()):
            # A group of their own: a server that cannot bind kills all of it.
            assert int(group) in pids and int(session) not in (0, 1) and terminal == "?", rows
            assert parent == "1" or int(parent) in pids, rows
        environment = node.sh(f"tr '\\0' '\\n' </proc/{pids[0]}/environ").split()
        assert "LC_ALL=C" in environment and "OCF_ROOT=/usr/lib/ocf" not in environment
        assert node.sh(f"readlink /proc/{pids[0]}/cwd") == "/\n"
        # Nothing of the caller's: neither its pipes nor its lock.
        held = node.sh(f"readlink /proc/{pids[0]}/fd/0 /proc/{pids[0]}/fd/1 /proc/{pids[0]}/fd/2")
        assert held.splitlines() == ["/dev/null", *[f"/var/log/mailha/kopano-{service}.log"] * 2]
        assert "/run/mailha" not in node.sh(f"ls -l /proc/{pids[0]}/fd")
    node.stopped(manager="direct")


def test_a_monitor_loads_what_the_one_before_it_has_kept(node: Node) -> None:
    """Whatever is wrong with the file: the answer is the same, and the next finds a good one."""
    kept = "/run/mailha/loaded/kopano"
    evidence = "/usr/lib/ocf/lib/mailha/services/evidence.py"
    node.started(services="server")
    assert node.probe(services="server").code == 0 and node.monitor(10, services="server").code == 0
    assert node.sh(f"ls {kept} 2>/dev/null || :") == "", "only depth 0 knows what is enough"
    assert node.monitor(services="server").code == 0
    for damage in (f"rm {kept}", f"echo mailha >{kept}", f"chmod 666 {kept}", f"touch {evidence}",
                   f"cp {evidence} {evidence}.new; touch -r {evidence} {evidence}.new;"
                   f" mv {evidence}.new {evidence}"):
        before = node.sh(f"stat -c %i {kept}")
        node.sh(damage)
        answer = node.monitor(services="server")
        assert (answer.code, answer.stderr) == (0, ""), str(answer)
        after = node.sh(f"stat -c %i {kept}")
        assert after != before, f"not written anew after {damage}"
        assert node.monitor(services="server").code == 0
        assert node.sh(f"stat -c %i {kept}") == after, f"not of use after {damage}"
    assert node.sh(f"ls -A {kept.rpartition('/')[0]}") == "kopano\n"
    node.sh("systemctl kill -s KILL kopano-server")
    wait_for("its end", lambda: not node.living())
    assert node.monitor(services="server").code == 7
    node.stopped(services="server")


def units(services: str = ALL) -> str:
    return " ".join(f"kopano-{service}" for service in services.split())


@pytest.mark.parametrize("manager", MANAGERS)
def test_a_group_that_runs_in_part_is_completed(node: Node, manager: str) -> None:
    node.started(manager=manager)
    before = node.living()
    node.kill(*before["gateway"])
    wait_for("its end", lambda: not node.pids("gateway"))
    answer = node.monitor(manager=manager)
    assert answer.code == 1 and "gateway" in answer.reason and "ical" not in answer.reason
    degraded = node.monitor(manager=manager, optional_services="gateway ical")
    assert degraded.code == 190 and "gateway" in degraded.reason
    assert node.probe(manager=manager).code == 1
    node.started(manager=manager)
    after = node.living()
    assert after.pop("gateway") != before.pop("gateway")
    assert after == before
    node.stopped(manager=manager)


def test_only_what_can_touch_the_data_makes_a_probe_say_that_it_runs(node: Node) -> None:
    node.started(services="server dagent")
    node.sh("rm /run/mailha/active/kopano")
    node.kill(*node.pids("server"))
    wait_for("its end", lambda: not node.pids("server"))
    answer = node.probe(services="server dagent")
    assert answer.code == 7 and "WARNING: dagent runs on this node" in answer.stderr
    node.stopped(services="server dagent")
    node.started(services="server dagent")
    node.sh("rm /run/mailha/active/kopano")
    node.kill(*node.pids("dagent"))
    wait_for("its end", lambda: not node.pids("dagent"))
    answer = node.probe(services="server dagent")
    assert answer.code == 1 and "dagent" in answer.reason
    node.stopped(services="server dagent")


def test_a_lost_record_is_no_failure_of_services_that_serve(node: Node) -> None:
    node.started()
    node.sh("rm /run/mailha/active/kopano")
    for level in (0, 10):
        answer = node.monitor(level)
        assert answer.code == 0 and "/run/mailha/active/kopano is gone" in answer.stderr
    assert node.probe().code == 0
    before = node.living()
    node.started()
    assert node.living() == before
    assert "gone" not in node.monitor().stderr
    for damage in ("format 1\\nmanager systemd\\nservice", "", "\\0\\377", "format 99\\nend\\n"):
        node.sh(f"printf '{damage}' >/run/mailha/active/kopano")
        answer = node.monitor()
        assert answer.code == 0 and "cannot be understood" in answer.stderr
    node.stopped()


def test_two_resources_share_the_work_and_no_service(node: Node) -> None:
    leaves = "gateway ical"
    node.started(services="server dagent")
    node.started(resource="leaves", services=leaves)
    answer = node.start(resource="third", services="ical monitor")
    assert answer.code == 5
    assert "'ical'" in answer.reason and "'leaves'" in answer.reason
    assert node.pids("monitor") == []
    before = node.living()
    node.stopped(resource="third", services="monitor")
    node.stopped(resource="leaves", services=leaves)
    assert node.living() == {name: before[name] for name in ("server", "dagent")}
    assert node.monitor(10, services="server dagent").code == 0
    node.stopped(services="server dagent")


def test_of_two_calls_at_once_the_second_waits_and_a_start_gives_way_to_a_stop(node: Node) -> None:
    node.vices("server: slow_upgrade=2")
    first = node.begin("start", services="server")
    node.await_log("server", "Start: Database upgrade")
    second = node.begin("start", services="server")
    assert first.answer().code == 0 and second.answer().code == 0
    assert node.log("server").count("Starting kopano-server") == 1
    node.stopped(services="server")
    node.vices("server: slow_upgrade=8")    # longer than a busy machine takes to order a stop
    first = node.begin("start", services="server")
    wait_for("the upgrade", lambda: node.log("server").count("Start: Database upgrade") == 2)
    stop = node.stop(services="server")
    assert stop.code == 0 and node.living() == {}
    assert first.answer().code == 1 and "a stop of 'kopano' was ordered" in first.answer().reason
    assert node.log("server").count("Done: Database upgrade") == 2, "the upgrade was cut"
    node.stopped(services="server")


def test_who_may_call(node: Node) -> None:
    for action in ("start", "stop", "monitor", "reload-agent"):
        answer = node.call(action, user=NOBODY)
        assert answer.code == 4 and "root" in answer.reason
    assert node.call("meta-data", user=NOBODY).code == 0
    assert node.call("validate-all", user=NOBODY).code == 0
    for action in ("", "Start", "notify", "promote", "no-such", "-x", "start\nstop"):
        assert node.call(action).code == 3
    assert node.call("reload-agent").code == 0
    assert node.living() == {}


def test_validate_all_warns_of_what_only_this_node_lacks(node: Node) -> None:
    assert node.call("validate-all").stderr == ""
    with node.undone("systemctl mask --now kopano-ical", "systemctl unmask kopano-ical"):
        answer = node.call("validate-all")
        assert answer.code == 0 and "WARNING: " in answer.stderr and "ical" in answer.stderr
        strict = node.call("validate-all", level=10)
        assert strict.code == 5 and "kopano-ical" in strict.reason
    assert node.living() == {}
