# SPDX-License-Identifier: GPL-2.0-or-later
"""Units that are masked, missing, guarded, or made otherwise by an administrator's drop-ins."""

from __future__ import annotations

import pytest

from agent_node import Node
from waiting import wait_for

FEW = "server ical"
UNITS = "/usr/lib/systemd/system"


def state(node: Node, service: str) -> str:
    """Return how systemd calls a service: "active/running"."""
    return node.sh(f"systemctl show -P ActiveState -P SubState kopano-{service}").strip().replace(
        "\n", "/")


def test_a_masked_unit_is_not_installed_and_what_runs_of_it_is_degraded(node: Node) -> None:
    unmask = "systemctl unmask --runtime kopano-ical"
    with node.undone("systemctl mask --runtime kopano-ical", unmask):
        answer = node.probe(services=FEW)
        assert answer.code == 5 and "kopano-ical.service is masked" in answer.reason
        answer = node.start(services=FEW)
        assert answer.code == 5 and "systemctl unmask kopano-ical.service" in answer.reason
        assert node.living() == {} and node.marks() == ""
        node.stopped(services=FEW)
        # An optional one is left out.
        answer = node.started(services=FEW, optional_services="ical")
        assert "optional service ical is left out" in answer.stderr
        assert node.monitor(services=FEW, optional_services="ical").code == 190
        node.stopped(services=FEW)
    node.started(services=FEW)
    with node.undone("systemctl mask --runtime kopano-ical", unmask):
        for level in (0, 10):
            answer = node.monitor(level, services=FEW)
            assert answer.code == 190 and "masked" in answer.reason
        assert node.probe(services=FEW).code == 0
        node.kill(*node.pids("ical"))
        wait_for("its end", lambda: not node.pids("ical"))
        assert node.monitor(services=FEW).code == 1
        answer = node.start(services=FEW)
        assert answer.code == 5 and "masked" in answer.reason
        assert node.pids("server") and not node.pids("ical")
        node.stopped(services=FEW)


def test_a_missing_unit_is_not_installed_and_what_runs_of_it_is_degraded(node: Node) -> None:
    away = f"mv {UNITS}/kopano-ical.service /root; systemctl daemon-reload"
    back = f"mv /root/kopano-ical.service {UNITS}; systemctl daemon-reload"
    with node.undone(away, back):
        answer = node.probe(services=FEW)
        assert answer.code == 5 and "ical" in answer.reason
        answer = node.start(services=FEW)
        assert answer.code == 5 and "no unit kopano-ical.service" in answer.reason
        assert "install kopano-ical" in answer.reason and node.living() == {}
        node.stopped(services=FEW)
    node.started(services=FEW)
    with node.undone(away, back):
        answer = node.monitor(services=FEW)
        assert answer.code == 190 and "not-found" in answer.reason
        assert node.probe(services=FEW).code == 0
        node.stopped(services=FEW)
        assert node.monitor(services=FEW).code == 1
        node.stopped(services=FEW)


@pytest.mark.parametrize("manager", ["systemd", "direct"])
def test_missing_programs_are_not_installed_and_never_fail_a_stop(node: Node, manager: str) -> None:
    away, back = "mv /usr/sbin/kopano-ical /root", "mv /root/kopano-ical /usr/sbin"
    with node.undone(away, back):
        answer = node.start(manager=manager, services=FEW)
        assert answer.code == 5 and "/usr/sbin/kopano-ical" in answer.reason
        assert node.living() == {} and node.probe(manager=manager, services=FEW).code in (5, 7)
        node.stopped(manager=manager, services=FEW)
    node.started(manager=manager, services=FEW)
    with node.undone(away, back):
        assert node.monitor(10, manager=manager, services=FEW).code == 0
        node.stopped(manager=manager, services=FEW)


def test_what_the_guard_keeps_from_starting(node: Node) -> None:
    """Enabled at boot, started by an update of its package, or by an administrator in a hurry."""
    node.sh("rm -rf /etc/systemd/system/kopano-*.d; systemctl daemon-reload")
    node.started(services=FEW)
    node.stopped(services=FEW)
    for order in ("start", "restart", "reload-or-restart", "try-restart"):
        node.sh(f"systemctl {order} kopano-server kopano-ical || :")
    with node.unit("pulling", "[Unit]\nRequires=kopano-server.service\n"
                              "After=kopano-server.service\n"
                              "[Service]\nExecStart=/bin/sleep 600\n"):
        node.sh("systemctl start pulling || :")
        assert node.living() == {}
    assert node.sh("systemctl show -P ConditionResult kopano-server") == "no\n"
    assert node.probe(services=FEW).code == 7
    node.started(services=FEW)
    node.stopped(services=FEW)


def test_guards_are_taken_off_and_put_on_by_hand(node: Node) -> None:
    node.started(services=FEW)
    node.stopped(services=FEW)
    node.sh("mailha guards off kopano")
    node.sh("systemctl start kopano-server")
    wait_for("the server", lambda: node.pids("server"))
    # It can touch the data, so the cluster is told of it, here and at every probe.
    assert node.probe(services=FEW).code == 1
    node.sh("systemctl stop kopano-server; mailha guards on kopano --services server ical")
    node.sh("systemctl start kopano-server")
    assert node.living() == {}
    node.started(services=FEW)
    node.stopped(services=FEW)


def test_restart_of_an_administrators_drop_in_is_not_in_force(node: Node) -> None:
    with node.drop_in("ical", "[Service]\nRestart=always\nRestartSec=0\nTimeoutStopSec=1"):
        node.vices("ical: slow_stop=2.5")
        node.started(services=FEW)
        node.kill(*node.pids("ical"))
        wait_for("its end", lambda: state(node, "ical") == "failed/failed")
        assert node.monitor(services=FEW).code == 1 and not node.pids("ical")
        node.started(services=FEW)
        answer = node.stopped(services=FEW)
        assert answer.seconds > 2.5 and "is killed" not in answer.stderr
        assert state(node, "ical") == "inactive/dead"


@pytest.mark.parametrize("text, flaw", [
    ("[Service]\nRestart=on-failure", "Restart=on-failure is in force"),
    ("[Service]\nTimeoutStopSec=5", "TimeoutStopSec=infinity is not in force"),
    ("[Unit]\nConditionPathExists=", "systemd does not see its condition"),
    ("[Unit]\nConditionPathExists=\nConditionPathExists=|/run/mailha/active/kopano", "weakened"),
])
def test_a_guard_that_somebody_overrides_starts_nothing(
        node: Node, text: str, flaw: str) -> None:
    with node.drop_in("ical", text, name="zzz"):
        answer = node.start(services=FEW)
        assert answer.code == 1 and flaw in answer.reason
        assert "systemctl cat kopano-ical.service" in answer.reason
        assert node.living() == {} and node.marks() == ""
        node.stopped(services=FEW)


def test_a_condition_of_somebody_else_that_keeps_a_unit_from_starting_is_named(node: Node) -> None:
    """systemd skips such a start and calls that a success."""
    with node.drop_in("ical", "[Unit]\nConditionPathExists=/run/nothing-there"):
        answer = node.start(services=FEW)
        assert answer.code == 1 and answer.seconds < 20 and "ical" in answer.reason
        node.stopped(services=FEW)


def test_a_crash_loop_that_began_outside_of_the_cluster_is_taken_over(node: Node) -> None:
    node.sh("rm -rf /etc/systemd/system/kopano-*.d; systemctl daemon-reload")
    with node.drop_in("ical", "[Service]\nRestart=always\nRestartSec=1h"):
        node.vices("ical: dead_but_exit_0")
        node.sh("systemctl start kopano-ical")
        wait_for("the loop", lambda: state(node, "ical") == "activating/auto-restart")
        node.vices()
        assert node.probe(services="ical").code == 7
        node.stopped(services="ical")
        wait_for("its end", lambda: state(node, "ical") == "inactive/dead")
        node.vices("ical: dead_but_exit_0")
        node.sh("systemctl start kopano-ical")
        wait_for("the loop", lambda: state(node, "ical") in (
            "activating/auto-restart", "inactive/dead"))
        node.vices()
        node.started(services=FEW, timeout=20)
        node.stopped(services=FEW)


def test_systemd_lies_about_a_unit_that_has_exited(node: Node) -> None:
    with node.drop_in("ical", "[Service]\nType=oneshot\nRemainAfterExit=yes\nExecStart=\n"
                              "ExecStart=/bin/true"):
        answer = node.start(services=FEW)
        assert answer.code == 1 and answer.seconds < 20
        assert "ical" in answer.reason and "not one process of it lives" in answer.reason
        assert state(node, "ical") == "active/exited"
        answer = node.monitor(services=FEW)
        assert answer.code == 1 and "not one process of it lives" in answer.reason
        node.started(services="server")
        node.stopped(services=FEW)
        wait_for("its end", lambda: state(node, "ical") == "inactive/dead")


def test_what_killmode_process_leaves_behind_is_found_and_ended(node: Node) -> None:
    with node.drop_in("ical", "[Service]\nKillMode=process"):
        for vice, patience in (("ignore_term_child", 6), ("slow_stop=0", 60)):
            node.vices(f"ical: {vice}")
            node.started(services=FEW)
            answer = node.stopped(services=FEW, timeout=patience)
            assert ("is killed" in answer.stderr) == (vice == "ignore_term_child")
        node.vices("ical: ignore_term_child")
        node.started(services=FEW)
        wait_for("the child", lambda: len(node.pids("ical")) == 2)
        node.sh("systemctl stop kopano-ical")
        assert len(node.pids("ical")) == 1 and state(node, "ical") == "inactive/dead"
        answer = node.monitor(services=FEW)
        assert answer.code == 1 and "processes of it live on" in answer.reason
        assert node.start(services=FEW, timeout=6).code == 1
        node.stopped(services=FEW, timeout=6)


def test_a_unit_in_a_slice_of_its_own_or_behind_a_shell_is_watched_as_well(node: Node) -> None:
    text = "[Service]\nSlice=mail-groupware.slice\nExecStart=\nExecStart="
    for command in ("/bin/sh -c 'exec /usr/sbin/kopano-ical -F'",
                    "/bin/sh -c '/usr/sbin/kopano-ical -F; exit'"):
        with node.drop_in("ical", text + command):
            node.started(services=FEW)
            assert node.monitor(10, services=FEW).code == 0
            assert node.probe(services=FEW).code == 0
            node.stopped(services=FEW)


def test_a_copy_that_was_started_beside_its_unit_is_refused_and_ended(node: Node) -> None:
    node.sh("setsid /usr/sbin/kopano-server -F </dev/null >/dev/null 2>&1 &")
    node.await_log("server", "Startup succeeded")
    answer = node.probe(services="server")
    assert answer.code == 1 and "outside of its unit" in answer.reason
    answer = node.start(services="server")
    assert answer.code == 1 and "runs already, outside of the cluster's hands" in answer.reason
    node.stopped(services="server")
    assert "Server shutdown complete" in node.log("server")
    node.started(services="server")
    node.stopped(services="server")


def test_a_unit_that_reads_another_file_is_refused(node: Node) -> None:
    with node.drop_in("ical", "[Service]\nExecStart=\n"
                              "ExecStart=/usr/sbin/kopano-ical -F -c /root/ical.cfg"):
        answer = node.start(services=FEW)
        assert answer.code == 5 and "/root/ical.cfg" in answer.reason
        assert "config_dir" in answer.reason and node.living() == {}
        node.stopped(services=FEW)
