# SPDX-License-Identifier: GPL-2.0-or-later
"""ocf:mailha:kopano on all kinds of installations: more services, other addresses, links."""

from __future__ import annotations

import copy
from typing import Any, Callable, Dict, List

import pytest
from fake_machine import FakeUnit, Program, Script
from kopano_machine import ADDRESS, NAMES, unit
from kopano_node import LMTP, NO_SESSION, Node
from mailha.profiles.kopano import SERVICES

IPV6 = "2001:db8::64"
MORE: Dict[str, Program] = {
    # A script: the kernel shows its interpreter.
    "search": Program("/usr/bin/python3.9", ["/usr/bin/python3", "/usr/sbin/kopano-search", "-F"],
                      listens={"/var/run/kopano/search.sock": Script()},
                      pid_file="/var/run/kopano/search.pid"),
    "presence": Program("/usr/bin/python3.9",
                        ["/usr/bin/python3", "/usr/sbin/kopano-presence", "-F"],
                        listens={("127.0.0.1", 1234): Script(
                            answers={b"HEAD": b"HTTP/1.0 501 Unsupported method\r\n"})}),
    "spamd": Program("/usr/bin/python3.9", ["/usr/bin/python3", "/usr/sbin/kopano-spamd", "-F"]),
    "statsd": Program("/usr/libexec/kopano/kopano-statsd"),
    "grapi": Program("/usr/bin/python3.9", ["/usr/bin/python3", "/usr/sbin/kopano-grapi", "serve"]),
    "kapid": Program("/usr/libexec/kopano/kopano-kapid"),
    "konnect": Program("/usr/libexec/kopano/kopano-konnectd"),
}


@pytest.fixture
def full(make_node: Callable[..., Node]) -> Node:
    """Return a node on which every service is installed that can be named."""
    node = make_node()
    for name, program in copy.deepcopy(MORE).items():
        script = program.arguments[1] if program.arguments else program.executable
        node.machine.files.put(script, b"#!")
        node.machine.systemd.add(SERVICES[name].unit, FakeUnit(
            program=program, properties={"ExecStart": [(script, [script, "-F"], False)]}))
    node.write("search", f"index_path = {node.data}/search\n")
    node.parameters["services"] = " ".join(SERVICES)
    return node


def living(node: Node) -> List[str]:
    """Return the units in which a process lives."""
    return sorted({running.cgroup.rpartition("/")[2]
                   for running in node.machine.processes.table.values()
                   if running is not node.database})


# All services

def test_every_service_that_can_be_named_is_started_watched_and_stopped(full: Node) -> None:
    full.started()
    assert living(full) == sorted(profile.unit for profile in SERVICES.values())
    assert full.monitor().code == 0 and full.monitor(10).code == 0 and full.probe().code == 0
    assert full.stop().code == 0 and living(full) == []
    assert full.monitor().code == 7


@pytest.mark.parametrize("name", sorted(MORE))
def test_each_of_them_is_missed_when_it_dies(full: Node, name: str) -> None:
    full.started()
    found = full.machine.systemd._units[SERVICES[name].unit].main
    assert found is not None
    found.die()
    answer = full.monitor()
    assert answer.code == 1 and answer.reason.startswith(f"{name}: ")
    full.started()
    assert full.monitor().code == 0


@pytest.mark.parametrize("name", ["statsd", "grapi", "kapid", "konnect"])
def test_a_service_that_is_known_by_its_unit_alone_must_live_for_a_moment(
        full: Node, name: str) -> None:
    program = full.machine.systemd._units[SERVICES[name].unit].program
    assert program is not None
    program.exit_after = 0.5
    answer = full.start()
    assert answer.code == 1 and f"{name} ended right after its start" in answer.reason


def test_a_script_of_python_is_found_outside_of_its_unit_too(full: Node) -> None:
    stray = full.machine.processes.run(MORE["search"])
    answer = full.probe()
    assert answer.code == 1 and "search" in answer.reason
    assert full.stop().code == 0 and not stray.here


def test_an_index_on_the_nodes_own_disk_is_refused(full: Node) -> None:
    full.machine.files.remove("/etc/kopano/search.cfg")
    answer = full.start()
    assert answer.code == 1
    assert "/var/lib/kopano/search" in answer.reason and "data_dir" in answer.reason


# Addresses

@pytest.mark.parametrize("written, bound, asked", [
    ("*:2003", ("*", 2003), ("127.0.0.1", 2003)),
    (f"[{IPV6}]:2003", (IPV6, 2003), (IPV6, 2003)),
    ("[::]:2003", ("::", 2003), ("::1", 2003)),
    ("127.0.0.1:2003 *:2003", ("*", 2003), ("127.0.0.1", 2003)),
    ("localhost:2003", ("127.0.0.1", 2003), ("localhost", 2003))])
def test_wildcards_and_ipv6(node: Node, written: str, bound: Any, asked: Any) -> None:
    node.machine.sockets.addresses.add(IPV6)
    node.write("dagent", f"lmtp_listen = {written}\n")
    its = unit(node.machine, "dagent").program
    assert its is not None
    its.listens = {bound: its.listens[LMTP]}
    connect, wanted = node.machine.sockets.connect, []

    def spy(endpoint: Any, timeout: float) -> Any:
        wanted.append(endpoint)
        return connect(("127.0.0.1", 2003) if endpoint == ("localhost", 2003) else endpoint,
                       timeout)

    node.machine.sockets.connect = spy  # type: ignore[method-assign]
    node.started()
    assert asked in wanted
    assert node.monitor().code == 0 and node.monitor(10).code == 0


def test_an_ipv6_address_that_is_gone_is_missed(node: Node) -> None:
    node.write("ical", f"ical_listen = [{IPV6}]:8080\n")
    answer = node.start()
    assert answer.code == 1 and IPV6 in answer.reason


def test_an_address_that_is_away_for_a_moment_is_no_failure(node: Node) -> None:
    """An IPv6 address is, after a link came back, until nobody else is found to have it."""
    node.started()
    node.machine.sockets.addresses.discard(ADDRESS)
    node.machine.clock.after(1.5, lambda: node.machine.sockets.addresses.add(ADDRESS))
    answer = node.monitor()
    assert answer.code == 0 and answer.seconds < 3


def test_an_interface_to_which_a_listener_is_bound_cannot_be_reached(node: Node) -> None:
    node.write("dagent", "lmtp_listen = *%eth0:2003\n")
    answer = node.start()
    assert answer.code == 5 and "eth0" in answer.reason and "lmtp_listen" in answer.reason


def test_another_daemon_holds_the_port(node: Node) -> None:
    thief = node.machine.processes.run(Program("/usr/sbin/dovecot", listens={
        (ADDRESS, 143): Script(greeting=b"* OK Dovecot ready\r\n")}))
    its = unit(node.machine, "gateway").program
    assert its is not None
    del its.listens[(ADDRESS, 143)]
    answer = node.start(timeout=60)
    assert answer.code == 1 and "another process" in answer.reason
    assert node.stop().code == 0 and thief.here


# The data directory

@pytest.mark.parametrize("more", ["/", "//", "/."])
def test_a_data_directory_may_be_written_in_several_ways(node: Node, more: str) -> None:
    path = f"{node.data}{more}"
    node.started(data_dir=path)
    assert node.monitor(data_dir=path).code == 0
    node.machine.unmount(str(node.data))
    assert node.monitor(data_dir=path).code == 1


def test_a_data_directory_behind_a_link(node: Node) -> None:
    link = node.data.parent / f"{node.data.name}-link"
    link.symlink_to(node.data)
    node.started(data_dir=str(link))
    assert node.monitor(data_dir=str(link)).code == 0
    node.machine.unmount(str(node.data))
    answer = node.monitor(data_dir=str(link))
    assert answer.code == 1 and str(node.data) in answer.reason


def test_a_monitor_and_a_stop_never_touch_the_data(node: Node) -> None:
    node.started()
    node.machine.children.hanging.add("*")
    for answer in (node.monitor(), node.monitor(10), node.monitor(20), node.probe()):
        assert answer.code == 0 and answer.seconds == 0
    assert node.stop().code == 0 and node.alive() == []


# Time

@pytest.mark.parametrize("jump", [-1e9, 1e9])
def test_a_clock_that_jumps_changes_nothing(node: Node, jump: float) -> None:
    def leap() -> None:
        node.machine.clock.wall_offset += jump

    node.machine.clock.after(0.5, leap)
    node.started()
    assert node.monitor(10).code == 0
    node.machine.clock.after(0.05, leap)
    assert node.stop().code == 0 and node.alive() == []


@pytest.mark.parametrize("timeout", [20, 30, 60])
def test_short_timeouts_do_for_a_healthy_node(node: Node, timeout: int) -> None:
    node.started(timeout=timeout)
    assert node.monitor(10, timeout=timeout).code == 0
    assert node.stop(timeout=timeout).code == 0


@pytest.mark.parametrize("timeout", [20, 30, 60])
def test_short_timeouts_are_kept_by_a_sick_one(node: Node, timeout: int) -> None:
    for name in NAMES:
        its = unit(node.machine, name).program
        assert its is not None
        its.ignores_term, its.mute_for = True, 10_000.0
    answer = node.start(timeout=timeout)
    assert answer.code == 1 and "server" in answer.reason
    assert node.stop(timeout=timeout).code == 0 and node.alive() == []


def test_leaves_whose_server_does_not_serve_do_not_serve_either(
        make_node: Callable[..., Node]) -> None:
    node = make_node(names=("dagent", "gateway"))
    node.script("dagent", LMTP).greeting = NO_SESSION
    answer = node.start(timeout=60)
    assert answer.code == 1 and "421 internal error: GetSession failed" in answer.reason
    assert node.stop().code == 0 and node.alive() == []


def test_a_package_that_is_updated_under_running_services(node: Node) -> None:
    node.started()
    node.install("8.7.26.0-0+1.1")
    assert node.monitor().code == node.monitor(10).code == node.monitor(20).code == 0
    assert node.stop().code == 0
    node.started()
