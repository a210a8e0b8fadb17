# SPDX-License-Identifier: GPL-2.0-or-later
"""The administrator's word for a newer release: when it is given, and what is said about it."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest
from cli_machine import (FILESYSTEM, VERSION, call, configuration, kopano, node, widest)
from fake_machine import FakeMachine

from mailha.cluster.cib import QUERY
from mailha.storage import acceptance
from mailha.storage.last_run import Record
from mailha.storage.version import Version


@pytest.fixture(autouse=True)
def as_root(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 0)


def accepted(where: FakeMachine, name: str = "mail") -> str:
    """Return the version that a start of the resource would find accepted."""
    version = where.call(acceptance.accepted, name)
    return str(version) if version is not None else ""


def ran(directory: Path, version: str) -> None:
    """Let a version have run on the data in a directory."""
    record = Record("kopano", Version(version), "bob", 1_700_000_000.0)
    (directory / ".mailha-last-run").write_text(record.text())


def test_the_installed_version_is_accepted_and_what_follows_is_said() -> None:
    where = node(FILESYSTEM, f'<group id="g">{kopano("mail")}</group>')
    said = call(where, "accept-version", "mail")
    assert (said.code, said.err) == (0, "") and accepted(where) == VERSION
    text = " ".join(said.out.split())
    assert f"Accepted: Kopano {VERSION}" in text
    assert "not known here: '/var/lib/kopano' is no mount point" in text
    assert "upgrades the database. There is no way back" in text and "backup" in text
    assert f"Install {VERSION} on the other nodes as well" in text
    assert "\n     crm_resource --cleanup -r mail\n" in said.out
    assert "\n     mailha accept-version --withdraw mail\n" in said.out
    assert widest(said.out) < 80


def test_what_last_ran_is_said_where_the_data_is_mounted(tmp_path: Path) -> None:
    ran(tmp_path, "8.7.25.0-0+1")
    where = node(kopano("mail", data_dir=str(tmp_path)))
    where.mount(str(tmp_path))
    said = call(where, "accept-version", "mail")
    text = " ".join(said.out.split())
    assert said.code == 0 and accepted(where) == VERSION
    assert ("Kopano 8.7.25.0-0+1 last ran on the data, on node 'bob', started 2023-11-14 22:13 UTC."
            in text)
    assert "The next start of 'mail' on this node upgrades the database" in text


def test_data_that_is_not_mounted_is_not_looked_at(tmp_path: Path) -> None:
    ran(tmp_path, "12.0")
    where = node(kopano("mail", data_dir=str(tmp_path)))
    assert call(where, "accept-version", "mail").code == 0
    assert accepted(where) == VERSION
    where = node(kopano("mail", data_dir=str(tmp_path), require_mount="no"))
    assert call(where, "accept-version", "mail").code == 1
    assert accepted(where) == ""


def test_no_word_helps_older_software(tmp_path: Path) -> None:
    ran(tmp_path, "12.0.1")
    where = node(kopano("mail", data_dir=str(tmp_path)))
    where.mount(str(tmp_path))
    said = call(where, "accept-version", "mail")
    assert said.code == 1 and accepted(where) == "" and said.out == ""
    assert "older than 12.0.1" in said.err and "update this node" in said.err


@pytest.mark.parametrize("version", [VERSION, "11.0.0", "11.0.0-0+9"])
def test_a_word_that_is_not_needed_is_not_given(tmp_path: Path, version: str) -> None:
    """A word that lay about could wave through an upgrade that nobody has thought of."""
    ran(tmp_path, version)
    where = node(kopano("mail", data_dir=str(tmp_path)))
    where.mount(str(tmp_path))
    said = call(where, "accept-version", "mail")
    assert said.code == 0 and accepted(where) == ""
    assert "needs no word" in said.out and "the same release" in " ".join(said.out.split())


def test_a_disk_that_does_not_answer_keeps_nobody_waiting(tmp_path: Path) -> None:
    where = node(kopano("mail", data_dir=str(tmp_path)))
    where.mount(str(tmp_path))
    where.children.hanging.add("*")
    begin = where.clock.monotonic()
    said = call(where, "accept-version", "mail")
    assert said.code == 0 and accepted(where) == VERSION
    assert where.clock.monotonic() - begin < 20.0
    assert "did not answer" in " ".join(said.out.split())


@pytest.mark.parametrize("content, word", [
    ("format 9\n", "damaged"), (None, "no record")])
def test_a_record_that_says_nothing_is_no_obstacle(tmp_path: Path, content: str,
                                                   word: str) -> None:
    if content:
        (tmp_path / ".mailha-last-run").write_text(content)
    where = node(kopano("mail", data_dir=str(tmp_path)))
    where.mount(str(tmp_path))
    said = call(where, "accept-version", "mail")
    assert said.code == 0 and accepted(where) == VERSION and word in said.out


@pytest.mark.parametrize("name, words", [
    ("nothing", ["no resource 'nothing'", "name one of 'mail', 'leaves'"]),
    ("fs", ["ocf:heartbeat:Filesystem", "name one of 'mail', 'leaves'"]),
    ("g", ["'g' is a group or a clone", "name 'mail'"]),
    ("g2", ["'g2' is a group or a clone", "name one of 'mail', 'leaves'"]),
    ("leaves", ["does not run Kopano's server", "name 'mail'"]),
    ("mail:0", ["in no clone", "name 'mail'"]),
    ("-x/../y", ["unrecognized arguments"]), ("a b", ["has a blank"]), ("", ["blanks"]),
    ("../etc", ["'/'"]), ("x" * 300, ["no resource"])])
def test_a_name_that_cannot_be_meant_is_refused_with_those_that_can(
        name: str, words: "list[str]") -> None:
    where = node(f'<group id="g">{FILESYSTEM}{kopano("mail")}</group>',
                 f'<clone id="g2">{FILESYSTEM.replace("fs", "fs2")}</clone>',
                 kopano("leaves", services="gateway ical"))
    said = call(where, "accept-version", name)
    assert said.code == (2 if name.startswith("-") else 1) and said.out == ""
    assert said.err.count("\n") == 1
    if not name.startswith("-"):
        assert all(word in said.err for word in words), said.err
    assert not where.files.names(acceptance.DIRECTORY)


def test_a_cluster_without_a_mail_server_says_so() -> None:
    said = call(node(FILESYSTEM), "accept-version", "mail")
    assert said.code == 1 and "none that is run by one of 'ocf:mailha:" in said.err


def test_a_parameter_that_is_wrong_in_the_cluster_is_named() -> None:
    said = call(node(kopano("mail", services="server sever")), "accept-version", "mail")
    assert said.code == 1 and "parameter services of 'mail'" in said.err and "sever" in said.err


def test_the_word_is_filed_under_the_name_that_the_agent_is_called_with() -> None:
    anonymous = node(f'<clone id="c">{kopano("mail")}</clone>')
    assert call(anonymous, "accept-version", "mail:1").code == 0
    assert anonymous.files.names(acceptance.DIRECTORY) == ["mail"]
    unique = node(f'<clone id="c"><meta_attributes id="m"><nvpair id="n" name="globally-unique" '
                  f'value="true"/></meta_attributes>{kopano("mail")}</clone>')
    said = call(unique, "accept-version", "mail:1")
    assert said.code == 0 and unique.files.names(acceptance.DIRECTORY) == ["mail:1"]
    assert "crm_resource --cleanup -r mail\n" in said.out


def test_a_node_without_a_cluster_can_be_prepared_with_a_warning() -> None:
    where = node()
    begin = where.clock.monotonic()
    said = call(where, "accept-version", "mail")
    assert said.code == 0 and accepted(where) == VERSION
    assert said.err.startswith("mailha: warning: cannot read the local CIB")
    assert "nobody can say whether there is a resource 'mail'" in said.err
    assert "taken for one of Kopano, which alone is installed" in said.err
    assert where.clock.monotonic() - begin < 10.0


def test_without_a_cluster_and_with_two_mail_servers_somebody_has_to_say_which() -> None:
    where = node()
    where.children.answer(["dpkg-query"], stdout=b"installed 4.9.2-1\n")     # of any package
    said = call(where, "accept-version", "mail")
    assert said.code == 1 and accepted(where) == "" and said.out == ""
    assert "Kopano and BlueMind are installed here; say it with --product" in said.err
    said = call(where, "accept-version", "--product", "bluemind", "mail")
    assert said.code == 0 and "taken for one of BlueMind, as --product says" in said.err
    assert accepted(where) == "4.9.2-1" and "BlueMind 4.9.2-1" in said.out
    assert call(where, "accept-version", "--product", "exchange", "mail").code == 2


def test_the_cluster_knows_best_what_a_resource_runs() -> None:
    where = node(kopano("mail"))
    said = call(where, "accept-version", "--product", "cyrus", "mail")
    assert said.code == 1 and "the cluster runs 'mail' by ocf:mailha:kopano" in said.err
    assert call(where, "accept-version", "--product", "kopano", "mail").code == 0


def test_without_the_software_there_is_no_word() -> None:
    where = node(kopano("mail"), version=None)
    said = call(where, "accept-version", "mail")
    assert said.code == 1 and "not installed here" in said.err and accepted(where) == ""


def test_a_full_disk_is_said() -> None:
    where = node(kopano("mail"))
    where.files.failing["/var/lib/mailha"] = errno.ENOSPC
    said = call(where, "accept-version", "mail")
    assert said.code == 1 and "No space left" in said.err and said.out == ""


def test_the_word_is_shown_and_compared_with_what_is_installed() -> None:
    where = node(kopano("mail"))
    assert call(where, "accept-version", "--show", "mail").out == (
        "No version is accepted for 'mail' on this node.\n")
    call(where, "accept-version", "mail")
    said = call(where, "accept-version", "--show", "mail")
    assert said.code == 0 and VERSION in said.out and "It is the Kopano that is" in said.out
    where.children.answer(["dpkg-query"], stdout=b"installed 11.1.0-1\n")
    said = call(where, "accept-version", "--show", "mail")
    assert VERSION in said.out and "But Kopano 11.1.0-1 is installed" in said.out
    where.children.answer(["dpkg-query"], code=1)
    assert "not installed here" in call(where, "accept-version", "--show", "mail").out


def test_the_word_can_be_withdrawn_even_when_the_resource_is_gone() -> None:
    where = node(kopano("mail"))
    call(where, "accept-version", "mail")
    where.children.answer(QUERY, stdout=configuration(FILESYSTEM))
    said = call(where, "accept-version", "--withdraw", "mail:0")
    assert said.code == 0 and "Withdrawn" in said.out and accepted(where) == ""
    said = call(where, "accept-version", "--withdraw", "mail")
    assert said.code == 0 and "No version was accepted for 'mail'" in said.out


def test_a_damaged_word_is_an_error_to_show_and_can_be_withdrawn() -> None:
    where = node(kopano("mail"))
    where.files.put(f"{acceptance.DIRECTORY}/mail", b"garbage")
    said = call(where, "accept-version", "--show", "mail")
    assert said.code == 1 and "does not name one accepted version" in said.err
    assert call(where, "accept-version", "--withdraw", "mail").code == 0
    assert where.files.names(acceptance.DIRECTORY) == []


@pytest.mark.parametrize("option", ["--show", "--withdraw"])
def test_a_name_that_leads_elsewhere_is_refused(option: str) -> None:
    said = call(node(kopano("mail")), "accept-version", option, "../mail")
    assert said.code == 1 and said.err.count("\n") == 1 and "name of a resource" in said.err
