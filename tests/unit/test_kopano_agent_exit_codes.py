# SPDX-License-Identifier: GPL-2.0-or-later
"""What ocf:mailha:kopano answers: every finding at every action, with what it does and leaves.

The findings are those of the project's table of exit codes, one section each. A probe that says 0
or 1 on the passive node, a start that says 5 or 6, and a stop that fails each make Pacemaker do
something drastic, so it is fixed here which finding may do that.
"""

from __future__ import annotations

import errno
from typing import Callable, Dict, List

import pytest
from kopano_machine import ADDRESS, NAMES, program, unit
from kopano_node import LMTP, Node

Spoil = Callable[[Node], None]


# A parameter that can be right nowhere

NOWHERE = [
    ({"services": "server typo"}, ["services", "'typo'"]),
    ({"services": "server spooler server"}, ["services", "'server'"]),
    ({"data_dir": "lib/kopano"}, ["data_dir", "'lib/kopano'"]),
    ({"data_dir": "/var/lib/../kopano"}, ["data_dir", "'/var/lib/../kopano'"]),
    ({"config_dir": "-rf"}, ["config_dir"]),
    ({"manager": "upstart"}, ["manager", "'upstart'", "systemd"]),
    ({"require_mount": "perhaps"}, ["require_mount", "'perhaps'"]),
    ({"manual_node": "-node"}, ["manual_node"]),
    ({"optional_services": "search"}, ["optional_services", "search"]),
    ({"services": "server ical", "optional_services": "ical server"}, ["optional_services"]),
    ({"services": "server statsd", "manager": "direct"}, ["statsd", "systemd"]),
]


@pytest.mark.parametrize("parameters, words", NOWHERE)
def test_a_parameter_that_can_be_right_nowhere_fails_only_a_start(
        node: Node, parameters: Dict[str, str], words: List[str]) -> None:
    assert node.probe(**parameters).code == 7
    node.refuses(6, *words, **parameters)
    node.started()
    assert node.probe(**parameters).code == 0
    assert node.monitor(**parameters).code in (0, 190)
    assert node.stop(**parameters).code == 0
    assert node.alive() == []


def test_a_wrong_parameter_is_a_warning_of_the_monitor(node: Node) -> None:
    answer = node.started().monitor(services="server typo")
    assert answer.code == 0
    assert "WARNING: parameter services: " in answer.log and "'typo'" in answer.log


# Software or unit missing or masked here

def miss_unit(node: Node) -> None:
    unit(node.machine, "dagent").load = "not-found"


def mask_unit(node: Node) -> None:
    unit(node.machine, "dagent").load = "masked"


def break_unit(node: Node) -> None:
    unit(node.machine, "dagent").load = "error"


MISSING = [(miss_unit, ["kopano-dagent.service", "install kopano-dagent"]),
           (mask_unit, ["kopano-dagent.service", "masked", "systemctl unmask"]),
           (break_unit, ["kopano-dagent.service", "systemctl status"])]


@pytest.mark.parametrize("spoil, words", MISSING)
def test_a_unit_that_is_missing_or_masked(node: Node, spoil: Spoil, words: List[str]) -> None:
    spoil(node)
    assert node.probe().code == 5
    node.refuses(5, *words)
    node.stops()


@pytest.mark.parametrize("spoil, words", MISSING)
def test_a_unit_that_goes_missing_while_its_service_is_dead(
        node: Node, spoil: Spoil, words: List[str]) -> None:
    node.started()
    spoil(node)
    node.main("dagent").die()
    answer = node.monitor()
    assert answer.code == 1 and "dagent" in answer.reason
    node.stops()


def test_all_units_masked_and_nothing_alive_is_a_failure_and_names_the_remedy(node: Node) -> None:
    """The record says that the group was started here, so this is no clean stop."""
    node.started()
    for name in NAMES:
        unit(node.machine, name).load = "masked"
        node.main(name).die()
    answer = node.monitor()
    assert answer.code == 1
    assert "masked" in answer.reason and "systemctl unmask kopano-server" in answer.reason


def test_a_service_that_serves_is_not_taken_down_for_its_masked_unit(node: Node) -> None:
    """A check never harms: what serves is left alone, and only the next start will be refused."""
    node.started()
    mask_unit(node)
    answer = node.monitor()
    assert answer.code == 190 and "systemctl unmask kopano-dagent.service" in answer.reason
    assert node.probe().code == 0


def test_the_program_that_a_unit_runs_is_missing(node: Node) -> None:
    node.machine.files.remove("/usr/sbin/kopano-gateway")
    assert node.probe().code in (5, 7)
    node.refuses(5, "/usr/sbin/kopano-gateway", "install kopano-gateway")
    node.stops()


def test_without_units_the_programs_are_missing(node: Node) -> None:
    node.machine.files.remove("/usr/sbin/kopano-gateway")
    node.parameters["manager"] = "direct"
    assert node.probe().code == 5
    node.refuses(5, "/usr/sbin/kopano-gateway", "install kopano-gateway", "binary_dir")
    node.stops()


def test_systemd_does_not_run_here(node: Node) -> None:
    node.machine.systemd.is_running = False
    assert node.probe().code in (5, 7)
    node.refuses(5, "systemd", "manager=direct")
    node.stops()


def test_the_passive_node_has_no_kopano_at_all(node: Node) -> None:
    for name in NAMES:
        unit(node.machine, name).load = "not-found"
        node.machine.files.remove(f"/usr/sbin/kopano-{name}")
    node.machine.files.content = {path: content for path, content
                                  in node.machine.files.content.items()
                                  if not path.startswith("/etc/kopano")}
    node.machine.children.answer(["dpkg-query"], code=1)
    assert node.probe().code == 5
    node.stops()


# A configuration file that is unreadable, or has the wrong key

def hide_file(node: Node) -> None:
    node.machine.files.failing["/etc/kopano/gateway.cfg"] = errno.EACCES


def scramble_file(node: Node) -> None:
    node.machine.files.put("/etc/kopano/gateway.cfg", b"\x00\x01\xff" * 100)


def write_old_key(node: Node) -> None:
    node.write("gateway", f"server_bind = {ADDRESS}\n")


def remove_server_file(node: Node) -> None:
    node.machine.files.remove("/etc/kopano/server.cfg")


@pytest.mark.parametrize("spoil, words", [
    (hide_file, ["/etc/kopano/gateway.cfg", "Permission denied", "readable"]),
    (scramble_file, ["/etc/kopano/gateway.cfg", "line 1", "restore"]),
    (write_old_key, ["/etc/kopano/gateway.cfg line 1", "server_bind", "imap_listen"]),
    (remove_server_file, ["/etc/kopano/server.cfg", "copy it"])])
def test_a_configuration_file_keeps_from_starting_and_from_nothing_else(
        node: Node, spoil: Spoil, words: List[str]) -> None:
    spoil(node)
    assert node.probe().code == 7
    node.refuses(5, *words)
    node.stops()


@pytest.mark.parametrize("spoil", [hide_file, scramble_file, write_old_key, remove_server_file])
def test_a_configuration_file_that_breaks_while_all_serves_changes_nothing(
        node: Node, spoil: Spoil) -> None:
    node.started()
    spoil(node)
    assert node.monitor().code == 0
    assert node.monitor(10).code == 0
    assert node.monitor(20).code == 0
    assert node.probe().code == 0
    node.stops()


# Data that is not mounted, an address that is not here

def unmount(node: Node) -> None:
    node.machine.unmount(str(node.data))


def mount_read_only(node: Node) -> None:
    node.machine.mount(str(node.data), "ext4", "/dev/drbd1", "ro")


def lose_address(node: Node) -> None:
    node.machine.sockets.addresses.discard(ADDRESS)


GROUND = [(unmount, ["no mount point", "Filesystem"]),
          (mount_read_only, ["read-only", "/dev/drbd1"]),
          (lose_address, [ADDRESS, "no address of this node", "IPaddr2"])]


@pytest.mark.parametrize("spoil, words", GROUND)
def test_no_start_over_missing_data_or_without_the_address(
        node: Node, spoil: Spoil, words: List[str]) -> None:
    spoil(node)
    assert node.probe().code == 7
    reason = node.refuses(1, *words)
    assert spoil is lose_address or str(node.data) in reason
    node.stops()


@pytest.mark.parametrize("spoil, words", GROUND)
def test_the_ground_is_lost_under_running_services(
        node: Node, spoil: Spoil, words: List[str]) -> None:
    node.started()
    spoil(node)
    answer = node.monitor()
    assert answer.code == 1
    assert (str(node.data) if spoil is not lose_address else ADDRESS) in answer.reason
    node.stops()


# Some services up, some down

def test_probe_of_a_passive_node_with_a_left_over_leaf(node: Node) -> None:
    """Saying 0 or 1 here would stop the services on the active node."""
    node.machine.systemd.start("kopano-gateway.service")
    answer = node.probe()
    assert answer.code == 7
    assert "WARNING: gateway runs on this node" in answer.log


@pytest.mark.parametrize("name", ["server", "search"])
def test_probe_of_a_passive_node_where_a_service_works_on_the_data(
        make_node: Callable[..., Node], name: str) -> None:
    node = make_node(names=(*NAMES, "search"))
    node.machine.systemd.start(f"kopano-{name}.service")
    answer = node.probe()
    assert answer.code == 1 and "gateway" in answer.reason


def test_start_completes_a_group_that_runs_in_part(node: Node) -> None:
    node.started()
    untouched = {name: node.main(name).pid for name in NAMES if name not in ("gateway", "ical")}
    node.main("gateway").die()
    node.main("ical").die()
    node.machine.systemd.calls.clear()
    node.started()
    assert node.launched() == ["gateway", "ical"]
    assert {name: node.main(name).pid for name in untouched} == untouched
    assert node.monitor().code == 0


@pytest.mark.parametrize("name", NAMES)
def test_the_recurring_monitor_names_the_one_that_is_down(node: Node, name: str) -> None:
    node.started().main(name).die()
    answer = node.monitor()
    assert answer.code == 1 and answer.reason.startswith(f"{name}: ")
    assert node.probe().code == 1
    degraded = node.monitor(optional_services=name)
    assert degraded.code == 190
    assert name in degraded.reason and f"journalctl -u kopano-{name}" in degraded.reason
    assert node.probe(optional_services=name).code == 0
    node.stops()


def test_all_down_is_not_running(node: Node) -> None:
    node.started()
    for name in NAMES:
        node.main(name).die()
    answer = node.monitor()
    assert answer.code == 7 and "nothing of it runs" in answer.reason


# The database cannot be reached

def test_start_waits_for_the_database_to_the_end_of_its_budget(node: Node) -> None:
    node.database.die()
    answer = node.start(timeout=120)
    assert answer.code == 1
    assert "database 'kopano' at 192.0.2.101:3306" in answer.reason
    assert "waited" in answer.reason and answer.seconds > 90
    assert node.launched() == [] and not node.is_marked()
    node.stops()


def test_start_goes_on_when_the_database_comes(node: Node) -> None:
    node.database.die()
    node.machine.clock.after(70.0, node.regain_database)
    answer = node.start()
    assert answer.code == 0 and 70 <= answer.seconds < 80


def test_a_database_that_is_lost_degrades_and_heals(node: Node) -> None:
    node.started()
    node.lose_database()
    assert node.probe().code == 0
    assert node.monitor().code == 0
    answer = node.monitor(10)
    assert answer.code == 190
    assert "database 'kopano' at 192.0.2.101:3306" in answer.reason
    assert node.monitor(20).code == 190
    node.regain_database()
    assert node.monitor(10).code == node.monitor(20).code == 0
    node.lose_database()
    node.stops()


# Whatever else is wrong

def test_stop_as_ever_however_deaf_the_services(node: Node) -> None:
    node.started()
    node.script("dagent", LMTP).mood = "mute"
    node.main("server").state = "T"
    node.stops()


def test_probe_while_processes_live_outside_of_their_units(node: Node) -> None:
    """After a lost /run, or beside the cluster: a server is the one thing to be loud about."""
    stray = program("server")
    stray.listens = {}
    node.machine.processes.run(stray)
    answer = node.probe()
    assert answer.code == 1 and "server runs outside of its unit" in answer.reason
    node.stops()
