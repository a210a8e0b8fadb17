# SPDX-License-Identifier: GPL-2.0-or-later
"""Whatever ocf:mailha:kopano is given, it answers with one reason and starts nothing."""

from __future__ import annotations

import errno
import os
from typing import Any, Callable, Dict, List

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from kopano_machine import ADDRESS, NAMES, RESOURCE, unit
from kopano_node import Node
from mailha.agents import kopano
from mailha.agents.kopano import parameters, validate
from mailha.profiles.kopano import SERVICES, USUAL
from mailha.storage import mounted


# Who calls, and what for

@pytest.mark.parametrize("action", ["start", "stop", "monitor", "reload-agent"])
def test_everything_that_touches_the_node_needs_root(
        node: Node, monkeypatch: pytest.MonkeyPatch, action: str) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 65534)
    answer = node.call(action)
    assert answer.code == 4
    assert "needs root" in answer.reason and "65534" in answer.reason
    assert node.launched() == []


def test_anybody_may_validate(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 65534)
    assert node.call("validate-all").code == 0


@pytest.mark.parametrize("action", ["start", "stop", "monitor"])
@pytest.mark.parametrize("name", ["", "../../etc/passwd", ".hidden", "-r", "a\nb", "a/b"])
def test_a_resource_needs_a_name_of_which_a_file_can_be_made(
        node: Node, monkeypatch: pytest.MonkeyPatch, action: str, name: str) -> None:
    whole = node.environment
    monkeypatch.setattr(node, "environment",
                        lambda **more: {**whole(**more), "OCF_RESOURCE_INSTANCE": name})
    before = node.state()
    answer = node.call(action)
    assert answer.code == 1 and "no name of a resource" in answer.reason
    assert node.state() == before


def test_an_empty_parameter_is_one_that_is_not_set(node: Node) -> None:
    empty = {parameter.name: "" for parameter in kopano.AGENT.parameters
             if parameter.name != "data_dir"}
    node.started(**empty)
    assert sorted(node.launched()) == sorted(USUAL)


# validate-all: the same findings, and never a ban

FINDINGS: List[Any] = [
    (lambda node: setattr(unit(node.machine, "ical"), "load", "masked"), 5, "unmask"),
    (lambda node: setattr(node.machine.systemd, "is_running", False), 5, "manager=direct"),
    (lambda node: node.machine.files.remove("/usr/sbin/kopano-ical"), 5, "install kopano-ical"),
    (lambda node: node.write("ical", "server_bind = 192.0.2.100\n"), 5, "ical_listen"),
    (lambda node: node.machine.unmount(str(node.data)), 1, "Filesystem"),
    (lambda node: node.machine.sockets.addresses.discard(ADDRESS), 1, "IPaddr2"),
]


@pytest.mark.parametrize("spoil, code, word", FINDINGS)
def test_validate_warns_of_what_is_wrong_here_and_fails_only_when_asked_for_it(
        node: Node, spoil: Callable[[Node], None], code: int, word: str) -> None:
    spoil(node)
    before = node.state()
    answer = node.call("validate-all")
    assert answer.code == 0 and word in answer.log and "WARNING: " in answer.log
    deep = node.call("validate-all", level=10)
    assert deep.code == code and word in deep.reason
    assert node.state() == before and node.launched() == []


def test_validate_of_parameters_that_can_be_right_nowhere(node: Node) -> None:
    answer = node.call("validate-all", services="server server", manager="upstart")
    assert answer.code == 6
    assert "services" in answer.reason and "manager" in answer.reason


def test_a_fit_node_has_nothing_to_say(node: Node) -> None:
    answer = node.call("validate-all", level=10)
    assert answer.code == 0 and "WARNING" not in answer.log


def test_all_findings_are_told_at_once_and_the_gravest_first(node: Node) -> None:
    unit(node.machine, "gateway").load = "not-found"
    node.machine.sockets.addresses.discard(ADDRESS)
    node.machine.unmount(str(node.data))
    call = node.handler_call("validate-all")
    found = [str(each) for each in validate.findings(call, node.machine)]  # type: ignore[arg-type]
    assert "kopano-gateway.service" in found[0]
    assert sum(ADDRESS in each for each in found) >= 2
    assert "no mount point" in found[-1]


# What stands in parameters

NASTY = ["a b", "'; rm -rf /", '"', "a\nb", "\n", "-x", "--", "\udcff\udcfe", "x" * 5000,
         "\x1b[31m", "$(id)", "%s", "é", "server\u2028spooler", "../..", "/", "//", "~", "\t"]


@pytest.mark.parametrize("name", [parameter.name for parameter in kopano.AGENT.parameters])
def test_no_text_in_a_parameter_breaks_the_agent(node: Node, name: str) -> None:
    for text in NASTY:
        more = {name: text}
        assert node.call("validate-all", **more).code in (0, 6)
        assert node.probe(**more).code in (0, 5, 7)
        answer = node.start(**more)
        if answer.code == 6:
            assert name in answer.reason and len(answer.reason) <= 1000
        else:
            assert answer.code in (0, 1, 5)
        assert node.stop(**more).code == 0
        assert node.alive() == []


# What stands in configuration files

TEXTS = st.lists(st.one_of(
    st.binary(max_size=20),
    st.sampled_from([b"server_listen", b"server_bind", b"imap_listen", b"mysql_host", b"=", b" ",
                     b"\n", b"#", b"!include ", b"/etc/kopano/gateway.cfg", b"*:236", b"localhost",
                     b"[::1]:143", b"\x00", b"$HOME", b"log_file", b"pid_file", b"99999999"])),
    max_size=12).map(b"".join)


@settings(max_examples=60, deadline=None,
          suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(name=st.sampled_from(["server", "gateway", "dagent", "ical", "spooler"]), text=TEXTS)
def test_no_configuration_file_breaks_the_agent(node: Node, name: str, text: bytes) -> None:
    path = f"/etc/kopano/{name}.cfg"
    whole = node.machine.files.content[path]
    node.machine.files.put(path, text)
    try:
        assert node.probe().code == 7
        answer = node.start(timeout=20)
        assert answer.code in (0, 1, 5)
        if answer.code == 5:
            assert path in answer.reason
        assert node.stop().code == 0
        assert node.alive() == [] and not node.is_marked()
    finally:
        node.machine.files.put(path, whole)


@pytest.mark.parametrize("name, text, words", [
    ("server", "server_listen = mail.example.org:236\n", ["server.cfg line 1", "server_listen",
                                                          "mail.example.org", "address"]),
    ("server", "server_listen = *:99999\n", ["server.cfg line 1", "server_listen", "port"]),
    ("server", "mysql_port = many\n", ["server.cfg line 1", "mysql_port"]),
    ("dagent", "lmtp_listen = 192.0.2.100:lmtp\n", ["dagent.cfg line 1", "lmtp_listen"]),
    ("gateway", "imap_listen = [::1\n", ["gateway.cfg line 1", "imap_listen", "bracket"]),
    ("ical", "no assignment at all\n", ["ical.cfg", "restore"]),
    ("gateway", "!include missing.cfg\n", ["/etc/kopano/missing.cfg", "gateway.cfg line 1"])])
def test_the_reason_names_file_key_and_remedy(node: Node, name: str, text: str,
                                              words: List[str]) -> None:
    node.write(name, text)
    node.refuses(5, *words)


def test_a_configuration_file_on_a_broken_disk(node: Node) -> None:
    node.machine.files.failing["/etc/kopano/server.cfg"] = errno.EIO
    node.refuses(5, "cannot read /etc/kopano/server.cfg", os.strerror(errno.EIO))


def test_a_unit_that_reads_another_file(node: Node) -> None:
    unit(node.machine, "gateway").properties["ExecStart"] = [
        ("/usr/sbin/kopano-gateway",
         ["/usr/sbin/kopano-gateway", "-F", "-c", "/srv/gateway.cfg"], False)]
    node.refuses(5, "kopano-gateway.service reads /srv/gateway.cfg", "config_dir",
                 "systemctl edit")


def test_another_resource_runs_the_service_here(node: Node) -> None:
    node.machine.files.put("/run/mailha/active/kopano_leaves", (
        "format 1\nmanager systemd\nservice ical\nunit kopano-ical.service\nend\n").encode())
    ical = unit(node.machine, "ical").program
    assert ical is not None
    node.machine.processes.run(ical, cgroup="/system.slice/kopano-ical.service")
    answer = node.start()
    assert answer.code == 5 and node.launched() == []
    assert "'ical'" in answer.reason and "'kopano_leaves'" in answer.reason


@pytest.mark.parametrize("record", [
    b"format 1\nmanager systemd\nservice ical\nunit kopano-ical.service\nend\n", b"nonsense"])
def test_the_record_of_a_resource_that_is_gone_bans_nobody(node: Node, record: bytes) -> None:
    node.machine.files.put("/run/mailha/active/renamed", record)
    assert node.start().code == 0


def test_two_servers_in_a_clone_are_refused_everywhere(node: Node) -> None:
    node.refuses(6, "clone of 2 instances", "clone-max=1", CRM_meta_clone_max="2")


def test_no_kopano_installed_at_all(node: Node) -> None:
    for name in NAMES:
        node.machine.files.remove(f"/usr/sbin/kopano-{name}")
        unit(node.machine, name).load = "not-found"
    node.refuses(5, "kopano-server.service", "install kopano-server")


def test_a_package_database_that_hangs_costs_only_its_share(node: Node) -> None:
    node.machine.children.answer(["dpkg-query"], takes=10_000)
    node.machine.children.answer(["rpm"], takes=10_000)
    node.machine.children.answer(["/usr/sbin/kopano-server", "-V"],
                                 stdout=b"kopano-server 8.7.25\n")
    answer = node.start()
    assert answer.code == 0 and answer.seconds < 120


@pytest.mark.parametrize("hanging", ["work", "marker"])
def test_a_data_disk_that_is_dead(node: Node, hanging: str) -> None:
    if hanging == "marker":
        node.machine.unmount(str(node.data))
    node.machine.children.hanging.add(hanging)
    node.refuses(1, str(node.data), "did not answer", "state D")
    assert node.stop().code == 0


def test_a_marker_says_that_a_directory_is_the_data_though_no_mount_point(node: Node) -> None:
    node.machine.unmount(str(node.data))
    node.machine.mount(str(node.data.parent), "ext4", "/dev/drbd1")
    node.refuses(1, mounted.MARKER)
    node.machine.files.put(f"{node.data}/{mounted.MARKER}", b"")
    node.started()
    assert node.monitor().code == 0
    node.machine.unmount(str(node.data.parent))
    assert node.monitor().code == 1


def test_without_require_mount_the_nodes_own_disk_will_do(node: Node) -> None:
    node.machine.unmount(str(node.data))
    node.started(require_mount="false")
    assert node.monitor(require_mount="false").code == 0


def test_attachments_on_the_nodes_own_disk(node: Node) -> None:
    """The whitepaper's mistake: they are there after every failover, and other ones each time."""
    text = node.machine.files.content["/etc/kopano/server.cfg"].decode()
    node.write("server", text.replace(f"{node.data}/attachments", "/srv/attachments"))
    node.refuses(1, "/srv/attachments", "data_dir", "/etc/kopano/server.cfg")
    node.machine.mount("/srv", "xfs", "/dev/drbd2")
    node.started()


def test_leaves_alone_need_no_data(make_node: Callable[..., Node]) -> None:
    node = make_node(names=("gateway", "ical"))
    node.machine.unmount(str(node.data))
    node.database.die()
    node.started()
    assert node.monitor(10).code == 0 and node.monitor(20).code == 0


def test_without_run_kopano_it_is_made_first(node: Node) -> None:
    node.machine.files.directories -= {"/run/kopano", "/var/run/kopano"}
    node.started()
    [made] = [ran.argv for ran in node.machine.children.ran if ran.argv[0] == "install"]
    assert made[-1] == "/run/kopano" and "0775" in made


def test_the_services_that_the_agent_names_are_those_of_the_profile() -> None:
    assert tuple(SERVICES) == parameters.SERVICES and " ".join(USUAL) == parameters.USUAL


def test_a_name_for_every_service_of_the_profile_is_accepted(node: Node) -> None:
    words: Dict[str, str] = {"services": " ".join(parameters.SERVICES)}
    assert node.call("validate-all", **words).code == 0


def test_a_record_of_a_later_format_is_named_and_not_believed(node: Node) -> None:
    node.machine.files.put(f"/run/mailha/active/{RESOURCE}", b"format 9\n")
    answer = node.probe()
    assert answer.code == 7 and f"/run/mailha/active/{RESOURCE}" in answer.log
