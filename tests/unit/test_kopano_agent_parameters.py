# SPDX-License-Identifier: GPL-2.0-or-later
"""ocf:mailha:kopano as several resources, with other parameters than at the start, and by hand."""

from __future__ import annotations

from typing import Any, Callable, Dict, Iterator

import pytest
from kopano_machine import NAMES, unit
from kopano_node import Node
from mailha.services import guards

SERVER = {"services": "server spooler dagent monitor"}
LEAVES = {"services": "gateway ical"}


class Split:
    """A node on which two resources share the services."""

    def __init__(self, node: Node) -> None:
        self.node = node

    def __call__(self, action: str, resource: str, **more: Any) -> int:
        """Call an action of one of the two; return the exit code."""
        self.node.resource = resource
        services = SERVER if resource == "kopano_server" else LEAVES
        return self.node.call(action, **{**services, **more}).code


@pytest.fixture
def split(node: Node) -> Iterator[Split]:
    """Return the node with both of them started."""
    made = Split(node)
    assert made("start", "kopano_server") == 0
    assert made("start", "kopano_leaves") == 0
    yield made


# Split over two resources

def test_each_resource_starts_and_stops_its_own(split: Split) -> None:
    node = split.node
    assert node.alive() == sorted(NAMES)
    assert split("stop", "kopano_leaves") == 0
    assert node.alive() == sorted(SERVER["services"].split())
    assert split("monitor", "kopano_server", interval=30, level=10) == 0
    assert split("monitor", "kopano_leaves") == 7
    assert split("start", "kopano_leaves") == 0
    assert split("stop", "kopano_server") == 0
    assert node.alive() == ["gateway", "ical"]
    assert split("monitor", "kopano_leaves", interval=30, level=10) == 0


def test_a_dying_leaf_disturbs_nobody_of_the_other_resource(split: Split) -> None:
    pid = split.node.main("server").pid
    split.node.main("ical").die()
    assert split("monitor", "kopano_server", interval=30, level=20) == 0
    assert split("monitor", "kopano_leaves", interval=30) == 1
    assert split("stop", "kopano_leaves") == 0 and split("start", "kopano_leaves") == 0
    assert split.node.main("server").pid == pid


def test_two_resources_never_share_a_service(split: Split) -> None:
    split.node.resource = "kopano_third"
    answer = split.node.start(services="ical")
    assert answer.code == 5
    assert "'ical'" in answer.reason and "'kopano_leaves'" in answer.reason
    assert split("monitor", "kopano_leaves", interval=30) == 0


def test_a_service_can_move_to_the_other_resource(split: Split) -> None:
    assert split("stop", "kopano_leaves") == 0 and split("stop", "kopano_server") == 0
    assert split("start", "kopano_server", services="server gateway") == 0
    assert split("start", "kopano_leaves", services="ical") == 0
    text = split.node.machine.files.content[guards.path_of("kopano-gateway.service")]
    assert b"/run/mailha/active/kopano_server\n" in text
    assert split("stop", "kopano_server", services="server gateway") == 0
    assert split.node.alive() == ["ical"]


def test_the_word_for_a_release_is_asked_for_by_the_one_with_the_server(split: Split) -> None:
    assert split("stop", "kopano_leaves") == 0
    split.node.install("9.0.3.0-1")
    assert split("start", "kopano_leaves") == 0


# Parameters that changed in between

@pytest.mark.parametrize("later", [
    {"services": "server"}, {"services": "gateway ical"}, {"services": "server search"},
    {"services": "nonsense"}, {"config_dir": "/srv/kopano"}, {"data_dir": "/srv/data"},
    {"manager": "direct"}, {"optional_services": "ical"}, {"binary_dir": "/opt/kopano/sbin"}])
def test_stop_ends_what_start_has_started_whatever_the_parameters_say_now(
        node: Node, later: Dict[str, str]) -> None:
    node.started()
    assert node.stop(**later).code == 0
    assert node.alive() == [] and not node.is_marked()


def test_stop_also_ends_what_the_parameters_name_and_start_did_not(make_node: Callable[..., Node]
                                                                   ) -> None:
    node = make_node(names=(*NAMES, "search"))
    node.started(services=" ".join(NAMES))
    node.machine.processes.run(node.machine.children.programs["/usr/sbin/kopano-search"])
    assert node.stop().code == 0 and node.alive() == []


@pytest.mark.parametrize("later", [{"optional_services": "ical"}, {"require_stonith": "false"},
                                   {"manual_node": "bob"}, {"require_mount": "false"}])
def test_a_reloadable_parameter_is_in_force_at_once(node: Node, later: Dict[str, str]) -> None:
    node.started()
    assert node.call("reload-agent", **later).code == 0
    assert node.monitor(**later).code == 0 and node.monitor(10, **later).code == 0
    node.main("ical").die()
    assert node.monitor(**later).code == (190 if "optional_services" in later else 1)


def test_require_mount_counts_as_it_is_now(node: Node) -> None:
    node.started()
    node.machine.unmount(str(node.data))
    assert node.monitor().code == 1
    assert node.monitor(require_mount="false").code == 0


@pytest.mark.parametrize("first, then", [("direct", "systemd"), ("systemd", "direct")])
def test_who_runs_the_services_can_change_between_stop_and_start(
        node: Node, first: str, then: str) -> None:
    for manager in (first, then, first):
        node.started(manager=manager)
        assert node.monitor(10, manager=manager).code == 0
        assert node.stop(manager=manager).code == 0
        assert node.alive() == [] and not node.is_marked()


# Without units

def test_a_directly_managed_group_lives_its_life(node: Node) -> None:
    node.parameters["manager"] = "direct"
    assert node.probe().code == 7
    node.started()
    assert node.machine.systemd.calls == []
    assert node.monitor().code == node.monitor(10).code == node.probe().code == 0
    started = {argv[0].rpartition("-")[2]: argv[1:] for argv, *_ in node.machine.children.spawned}
    assert started["dagent"] == ["-l"] and started["server"] == ["-F"]
    assert all(environment["LC_ALL"] == "C" for _, environment, *_ in node.machine.children.spawned)
    [gateway] = node.processes("gateway")
    node.machine.processes.table[gateway.pid].die()
    assert node.monitor().code == 1
    node.machine.children.spawned.clear()
    node.started()
    assert node.launched() == ["gateway"]
    assert node.stop().code == 0 and node.alive() == []


def test_the_locale_of_the_distribution_is_passed_on(node: Node) -> None:
    node.machine.files.put("/etc/default/kopano", b'KOPANO_LOCALE="de_DE.UTF-8"\n')
    node.started(manager="direct")
    assert node.machine.children.spawned[0][1]["LC_ALL"] == "de_DE.UTF-8"


def test_another_config_dir_is_named_to_the_programs(node: Node) -> None:
    for name in NAMES:
        content = node.machine.files.content.pop(f"/etc/kopano/{name}.cfg")
        node.machine.files.put(f"/srv/kopano/{name}.cfg", content)
    more = {"manager": "direct", "config_dir": "/srv/kopano"}
    node.started(**more)
    assert node.machine.children.spawned[0][0] == [
        "/usr/sbin/kopano-server", "-F", "-c", "/srv/kopano/server.cfg"]
    assert node.monitor(**more).code == 0
    assert node.stop(**more).code == 0 and node.alive() == []


def test_a_pid_that_was_used_again_is_not_taken_for_the_service(node: Node) -> None:
    node.parameters["manager"] = "direct"
    node.started()
    [spooler] = node.processes("spooler")
    running = node.machine.processes.table[spooler.pid]
    running.program.executable, running.start_time = "/usr/bin/vi", running.start_time + 1
    assert node.monitor().code == 1
    assert node.stop().code == 0
    assert running.here, "it was a stranger"


def test_without_systemd_a_stop_goes_by_processes(node: Node) -> None:
    node.started()
    node.machine.systemd.is_running = False
    assert node.stop().code == 0 and node.alive() == []


# By hand

def test_all_actions_work_by_hand_outside_of_a_cluster(node: Node) -> None:
    node.in_cluster = False
    assert node.probe().code == 7
    node.started()
    assert node.probe().code == 0
    assert node.start().code == 0, "a start of what runs is a success"
    assert node.call("validate-all", level=10).code == 0
    assert node.stop().code == 0
    assert node.stop().code == 0, "a stop of what is stopped is a success"
    assert node.probe().code == 7


def test_a_start_of_what_serves_disturbs_nobody(node: Node) -> None:
    node.started()
    pids = {name: node.main(name).pid for name in NAMES}
    node.machine.systemd.calls.clear()
    for text in ("\0", "server_bind = 1.2.3.4\n"):
        node.write("server", text)      # nothing of it is read
        node.started()
    node.database.die()
    node.started()
    assert node.launched() == [] and {name: node.main(name).pid for name in NAMES} == pids


def test_a_unit_that_is_found_under_an_alias_is_guarded_by_its_own_name(node: Node) -> None:
    known = unit(node.machine, "server")
    known.aliases = ("kopano-server.service",)
    known.name = "kopano-core.service"
    node.machine.systemd.add("kopano-core.service", known)
    node.started()
    assert node.machine.files.exists(guards.path_of("kopano-core.service"))
    assert not node.machine.files.exists(guards.path_of("kopano-server.service"))
    assert node.monitor().code == 0
    assert node.stop().code == 0 and node.alive() == []
