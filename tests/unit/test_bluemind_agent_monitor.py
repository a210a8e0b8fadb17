# SPDX-License-Identifier: GPL-2.0-or-later
"""What the recurring monitor of ocf:mailha:bluemind says, row by row of the exit codes."""

from __future__ import annotations

from typing import Callable

import pytest
from bluemind_node import MUX, Node
from fake_machine import Program, Script
from mailha.services import active

Make = Callable[..., Node]
REQUIRED = ["postgresql", "node", "elasticsearch", "core", "ysnp", "milter", "cyrus", "lmtpd",
            "postfix", "hps", "webserver", "nginx"]
OPTIONAL = ["tika", "xmpp", "eas", "mapi", "sds-proxy", "php-fpm"]


# Services that die

@pytest.mark.parametrize("name", REQUIRED)
def test_a_required_service_that_dies_is_a_failure_that_names_it(mailnode: Node,
                                                                 name: str) -> None:
    mailnode.started()
    mailnode.main(name).die()
    answer = mailnode.monitor()
    assert answer.code == 1 and name in answer.reason
    assert mailnode.probe().code == 1


@pytest.mark.parametrize("name", OPTIONAL)
def test_an_optional_service_that_dies_degrades(mailnode: Node, name: str) -> None:
    mailnode.started()
    mailnode.main(name).die()
    answer = mailnode.monitor()
    assert answer.code == 190 and name in answer.reason
    assert mailnode.probe().code == 0


def test_after_a_stop_behind_our_back_it_is_not_running(mailnode: Node) -> None:
    """'bmctl stop' is 'systemctl stop bluemind.target'."""
    mailnode.started()
    for name in mailnode.names:
        mailnode.machine.systemd.stop(mailnode.unit(name).name)
    answer = mailnode.monitor()
    assert answer.code == 7


def test_an_init_script_s_unit_that_has_lost_its_daemon_is_a_failure(make_bluemind: Make) -> None:
    """Units made of init scripts stay "active (exited)" whatever becomes of their daemons."""
    node = make_bluemind("3.5")
    for name in node.names:
        node.unit(name).remain, node.unit(name).kill_mode = True, "process"
    node.started()
    assert node.monitor().code == 0
    node.main("core").die()
    assert node.unit("core").active == "active"
    answer = node.monitor()
    assert answer.code == 1 and "core" in answer.reason
    node.stops()
    node.started()


def test_a_port_that_is_gone_or_another_s_is_a_failure(mailnode: Node) -> None:
    mailnode.started()
    mailnode.main("cyrus").open.pop(("127.0.0.1", 1143))
    assert "1143" in mailnode.monitor().reason
    mailnode.machine.processes.run(Program("/bin/x", listens={("127.0.0.1", 1143): Script()}))
    answer = mailnode.monitor()
    assert answer.code == 1 and "another process" in answer.reason


# States

@pytest.mark.parametrize("level", [0, 10])
@pytest.mark.parametrize("state", ["UPGRADE", "MAINTENANCE", "CLONING", "DEMOTED"])
def test_an_administrative_state_degrades_and_is_left_alone(mailnode: Node, level: int,
                                                            state: str) -> None:
    mailnode.started()
    mailnode.state = state
    mailnode.script("lmtpd", 2400).mood = "mute"
    mailnode.script("webserver", 8080).answers = {b"/ping": b"HTTP/1.1 503 x\r\n\r\n"}
    answer = mailnode.monitor(level)
    assert answer.code == 190 and state in answer.reason
    assert mailnode.probe().code == 0
    assert mailnode.start().code == 0


@pytest.mark.parametrize("state", ["STOPPING", "NOT_INSTALLED", "UNKNOWN"])
def test_any_other_state_is_a_failure(mailnode: Node, state: str) -> None:
    mailnode.started()
    mailnode.state = state
    answer = mailnode.monitor()
    assert answer.code == 1 and state in answer.reason


def test_a_core_that_starts_may_do_so_for_a_while(mailnode: Node) -> None:
    """The wizard that ends an update starts it anew, not the cluster."""
    mailnode.started()
    mailnode.state = "STARTING"
    assert mailnode.monitor().code == 190
    mailnode.machine.clock.sleep(700.0)
    assert mailnode.monitor().code == 1


def test_a_core_that_is_mute_for_a_moment_is_waited_for(mailnode: Node) -> None:
    mailnode.started()
    script = mailnode.script("core", 8090)
    script.mood = "mute"
    mailnode.machine.clock.after(15.0, lambda: setattr(script, "mood", "answers"))
    assert mailnode.monitor().code == 0


def test_a_core_that_stays_mute_is_a_failure(mailnode: Node) -> None:
    mailnode.started()
    mailnode.script("core", 8090).mood = "mute"
    answer = mailnode.monitor()
    assert answer.code == 1 and "bm-core" in answer.reason


def test_in_a_resource_without_core_its_state_is_asked_before_the_greetings(
        mailnode: Node) -> None:
    web = "webserver nginx postfix lmtpd"
    mailnode.resource = "rest"
    mailnode.started(services=" ".join(set(mailnode.names) - set(web.split())))
    mailnode.resource = "web"
    mailnode.started(services=web)
    mailnode.state = "UPGRADE"
    mailnode.script("lmtpd", 2400).mood = "mute"
    assert mailnode.monitor(10, services=web).code == 0
    mailnode.state = "RUNNING"
    assert mailnode.monitor(10, services=web).code == 1


# Depth 10

@pytest.mark.parametrize("name, port", [("cyrus", 1143), ("cyrus", 24), ("lmtpd", 2400),
                                        ("postfix", 25), ("webserver", 8080), ("nginx", 443),
                                        ("milter", 2500), ("postgresql", 5432)])
def test_a_service_that_is_mute_fails_the_deep_monitor_alone(mailnode: Node, name: str,
                                                             port: int) -> None:
    mailnode.started()
    mailnode.script(name, port).mood = "mute"
    assert mailnode.monitor().code == 0
    answer = mailnode.monitor(10)
    assert answer.code == 1 and name in answer.reason


@pytest.mark.parametrize("name, port", [("postfix", 25), ("cyrus", 1143)])
def test_a_flood_of_clients_restarts_nothing(mailnode: Node, name: str, port: int) -> None:
    """All processes in use: connections wait. A restart would cut everybody who is served."""
    program = mailnode.unit(name).program
    assert program is not None
    program.children += [Program(f"/opt/{name}-child") for _ in range(12)]
    mailnode.started()
    mailnode.script(name, port).mood = "mute"
    answer = mailnode.monitor(10)
    assert answer.code == 190 and "may be in use" in answer.reason
    mailnode.script(name, port).mood = "refuses"
    assert mailnode.monitor(10).code == 1


def test_a_database_that_recovers_is_left_to_it(mailnode: Node) -> None:
    """A restart would begin the recovery again."""
    mailnode.started()
    body = b"SFATAL\0C57P03\0Mthe database system is in recovery mode\0\0"
    mailnode.script("postgresql", 5432).answers = {
        b"postgres": b"E" + (len(body) + 4).to_bytes(4, "big") + body}
    mailnode.script("webserver", 8080).mood = "mute"
    answer = mailnode.monitor(10)
    assert answer.code == 190 and "recovery mode" in answer.reason


def test_without_its_socket_for_passwords_ysnp_has_failed(mailnode: Node) -> None:
    mailnode.started()
    del mailnode.main("ysnp").open[MUX]
    answer = mailnode.monitor(10)
    assert answer.code == 1 and "saslauthd/mux" in answer.reason
    assert MUX not in mailnode.machine.sockets.connected, "a question would be a failed login"


@pytest.mark.parametrize("health", ["yellow", "red"])
def test_an_index_that_is_not_whole_degrades(mailnode: Node, health: str) -> None:
    """A restart cures no index, here or elsewhere."""
    mailnode.health = health
    mailnode.started()
    assert mailnode.monitor().code == 0
    answer = mailnode.monitor(10)
    assert answer.code == 190 and health in answer.reason


def test_a_deep_monitor_leaves_no_login_behind(mailnode: Node) -> None:
    mailnode.started()
    del mailnode.machine.sockets.sent[:]
    mailnode.monitor(10)
    said = b"".join(data for _, data in mailnode.machine.sockets.sent).lower()
    for word in (b"login", b"auth ", b"plain", b"password", b"correct-horse"):
        assert word not in said.replace(b"a logout", b"")


# Out of memory

def test_a_heap_dump_of_a_living_service_is_one_line_that_names_it(mailnode: Node) -> None:
    mailnode.started()
    pid = mailnode.main("eas").pid
    mailnode.machine.files.put(f"/var/log/java_pid{pid}.hprof", b"")
    mailnode.machine.files.put("/var/log/java_pid99999.hprof", b"")
    answer = mailnode.monitor(10)
    lines = [line for line in answer.log.splitlines() if "out of memory" in line]
    assert answer.code == 0 and len(lines) == 1
    assert "service eas" in lines[0] and f"java_pid{pid}.hprof" in lines[0]
    assert "out of memory" not in mailnode.monitor(10).log, "it has been told"


def test_a_heap_dump_is_told_before_the_recovery_takes_the_trace_away(mailnode: Node) -> None:
    mailnode.started()
    mailnode.machine.files.put(f"/var/log/java_pid{mailnode.main('eas').pid}.hprof", b"")
    mailnode.main("core").die()
    answer = mailnode.monitor()
    assert answer.code == 1 and "service eas ran out of memory" in answer.log


# Packages that are being updated

def lock(node: Node, *, held: bool = True, states: bytes = b"half-configured bm-core\n") -> None:
    """Let dpkg be at work."""
    node.machine.files.put("/var/lib/dpkg/lock", b"")
    inode = node.machine.files.inode("/var/lib/dpkg/lock")
    node.machine.files.put("/proc/locks", (f"1: POSIX  ADVISORY  WRITE 7 fe:01:{inode} 0 EOF\n"
                                           if held else "").encode())
    node.machine.children.answer(
        ["dpkg-query", "-W", "-f", "${db:Status-Status} ${Package}\\n"], stdout=states)
    node.machine.children.answer(["rpm"], code=1)


def test_what_the_package_manager_has_stopped_is_degraded_for_a_bounded_time(
        mailnode: Node) -> None:
    mailnode.started()
    mailnode.main("core").die()
    lock(mailnode)
    answer = mailnode.monitor()
    assert answer.code == 190 and "bm-core" in answer.reason and "package manager" in answer.reason
    for _ in range(5):
        mailnode.machine.clock.sleep(300.0)
        assert mailnode.monitor().code == 190
    mailnode.machine.clock.sleep(400.0)
    assert mailnode.monitor().code == 1, "an update may hang at a question that nobody answers"


def test_all_of_it_may_be_stopped_by_an_update(mailnode: Node) -> None:
    mailnode.started()
    for name in mailnode.names:
        mailnode.machine.systemd.stop(mailnode.unit(name).name)
    lock(mailnode)
    assert mailnode.monitor().code == 190


@pytest.mark.parametrize("more", [{"held": False}, {"states": b"installed bm-core\n"}])
def test_a_lock_alone_and_a_broken_package_alone_excuse_nothing(mailnode: Node,
                                                                more: dict[str, object]) -> None:
    mailnode.started()
    mailnode.main("core").die()
    lock(mailnode, **more)  # type: ignore[arg-type]
    assert mailnode.monitor().code == 1


def test_the_next_update_is_an_excuse_again(mailnode: Node) -> None:
    mailnode.started()
    mailnode.main("core").die()
    lock(mailnode)
    assert mailnode.monitor().code == 190
    mailnode.machine.clock.sleep(86400.0)
    assert mailnode.monitor().code == 190


def test_the_time_can_be_set(mailnode: Node) -> None:
    mailnode.started()
    mailnode.main("core").die()
    lock(mailnode)
    assert mailnode.monitor(update_timeout="60").code == 190
    mailnode.machine.clock.sleep(61.0)
    assert mailnode.monitor(update_timeout="60").code == 1


# Ground

@pytest.mark.parametrize("path", ["/var/spool/cyrus", "/var/lib/postgresql"])
def test_a_disk_that_has_gone_from_under_it_is_a_failure(mailnode: Node, path: str) -> None:
    mailnode.started()
    mailnode.machine.unmount(path)
    answer = mailnode.monitor()
    assert answer.code == 1 and path in answer.reason


def test_a_disk_that_became_read_only_is_a_failure(mailnode: Node) -> None:
    mailnode.started()
    mailnode.machine.mount("/var/spool/cyrus", "ext4", "/dev/san", "ro")
    answer = mailnode.monitor()
    assert answer.code == 1 and "read-only" in answer.reason


def test_broken_files_say_nothing_about_services_that_serve(mailnode: Node) -> None:
    mailnode.started()
    for name in ("bm.ini", "bm-core.tok", "mcast.id", "server.uid"):
        mailnode.machine.files.remove("/etc/bm/" + name)
    mailnode.machine.files.put("/etc/bm/bm-core.disabled", b"")
    mailnode.install(None)
    for level in (0, 10):
        assert mailnode.monitor(level).code == 0
    assert mailnode.probe().code == 0
    mailnode.stops()


def test_a_lost_record_is_no_reason_to_take_mail_down(mailnode: Node) -> None:
    mailnode.started()
    mailnode.machine.files.remove(active.path_of(mailnode.resource))
    answer = mailnode.monitor()
    assert answer.code == 0 and "is gone" in answer.log
    mailnode.stops()


def test_a_record_of_the_version_before_is_understood(mailnode: Node) -> None:
    mailnode.started()
    path = active.path_of(mailnode.resource)
    text = mailnode.machine.files.read(path).decode()
    lines = [line for line in text.split("\n") if not line.startswith(("main ", "mount "))]
    mailnode.machine.files.put(path, "\n".join(lines).encode())
    assert mailnode.monitor().code == 0
    mailnode.stops()


def test_a_lost_record_and_a_disabled_service_are_no_reason_either(mailnode: Node) -> None:
    mailnode.machine.files.put("/etc/bm/bm-milter.disabled", b"")
    mailnode.started()
    mailnode.machine.files.remove(active.path_of(mailnode.resource))
    assert mailnode.monitor().code == 0 and mailnode.probe().code == 0


def test_postfix_without_its_master_has_failed_although_systemd_calls_it_active(
        mailnode: Node) -> None:
    """postfix@.service says GuessMainPID=no, and the others of the group live on for minutes."""
    program = mailnode.unit("postfix").program
    assert program is not None
    program.children.append(Program("/usr/lib/postfix/sbin/smtpd", listens=dict(program.listens)))
    mailnode.started()
    mailnode.main("postfix").owner = None       # systemd does not notice
    mailnode.main("postfix").die()
    assert mailnode.unit("postfix").active == "active"
    answer = mailnode.monitor()
    assert answer.code == 1 and "postfix: its master is dead, but others live on: " \
        in answer.reason
    mailnode.stops()
