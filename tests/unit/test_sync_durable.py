# SPDX-License-Identifier: GPL-2.0-or-later
"""Waiting for the disk: which way is taken, and that what went wrong is told."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Iterator, List

import pytest

from mailha.sync.files.mounts import MountTable
from mailha.sync.passive import durable
from mailha.sync.passive.durable import FEW, LITTLE, Syncer
from mailha.system.machine import Machine


class Disk:
    """A C library and an fsync() that write down what they are asked for."""

    def __init__(self) -> None:
        self.asked: List[str] = []
        self.answer = 0

    def syncfs(self, descriptor: int) -> int:
        """As syncfs(2)."""
        self.asked.append("syncfs")
        return self.answer

    def sync_file_range(self, *_: int) -> int:
        """As sync_file_range(2)."""
        return 0

    def fsync(self, descriptor: int) -> None:
        """As os.fsync()."""
        self.asked.append("fsync")


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Disk:
    found = Disk()
    monkeypatch.setattr(durable, "_LIBC", found)
    monkeypatch.setattr(os, "fsync", found.fsync)
    return found


@pytest.fixture
def files(tmp_path: Path) -> Iterator[List[int]]:
    """More open files than are waited for one by one."""
    found = [os.open(tmp_path / str(number), os.O_CREAT | os.O_WRONLY) for number in range(FEW + 2)]
    yield found
    for descriptor in found:
        os.close(descriptor)


@pytest.mark.parametrize("waiting,release,count,expected", [
    (0, "6.1.0-18-amd64", FEW, ["fsync"] * FEW),
    (0, "6.1.0-18-amd64", FEW + 1, ["syncfs"]),
    (LITTLE, "5.8.0", FEW + 1, ["syncfs"]),
    # A backup writes gigabytes.
    (LITTLE + 1, "6.1.0", FEW + 1, ["fsync"] * (FEW + 1)),
    # Where syncfs() does not tell of what could not be written, as on RHEL 8.
    (0, "4.18.0-553.el8_10.x86_64", FEW + 1, ["fsync"] * (FEW + 1)),
    (0, "5.7.19", FEW + 1, ["fsync"] * (FEW + 1)),
    (0, "unknown", FEW + 1, ["fsync"] * (FEW + 1))])
def test_the_whole_file_system_is_synchronised_only_where_that_is_cheap_and_safe(
        disk: Disk, files: List[int], waiting: int, release: str, count: int, expected: List[str]
        ) -> None:
    syncer = Syncer(lambda: waiting, release)
    syncer.sync(files[:count])
    syncer.close()
    assert disk.asked == expected


def test_a_disk_that_did_not_take_it_is_told(disk: Disk, files: List[int],
                                             monkeypatch: pytest.MonkeyPatch) -> None:
    disk.answer = -1
    monkeypatch.setattr("ctypes.get_errno", lambda: errno.EIO)
    with pytest.raises(OSError) as told:
        Syncer(lambda: 0, "6.1.0").sync(files)
    assert told.value.errno == errno.EIO


def test_what_waits_to_be_written_is_what_the_kernel_says() -> None:
    known = Path("/proc/meminfo").read_text()
    assert "\nDirty:" in known and "\nWriteback:" in known
    # It counts on meanwhile, but never a hundred times the memory of a machine.
    assert 0 <= durable._waiting() < 1 << 40


class Poll:
    """What tells of a change of the table of mounts: first of none, then of one."""

    def __init__(self) -> None:
        self.answers: List[List[int]] = [[], [], [1]]

    def register(self, *_: int) -> None:
        """As select.poll."""

    def unregister(self, *_: int) -> None:
        """As select.poll."""

    def poll(self, timeout: int) -> List[int]:
        """As select.poll."""
        return self.answers.pop(0)


def test_a_table_of_mounts_is_read_again_when_the_kernel_says_so(
        monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("select.poll", Poll)
    table = MountTable(Machine())
    try:
        first = table.points()
        assert "/proc" in first
        assert table.points() is first
        assert table.points() is not first
    finally:
        table.close()


def test_a_table_that_is_a_copy_is_read_each_time(tmp_path: Path) -> None:
    place = tmp_path / "proc/self/mountinfo"
    place.parent.mkdir(parents=True)
    place.write_text("22 1 0:21 / /srv rw - tmpfs tmpfs rw\n")
    table = MountTable(Machine(str(tmp_path)))
    assert table.points() == {"/srv"}
    place.write_text("22 1 0:21 / /srv\\040x rw - tmpfs tmpfs rw\n")
    assert table.points() == {"/srv x"}
