# SPDX-License-Identifier: GPL-2.0-or-later
"""The probe file: what it finds, and what it leaves (nothing).

The disks that lie are played by functions of the operating system that are put in place of the real
ones; the probe's child inherits them.
"""

from __future__ import annotations

import errno
import fcntl
import mmap
import os
import signal
from pathlib import Path
from typing import Any, NoReturn

import pytest

from mailha import errors
from mailha.storage import patience, probe_file
from mailha.storage.probe_file import Outcome
from mailha.system.child_failures import ChildFailed
from mailha.system.machine import Machine


def try_out(directory: Path, timeout: float = 60, **more: Any) -> Outcome:
    """Try a directory, and see that nothing is left in it that was not there before."""
    before = sorted(os.listdir(directory)) if directory.is_dir() else []
    outcome = probe_file.try_out(Machine(), str(directory), timeout=timeout, **more)
    assert (sorted(os.listdir(directory)) if directory.is_dir() else []) == before
    return outcome


def failing(monkeypatch: pytest.MonkeyPatch, module: Any, name: str, number: int) -> None:
    """Let a function fail."""
    def fail(*_: Any, **__: Any) -> NoReturn:
        raise OSError(number, os.strerror(number))
    monkeypatch.setattr(module, name, fail)


def test_a_good_disk_passes_and_stays_as_it_was(tmp_path: Path) -> None:
    (tmp_path / "cyrus.index").write_text("mail")
    outcome = try_out(tmp_path)
    assert (outcome.fault, outcome.remedy, outcome.warning) == ("", "", "")


@pytest.mark.parametrize("step, words", [
    ("mkdir", "cannot make a directory"), ("fsync", "cannot write through to the disk (fsync)"),
    ("link", "cannot give a file a second name (link)"),
    ("rename", "cannot replace a file that is open (rename)"), ("write", "cannot write")])
@pytest.mark.parametrize("number", [errno.EIO, errno.EROFS, errno.EPERM, errno.ESTALE])
def test_what_a_disk_cannot_do_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str,
                                        words: str, number: int) -> None:
    real = getattr(os, step)

    def fail(*arguments: Any, **more: Any) -> Any:
        # The way in which the child answers is none of the disk's.
        if step == "write" and os.readlink(f"/proc/self/fd/{arguments[0]}").startswith("pipe:"):
            return real(*arguments, **more)
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, step, fail)
    outcome = try_out(tmp_path)
    assert f"'{tmp_path}'" in outcome.fault and f"{words}: {os.strerror(number)}" in outcome.fault
    assert outcome.remedy and not outcome.warning


@pytest.mark.parametrize("step", ["mkdir", "fsync", "link"])
@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_or_quota_is_a_warning_and_no_fault(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str, number: int) -> None:
    failing(monkeypatch, os, step, number)
    outcome = try_out(tmp_path)
    assert not outcome.fault and os.strerror(number) in outcome.warning


def test_a_disk_that_takes_half_of_what_is_written_is_full(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.write
    monkeypatch.setattr(os, "write", lambda file, data: real(file, data[:100]))
    assert "No space left" in try_out(tmp_path).warning


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP])
def test_a_disk_without_locks_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
                                         number: int) -> None:
    failing(monkeypatch, fcntl, "lockf", number)
    assert f"cannot lock a file: {os.strerror(number)}" in try_out(tmp_path).fault


def test_locks_that_keep_nobody_out_are_found(tmp_path: Path,
                                              monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fcntl, "lockf", lambda *_: None)
    assert "does not keep another one out" in try_out(tmp_path).fault


def test_a_mapping_that_does_not_see_writes_is_found(tmp_path: Path,
                                                     monkeypatch: pytest.MonkeyPatch) -> None:
    real = mmap.mmap

    def private(file: int, length: int) -> mmap.mmap:
        memory = real(file, length, flags=mmap.MAP_PRIVATE, prot=mmap.PROT_READ | mmap.PROT_WRITE)
        memory[:1] = b"."       # from here on it is a copy
        return memory

    monkeypatch.setattr(mmap, "mmap", private)
    assert "(mmap)" in try_out(tmp_path).fault


def test_a_file_without_mappings_is_refused(tmp_path: Path,
                                            monkeypatch: pytest.MonkeyPatch) -> None:
    failing(monkeypatch, mmap, "mmap", errno.ENODEV)
    assert "cannot map a file into memory: No such device" in try_out(tmp_path).fault


@pytest.mark.parametrize("hidden", [".nfs0000deadbeef", ".fuse_hidden0000000100000001",
                                    ".new-in-ten-years"])
def test_silly_rename_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
                               hidden: str) -> None:
    """What NFS, sshfs and bindfs do to a file that is open when another one takes its name."""
    real = os.rename

    def silly(source: str, target: str, *, src_dir_fd: int, dst_dir_fd: int) -> None:
        os.link(target, hidden, src_dir_fd=dst_dir_fd, dst_dir_fd=dst_dir_fd)
        real(source, target, src_dir_fd=src_dir_fd, dst_dir_fd=dst_dir_fd)

    monkeypatch.setattr(os, "rename", silly)
    assert "silly rename" in try_out(tmp_path).fault


def test_a_copy_in_place_of_a_rename_is_found(tmp_path: Path,
                                              monkeypatch: pytest.MonkeyPatch) -> None:
    def copy(source: str, target: str, *, src_dir_fd: int, dst_dir_fd: int) -> None:
        file = os.open(target, os.O_WRONLY | os.O_TRUNC, dir_fd=dst_dir_fd)
        os.write(file, b"new")
        os.unlink(source, dir_fd=src_dir_fd)

    monkeypatch.setattr(os, "rename", copy)
    assert try_out(tmp_path).fault


def test_a_link_that_is_a_copy_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def copy(source: str, target: str, *, src_dir_fd: int, dst_dir_fd: int) -> None:
        os.close(os.open(target, os.O_WRONLY | os.O_CREAT, dir_fd=dst_dir_fd))

    monkeypatch.setattr(os, "link", copy)
    assert "(link)" in try_out(tmp_path).fault


def test_a_file_that_two_can_create_is_found(tmp_path: Path,
                                             monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.open
    monkeypatch.setattr(os, "open", lambda path, flags, *more, **named:
                        real(path, flags & ~os.O_EXCL, *more, **named))
    assert "created twice (O_EXCL)" in try_out(tmp_path).fault


def test_a_disk_that_hangs_is_given_up_in_time(tmp_path: Path,
                                               monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "fsync", lambda _: signal.pause())
    with pytest.raises(patience.DiskSilent) as caught:
        probe_file.try_out(Machine(), str(tmp_path), timeout=0.5)
    assert str(tmp_path) in str(caught.value)


def test_a_child_that_cannot_be_made_is_no_fault_of_the_disk(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    failing(monkeypatch, os, "fork", errno.EAGAIN)
    with pytest.raises(ChildFailed):
        try_out(tmp_path)


@pytest.mark.parametrize("number", [errno.ENOMEM, errno.EMFILE, errno.ENFILE, errno.EAGAIN])
def test_what_the_machine_lacks_is_no_fault_of_the_disk(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    """A start would ban the node for a disk that has nothing to do with it."""
    failing(monkeypatch, mmap, "mmap", number)
    with pytest.raises(errors.Failed, match=os.strerror(number)):
        try_out(tmp_path)


def test_a_directory_that_cyrus_has_yet_to_make_is_tried_above_it(tmp_path: Path) -> None:
    missing = tmp_path / "data" / "p1"
    assert not try_out(missing, mount_point=str(tmp_path)).fault
    assert "No such file" in try_out(missing).fault
    assert "No such file" in try_out(missing, mount_point=str(tmp_path / "data")).fault
    assert not missing.parent.exists()


def test_a_database_is_tried_in_its_directory(tmp_path: Path) -> None:
    (tmp_path / "mailboxes.db").write_text("x")
    assert not probe_file.try_out(Machine(), str(tmp_path / "mailboxes.db"), timeout=60,
                                  mount_point=str(tmp_path)).fault
    assert (tmp_path / "mailboxes.db").read_text() == "x"


def test_what_a_killed_probe_left_is_removed_and_nothing_else(tmp_path: Path) -> None:
    for name in ("7", "8"):
        (tmp_path / (probe_file.PREFIX + name)).mkdir()
        (tmp_path / (probe_file.PREFIX + name) / "shared").write_text("x")
    (tmp_path / "mail").mkdir()
    (tmp_path / "mail" / "1.").write_text("mail")
    (tmp_path / (probe_file.PREFIX + "9")).symlink_to("mail")
    old = 1_000_000_000
    os.utime(tmp_path / (probe_file.PREFIX + "7"), (old, old))
    os.utime(tmp_path / (probe_file.PREFIX + "9"), (old, old), follow_symlinks=False)
    assert not probe_file.try_out(Machine(), str(tmp_path), timeout=60).fault
    assert sorted(os.listdir(tmp_path)) == [*(probe_file.PREFIX + name for name in "89"), "mail"]
    assert (tmp_path / "mail" / "1.").read_text() == "mail"


def test_what_a_node_left_that_lost_power_is_in_nobody_s_way(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is too new to be removed, and the other node, just booted, counts its processes anew."""
    for number in range(os.getpid(), os.getpid() + 2000):
        (tmp_path / f"{probe_file.PREFIX}{number}").mkdir()
    assert not try_out(tmp_path).fault


def test_a_probe_that_ends_while_another_one_looks_is_no_fault(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two resources on one disk, or GFS2 on two nodes."""
    real = os.listdir
    other = [f"{probe_file.PREFIX}other"]
    monkeypatch.setattr(os, "listdir",
                        lambda where: real(where) + [other.pop() for _ in other[:]
                                                     if isinstance(where, int)])
    assert not probe_file.try_out(Machine(), str(tmp_path), timeout=60).fault
    assert real(tmp_path) == []


def test_two_probes_at_once_do_not_disturb_each_other(tmp_path: Path) -> None:
    """A start, and a person who calls the program."""
    readers = []
    for _ in range(4):
        reader, writer = os.pipe()
        if os.fork() == 0:
            try:
                outcome = probe_file.try_out(Machine(), str(tmp_path), timeout=60)
                os.write(writer, f"[{outcome.fault}]".encode())
            finally:
                os._exit(0)
        os.close(writer)
        readers.append(reader)
    answers = [os.read(reader, 4096) for reader in readers]
    for reader in readers:
        os.close(reader)
        os.wait()
    assert answers == [b"[]"] * 4 and os.listdir(tmp_path) == []
