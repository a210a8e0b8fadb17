# SPDX-License-Identifier: GPL-2.0-or-later
"""Small files: whole or not at all, and nothing left behind."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path
from typing import Any

import pytest

from mailha import errors
from mailha.system.files import Files


def test_mode_is_as_asked_under_pacemakers_umask(tmp_path: Path) -> None:
    before = os.umask(0o026)
    try:
        Files().write_atomic(str(tmp_path / "x"), b"data", 0o644)
        Files().make_directory(str(tmp_path / "a/b"), 0o755)
    finally:
        os.umask(before)
    assert stat.S_IMODE(os.stat(tmp_path / "x").st_mode) == 0o644
    assert stat.S_IMODE(os.stat(tmp_path / "a/b").st_mode) == 0o755
    assert (tmp_path / "x").read_bytes() == b"data"


@pytest.mark.parametrize("call", ["write", "fsync", "rename", "fchmod"])
@pytest.mark.parametrize("number, remedy", [(errno.ENOSPC, "free space"),
                                            (errno.EROFS, "remount it")])
def test_full_or_read_only_disk_leaves_the_old_file_and_no_other(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str, number: int,
        remedy: str) -> None:
    path = tmp_path / "x"
    path.write_bytes(b"old")

    def fail(*_: Any, **__: Any) -> Any:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, call, fail)
    with pytest.raises(errors.Failed) as caught:
        Files().write_atomic(str(path), b"new")
    monkeypatch.undo()
    assert str(path) in str(caught.value) and remedy in str(caught.value)
    assert os.listdir(tmp_path) == ["x"]
    assert path.read_bytes() == b"old"


def test_short_writes_are_completed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write = os.write
    monkeypatch.setattr(os, "write", lambda descriptor, data: write(descriptor, data[:3]))
    Files().write_atomic(str(tmp_path / "x"), b"0123456789")
    assert (tmp_path / "x").read_bytes() == b"0123456789"


def test_missing_directory_is_named(tmp_path: Path) -> None:
    with pytest.raises(errors.Failed, match="create its directory"):
        Files().write_atomic(str(tmp_path / "no/x"), b"")


def test_read_tells_missing_from_unreadable_and_refuses_the_huge(tmp_path: Path) -> None:
    files = Files(str(tmp_path))
    (tmp_path / "x").write_bytes(b"12345")
    assert files.read("/x") == b"12345"
    assert files.read("/x", limit=5) == b"12345"
    with pytest.raises(errors.Failed, match="larger than 4 bytes"):
        files.read("/x", limit=4)
    with pytest.raises(FileNotFoundError):
        files.read("/none")
    with pytest.raises(IsADirectoryError):
        files.read("/")
    assert Files().read("/proc/self/mountinfo").count(b"\n") > 0


def test_fifo_in_the_place_of_a_file_does_not_hang(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "x")
    with pytest.raises(OSError, match="FIFO"):
        Files().read(str(tmp_path / "x"))


def test_device_is_told_from_a_file(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"")
    os.symlink("/dev/null", tmp_path / "link")
    found = [Files().is_device(path) for path in (
        "/dev/null", str(tmp_path / "link"), str(tmp_path / "x"), str(tmp_path), "/none")]
    assert found == [True, True, False, False, False]


def test_remove_exists_names_modified(tmp_path: Path) -> None:
    files = Files(str(tmp_path))
    assert files.remove("/x") is False
    assert files.modified("/x") is None
    files.write_atomic("/x", b"")
    os.symlink("nowhere", tmp_path / "link")
    assert files.exists("/x") and files.exists("/link") and not files.exists("/x/below")
    assert (files.modified("/x") or 0) > 0
    assert files.names("/") == ["link", "x"] and files.names("/none") == []
    assert files.remove("/x") is True and files.remove("/link") is True
    with pytest.raises(errors.Failed, match="cannot remove /"):
        files.remove("/")


def test_directory_is_not_made_over_a_file(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"")
    with pytest.raises(errors.Failed):
        Files(str(tmp_path)).make_directory("/x/y")
    with pytest.raises(errors.Failed, match="a file is there"):
        Files(str(tmp_path)).make_directory("/x")


def test_link_says_where_it_points_and_nothing_else_is_one(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"")
    os.symlink("../somewhere else", tmp_path / "link")
    files = Files(str(tmp_path))
    assert files.link("/link") == "../somewhere else"
    assert [files.link(path) for path in ("/x", "/", "/none", "/x/below")] == [""] * 4
    with pytest.raises(errors.Failed, match="cannot read the link"):
        files.link("/" + "x" * 300)


def test_block_device_has_a_number_and_nothing_else_has(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"")
    assert [Files().block_device(path) for path in (
        "/dev/null", str(tmp_path / "x"), str(tmp_path), "/none")] == [""] * 4
    for name in os.listdir("/dev"):
        info = os.stat(f"/dev/{name}") if os.path.exists(f"/dev/{name}") else None
        if info is not None and stat.S_ISBLK(info.st_mode):
            expected = f"{os.major(info.st_rdev)}:{os.minor(info.st_rdev)}"
            assert Files().block_device(f"/dev/{name}") == expected
