# SPDX-License-Identifier: GPL-2.0-or-later
"""Parameters that can be right nowhere, through the real environment of a real process."""

from __future__ import annotations

from typing import Any, Dict

import pytest

from agent_node import ALL, Node

FEW = "server ical"

# What an administrator, a script or an attacker can put into a CIB.
STRANGE = {
    "blank": "a b",
    "quotes": "'\"`$(reboot)`\"'",
    "newline": "server\nocf-exit-reason:all is well",
    "dash": "-rf",
    "bytes": "caf\udce9\udcff",
    "control": "a\x1b[2Jb\x07",
    "long": "x" * 100000,
    "up": "/var/lib/../../etc",
    "letters": "ſerver",
}


@pytest.mark.parametrize("name", ["services", "optional_services", "data_dir", "require_mount",
                                  "config_dir", "binary_dir", "manager", "manual_node"])
def test_a_value_that_can_be_right_nowhere_starts_nothing_and_harms_nothing(
        node: Node, name: str) -> None:
    for kind, value in STRANGE.items():
        if name == "manual_node" and kind in ("long", "up", "letters"):
            continue        # a name that some node may have
        options: Dict[str, Any] = {"services": FEW, name: value}
        answer = node.start(**options)
        assert answer.code == 6, f"{name}={value[:40]!r}: {answer}"
        assert f"parameter {name}: " in answer.reason and len(answer.reason) < 1100
        assert answer.reason.isprintable()
        if kind == "bytes":
            assert node.probe(**options).code == 7
            assert node.monitor(**options).code == 7
            assert node.stop(**options).code == 0
    assert node.living() == {} and node.marks() == ""


def test_what_runs_is_watched_and_stopped_whatever_became_of_the_parameters(node: Node) -> None:
    node.started(services=FEW)
    for name in ("services", "data_dir", "manager", "config_dir"):
        for kind in ("newline", "bytes"):
            options: Dict[str, Any] = {"services": FEW, name: STRANGE[kind]}
            for level in (0, 10):
                answer = node.monitor(level=level, **options)
                assert answer.code == 0 and f"parameter {name}: " in answer.stderr, str(answer)
            assert node.probe(**options).code == 0
    answer = node.stop(services=STRANGE["bytes"], manager=STRANGE["newline"])
    assert answer.code == 0 and node.living() == {}


@pytest.mark.parametrize("options, part", [
    ({"services": "server ical server"}, "server"),
    ({"services": "server outlook"}, "outlook"),
    ({"services": "server ical", "optional_services": "gateway"}, "gateway"),
    ({"services": "server ical", "optional_services": "server ical"}, "optional_services"),
    ({"services": "server grapi", "manager": "direct"}, "grapi"),
    ({"data_dir": "var/lib/kopano"}, "data_dir"),
    ({"manager": "upstart"}, "upstart"),
    ({"require_mount": "perhaps"}, "perhaps"),
])
def test_a_mistake_is_named(node: Node, options: Dict[str, str], part: str) -> None:
    for action in ("start", "validate-all"):
        answer = node.call(action, **options)
        assert answer.code == 6 and part in answer.reason, str(answer)
    assert node.living() == {}


def test_empty_means_not_set(node: Node) -> None:
    empty = {name: "" for name in ("services", "optional_services", "data_dir", "require_mount",
                                   "config_dir", "binary_dir", "manager", "manual_node")}
    node.started(**empty)
    assert set(node.living()) == set(ALL.split())
    assert node.monitor(10, **empty).code == 0
    node.stopped()


@pytest.mark.parametrize("resource", ["", "../kopano", ".kopano", "-kopano", "a/b", "a\nb",
                                      "caf\udce9"])
def test_a_name_that_no_resource_has_is_refused(node: Node, resource: str) -> None:
    answer = node.start(resource=resource, services=FEW)
    assert answer.code == 1 or answer.code == 6, str(answer)
    assert node.probe(resource=resource, services=FEW).code in (1, 7)
    assert node.living() == {}
    assert node.sh("find /run/mailha /run/kopano /run/.kopano -type f 2>/dev/null || :") == ""


@pytest.mark.parametrize("resource", ["kopano:0", "mail server 100%", "%n", "Kopano_1.prod-x"])
def test_names_that_resources_may_have_are_understood(node: Node, resource: str) -> None:
    node.started(resource=resource, services=FEW)
    assert node.monitor(10, resource=resource, services=FEW).code == 0
    assert node.probe(resource=resource, services=FEW).code == 0
    node.stopped(resource=resource, services=FEW)
    node.sh("systemctl start kopano-server")
    assert node.living() == {}, "the guard does not hold"


def test_hostile_environments_change_nothing(node: Node) -> None:
    """No OCF variable at all, as when it is called by hand; and a strange locale."""
    for setting in ("LC_ALL=POSIX", "LC_ALL=tr_TR.UTF-8", "PYTHONPATH=/tmp PYTHONHOME=/tmp",
                    "OCF_RESKEY_CRM_meta_timeout=0", "OCF_RESKEY_CRM_meta_timeout=soon",
                    "OCF_CHECK_LEVEL=-1", "OCF_CHECK_LEVEL=x"):
        found = node.sh(f"rc=0; env -i {setting} OCF_RESOURCE_INSTANCE=kopano "
                        "/usr/lib/ocf/resource.d/mailha/kopano monitor 2>&1 || rc=$?; echo =$rc")
        assert found.endswith("=7\n") and "Traceback" not in found, f"{setting}: {found}"
    for closed in ("<&-", ">&-", "2>&-", "<&- >&- 2>&-"):
        found = node.sh("rc=0; env -i OCF_RESOURCE_INSTANCE=kopano "
                        f"/usr/lib/ocf/resource.d/mailha/kopano monitor {closed} || rc=$?;"
                        " echo =$rc")
        assert found.endswith("=7\n"), f"{closed}: {found}"
