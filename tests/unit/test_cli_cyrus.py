# SPDX-License-Identifier: GPL-2.0-or-later
"""The administrator's tool and instances of Cyrus, of which a node may have several."""

from __future__ import annotations

from pathlib import Path

from cli_machine import call, configuration, guarded
from fake_machine import FakeMachine, FakeUnit
from mailha.cluster.cib import QUERY
from mailha.storage import acceptance, last_run
from mailha.storage.version import Version

VERSION = "3.8.1-Debian-3.8.1-2"
UNIT = "mailha-cyrus@server1.service"


def instance(name: str, **parameters: str) -> str:
    """Return the primitive of an instance, in XML."""
    pairs = "".join(f'<nvpair id="{name}-{key}" name="{key}" value="{value}"/>'
                    for key, value in parameters.items())
    return (f'<primitive id="{name}" class="ocf" provider="mailha" type="cyrus">'
            f'<instance_attributes id="{name}-a">{pairs}</instance_attributes></primitive>')


def node(root: str, *, binaries: str = "/usr/lib/cyrus/bin") -> FakeMachine:
    """Return a node of a cluster with one instance, mounted at its root."""
    made = FakeMachine()
    made.children.answer(QUERY, stdout=configuration(
        instance("server1", ip="192.0.2.11", instance_root=root)))
    made.files.put(f"{binaries}/master", b"\x7fELF")
    made.children.answer([f"{binaries}/cyr_info"], stdout=f"cyrus-imapd {VERSION}\n".encode())
    made.files.directories.add("/etc/systemd/system")
    made.systemd.add(UNIT, FakeUnit(properties={"UnitFileState": "static"}))
    made.mount(root, "ext4", "/dev/server1")
    return made


def test_the_units_of_an_instance_are_guarded_by_the_name_of_its_resource(tmp_path: Path) -> None:
    where = node(str(tmp_path))
    said = call(where, "guards", "on", "server1")
    assert said.code == 0, said
    assert guarded(where) == {UNIT: "# mailha guard of the cluster resource server1"}
    assert UNIT in call(where, "guards", "show").out


def test_a_newer_release_of_cyrus_is_accepted_for_one_instance(tmp_path: Path) -> None:
    where = node(str(tmp_path))
    last_run.write(where, str(tmp_path),     # type: ignore[arg-type]
                   last_run.Record("cyrus", Version("3.6.1"), "bob", 1e9), 5.0)
    said = call(where, "accept-version", "server1")
    assert said.code == 0 and f"Accepted: Cyrus {VERSION}" in said.out, said
    assert "Cyrus 3.6.1 last ran on the data, on node" in " ".join(said.out.split())
    word = acceptance.accepted(where, "server1")     # type: ignore[arg-type]
    assert word is not None and word.text == VERSION
    assert "It is the Cyrus that is installed" in call(
        where, "accept-version", "--show", "server1").out


def test_the_programs_of_the_instances_own_tree_count(tmp_path: Path) -> None:
    where = node(str(tmp_path), binaries=f"{tmp_path}/bin")
    assert f"Accepted: Cyrus {VERSION}" in call(where, "accept-version", "server1").out


def test_a_data_directory_with_a_disk_of_its_own_is_looked_at(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    where = node(str(tmp_path))
    where.unmount(str(tmp_path))
    where.mount(f"{tmp_path}/data", "ext4", "/dev/server1")
    last_run.write(where, f"{tmp_path}/data",     # type: ignore[arg-type]
                   last_run.Record("cyrus", Version("3.10.0"), "bob", 1e9), 5.0)
    said = call(where, "accept-version", "server1")
    assert said.code == 1 and "older than 3.10.0" in said.err


def test_without_the_parameters_nobody_knows_what_last_ran(tmp_path: Path) -> None:
    where = node(str(tmp_path))
    where.children.answer(QUERY, stdout=configuration(
        instance("server1", imapd_conf="/etc/imapd.conf", cyrus_conf="/etc/cyrus.conf")))
    assert "data_dir is not set" in call(where, "accept-version", "server1").out
