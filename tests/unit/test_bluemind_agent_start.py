# SPDX-License-Identifier: GPL-2.0-or-later
"""What a start of ocf:mailha:bluemind does, in which order, and what it waits for."""

from __future__ import annotations

from typing import Callable

import pytest
from bluemind_node import ADDRESS, Node
from fake_machine import FakeUnit, Program
from mailha.services import active, guards

Make = Callable[..., Node]
CORE = "bm-core.service"


# Order

def test_units_are_started_by_name_and_never_the_target(mailnode: Node) -> None:
    """'systemctl start bluemind.target' answers 0 while members are dead."""
    mailnode.machine.systemd.add("bluemind.target", FakeUnit())
    mailnode.started()
    launched = mailnode.launched()
    assert "bluemind.target" not in launched
    assert sorted(launched) == sorted(mailnode.unit(name).name for name in mailnode.names)


@pytest.mark.parametrize("release", ["3.5", "4.1", "4.9", "5.1"])
def test_each_service_is_started_after_what_it_needs(make_bluemind: Make, release: str) -> None:
    node = make_bluemind(release).started()
    order = node.launched()
    for name in node.names:
        for need in node.profile.services[name].needs:
            if need in node.names:
                assert order.index(node.unit(need).name) < order.index(node.unit(name).name)
    assert order.index("bm-postgresql.service") < order.index(CORE)
    assert order.index(CORE) < order.index("postfix.service")


def test_a_start_limit_that_is_used_up_is_forgotten_first(mailnode: Node) -> None:
    """Two crashes in 30 s leave a unit of 5.x failed for good; a start of the target says 0."""
    unit = mailnode.unit("core")
    unit.limit_hit, unit.active, unit.sub = True, "failed", "failed"
    mailnode.started()
    calls = mailnode.machine.systemd.calls
    assert calls.index(("reset_failed", CORE)) < calls.index(("start", CORE))


def test_what_runs_already_is_left_alone_and_the_rest_is_completed(mailnode: Node) -> None:
    mailnode.started()
    before = mailnode.main("core").pid
    mailnode.main("eas").die()
    mailnode.main("milter").die()
    mailnode.started()
    assert mailnode.main("core").pid == before
    assert mailnode.launched().count(CORE) == 1
    assert mailnode.launched().count("bm-milter.service") == 2


def test_what_the_boot_started_before_the_disks_were_mounted_is_started_anew(mailnode: Node
                                                                             ) -> None:
    """It has its files below the mounts: what it writes is gone at the next changeover."""
    assert mailnode.probe().code == 7
    for name in ("postgresql", "postfix", "cyrus", "nginx"):
        mailnode.machine.systemd.start(mailnode.unit(name).name)
    before = {name: mailnode.main(name) for name in ("postgresql", "postfix", "cyrus", "nginx")}
    answer = mailnode.start()
    assert answer.code == 0, answer.reason
    assert "postgresql, cyrus, postfix runs already, and was not started by" in answer.log
    assert [name for name, process in before.items() if process.here] == ["nginx"]
    assert mailnode.monitor(level=10).code == 0


def test_what_ran_before_its_guard_was_written_is_no_work_of_the_cluster(mailnode: Node) -> None:
    """'mailha guards on' does not stop what runs."""
    mailnode.started()
    mailnode.stops()
    for name in ("cyrus", "postfix"):
        unit = mailnode.unit(name)
        path = guards.path_of(unit.name)
        guard = mailnode.machine.files.content.pop(path)
        mailnode.machine.systemd.reload()
        mailnode.machine.systemd.start(unit.name)
        mailnode.machine.clock.sleep(60.0)
        mailnode.machine.files.put(path, guard)
    mailnode.machine.systemd.reload()
    answer = mailnode.start()
    assert answer.code == 0 and "cyrus, postfix runs already" in answer.log


def test_a_lost_record_is_no_reason_to_start_anything_anew(mailnode: Node) -> None:
    mailnode.started()
    before = mailnode.main("postgresql")
    mailnode.machine.clock.sleep(60.0)
    active.remove(mailnode.machine, mailnode.resource)
    assert mailnode.start().code == 0 and before.here


def test_a_second_start_disturbs_nothing(mailnode: Node) -> None:
    mailnode.started()
    count = len(mailnode.machine.systemd.calls)
    assert "everything serves already" in mailnode.start().log
    assert not [call for call in mailnode.machine.systemd.calls[count:] if call[0] != "units"]


def test_the_memory_of_the_java_machines_is_sized_before(mailnode: Node) -> None:
    mailnode.machine.systemd.add("bm-pimp.service", FakeUnit(remain=True))
    mailnode.started()
    assert mailnode.launched()[0] == "bm-pimp.service"
    assert "bm-pimp" not in mailnode.machine.files.read(active.path_of(mailnode.resource)).decode()


def test_a_unit_of_the_target_that_nobody_knows_is_named(mailnode: Node) -> None:
    wants = "/etc/systemd/system/bluemind.target.wants"
    for name in ("bm-core.service", "bm-pimp.service", "bm-other.service"):
        mailnode.machine.files.put(f"{wants}/{name}", b"")
    log = mailnode.start().log
    assert "bm-other.service" in log and "wants bm-core" not in log


def test_clients_of_cyrus_are_run_where_they_are_wanted(mailnode: Node) -> None:
    """Without them bm-core hears of no new mail. A template has an instance of every name."""
    for number in (0, 1, 2, 3):
        mailnode.machine.systemd.add(f"bm-cyrus-syncclient@{number}.service",
                                     FakeUnit(program=Program("/usr/sbin/sync_client")))
    for number in (0, 1):
        mailnode.machine.files.put("/etc/systemd/system/bluemind.target.wants/"
                                   f"bm-cyrus-syncclient@{number}.service", b"")
    mailnode.started()
    launched = mailnode.launched()
    assert [unit for unit in launched if "syncclient" in unit] == [
        "bm-cyrus-syncclient@0.service", "bm-cyrus-syncclient@1.service"]
    assert launched.index("bm-cyrus-imapd.service") < launched.index(
        "bm-cyrus-syncclient@0.service")
    mailnode.stops()


# Truly serving

def test_ready_is_not_serving_the_state_of_core_decides(mailnode: Node) -> None:
    """systemd is told READY before core is RUNNING (ApplicationLauncher)."""
    mailnode.state = "STARTING"
    mailnode.machine.clock.after(40.0, lambda: setattr(mailnode, "state", "RUNNING"))
    answer = mailnode.start()
    assert answer.code == 0 and answer.seconds >= 40.0
    launched = mailnode.launched()
    assert launched.index(CORE) < launched.index("bm-cyrus-imapd.service")


def test_a_core_that_is_not_installed_is_not_left_to_whoever_initialises_it(mailnode: Node) -> None:
    """Its database is empty, or another one: bm-core.tok is there, or the start were refused."""
    mailnode.state = "NOT_INSTALLED"
    answer = mailnode.start()
    assert answer.code == 5 and answer.seconds < 20.0
    assert "NOT_INSTALLED" in answer.reason and "mcast.id" in answer.reason
    mailnode.stops()


@pytest.mark.parametrize("state", ["STARTING", "STOPPING", "UNKNOWN"])
def test_a_core_that_never_runs_is_a_failure_that_names_its_state(mailnode: Node,
                                                                  state: str) -> None:
    mailnode.state = state
    answer = mailnode.start(timeout=120)
    assert answer.code == 1 and state in answer.reason and "core" in answer.reason


@pytest.mark.parametrize("state", ["UPGRADE", "MAINTENANCE", "CLONING", "DEMOTED"])
@pytest.mark.parametrize("release", ["4.9", "5.1"])
def test_an_administrative_state_is_a_success_with_a_warning(make_bluemind: Make, release: str,
                                                             state: str) -> None:
    """Or the cluster would stop the very wizard that cures it. IMAP and LMTP are not asked."""
    node = make_bluemind(release)
    node.state = state
    for name in node.names:
        its = node.profile.services[name]
        for protocol, _, port in (*its.listens, *its.asked):
            if protocol in ("imap", "pop3", "lmtp", "ping"):
                node.script(name, port).mood = "mute"
    answer = node.start()
    assert answer.code == 0, answer
    assert f"state {state}" in answer.log and "WARNING" in answer.log
    asked = [endpoint[1] for endpoint, _ in node.machine.sockets.sent]
    assert 1143 not in asked and 2400 not in asked
    assert sorted(node.launched()) == sorted(node.unit(name).name for name in node.names)


def test_a_core_that_does_not_even_listen_for_mail_in_such_a_state_is_a_success(
        make_bluemind: Make) -> None:
    node = make_bluemind("5.1")
    node.state = "UPGRADE"
    program = node.unit("core").program
    assert program is not None
    closed = {port: program.listens.pop(("127.0.0.1", port)) for port in (1143, 1110, 2400)}
    assert node.start().code == 0 and node.monitor(10).code == 190
    node.state = "RUNNING"
    assert "core at 127.0.0.1:1143" in node.monitor(10).reason and closed


def test_a_state_that_changes_while_others_start_is_noticed(mailnode: Node) -> None:
    mailnode.unit("webserver").notify_after = 20.0
    mailnode.script("webserver", 8080).answers = {b"/ping": b"HTTP/1.1 503 no core\r\n\r\n"}
    mailnode.machine.clock.after(10.0, lambda: setattr(mailnode, "state", "MAINTENANCE"))
    answer = mailnode.start()
    assert answer.code == 0 and "MAINTENANCE" in answer.log


def test_a_core_that_keeps_its_state_to_itself_is_believed_by_its_greetings(
        make_bluemind: Make) -> None:
    node = make_bluemind("5.1")
    node.script("core", 8090).answers = {b"": b"HTTP/1.1 401 no\r\nContent-Length: 0\r\n\r\n"}
    node.script("core", 8090).mood = "closes"
    assert node.start().code == 0
    assert node.monitor(10).code == 0


@pytest.mark.parametrize("name, port, words, complaint", [
    ("postgresql", 5432, b"E\0\0\0\x1fSFATAL\0C57P03\0Mstarting up\0\0", "starting up"),
    ("postgresql", 5432, b"HTTP/1.1 400 Bad Request\r\n\r\n", "not PostgreSQL's"),
    ("cyrus", 1143, b"* BYE not now\r\n", "* OK"), ("lmtpd", 2400, b"421 no\r\n", "220"),
    ("postfix", 25, b"554 go away\r\n", "220"),
    ("webserver", 8080, b"HTTP/1.1 502 x\r\n\r\n", "502"),
    ("milter", 2500, b"\0\0\0\x01t", "milter"),
])
def test_a_greeting_that_is_not_the_service_s_own_is_no_start(
        mailnode: Node, name: str, port: int, words: bytes, complaint: str) -> None:
    script = mailnode.script(name, port)
    if script.greeting:
        script.greeting = words
    else:
        script.answers = {b"": words}
    answer = mailnode.start(timeout=200)
    assert answer.code == 1 and name in answer.reason and complaint in answer.reason


def test_a_database_that_refuses_our_user_is_up(mailnode: Node) -> None:
    body = b"SFATAL\0C28000\0Mno pg_hba.conf entry\0\0"
    mailnode.script("postgresql", 5432).answers = {
        b"postgres": b"E" + (len(body) + 4).to_bytes(4, "big") + body}
    mailnode.started()


def test_a_service_that_answers_on_the_floating_address_alone_is_found_there(
        mailnode: Node) -> None:
    program = mailnode.unit("milter").program
    assert program is not None
    program.listens[(ADDRESS, 2500)] = program.listens.pop(("127.0.0.1", 2500))
    mailnode.started()
    assert mailnode.machine.sockets.sent.count(((ADDRESS, 2500), b"\0\0\0\x01Q")) == 1


def test_the_answers_of_a_service_are_asked_for_over_loopback(mailnode: Node) -> None:
    """bm-iptables drops what comes from elsewhere."""
    mailnode.started()
    assert mailnode.monitor(10).code == 0
    assert {endpoint[0] for endpoint, _ in mailnode.machine.sockets.sent} == {"127.0.0.1"}


# Failures

def test_a_service_that_dies_is_named_with_its_last_words(mailnode: Node) -> None:
    program = mailnode.unit("milter").program
    assert program is not None
    program.exit_after, program.exit_code = 1.0, 7
    mailnode.script("milter", 2500).mood = "mute"
    mailnode.machine.children.answer(["journalctl"], stdout=b"no room for a heap\n\n")
    answer = mailnode.start()
    assert answer.code == 1
    assert "milter" in answer.reason and "no room for a heap" in answer.reason


def test_an_optional_service_that_does_not_come_up_is_a_warning(mailnode: Node) -> None:
    mailnode.script("tika", 8087).mood = "mute"
    answer = mailnode.start()
    assert answer.code == 0 and "optional service tika" in answer.log
    assert mailnode.monitor().code == 0 and mailnode.monitor(10).code == 190


def test_with_optional_services_none_each_one_counts(mailnode: Node) -> None:
    mailnode.script("tika", 8087).mood = "mute"
    assert mailnode.start(optional_services="none", timeout=100).code == 1


def test_a_condition_that_skips_a_start_is_not_taken_for_a_success(mailnode: Node) -> None:
    """With /etc/bm/X.disabled 'systemctl start' answers 0, and nothing runs."""
    unit = mailnode.unit("milter")
    unit.properties["ConditionResult"] = False
    its = unit.program
    assert its is not None
    its.exit_after = 0.0
    answer = mailnode.start()
    assert answer.code == 1 and "condition" in answer.reason and "milter" in answer.reason


def test_a_copy_that_runs_outside_of_its_unit_is_not_joined(mailnode: Node) -> None:
    stray = mailnode.machine.processes.run(Program(
        "/usr/lib/jvm/bm-jdk/bin/java", arguments=["java", "net.bluemind.eas.push"]),
        cgroup="/user.slice")
    mailnode.started()
    assert not stray.here and mailnode.monitor().code == 0


def test_a_core_outside_of_its_unit_is_a_failure(mailnode: Node) -> None:
    mailnode.machine.processes.run(Program(
        "/usr/lib/jvm/bm-jdk/bin/java",
        arguments=["java", "-app", "net.bluemind.application.launcher.coreLauncher"]),
        cgroup="/user.slice")
    assert mailnode.probe().code == 1
    answer = mailnode.start()
    assert answer.code == 1 and "outside of the cluster's hands" in answer.reason
    mailnode.stops()
    mailnode.started()
