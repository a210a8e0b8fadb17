# SPDX-License-Identifier: GPL-2.0-or-later
"""The administrator's tool on a node with BlueMind, whose units and services the node decides."""

from __future__ import annotations

from pathlib import Path
from typing import Optional

import pytest
from cli_machine import FILESYSTEM, call, configuration, guarded, kopano
from fake_machine import FakeMachine, FakeUnit
from mailha.cluster.cib import QUERY
from mailha.storage import acceptance, last_run
from mailha.storage.last_run import Record
from mailha.storage.version import Version

UNITS = ("bm-core.service", "bm-node.service", "bm-cyrus-imapd.service", "postfix.service",
         "postgresql.service", "postgresql@15-main.service")


def bluemind(name: str = "mail", **parameters: str) -> str:
    """Return the primitive of a resource."""
    return kopano(name, **parameters).replace('type="kopano"', 'type="bluemind"')


def node(*resources: str, version: Optional[str] = "4.9.2-1") -> FakeMachine:
    """Return a node with some units of BlueMind, as Debian has them."""
    made = FakeMachine()
    if resources:
        made.children.answer(QUERY, stdout=configuration(*resources))
    else:
        made.children.answer(QUERY, code=102, stderr=b"Could not connect: Not connected")
    made.children.answer(["dpkg-query"], code=1)
    if version is not None:
        made.children.answer(["dpkg-query", "-W", "-f", "${db:Status-Status} ${Version}\\n",
                              "bm-core"], stdout=f"installed {version}\n".encode())
    made.files.directories |= {"/etc/systemd/system", "/var/lib"}
    made.files.put("/etc/postgresql/15/main/postgresql.conf", b"")
    for name in UNITS if version is not None else ():
        properties = {"UnitFileState": "enabled"}
        if name == "postgresql.service":
            properties["ExecStart"] = [("/bin/true", ["/bin/true"], False)]  # type: ignore
        made.systemd.add(name, FakeUnit(properties=properties))
    return made


def test_guards_are_put_on_all_units_that_are_on_the_node() -> None:
    where = node(bluemind(), FILESYSTEM)
    said = call(where, "guards", "on", "mail")
    assert said.code == 0, said.err
    assert set(guarded(where)) == set(UNITS) - {"postgresql.service"}, \
        "Debian's postgresql.service runs nothing"


def test_guards_are_put_on_before_the_software_is_there() -> None:
    where = node(bluemind(), version=None)
    said = call(where, "guards", "on", "mail")
    assert said.code == 0, said.err
    assert {"bm-core.service", "bm-cyrus-imapd.service", "bm-keycloak.service",
            "postfix.service"} <= set(guarded(where))
    assert "guarded as soon as it is there" in " ".join(said.out.split())


def test_guards_are_put_on_the_services_that_are_named() -> None:
    where = node(bluemind(services="core postfix"))
    assert call(where, "guards", "on", "mail").code == 0
    assert set(guarded(where)) == {"bm-core.service", "postfix.service"}
    where = node(bluemind())
    assert call(where, "guards", "on", "mail", "--services", "cyrus").code == 0
    assert set(guarded(where)) == {"bm-cyrus-imapd.service"}


def test_without_a_cluster_what_is_installed_counts() -> None:
    where = node()
    said = call(where, "guards", "on", "mail")
    assert said.code == 0 and "taken for one of BlueMind" in said.err
    assert "bm-core.service" in guarded(where)


def test_what_is_enabled_at_boot_is_named_with_the_command() -> None:
    where = node(bluemind())
    call(where, "guards", "on", "mail")
    said = call(where, "guards", "show").out
    line = next(line for line in said.splitlines() if "systemctl disable" in line)
    assert set(line.split()[2:]) == set(guarded(where))


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Return a directory in which BlueMind 4.9 ran last."""
    last_run.write(FakeMachine(), str(tmp_path), Record(  # type: ignore[arg-type]
        "bluemind", Version("4.9.2-1"), "bob", 1.8e9), 30.0)
    return tmp_path


def test_a_newer_release_is_accepted_and_a_newer_build_needs_no_word(data: Path) -> None:
    where = node(bluemind(data_dir=str(data), require_mount="false"), version="4.10.0-1")
    said = call(where, "accept-version", "mail")
    assert said.code == 0 and "Accepted: BlueMind 4.10.0-1" in said.out
    where = node(bluemind(data_dir=str(data), require_mount="false"), version="4.9.7-3")
    said = call(where, "accept-version", "mail")
    assert said.code == 0 and "needs no word" in said.out


def test_an_older_version_is_accepted_only_for_restored_data(data: Path) -> None:
    where = node(bluemind(data_dir=str(data), require_mount="false"), version="4.8.9-1")
    said = call(where, "accept-version", "mail")
    assert said.code == 1 and "accept-version --restored mail" in said.err
    assert not where.files.names(acceptance.DIRECTORY)
    said = call(where, "accept-version", "--restored", "mail")
    assert said.code == 0 and "4.8.9-1 may start" in said.out and "4.9.2-1" in said.out
    assert where.call(acceptance.restored, "mail") is True
    assert call(where, "accept-version", "--show", "mail").out.count("4.8.9-1") == 1
    assert call(where, "accept-version", "--withdraw", "mail").code == 0


def test_a_resource_without_core_never_asks_for_a_word() -> None:
    where = node(bluemind(services="nginx"), bluemind("other"))
    said = call(where, "accept-version", "mail")
    assert said.code == 1 and "BlueMind's core" in said.err and "'other'" in said.err
