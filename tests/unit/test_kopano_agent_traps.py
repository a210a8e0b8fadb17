# SPDX-License-Identifier: GPL-2.0-or-later
"""What has brought down clusters with Kopano, and what ocf:mailha:kopano makes of it."""

from __future__ import annotations

from typing import Any, Dict, List

import pytest
from fake_machine import Program
from kopano_machine import ADDRESS, NAMES, RESOURCE, program, unit
from kopano_node import SOCKET, Node
from mailha.services import active, lock

LOCK = "/tmp/kopano-upgrade-lock"
PID_FILES = {name: f"/var/run/kopano/{name}.pid" for name in NAMES}


def found_at_launch(node: Node, path: str) -> Dict[str, bytes]:
    """Return what stands in a file when each service is launched; b"" for no such file."""
    seen: Dict[str, bytes] = {}
    start = node.machine.systemd.start

    def spy(name: str, **more: Any) -> str:
        seen[name[len("kopano-"):-len(".service")]] = node.machine.files.content.get(path, b"")
        return start(name, **more)

    node.machine.systemd.start = spy  # type: ignore[method-assign]
    return seen


# What a dead Kopano leaves behind

@pytest.mark.parametrize("name", ["spooler", "monitor"])
@pytest.mark.parametrize("whose", ["nobody", "stranger", "zombie", "kernel thread", "huge", "init"])
def test_a_stale_pid_file_never_keeps_a_service_from_starting(
        node: Node, name: str, whose: str) -> None:
    """Measured: spooler and monitor refuse to start over that of a zombie or a kernel thread."""
    program = {"stranger": "/usr/bin/vi", "zombie": f"/usr/sbin/kopano-{name}",
               "kernel thread": ""}.get(whose, "")
    running = node.machine.processes.run(Program(program), cgroup="/")
    if whose == "zombie":
        running.state = "Z"
    pid = {"nobody": 4_194_303, "huge": 10 ** 30, "init": 1}.get(whose, running.pid)
    node.machine.files.put(PID_FILES[name], b"%d\n" % pid)
    seen = found_at_launch(node, PID_FILES[name])
    node.started()
    assert seen[name] == b""
    assert node.machine.files.content[PID_FILES[name]] == b"%d\n" % node.main(name).pid


def test_the_pid_file_of_a_service_that_serves_stays(node: Node) -> None:
    node.started()
    text = node.machine.files.content[PID_FILES["server"]]
    node.main("ical").die()
    node.started()
    assert node.machine.files.content[PID_FILES["server"]] == text


def test_after_a_stop_no_pid_file_and_no_socket_is_left(node: Node) -> None:
    node.started()
    for path in (*PID_FILES.values(), SOCKET):
        assert node.machine.files.exists(path)
    assert node.stop().code == 0
    for path in (*PID_FILES.values(), SOCKET):
        assert not node.machine.files.exists(path)


def test_left_over_files_prove_nothing_to_a_monitor(node: Node) -> None:
    node.started()
    for name in NAMES:
        node.main(name).die()
    assert node.machine.files.exists(SOCKET) and node.machine.files.exists(PID_FILES["server"])
    assert node.monitor().code == 7
    assert node.probe().code == 7


def test_an_upgrade_lock_that_was_left_behind_blocks_neither_start_nor_stop(node: Node) -> None:
    """With it, the init scripts' stop says "do not stop this process" and fails for ever."""
    node.machine.files.put(LOCK, b"")
    assert node.stop().code == 0
    node.machine.files.put(LOCK, b"")
    seen = found_at_launch(node, PID_FILES["server"])
    node.started()
    assert "server" in seen and not node.machine.files.exists(LOCK)


def test_the_upgrade_lock_of_a_living_server_is_its_own(node: Node) -> None:
    node.started()
    node.machine.files.put(LOCK, b"")
    node.main("ical").die()
    node.started()
    assert node.machine.files.exists(LOCK)


# A start that takes its time, or does not succeed

def test_a_start_waits_for_a_database_upgrade_of_minutes(node: Node) -> None:
    """The ports are open and mute meanwhile, and systemd calls the unit active."""
    its = unit(node.machine, "server").program
    assert its is not None
    its.mute_for = 420.0
    answer = node.start()
    assert answer.code == 0 and answer.seconds >= 420
    assert node.main("gateway").born >= node.main("server").born + 420


def test_an_upgrade_that_outlasts_the_start_is_told_to_end_once_and_waited_for(node: Node) -> None:
    its = unit(node.machine, "server").program
    assert its is not None
    its.mute_for, its.term_takes = 10_000.0, 300.0
    answer = node.start()
    assert answer.code == 1 and "raise the timeout" in answer.reason
    assert node.launched() == ["server"]
    server = node.main("server")
    answer = node.stop()
    assert answer.code == 0 and 300 <= answer.seconds < 310
    assert server.terms == 1


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("exit_code", [0, 1, 255])
def test_a_service_that_dies_at_once_ends_the_start_with_its_last_words(
        node: Node, name: str, exit_code: int) -> None:
    """Measured: exit code 0 for a dagent that cannot bind and an ical with a wrong file."""
    its = unit(node.machine, name).program
    assert its is not None
    its.exit_after, its.exit_code, its.listen_after = 0.3, exit_code, 60.0
    node.machine.children.answer(["journalctl"], stdout=b"[error  ] Unable to bind port\n")
    answer = node.start()
    assert answer.code == 1 and answer.seconds < 5
    assert f"{name} ended right after its start" in answer.reason
    assert "Unable to bind port" in answer.reason
    assert node.stop().code == 0 and node.alive() == [] and not node.is_marked()


def test_a_journal_that_hangs_does_not_eat_the_reason(node: Node) -> None:
    its = unit(node.machine, "gateway").program
    assert its is not None
    its.exit_after, its.listen_after = 0.3, 60.0
    node.machine.children.answer(["journalctl"], takes=10_000)
    answer = node.start()
    assert answer.code == 1 and "gateway ended right after its start" in answer.reason


def test_an_optional_service_that_dies_at_once_is_a_warning(node: Node) -> None:
    its = unit(node.machine, "ical").program
    assert its is not None
    its.exit_after, its.listen_after = 0.3, 60.0
    answer = node.start(optional_services="ical")
    assert answer.code == 0 and "WARNING: optional service ical" in answer.log
    assert node.monitor(optional_services="ical").code == 190


@pytest.mark.parametrize("spoil, word", [
    (lambda node: setattr(unit(node.machine, "ical"), "load", "masked"), "masked"),
    (lambda node: node.write("ical", "server_bind = 1.2.3.4\n"), "ical_listen"),
    (lambda node: node.write("ical", "ical_listen = 192.0.2.77:8080\n"), "192.0.2.77")])
def test_an_optional_service_that_cannot_run_here_is_left_out_and_missed(
        node: Node, spoil: Any, word: str) -> None:
    spoil(node)
    answer = node.start(optional_services="ical")
    assert answer.code == 0
    assert "WARNING: optional service ical is left out" in answer.log and word in answer.log
    assert "ical" not in node.launched()
    missed = node.monitor(optional_services="ical")
    assert missed.code == 190 and "ical" in missed.reason
    assert node.monitor(10, optional_services="ical").code == 190
    assert node.stop(optional_services="ical").code == 0 and node.alive() == []


def test_two_starts_at_once_do_not_run_side_by_side(node: Node) -> None:
    node.machine.files.locked_by_others.add(f"{lock.DIRECTORY}/{RESOURCE}")
    answer = node.start()
    assert answer.code == 1 and "another start or stop" in answer.reason
    assert node.launched() == []


def test_a_stop_does_not_wait_for_ever_for_a_start_that_hangs(node: Node) -> None:
    node.started()
    node.machine.files.locked_by_others.add(f"{lock.DIRECTORY}/{RESOURCE}")
    answer = node.stop()
    assert node.alive() == [] and "stopping all the same" in answer.log
    # Nobody knows what that start will do next, so this is no success.
    assert answer.code == 1 and "another start or stop" in answer.reason


def test_a_start_that_waits_for_its_database_gives_way_to_a_stop(node: Node) -> None:
    """One by hand went on after the stop had succeeded and the other node had taken over."""
    node.lose_database()
    wanted = f"{lock.WANTED_DIRECTORY}/{RESOURCE}"
    node.machine.clock.after(20.0, lambda: node.machine.files.put(wanted, b""))
    answer = node.start()
    assert answer.code == 1 and "a stop of 'kopano_services' was ordered" in answer.reason
    assert answer.seconds < 22.0 and node.launched() == []
    # What a stop that was killed has left holds up nobody.
    node.regain_database()
    assert node.start().code == 0
    assert not node.machine.files.exists(wanted)


def test_a_start_looks_again_after_it_has_waited_for_its_database(node: Node) -> None:
    node.lose_database()
    node.machine.clock.after(20.0, lambda: node.machine.sockets.addresses.discard(ADDRESS))
    node.machine.clock.after(21.0, node.regain_database)
    answer = node.start()
    assert answer.code == 1 and ADDRESS in answer.reason
    assert node.launched() == [] and not node.is_marked()


@pytest.mark.parametrize("action", ["probe", "stop"])
def test_a_resource_that_names_a_running_service_too_does_not_take_it_down(
        node: Node, action: str) -> None:
    node.started()
    alive = node.alive()
    node.resource = "second"
    answer = node.call("monitor" if action == "probe" else "stop", services="server")
    assert answer.code == (7 if action == "probe" else 0), answer
    assert node.alive() == alive and "is left alone" in answer.log


@pytest.mark.parametrize("words", [["-c", "server.cfg"], ["-c", "/etc/kopano//server.cfg"],
                                   ["-c", "/etc/kopano/../kopano/server.cfg"],
                                   ["--config=./server.cfg"], ["-c/etc/kopano/server.cfg"]])
def test_a_server_whose_configuration_is_spelled_otherwise_is_found(
        node: Node, words: List[str]) -> None:
    stray = program("server")
    stray.listens, stray.pid_file = {}, ""
    stray.arguments = [stray.executable, "-F", *words]
    node.machine.processes.run(stray, cgroup="/user.slice")
    assert node.probe().code == 1
    assert node.stop().code == 0 and node.alive() == []


def test_nothing_starts_on_a_node_that_shuts_down_and_all_stops_there(node: Node) -> None:
    node.machine.systemd.manager_state = "stopping"
    answer = node.start()
    assert answer.code == 1 and "shutting down" in answer.reason
    assert node.launched() == [] and not node.is_marked()
    node.machine.systemd.manager_state = "running"
    node.started()
    node.machine.systemd.manager_state = "stopping"
    for name in NAMES:
        unit(node.machine, name).queued = True      # its stop waits for Pacemaker, which waits
    answer = node.stop()
    assert answer.code == 0 and answer.seconds < 30 and node.alive() == []


# What happens to the record

def test_the_record_is_deleted_while_all_serves(node: Node) -> None:
    node.started()
    node.machine.files.remove(active.path_of(RESOURCE))
    answer = node.monitor()
    assert answer.code == 0 and "WARNING" in answer.log
    assert active.path_of(RESOURCE) in answer.log
    assert node.monitor(10).code == 0 and node.probe().code == 0
    assert node.stop().code == 0 and node.alive() == []


def test_the_record_is_deleted_and_a_configuration_file_breaks(node: Node) -> None:
    node.started()
    node.machine.files.remove(active.path_of(RESOURCE))
    node.write("gateway", "\0")
    assert node.monitor().code == 0
    assert node.stop().code == 0 and node.alive() == []


def test_a_second_start_brings_a_deleted_record_back(node: Node) -> None:
    node.started()
    pids = {name: node.main(name).pid for name in NAMES}
    node.machine.files.remove(active.path_of(RESOURCE))
    node.started()
    assert node.is_marked() and {name: node.main(name).pid for name in NAMES} == pids


@pytest.mark.parametrize("damage", [b"", b"format 2\n", b"\xff\xfe", b"format 1\nmanager x\nend\n"])
def test_a_damaged_record_stops_nothing_from_stopping(node: Node, damage: bytes) -> None:
    node.started()
    node.machine.files.put(active.path_of(RESOURCE), damage)
    assert node.monitor().code == 0
    assert node.probe().code == 0
    assert node.stop().code == 0
    assert node.alive() == [] and not node.is_marked()


def test_a_record_of_the_version_before_is_understood(node: Node) -> None:
    """The package is upgraded between a start and its stop."""
    node.started()
    path = active.path_of(RESOURCE)
    lines = [line for line in node.machine.files.content[path].split(b"\n")
             if not line.startswith(b"mount ")]
    node.machine.files.put(path, b"\n".join(lines))
    assert node.monitor().code == 0 and node.stop().code == 0


# Outside of the cluster's hands

def test_after_a_power_loss_enabled_units_do_not_start_by_themselves(node: Node) -> None:
    node.started()
    node.machine.reboot()
    for name in NAMES:
        node.machine.systemd.start(f"kopano-{name}.service")
    assert node.alive() == []
    assert node.probe().code == 7


def test_before_the_first_start_a_server_that_booted_beside_the_cluster_is_seen(node: Node) -> None:
    for name in NAMES:
        node.machine.systemd.start(f"kopano-{name}.service")
    assert node.probe().code == 0, "Pacemaker has to know that it is active here"
    assert node.stop().code == 0 and node.alive() == []


@pytest.mark.parametrize("manager", ["systemd", "direct"])
def test_a_server_that_was_started_by_hand_is_not_joined_by_a_second_one(
        node: Node, manager: str) -> None:
    """Measured: two of them on the same data start without a word."""
    its = Program("/usr/sbin/kopano-server", ["/usr/sbin/kopano-server"])
    by_hand = node.machine.processes.run(its)
    answer = node.start(manager=manager)
    assert answer.code == 1
    assert "server" not in node.launched()
    assert node.stop(manager=manager).code == 0
    assert not by_hand.here and node.alive() == []


def test_another_kopano_on_the_node_is_left_alone(node: Node) -> None:
    arguments = ["/usr/sbin/kopano-server", "-F", "-c", "/etc/other/server.cfg"]
    other = node.machine.processes.run(Program(arguments[0], arguments))
    node.started()
    assert node.monitor().code == 0
    assert node.stop().code == 0 and other.here


# systemd

@pytest.mark.parametrize("action", ["start", "monitor", "stop"])
def test_systemd_executes_itself_anew_in_the_middle(node: Node, action: str) -> None:
    if action != "start":
        node.started()
    clock = node.machine.clock
    node.machine.systemd.unavailable_until = clock.monotonic() + 3.0
    answer = node.monitor() if action == "monitor" else node.call(action)
    assert answer.code == 0, answer.reason


def test_systemd_hangs_for_good(node: Node) -> None:
    node.started()
    node.machine.systemd.unavailable = True
    assert node.monitor().code == 0 and node.probe().code == 0
    assert node.stop().code == 0 and node.alive() == []
    assert node.probe().code == 7
    answer = node.start()
    assert answer.code == 1 and "systemd" in answer.reason
    assert not node.is_marked()


def weaken_condition(node: Node) -> None:
    """Be a drop-in with "ConditionPathExists=", which empties the list of conditions."""
    node.machine.systemd._read_conditions = lambda unit: None  # type: ignore[method-assign]


def restart_always(node: Node) -> None:
    for name in NAMES:
        unit(node.machine, name).properties["Restart"] = "always"


@pytest.mark.parametrize("spoil, word", [(weaken_condition, "does not see its condition"),
                                         (restart_always, "Restart=always is in force")])
def test_another_drop_in_cannot_weaken_the_guard_unseen(node: Node, spoil: Any, word: str) -> None:
    spoil(node)
    answer = node.start()
    assert answer.code == 1
    assert "zz-mailha.conf is not in force" in answer.reason and word in answer.reason
    assert "systemctl cat kopano-" in answer.reason
    assert node.launched() == [] and not node.is_marked()


def test_a_reload_of_the_agent_changes_nothing(node: Node) -> None:
    node.started()
    before = node.state()
    assert node.call("reload-agent", optional_services="ical").code == 0
    assert node.state() == before


def test_the_floating_address_may_be_the_only_one(node: Node) -> None:
    node.write("server", node.machine.files.content["/etc/kopano/server.cfg"].decode().replace(
        " 127.0.0.1:236", ""))
    node.started()
    assert (ADDRESS, 236) in node.machine.sockets.connected


def test_a_server_that_dies_while_the_others_come_up_is_noticed(node: Node) -> None:
    for name in ("gateway", "ical"):
        its = unit(node.machine, name).program
        assert its is not None
        its.listen_after = 20.0
    its = unit(node.machine, "server").program
    assert its is not None
    its.exit_after = 10.0
    answer = node.start()
    assert answer.code == 1 and "server ended right after its start" in answer.reason
    assert node.stop().code == 0 and node.alive() == []


def test_an_order_that_systemd_has_not_begun_is_taken_back(node: Node) -> None:
    """Or the unit would come up behind the cluster's back when its queue moves on."""
    unit(node.machine, "monitor").queued = True
    answer = node.start(timeout=60)
    assert answer.code == 1
    assert "monitor" in answer.reason and "systemctl list-jobs" in answer.reason
    assert unit(node.machine, "monitor").job == ""
    assert node.stop().code == 0 and node.alive() == []
