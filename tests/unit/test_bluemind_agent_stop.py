# SPDX-License-Identifier: GPL-2.0-or-later
"""What a probe and a stop of ocf:mailha:bluemind say, and what each of them finds."""

from __future__ import annotations

from typing import Callable

import pytest
from bluemind_node import ADDRESS, Node
from fake_machine import Program
from mailha.services import active

Make = Callable[..., Node]


# Probes

def test_a_probe_on_a_node_without_bluemind_is_silent(make_bluemind: Make) -> None:
    node = make_bluemind()
    for name in node.names:
        del node.machine.systemd._units[node.unit(name).name]
    node.install(None)
    assert node.probe().code == 5


def test_a_probe_on_the_passive_node_is_not_running(mailnode: Node) -> None:
    for path in mailnode.profile.directories:
        mailnode.machine.unmount(path)
    mailnode.machine.sockets.addresses.discard(ADDRESS)
    for name in ("bm.ini", "bm-core.tok"):
        mailnode.machine.files.remove("/etc/bm/" + name)
    mailnode.answer_cib("crm_stonith_off.xml")
    assert mailnode.probe().code == 7


@pytest.mark.parametrize("mounted", [True, False])
def test_a_dead_disk_is_waited_for_once_whatever_number_of_directories_is_on_it(
        mailnode: Node, mounted: bool) -> None:
    if not mounted:
        for path in mailnode.profile.directories:
            mailnode.machine.unmount(path)
    mailnode.machine.children.hanging.add("*")
    assert mailnode.probe().code == 7
    answer = mailnode.stop()
    assert answer.code == 0 and answer.seconds < 60.0


def test_what_cannot_touch_the_data_is_left_alone_by_a_probe(mailnode: Node) -> None:
    """A probe that says 1 on the passive node restarts the service on the active one."""
    mailnode.machine.systemd.start(mailnode.unit("node").name)
    mailnode.machine.systemd.start(mailnode.unit("tika").name)
    answer = mailnode.probe()
    assert answer.code == 7 and "left alone" in answer.log
    mailnode.machine.systemd.start(mailnode.unit("elasticsearch").name)
    assert mailnode.probe().code == 1


@pytest.mark.parametrize("name", ["postfix", "postgresql"])
def test_a_local_daemon_of_the_passive_node_cannot_touch_the_data(mailnode: Node,
                                                                  name: str) -> None:
    """Every Debian has a mail server of its own; a doubt would restart the active node's."""
    for path in mailnode.profile.directories:
        mailnode.machine.unmount(path)
    mailnode.machine.systemd.start(mailnode.unit(name).name)
    answer = mailnode.probe()
    assert answer.code == 7 and "left alone" in answer.log
    assert mailnode.probe(require_mount="false").code == 1


HAND_STARTED = [
    ("/usr/lib/cyrus/bin/master", ["/usr/sbin/cyrmaster", "-d"], True),
    ("/usr/lib/cyrus/bin/imapd", ["imapd", "-U", "30"], True),
    ("/usr/lib/cyrus/bin/master", ["master", "-C", "/srv/one/etc/imapd.conf"], False),
    ("/usr/lib/postfix/sbin/master", ["/usr/lib/postfix/sbin/master", "-w"], True),
    ("/usr/lib/postgresql/15/bin/postgres", ["postgres", "-D", "/var/lib/postgresql/15/main"],
     True),
    ("/usr/lib/postgresql/15/bin/postgres", ["postgres", "-D", "/srv/other"], False),
    ("/usr/lib/postgresql/15/bin/postgres", ["postgres: checkpointer"], False)]


@pytest.mark.parametrize("executable, arguments, ours", HAND_STARTED)
def test_what_was_started_by_hand_on_the_data_is_seen_and_ended(
        mailnode: Node, executable: str, arguments: list[str], ours: bool) -> None:
    mailnode.machine.files.put("/usr/lib/postgresql/15/bin/postgres", b"")
    stray = mailnode.machine.processes.run(Program(executable, arguments=arguments))
    assert mailnode.probe().code == (1 if ours else 7)
    if ours:
        assert mailnode.start().code == 1
    assert mailnode.stop().code == 0 and stray.here is not ours


def test_a_hand_started_one_is_ended_by_a_stop_after_a_start_too(mailnode: Node) -> None:
    mailnode.started()
    stray = mailnode.machine.processes.run(Program("/usr/lib/cyrus/bin/imapd",
                                                   arguments=["imapd"]))
    mailnode.stops()
    assert not stray.here


def test_a_silent_systemd_is_waited_for_once_and_not_for_every_unit(mailnode: Node) -> None:
    mailnode.started()
    mailnode.machine.systemd.unavailable = True
    answer = mailnode.stop(timeout=60)
    assert answer.code == 0 and mailnode.alive() == []


def test_without_systemd_processes_decide(mailnode: Node) -> None:
    mailnode.started()
    mailnode.machine.systemd.unavailable = True
    assert mailnode.probe().code == 0
    assert mailnode.monitor().code == 0


# Stop

def test_stop_names_every_unit_in_reverse_order_and_never_the_target(mailnode: Node) -> None:
    """'systemctl stop bluemind.target' answers within 0.1 s while its members still write."""
    mailnode.started()
    mailnode.stops()
    stopped = [call[1] for call in mailnode.machine.systemd.calls if call[0] == "stop"]
    assert "bluemind.target" not in stopped
    assert {mailnode.unit(name).name for name in mailnode.names} == set(stopped)
    assert stopped.index("postfix.service") < stopped.index("bm-core.service")
    assert stopped.index("bm-core.service") < stopped.index("bm-postgresql.service")


def test_stop_waits_until_every_control_group_is_empty(mailnode: Node) -> None:
    """The disk goes next, and must not go from under a writer."""
    program = mailnode.unit("core").program
    assert program is not None
    program.term_takes = 85.0
    program.children.append(Program("/usr/bin/child", term_takes=95.0))
    mailnode.started()
    begin = mailnode.machine.clock.monotonic()
    mailnode.stops()
    assert mailnode.machine.clock.monotonic() - begin >= 95.0
    assert not mailnode.machine.cgroups.populated("/system.slice/bm-core.service")


def test_a_service_that_ignores_sigterm_is_killed_within_the_time(mailnode: Node) -> None:
    program = mailnode.unit("cyrus").program
    assert program is not None
    program.ignores_term = True
    mailnode.started()
    answer = mailnode.stop()
    assert answer.code == 0 and "cyrus has not ended in time and is killed" in answer.log
    assert mailnode.alive() == []


def test_what_hangs_in_the_kernel_is_a_failed_stop(mailnode: Node) -> None:
    mailnode.started()
    mailnode.main("elasticsearch").state = "D"
    answer = mailnode.stop()
    assert answer.code == 1 and "elasticsearch" in answer.reason


def test_stop_forgets_that_a_killed_unit_failed(mailnode: Node) -> None:
    program = mailnode.unit("milter").program
    assert program is not None
    program.ignores_term = True
    mailnode.started()
    mailnode.stops()
    assert mailnode.unit("milter").active == "inactive"


def test_stop_asks_for_nothing_and_validates_nothing(mailnode: Node) -> None:
    mailnode.started()
    for name in ("bm.ini", "bm-core.tok", "mcast.id", "server.uid"):
        mailnode.machine.files.remove("/etc/bm/" + name)
    for path in mailnode.profile.directories:
        mailnode.machine.unmount(path)
    mailnode.install(None)
    mailnode.answer_cib("crm_stonith_off.xml")
    mailnode.stops()


def test_stop_without_a_record_finds_services_of_any_release(mailnode: Node) -> None:
    mailnode.started()
    mailnode.machine.files.remove(active.path_of(mailnode.resource))
    mailnode.machine.files.put("/etc/bm/bm-milter.disabled", b"")
    mailnode.add("keydb")
    mailnode.machine.systemd.start("bm-keydb.service")
    mailnode.stops()


def test_stop_ends_a_core_that_runs_outside_of_its_unit(mailnode: Node) -> None:
    mailnode.started()
    stray = mailnode.machine.processes.run(Program(
        "/usr/lib/jvm/bm-jdk/bin/java",
        arguments=["java", "net.bluemind.application.launcher.coreLauncher"]),
        cgroup="/user.slice/user-0.slice")
    mailnode.stops()
    assert not stray.here


def test_stop_takes_everything_whatever_the_parameters_say_now(mailnode: Node) -> None:
    mailnode.started()
    answer = mailnode.stop(services="core")
    assert answer.code == 0 and mailnode.alive() == []


def test_a_stop_of_what_never_ran_is_a_success_at_once(mailnode: Node) -> None:
    assert mailnode.stop().seconds < 2.0


def test_after_a_power_loss_nothing_can_start_by_itself(mailnode: Node) -> None:
    mailnode.started()
    mailnode.machine.reboot()
    mailnode.machine.systemd.start("bm-core.service")
    assert mailnode.alive() == []
