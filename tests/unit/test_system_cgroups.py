# SPDX-License-Identifier: GPL-2.0-or-later
"""Control groups: in each of the three layouts, and when they vanish."""

from __future__ import annotations

from pathlib import Path

import pytest

from mailha import errors
from mailha.system.cgroups import Cgroups

GROUP = "/system.slice/x.service"
LAYOUTS = {"unified": "", "hybrid": "unified", "old": "systemd"}


def build(root: Path, layout: str) -> Path:
    """Make the hierarchy and the group; return the group's directory."""
    base = root / "sys/fs/cgroup" / LAYOUTS[layout]
    base.mkdir(parents=True)
    (base / "cgroup.procs").write_text("1\n")
    if layout != "old":
        (base / "cgroup.controllers").write_text("")
    group = base / GROUP[1:]
    group.mkdir(parents=True)
    fill(group, "")
    return group


def fill(group: Path, procs: str) -> None:
    (group / "cgroup.procs").write_text(procs)
    (group / "cgroup.events").write_text(f"populated {int(bool(procs))}\nfrozen 0\n")


@pytest.mark.parametrize("layout", LAYOUTS)
def test_processes_and_whether_there_are_any(tmp_path: Path, layout: str) -> None:
    group = build(tmp_path, layout)
    cgroups = Cgroups(str(tmp_path))
    assert not cgroups.populated(GROUP)
    assert cgroups.processes(GROUP) == []
    fill(group, "12\n7\n0\n")
    assert cgroups.populated(GROUP)
    assert cgroups.processes(GROUP) == [7, 12]


def test_processes_in_groups_below_count(tmp_path: Path) -> None:
    group = build(tmp_path, "old")
    below = group / "a" / "b"
    below.mkdir(parents=True)
    (group / "a" / "cgroup.procs").write_text("")
    (below / "cgroup.procs").write_text("33\n")
    assert Cgroups(str(tmp_path)).populated(GROUP)
    assert Cgroups(str(tmp_path)).processes("/system.slice") == [33]


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("path", ["", "/", "/system.slice/gone.service"])
def test_group_that_is_gone_or_never_was_is_empty(tmp_path: Path, layout: str, path: str) -> None:
    build(tmp_path, layout)
    assert not Cgroups(str(tmp_path)).populated(path)
    assert Cgroups(str(tmp_path)).processes(path) == []


def test_without_any_hierarchy_nothing_is_called_empty(tmp_path: Path) -> None:
    with pytest.raises(errors.Failed, match="no control groups.*mount cgroup2"):
        Cgroups(str(tmp_path)).populated(GROUP)


def test_unreadable_group_is_not_called_empty(tmp_path: Path) -> None:
    group = build(tmp_path, "unified")
    (group / "cgroup.events").unlink()
    (group / "cgroup.events").mkdir()
    with pytest.raises(errors.Failed, match="cannot tell"):
        Cgroups(str(tmp_path)).populated(GROUP)
