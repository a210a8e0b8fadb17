# SPDX-License-Identifier: GPL-2.0-or-later
"""Versions, the record of what last ran on the data, and the administrator's word."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fake_machine import FakeMachine
from mailha import errors
from mailha.storage import acceptance, last_run, patience
from mailha.storage.version import Version, VersionUnreadable
from mailha.system.machine import Machine

MACHINE = Machine()


# Versions

@pytest.mark.parametrize("older, newer", [
    ("4.9", "4.10"), ("8.7.25.0-0+123.1", "8.7.26.0-0+1.1"), ("8.7", "8.7.1"),
    ("11.0~beta1", "11.0"), ("11.0~beta1", "11.0~beta2"), ("11.0", "11.0a"),
    ("8.7.9", "8.7.25"), ("10.0.6", "11"),
    ("5.1.9", "5.1.10232"), ("08.6", "8.7")])
def test_numbers_count_as_numbers(older: str, newer: str) -> None:
    assert Version(older).older(Version(newer))
    assert not Version(newer).older(Version(older))
    assert Version(older) < Version(newer) and Version(older) != Version(newer)


def test_an_epoch_does_not_make_old_software_new() -> None:
    """Epochs exist so that a package manager takes a downgrade; the data does not."""
    assert Version("1:8.6.0-1").older(Version("8.7.25-1"))
    assert not Version("1:8.6.0-1").newer_release(Version("8.7.25-1"))


@pytest.mark.parametrize("one, other", [
    ("8.7.25.0-0+123.1", "8.7.25.0-0+deb12u1"), ("1:10.0.6", "10.0.6"), ("10.0.6-1.el9", "10.0.6"),
    ("8.07", "8.7"), ("8.7.25", "8.7.25.0-0+123.1"), ("11", "11.0.0")])
def test_packaging_makes_no_other_software(one: str, other: str) -> None:
    assert Version(one) == Version(other) and hash(Version(one)) == hash(Version(other))
    assert not Version(one).older(Version(other)) and not Version(other).older(Version(one))


@pytest.mark.parametrize("text, release", [
    ("8.7.25.0-0+123.1", (8, 7)), ("1:10.0.6", (10, 0)), ("11", (11, 0)), ("4.10.3", (4, 10)),
    ("3.8~rc1", (3, 8))])
def test_a_release_is_the_first_two_numbers(text: str, release: object) -> None:
    assert Version(text).release == release


def test_a_new_build_of_a_release_is_no_new_release() -> None:
    assert not Version("8.7.26").newer_release(Version("8.7.25"))
    assert Version("8.8.0").newer_release(Version("8.7.25"))
    assert Version("4.10").newer_release(Version("4.9.99"))
    assert not Version("4.9").newer_release(Version("4.10"))


@pytest.mark.parametrize("text", ["", "abc", "v8.7", "8 7", "8.7\n9", "-1", "1:", ":1", "8.7/9",
                                  "é", "8" * 300])
def test_what_is_no_version_is_refused(text: str) -> None:
    with pytest.raises(VersionUnreadable):
        Version(text)


VERSIONS = st.from_regex(r"(?:[0-9]:)?[0-9][0-9a-z.+~]{0,10}(?:-[0-9a-z.+~]{1,4})?",
                         fullmatch=True).map(Version)


@given(VERSIONS, VERSIONS, VERSIONS)
def test_versions_are_totally_ordered(one: Version, two: Version, three: Version) -> None:
    assert one.older(two) + two.older(one) + (one == two) == 1
    if one.older(two) and two.older(three):
        assert one.older(three)


@given(st.lists(st.integers(0, 99), min_size=2, max_size=4),
       st.lists(st.integers(0, 99), min_size=2, max_size=4))
def test_plain_versions_order_like_their_numbers(one: Any, two: Any) -> None:
    left, right = (Version(".".join(map(str, numbers))) for numbers in (one, two))
    # A ".0" at the end says nothing.
    padded = [numbers + [0] * (4 - len(numbers)) for numbers in (one, two)]
    assert left.older(right) == (padded[0] < padded[1])
    assert left.newer_release(right) == (one[:2] > two[:2])


@given(st.text(max_size=30))
def test_no_text_at_all_raises_anything_but_a_reason(text: str) -> None:
    try:
        Version(text)
    except VersionUnreadable as error:
        assert "\n" not in str(error) or "\n" in text


# The record of the last run

RECORD = last_run.Record("kopano", Version("8.7.25.0-0+123.1"), "alice", 1_700_000_000.0)
TEXT = (b"format 1\nsoftware kopano\nversion 8.7.25.0-0+123.1\nnode alice\n"
        b"time 2023-11-14T22:13:20Z\nend\n")


def test_what_was_written_is_read(tmp_path: Path) -> None:
    last_run.write(MACHINE, str(tmp_path), RECORD, 20)
    assert (tmp_path / ".mailha-last-run").read_bytes() == TEXT
    found = last_run.read(MACHINE, str(tmp_path), 20)
    assert found is not None
    assert (found.software, found.version.text, found.node, found.when) == \
        ("kopano", "8.7.25.0-0+123.1", "alice", 1_700_000_000.0)


def test_no_record_is_no_error(tmp_path: Path) -> None:
    assert last_run.read(MACHINE, str(tmp_path), 20) is None


def test_the_record_can_be_read_by_people_under_pacemakers_umask(tmp_path: Path) -> None:
    before = os.umask(0o026)
    try:
        last_run.write(MACHINE, str(tmp_path), RECORD, 20)
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / ".mailha-last-run").stat().st_mode) == 0o644


def test_a_newer_record_replaces_the_older_one_and_leaves_nothing_behind(tmp_path: Path) -> None:
    for version in ("8.6.0", "8.7.0"):
        last_run.write(MACHINE, str(tmp_path),
                       last_run.Record("kopano", Version(version), "bob", 0.0), 20)
    assert [path.name for path in tmp_path.iterdir()] == [".mailha-last-run"]
    found = last_run.read(MACHINE, str(tmp_path), 20)
    assert found is not None and found.version.text == "8.7.0"


@pytest.mark.parametrize("content, word", [
    (b"", "first line"), (b"format 2\n", "first line"), (TEXT[:-4], "no end"),
    (TEXT[:-1], "no end"), (TEXT.replace(b"kopano", b""), "no software"),
    (TEXT.replace(b"node alice\n", b""), "no node"), (TEXT.replace(b"8.7.25", b"x"), "no version"),
    (TEXT.replace(b"2023-11", b"2023-13"), "time"), (b"\xff" + TEXT, "UTF-8"),
    (TEXT + b"x" * 5000, "bytes")])
def test_a_damaged_record_is_told_from_a_missing_one(tmp_path: Path, content: bytes,
                                                     word: str) -> None:
    (tmp_path / ".mailha-last-run").write_bytes(content)
    with pytest.raises(last_run.RecordDamaged) as caught:
        last_run.read(MACHINE, str(tmp_path), 20)
    assert word in str(caught.value) and ".mailha-last-run" in str(caught.value)


def test_records_that_are_no_files_are_damaged_and_never_hang(tmp_path: Path) -> None:
    for make in (lambda path: path.symlink_to("/etc/passwd"), lambda path: os.mkfifo(path),
                 lambda path: path.mkdir()):
        place = tmp_path / str(len(list(tmp_path.iterdir())))
        place.mkdir()
        make(place / ".mailha-last-run")
        with pytest.raises(last_run.RecordDamaged):
            last_run.read(MACHINE, str(place), 20)


def test_writing_never_follows_a_link(tmp_path: Path) -> None:
    """The data directory belongs to the mail software's user, who may put a link there."""
    victim = tmp_path / "victim"
    victim.write_text("precious")
    data = tmp_path / "data"
    data.mkdir()
    (data / ".mailha-last-run").symlink_to(victim)
    last_run.write(MACHINE, str(data), RECORD, 20)
    assert victim.read_text() == "precious"
    assert not (data / ".mailha-last-run").is_symlink()


def test_a_missing_directory_is_a_reason(tmp_path: Path) -> None:
    with pytest.raises(errors.Failed) as caught:
        last_run.write(MACHINE, str(tmp_path / "gone"), RECORD, 20)
    assert "gone" in str(caught.value) and "No such file" in str(caught.value)


def test_a_silent_disk_is_named() -> None:
    machine: Any = FakeMachine()
    machine.children.hanging.add("*")
    with pytest.raises(patience.DiskSilent) as caught:
        last_run.read(machine, "/srv/kopano", 4)
    assert "/srv/kopano" in str(caught.value) and "4 s" in str(caught.value)


@given(st.binary(max_size=200))
def test_no_bytes_at_all_raise_anything_but_damage(content: bytes) -> None:
    try:
        last_run.parse(content, "/x")
    except last_run.RecordDamaged as error:
        assert str(error)


# The administrator's word

def test_a_word_names_exactly_one_version_and_is_used_up() -> None:
    machine: Any = FakeMachine()
    assert acceptance.accepted(machine, "kopano") is None
    acceptance.accept(machine, "kopano", Version("8.7.0-1"))
    acceptance.accept(machine, "kopano", Version("9.0.0-1"))
    found = acceptance.accepted(machine, "kopano")
    assert found is not None and found.text == "9.0.0-1"
    assert acceptance.accepted(machine, "other") is None
    assert acceptance.consume(machine, "kopano") is True
    assert acceptance.consume(machine, "kopano") is False
    assert acceptance.accepted(machine, "kopano") is None


def test_each_instance_of_a_clone_has_its_own_word() -> None:
    machine: Any = FakeMachine()
    acceptance.accept(machine, "kopano:0", Version("9.0"))
    assert acceptance.accepted(machine, "kopano:1") is None


@pytest.mark.parametrize("name", ["", ".", "..", "../etc", "a/b", "a\0b", ".hidden"])
def test_a_name_cannot_lead_out_of_the_directory(name: str) -> None:
    machine: Any = FakeMachine()
    with pytest.raises(errors.Failed):
        acceptance.accept(machine, name, Version("9.0"))


@pytest.mark.parametrize("content", [
    b"", b"9.0\n", b"format 1\nversion \nend\n", b"format 2\nversion 9.0\nend\n", b"\xff",
    b"format 1\nversion 9.0\n", b"format 1\nversion 9.0\nversion 9.1\nend\n"])
def test_a_damaged_word_is_none(content: bytes) -> None:
    machine: Any = FakeMachine()
    machine.files.put(acceptance.path_of("kopano"), content)
    with pytest.raises(acceptance.AcceptanceDamaged) as caught:
        acceptance.accepted(machine, "kopano")
    assert "mailha accept-version" in str(caught.value)


def test_a_word_that_cannot_be_written_is_a_reason() -> None:
    machine: Any = FakeMachine()
    machine.files.failing["/var"] = errno.ENOSPC
    with pytest.raises(errors.Failed) as caught:
        acceptance.accept(machine, "kopano", Version("9.0"))
    assert "No space left" in str(caught.value)
