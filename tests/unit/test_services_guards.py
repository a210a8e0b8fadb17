# SPDX-License-Identifier: GPL-2.0-or-later
"""The drop-in that keeps a unit from running outside the cluster, and the proof that it does."""

from __future__ import annotations

import errno
from typing import Any, Dict

import pytest
from kopano_machine import RESOURCE, group, machine, unit
from mailha import errors
from mailha.services import active, guards, lock

SERVER = "kopano-server.service"
PATH = "/etc/systemd/system/kopano-server.service.d/zz-mailha.conf"


def prepare(where: Any) -> Dict[str, Dict[str, Any]]:
    return guards.prepare(where, list(group(["server"]).services), RESOURCE, timeout=10.0)


def test_a_guarded_unit_runs_only_where_the_group_is_active() -> None:
    where = machine()
    prepare(where)
    where.systemd.start(SERVER)
    assert unit(where, "server").active == "inactive"
    where.call(active.write, group(["server"]))
    where.systemd.start(SERVER)
    assert unit(where, "server").active == "active"


def test_after_a_power_loss_an_enabled_unit_does_not_start() -> None:
    where = machine()
    prepare(where)
    where.call(active.write, group(["server"]))
    where.reboot()
    where.systemd.start(SERVER)
    assert unit(where, "server").active == "inactive"


def test_the_drop_in_says_all_that_it_must() -> None:
    lines = guards.text("kopano:1").splitlines()
    for line in ("ConditionPathExists=/run/mailha/active/kopano:1",
                 "Before=pacemaker.service pacemaker_remote.service", "Restart=no",
                 "TimeoutStopSec=infinity"):
        assert line in lines


def test_a_percent_sign_is_no_specifier() -> None:
    assert "ConditionPathExists=/run/mailha/active/a%%b" in guards.text("a%b").splitlines()


def test_systemd_is_reloaded_only_when_something_changed() -> None:
    where = machine()
    prepare(where)
    prepare(where)
    assert where.systemd.reloads == 1


def test_a_drop_in_that_systemd_has_not_read_yet_is_read() -> None:
    where = machine()
    where.files.put(PATH, guards.text(RESOURCE).encode())
    prepare(where)
    assert where.systemd.reloads == 1
    assert unit(where, "server").conditions == ["/run/mailha/active/kopano_services"]


@pytest.mark.parametrize("properties, what", [
    ({"Restart": "always"}, "Restart=always"),
    ({"TimeoutStopUSec": 90_000_000}, "TimeoutStopSec=infinity"),
    ({"Conditions": []}, "does not see its condition"),
    ({"Conditions": [("ConditionPathExists", True, False,
                      "/run/mailha/active/kopano_services", 0)]}, "weakened"),
    ({"Conditions": [("ConditionPathExists", False, True,
                      "/run/mailha/active/kopano_services", 0)]}, "weakened"),
])
def test_a_guard_that_another_drop_in_overrides_is_said(properties: Dict[str, Any],
                                                        what: str) -> None:
    where = machine()
    unit(where, "server").properties = properties
    with pytest.raises(guards.GuardNotInForce, match=f"{what}.*systemctl cat {SERVER}"):
        prepare(where)


SHOWN = {"Conditions": "[unprintable]", "Id": SERVER, "DropInPaths": f"/run/x.conf {PATH}",
         "NeedDaemonReload": "no", "Restart": "no", "TimeoutStopUSec": "infinity"}


@pytest.mark.parametrize("change, what", [
    ({}, ""), ({"DropInPaths": "/run/x.conf"}, "has not read it"),
    ({"NeedDaemonReload": "yes"}, "older version"), ({"Restart": "always"}, "Restart=always"),
    ({"TimeoutStopUSec": "1min 30s"}, "TimeoutStopSec")])
def test_where_only_systemctl_answers_the_files_that_systemd_read_have_to_do(
        change: Dict[str, str], what: str) -> None:
    found = guards.flaw({**SHOWN, **change}, RESOURCE)
    assert what in found if what else found == ""


def test_the_guard_of_a_resource_that_is_gone_is_replaced() -> None:
    where = machine()
    where.files.put(PATH, guards.text("old").encode())
    prepare(where)
    assert where.call(guards.owner, SERVER) == RESOURCE


def test_a_file_of_that_name_by_somebody_else_is_seen_as_such() -> None:
    where = machine()
    assert where.call(guards.owner, SERVER) == ""
    where.files.put(PATH, b"[Service]\nNice=5\n")
    assert where.call(guards.owner, SERVER) == "?"


def test_taking_a_guard_down() -> None:
    where = machine()
    prepare(where)
    assert where.call(guards.take_down, SERVER)
    assert not where.call(guards.take_down, SERVER)
    assert PATH not in where.files.content


def test_a_read_only_etc_is_a_failure_that_says_so() -> None:
    where = machine()
    where.files.failing["/etc/systemd"] = errno.EROFS
    with pytest.raises(errors.Failed, match="Read-only file system"):
        prepare(where)


def test_a_full_etc_is_a_failure_that_says_so() -> None:
    where = machine()
    where.files.failing["/etc/systemd"] = errno.ENOSPC
    with pytest.raises(errors.Failed, match="No space left"):
        prepare(where)


def test_one_start_or_stop_at_a_time() -> None:
    where = machine()
    held = where.call(lock.take, RESOURCE, 5.0)
    begin = where.clock.monotonic()
    with pytest.raises(lock.Busy, match="lslocks"):
        where.call(lock.take, RESOURCE, 5.0)
    assert 5.0 <= where.clock.monotonic() - begin < 6.0
    held.release()
    where.call(lock.take, RESOURCE, 5.0).release()


def test_whoever_waits_gets_the_lock_when_it_is_free() -> None:
    where = machine()
    held = where.call(lock.take, RESOURCE, 5.0)
    where.clock.after(2.0, held.release)
    where.call(lock.take, RESOURCE, 5.0).release()
