# SPDX-License-Identifier: GPL-2.0-or-later
"""Links are followed, and only where nothing can hang."""

from __future__ import annotations

import errno
import os
import sys
from pathlib import Path
from typing import Any, Callable, Dict, List, NoReturn

import pytest

from fake_machine import FakeMachine
from mailha import errors
from mailha.storage import mountinfo, patience, remembered, symlinks
from mailha.system.machine import Machine

TABLE = mountinfo.Table(b"""\
1 0 8:1 / / rw - ext4 /dev/vda1 rw
2 1 8:2 / /srv rw - xfs /dev/vdb1 rw
3 1 0:9 / /net rw - nfs4 filer:/export rw
4 1 0:10 / /auto rw - autofs systemd-1 rw
""")


def links(**targets: str) -> Callable[[str], str]:
    """Return a readlink for a tree in which only these links exist; it notes what it was asked."""
    table: Dict[str, str] = {f"/{name.replace('__', '/')}": target
                             for name, target in targets.items()}
    asked: List[str] = []

    def readlink(path: str) -> str:
        asked.append(path)
        if path in table:
            return table[path]
        raise OSError(errno.EINVAL, "Invalid argument")

    readlink.asked = asked  # type: ignore[attr-defined]
    return readlink


def follow(path: str, readlink: Callable[[str], str]) -> str:
    """Follow with the table above."""
    return symlinks.follow(TABLE, path, symlinks.is_local, readlink)


@pytest.mark.parametrize("target, result", [
    ("/srv/kopano", "/srv/kopano/x"), ("../../srv/kopano", "/srv/kopano/x"),
    ("other", "/var/lib/other/x"), ("./other/.", "/var/lib/other/x"), ("/", "/x"),
    ("../../../../..", "/x"), ("//srv//k", "/srv/k/x")])
def test_links_lead_where_the_kernel_leads(target: str, result: str) -> None:
    assert follow("/var/lib/kopano/x", links(var__lib__kopano=target)) == result


def test_a_path_without_links_stays_itself() -> None:
    assert follow("/var//lib/./kopano/", links()) == "/var/lib/kopano"
    assert follow("/", links()) == "/"


def test_links_through_links_are_followed() -> None:
    readlink = links(a="/b/c", b="/srv", srv__c="d")
    assert follow("/a/x", readlink) == "/srv/d/x"


def test_dots_after_a_link_are_those_of_its_target() -> None:
    assert follow("/a/x", links(a="/srv/deep/..")) == "/srv/x"


@pytest.mark.parametrize("target, mount", [("/net/mail", "nfs4"), ("/auto/mail", "autofs")])
def test_nothing_below_a_dead_server_is_ever_looked_at(target: str, mount: str) -> None:
    readlink: Any = links(var__lib__kopano=target)
    with pytest.raises(symlinks.NotAccepted) as caught:
        follow("/var/lib/kopano/x", readlink)
    assert caught.value.mount.fstype == mount
    assert not [path for path in readlink.asked if path.startswith(("/net", "/auto"))]


def test_a_mount_point_is_not_looked_at() -> None:
    readlink: Any = links()
    follow("/srv/x", readlink)
    assert readlink.asked == ["/srv/x"]


def test_a_loop_ends() -> None:
    with pytest.raises(errors.Failed) as caught:
        follow("/a", links(a="/b", b="/a"))
    assert "symbolic links" in str(caught.value)


def test_real_links_are_resolved_in_a_child(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    assert symlinks.resolve(Machine(), str(tmp_path / "link" / "missing"), timeout=20,
                            accept=lambda mount: True) == str(tmp_path.resolve() / "real/missing")


def test_the_refused_mount_is_known_after_the_child() -> None:
    with pytest.raises(symlinks.NotAccepted) as caught:
        symlinks.resolve(Machine(), "/proc/self/cwd", timeout=20)
    assert caught.value.mount.fstype == "proc"
    assert "proc" in str(caught.value)


def test_a_loop_on_disk_ends_with_a_reason(tmp_path: Path) -> None:
    (tmp_path / "loop").symlink_to("loop")
    with pytest.raises(errors.Failed) as caught:
        symlinks.resolve(Machine(), str(tmp_path / "loop"), timeout=20, accept=lambda mount: True)
    assert "symbolic links" in str(caught.value)


@pytest.mark.parametrize("number, remedy", [(errno.EACCES, "ask as root"),
                                            (errno.EIO, "namei -l /x")])
def test_who_may_not_read_is_told_to_ask_as_root(monkeypatch: pytest.MonkeyPatch, number: int,
                                                 remedy: str) -> None:
    def refuse(path: str) -> NoReturn:
        raise OSError(number, os.strerror(number), path)

    monkeypatch.setattr(os, "readlink", refuse)
    with pytest.raises(errors.Failed) as caught:
        symlinks.resolve(Machine(), "/x/y", timeout=20, accept=lambda mount: True)
    assert os.strerror(number) in caught.value.reason and remedy in caught.value.remedy


def test_a_silent_disk_is_named() -> None:
    machine: Any = FakeMachine()
    machine.children.hanging.add("*")
    with pytest.raises(patience.DiskSilent) as caught:
        symlinks.resolve(machine, "/var/lib/kopano", timeout=3)
    assert caught.value.reason == "'/var/lib/kopano' did not answer within 3 s"


def test_what_the_kernel_remembers_has_no_link_in_it(tmp_path: Path) -> None:
    (tmp_path / "real" / "deep").mkdir(parents=True)
    (tmp_path / "link").symlink_to("real")
    here = str(tmp_path.resolve())
    assert remembered.has_no_links(here + "/real/deep")
    assert not remembered.has_no_links(here + "/link/deep")
    assert not remembered.has_no_links(here + "/link")
    assert not remembered.has_no_links(here + "/link/missing")


def test_what_does_not_exist_hides_no_link_once_the_kernel_knows(tmp_path: Path) -> None:
    """A database that Cyrus has yet to make must not cost every monitor a child."""
    missing = str(tmp_path.resolve() / "missing" / "deeper")
    assert not os.path.lexists(missing)         # which makes the kernel remember
    if mountinfo.mount_of(Machine(), missing).fstype != "tmpfs":    # that never remembers
        assert remembered.has_no_links(missing)


def test_asking_the_kernel_leaves_no_file_open(tmp_path: Path) -> None:
    before = os.listdir("/proc/self/fd")
    for _ in range(20):
        remembered.has_no_links(str(tmp_path.resolve()))
    assert os.listdir("/proc/self/fd") == before


def test_where_the_call_is_missing_nothing_is_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "_ctypes", None)
    monkeypatch.setattr(remembered, "_made", [])
    assert not remembered.has_no_links("/")


def test_what_is_left_of_a_refused_path_is_known(tmp_path: Path) -> None:
    with pytest.raises(symlinks.NotAccepted) as caught:
        follow("/var/x", links(var__x="/net/a/../b"))
    assert (caught.value.path, caught.value.rest) == ("/net", "a/../b")
    (tmp_path / "link").symlink_to("/proc/self/cwd")
    with pytest.raises(symlinks.NotAccepted) as caught:
        symlinks.resolve(Machine(), str(tmp_path / "link"), timeout=20, accept=lambda mount:
                         mount.fstype != "proc")
    assert (caught.value.path, caught.value.rest) == ("/proc", "self/cwd")
