# SPDX-License-Identifier: GPL-2.0-or-later
"""Guards put on, taken off and shown by the administrator."""

from __future__ import annotations

import errno
from typing import Any, Dict, List

import pytest
from cli_machine import (FILESYSTEM, SERVICES, activate, call, guarded, kopano, node, widest)
from fake_machine import FakeMachine, FakeUnit

from mailha.services import guards

UNITS = [f"kopano-{name}.service" for name in SERVICES]
MARK = "# mailha guard of the cluster resource "


@pytest.fixture(autouse=True)
def as_root(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 0)


def put(where: FakeMachine, unit: str, text: str, name: str = "zz-mailha.conf") -> str:
    """Let a drop-in be there and be in systemd's mind; return its path."""
    path = f"/etc/systemd/system/{unit}.d/{name}"
    where.files.put(path, text.encode())
    where.systemd.reload()
    return path


def unit(where: FakeMachine, name: str) -> FakeUnit:
    return where.systemd._units[f"kopano-{name}.service"]


def starts(where: FakeMachine, name: str) -> bool:
    """Tell whether systemd starts the unit of a service when somebody asks for it."""
    where.systemd.start(f"kopano-{name}.service")
    started = unit(where, name).active == "active"
    where.systemd.stop(f"kopano-{name}.service")
    return started


# on

def test_on_guards_the_units_of_the_resource_and_no_others() -> None:
    where = node(FILESYSTEM, f'<group id="g">{kopano("mail", services="server gateway")}</group>')
    said = call(where, "guards", "on", "mail")
    assert (said.code, said.err) == (0, "") and widest(said.out) < 80
    assert guarded(where) == {"kopano-server.service": MARK + "mail",
                              "kopano-gateway.service": MARK + "mail"}
    assert where.systemd.reloads == 1
    assert not starts(where, "server") and not starts(where, "gateway") and starts(where, "ical")
    assert "kopano-server.service   guarded\n" in said.out
    assert "Only the cluster resource 'mail' can start these units" in said.out


def test_on_takes_the_usual_services_where_none_are_named() -> None:
    where = node(kopano("mail"))
    assert call(where, "guards", "on", "mail").code == 0
    assert sorted(guarded(where)) == sorted(UNITS)


def test_on_a_second_time_changes_nothing() -> None:
    where = node(kopano("mail"))
    call(where, "guards", "on", "mail")
    said = call(where, "guards", "on", "mail")
    assert said.code == 0 and "guarded as before" in said.out and where.systemd.reloads == 1


def test_on_writes_the_guards_before_the_software_is_there() -> None:
    """What a package starts at its installation would otherwise run once beside the cluster."""
    where = node(kopano("mail"), units=False)
    said = call(where, "guards", "on", "mail")
    assert said.code == 0 and "guarded as soon as it is there" in said.out
    where.systemd.add("kopano-server.service", FakeUnit())
    assert not starts(where, "server")


def test_on_a_masked_unit_is_guarded_for_the_day_it_is_unmasked() -> None:
    where = node(kopano("mail", services="server gateway"))
    unit(where, "gateway").load = "masked"
    said = call(where, "guards", "on", "mail")
    assert said.code == 0 and "masked: it cannot be started at all" in said.out
    assert "kopano-gateway.service" in guarded(where)


def test_on_goes_by_the_own_name_of_a_unit() -> None:
    where = node(kopano("mail", services="server"), units=False)
    where.systemd.add("zarafa-server.service", FakeUnit(aliases=["kopano-server.service"]))
    assert call(where, "guards", "on", "mail").code == 0
    assert list(guarded(where)) == ["zarafa-server.service"]


def test_on_fails_where_another_drop_in_takes_the_guard_away() -> None:
    where = node(kopano("mail", services="server"))
    unit(where, "server").properties["Restart"] = "always"
    said = call(where, "guards", "on", "mail")
    assert said.code == 1 and "not in force: Restart=always" in said.err
    assert "systemctl cat kopano-server.service" in said.err


def test_on_warns_of_a_unit_that_runs_already() -> None:
    where = node(kopano("mail", services="server gateway"))
    where.systemd.start("kopano-gateway.service")
    said = call(where, "guards", "on", "mail")
    assert said.code == 0 and said.err.count("\n") == 1
    assert "kopano-gateway.service runs outside the cluster" in said.err
    activate(where, "mail")
    assert call(where, "guards", "on", "mail").err == ""


def test_on_never_touches_what_somebody_else_has_written() -> None:
    where = node(kopano("mail"))
    text = "[Service]\nNice=5\n"
    path = put(where, "kopano-server.service", text)
    said = call(where, "guards", "on", "mail")
    assert said.code == 1 and path in said.err and "no guard of mailha's" in said.err
    assert where.files.content[path] == text.encode() and len(guarded(where)) == 1


@pytest.mark.parametrize("other_is", ["configured", "active"])
def test_on_refuses_a_unit_of_another_resource(other_is: str) -> None:
    others = [kopano("other", services="server gateway")] if other_is == "configured" else []
    where = node(kopano("mail"), *others)
    put(where, "kopano-gateway.service", guards.text("other"))
    if other_is == "active":
        activate(where, "other")
    said = call(where, "guards", "on", "mail")
    assert said.code == 1 and "guarded for the resource 'other'" in said.err
    assert list(guarded(where)) == ["kopano-gateway.service"]


def test_on_takes_over_from_a_resource_that_is_gone() -> None:
    where = node(kopano("mail"))
    put(where, "kopano-gateway.service", guards.text("old"))
    said = call(where, "guards", "on", "mail")
    assert said.code == 0 and "guarded, before for 'old'" in said.out
    assert guarded(where)["kopano-gateway.service"] == MARK + "mail"


def test_on_for_a_resource_without_units_is_refused() -> None:
    said = call(node(kopano("mail", manager="direct")), "guards", "on", "mail")
    assert said.code == 1 and "without systemd (manager=direct)" in said.err


def test_on_needs_systemd() -> None:
    where = node(kopano("mail"))
    where.systemd.is_running = False
    said = call(where, "guards", "on", "mail")
    assert said.code == 1 and "systemd does not run here" in said.err and not guarded(where)


def test_on_ends_when_systemd_is_silent() -> None:
    where = node(kopano("mail"))
    where.systemd.unavailable = True
    begin = where.clock.monotonic()
    said = call(where, "guards", "on", "mail")
    assert said.code == 1 and "systemd did not answer" in said.err
    assert where.clock.monotonic() - begin < 120.0


def test_on_waits_for_no_start_that_is_under_way() -> None:
    where = node(kopano("mail"))
    where.files.locked_by_others.add("/run/mailha/lock/mail")
    said = call(where, "guards", "on", "mail")
    assert said.code == 1 and "another start or stop of 'mail'" in said.err and not guarded(where)


def test_on_says_when_the_disk_is_full_or_read_only() -> None:
    where = node(kopano("mail"))
    where.files.failing["/etc"] = errno.EROFS
    said = call(where, "guards", "on", "mail")
    assert said.code == 1 and "Read-only" in said.err and not guarded(where)
    assert not where.files.locked


@pytest.mark.parametrize("given", [["server", "gateway"], ["server gateway"], ["server,gateway"]])
def test_on_without_a_cluster_takes_the_services_that_are_named(given: List[str]) -> None:
    where = node()
    said = call(where, "guards", "on", "mail", "--services", *given)
    assert said.code == 0 and "warning: cannot read the local CIB" in said.err
    assert sorted(guarded(where)) == ["kopano-gateway.service", "kopano-server.service"]


def test_on_without_a_cluster_asks_for_the_services() -> None:
    where = node()
    said = call(where, "guards", "on", "mail")
    assert said.code == 1 and "--services" in said.err and not guarded(where)


@pytest.mark.parametrize("given, word", [
    (["sever"], "'sever' in it, which is unknown"), (["ical"], "'mail' does not run ical"),
    (["server", "server"], "twice"), ([""], "nothing but blanks")])
def test_on_refuses_services_that_the_resource_does_not_run(given: List[str], word: str) -> None:
    where = node(kopano("mail", services="server gateway"))
    said = call(where, "guards", "on", "mail", "--services", *given)
    assert said.code == 1 and word in said.err and not guarded(where)


def test_on_asks_for_the_services_where_a_rule_decides() -> None:
    rule = ('<instance_attributes id="r" score="10"><rule id="ru" score="0"><expression id="e" '
            'attribute="#uname" operation="eq" value="bob"/></rule><nvpair id="rs" name="services" '
            'value="server"/></instance_attributes></primitive>')
    where = node(kopano("mail", services="gateway").replace("</primitive>", rule))
    said = call(where, "guards", "on", "mail")
    assert said.code == 1 and "depends on a rule" in said.err and "--services" in said.err
    assert call(where, "guards", "on", "mail", "--services", "gateway").code == 0


def test_on_for_an_instance_of_a_clone() -> None:
    where = node(f'<clone id="c">{kopano("mail", services="server")}</clone>')
    assert call(where, "guards", "on", "mail:0").code == 0
    assert guarded(where) == {"kopano-server.service": MARK + "mail"}


# off

def both(where: FakeMachine) -> FakeMachine:
    """Put guards of two resources and a file of somebody else's on the node."""
    for name in ("server", "spooler"):
        put(where, f"kopano-{name}.service", guards.text("mail"))
    put(where, "kopano-ical.service", guards.text("leaves"))
    put(where, "kopano-gateway.service", "[Service]\nNice=5\n")
    put(where, "kopano-server.service", "[Service]\nNice=5\n", "override.conf")
    where.systemd.reloads = 0
    return where


@pytest.mark.parametrize("cluster", [True, False])
def test_off_gives_back_the_units_of_the_resource_alone(cluster: bool) -> None:
    where = both(node(*[kopano("mail")] * cluster))
    unit(where, "server").properties["UnitFileState"] = "enabled"
    assert not starts(where, "server")
    said = call(where, "guards", "off", "mail")
    assert (said.code, said.err) == (0, "") and widest(said.out) < 80
    assert set(guarded(where)) == {"kopano-ical.service", "kopano-gateway.service"}
    assert "/etc/systemd/system/kopano-server.service.d/override.conf" in where.files.content
    assert where.systemd.reloads == 1 and starts(where, "server")
    assert "kopano-server.service   guard removed; it is enabled at boot\n" in said.out
    assert "kopano-spooler.service  guard removed\n" in said.out
    assert "can be started outside the cluster again" in said.out


def test_off_refuses_while_the_resource_is_active_here() -> None:
    where = both(node(kopano("mail")))
    activate(where, "mail")
    before = dict(where.files.content)
    said = call(where, "guards", "off", "mail")
    assert said.code == 1 and "'mail' is active on this node" in said.err and "--force" in said.err
    assert said.out == ""
    assert {path: text for path, text in where.files.content.items()
            if "/lock/" not in path} == before
    assert call(where, "guards", "off", "leaves").code == 0


def test_off_by_force_goes_on_with_a_warning() -> None:
    where = both(node(kopano("mail")))
    activate(where, "mail")
    where.files.locked_by_others.add("/run/mailha/lock/mail")
    said = call(where, "guards", "off", "--force", "mail")
    assert said.code == 0 and said.err.count("warning: ") == 2 and "is active" in said.err
    assert set(guarded(where)) == {"kopano-ical.service", "kopano-gateway.service"}


def test_off_waits_for_no_start_that_is_under_way() -> None:
    where = both(node(kopano("mail")))
    where.files.locked_by_others.add("/run/mailha/lock/mail")
    said = call(where, "guards", "off", "mail")
    assert said.code == 1 and "another start or stop" in said.err and len(guarded(where)) == 4


def test_off_for_an_unknown_resource_says_whose_guards_there_are() -> None:
    where = both(node())
    said = call(where, "guards", "off", "mial")
    assert said.code == 0 and len(guarded(where)) == 4
    assert "'mial'; there are guards of 'leaves', 'mail'." in " ".join(said.out.split())
    assert "nor of any other" in call(node(), "guards", "off", "mail").out


def test_off_takes_the_guards_of_a_clone_s_instances_too() -> None:
    where = node()
    put(where, "kopano-server.service", guards.text("mail:0"))
    assert call(where, "guards", "off", "mail").code == 0 and not guarded(where)


def test_off_says_when_a_condition_is_left_in_another_file() -> None:
    where = both(node())
    put(where, "kopano-server.service", guards.text("mail"), "50-copied.conf")
    said = call(where, "guards", "off", "mail")
    assert said.code == 0 and "its condition stands in another file" in " ".join(said.out.split())


def test_off_says_when_systemd_has_not_taken_note() -> None:
    where = both(node())
    where.systemd.unavailable = True
    said = call(where, "guards", "off", "mail")
    assert said.code == 1 and "the guards are removed, but systemd" in said.err
    assert "daemon-reload" in said.err and "kopano-server.service" not in guarded(where)


def test_off_all_takes_every_guard_and_nothing_else() -> None:
    where = both(node())
    said = call(where, "guards", "off", "--all")
    assert (said.code, said.err) == (0, "") and where.systemd.reloads == 1
    assert guarded(where) == {"kopano-gateway.service": "[Service]"}
    said = call(where, "guards", "off", "--all")
    assert said.code == 0 and said.out == "No unit on this node carries a guard.\n"


def test_off_all_works_without_systemd_and_without_the_cluster() -> None:
    where = both(node())
    where.systemd.is_running = False
    said = call(where, "guards", "off", "--all")
    assert (said.code, said.err) == (0, "") and "only the files were removed" in said.out
    assert list(guarded(where)) == ["kopano-gateway.service"] and where.systemd.reloads == 0
    assert all(ran.argv[0] != "/usr/sbin/cibadmin" for ran in where.children.ran)


def test_off_all_takes_nothing_while_one_of_them_is_active() -> None:
    where = both(node())
    activate(where, "mail")
    said = call(where, "guards", "off", "--all")
    assert said.code == 1 and "'mail' is active" in said.err and len(guarded(where)) == 4
    assert call(where, "guards", "off", "--all", "--force").code == 0
    assert list(guarded(where)) == ["kopano-gateway.service"]


# show

def rows(text: str) -> Dict[str, List[str]]:
    """Return the cells of each row of the table, by unit; notes are left out."""
    return {line.split()[0]: [cell.strip() for cell in line.split("  ") if cell.strip()][1:]
            for line in text.partition("\n\n")[0].splitlines() if not line.startswith(" ")}


def test_show_tells_of_every_guard() -> None:
    where = both(node())
    unit(where, "server").properties["UnitFileState"] = "enabled"
    unit(where, "spooler").properties["TimeoutStopUSec"] = 90_000_000
    put(where, "gone.service", guards.text("mail"))
    put(where, "kopano-dagent.service", guards.text("leaves"))
    unit(where, "dagent").load = "masked"
    activate(where, "mail")
    said = call(where, "guards", "show")
    assert (said.code, said.err) == (0, "") and widest(said.out) < 80
    found = rows(said.out)
    assert found.pop("UNIT") == ["RESOURCE", "GUARD", "AT BOOT", "ACTIVE HERE"]
    assert found == {
        "kopano-server.service": ["mail", "in force", "enabled", "yes"],
        "kopano-spooler.service": ["mail", "not in force", "disabled", "yes"],
        "gone.service": ["mail", "not in force", "-", "yes"],
        "kopano-ical.service": ["leaves", "in force", "disabled", "no"],
        "kopano-dagent.service": ["leaves", "not in force", "disabled", "no"],
        "kopano-gateway.service": ["?", "not in force", "disabled", "-"]}
    text = " ".join(said.out.split())
    assert "its TimeoutStopSec=infinity is not in force: see 'systemctl cat kopano-spooler" in text
    assert "there is no such unit (systemd: not-found)" in text
    assert "is masked" in text and "is never touched" in text


def test_show_tells_of_a_guard_that_was_written_and_not_loaded() -> None:
    where = node()
    where.files.put("/etc/systemd/system/kopano-server.service.d/zz-mailha.conf",
                    guards.text("mail").encode())
    said = call(where, "guards", "show")
    assert said.code == 0 and "systemd does not see its condition" in said.out


def test_show_tells_why_a_unit_does_not_start_and_what_to_disable() -> None:
    where = both(node(kopano("mail")))
    unit(where, "server").properties["UnitFileState"] = "enabled"
    unit(where, "spooler").properties["UnitFileState"] = "enabled-runtime"
    text = call(where, "guards", "show").out
    said = " ".join(text.split())
    assert "starts only while its resource is active on this node" in said
    assert "Where 'crm_mon -1r' shows it started on no node:" in said
    assert "'crm resource start leaves'" in said and "'pcs resource enable leaves'" in said
    assert "\n    systemctl disable kopano-server.service\n" in text


def test_show_names_guards_that_no_resource_stands_behind_any_more() -> None:
    where = both(node(kopano("mail")))
    text = call(where, "guards", "show").out
    assert "Orphaned: the cluster has no resource 'leaves'" in " ".join(text.split())
    assert "\n    mailha guards off leaves\n" in text and "guards off mail" not in text
    assert "Orphaned" not in call(both(node()), "guards", "show").out, "nobody knows"


def test_show_waits_for_a_silent_systemd_once() -> None:
    where = both(node())
    where.systemd.unavailable = True
    begin = where.clock.monotonic()
    said = call(where, "guards", "show")
    assert said.code == 0 and where.clock.monotonic() - begin < 15.0
    assert "did not answer in time" in said.out and "systemd does not answer" in said.out


def test_show_without_systemd() -> None:
    where = both(node())
    where.systemd.is_running = False
    said = call(where, "guards", "show")
    assert said.code == 0 and "it is not running here" in said.out


@pytest.mark.parametrize("argv", [["show"], ["off", "--all"], ["on", "mail"]])
def test_a_guard_that_cannot_be_read_is_an_error(argv: List[str]) -> None:
    where: Any = node(kopano("mail"))
    put(where, "kopano-server.service", guards.text("mail"))
    where.files.failing["/etc/systemd/system/kopano-server.service.d"] = errno.EIO
    said = call(where, "guards", *argv)
    assert said.code == 1 and "cannot read /etc/systemd/system/kopano-server" in said.err


@pytest.mark.parametrize("first", [MARK, MARK + "a b", MARK + "../x", MARK + "-x", MARK + "x\x7f"])
def test_a_guard_with_a_name_that_no_resource_has_is_somebody_elses(first: str) -> None:
    where = node(kopano("mail"))
    put(where, "kopano-server.service", first + "\n")
    assert rows(call(where, "guards", "show").out)["kopano-server.service"][0] == "?"
    assert call(where, "guards", "off", "--all").code == 0
    assert call(where, "guards", "on", "mail").code == 1
    assert len(guarded(where)) == 1
