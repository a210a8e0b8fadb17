# SPDX-License-Identifier: GPL-2.0-or-later
"""Which mount a path is on, from texts of the kernel's table."""

from __future__ import annotations

import os
from typing import Any, List, Tuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fake_machine import FakeMachine
from mailha import errors
from mailha.storage import mountinfo
from mailha.system.machine import Machine

REAL = b"""\
21 26 0:19 / /sys rw,nosuid,nodev,noexec,relatime shared:7 - sysfs sysfs rw
22 26 0:20 / /proc rw,nosuid,nodev,noexec,relatime shared:12 - proc proc rw
26 1 254:1 / / rw,relatime shared:1 - ext4 /dev/vda1 rw,errors=remount-ro
30 26 0:25 / /run rw,nosuid,nodev shared:5 - tmpfs tmpfs rw,size=401044k,mode=755
90 26 254:17 / /srv rw,noatime shared:50 - xfs /dev/vdb1 rw,attr2
91 90 0:60 /low /srv/mail\\040store rw,relatime shared:51 - nfs4 filer:/export/low rw,vers=4.2
92 26 0:61 / /mnt/image rw,relatime - squashfs /dev/loop0 ro,errors=continue
93 26 0:62 / /mnt/empty rw shared:1 master:2 propagate_from:3 unbindable - tmpfs  rw
"""


def box(table: bytes = REAL) -> Any:
    """Return a machine with that table of mounts."""
    machine = FakeMachine()
    machine.files.put(mountinfo.TABLE, table)
    return machine


def line(identifier: int, parent: int, point: str, fstype: str = "ext4", root: str = "/") -> bytes:
    """Return one line of the table."""
    return f"{identifier} {parent} 8:{identifier} {root} {point} rw - {fstype} src rw\n".encode()


@pytest.mark.parametrize("path, fstype", [
    ("/", "ext4"), ("/etc/kopano", "ext4"), ("/srv", "xfs"), ("/srv/", "xfs"), ("/srvx", "ext4"),
    ("//srv//data/.", "xfs"), ("/srv/mail store/a/b", "nfs4"), ("/srv/mail", "xfs"),
    ("/run/mailha", "tmpfs"), ("/mnt/empty/x", "tmpfs")])
def test_a_path_is_on_the_nearest_mount_above_it(path: str, fstype: str) -> None:
    assert mountinfo.mount_of(box(), path).fstype == fstype


@pytest.mark.parametrize("path, answer", [
    ("/", True), ("/srv", True), ("/srv/", True), ("/srv/mail store", True), ("/srv/mail", False),
    ("/srv/mail store/x", False), ("/var", False)])
def test_only_what_is_mounted_there_makes_a_mount_point(path: str,
                                                        answer: bool) -> None:
    assert mountinfo.is_mountpoint(box(), path) is answer


def test_every_field_is_read() -> None:
    mount = mountinfo.mount_of(box(), "/srv/mail store")
    assert (mount.identifier, mount.parent, mount.device, mount.root) == (91, 90, "0:60", "/low")
    assert (mount.source, mount.super_options) == ("filer:/export/low", "rw,vers=4.2")
    assert mountinfo.mount_of(box(), "/mnt/empty").source == ""


def test_an_image_that_is_mounted_writable_is_read_only() -> None:
    mount = mountinfo.mount_of(box(), "/mnt/image")
    assert mount.read_only
    assert not mountinfo.mount_of(box(), "/srv").read_only


def test_one_read_only_mount_of_a_writable_disk_is_read_only() -> None:
    [mount] = mountinfo.Table(b"1 0 8:1 / /srv ro,noatime - ext4 /dev/vdb rw,errors=continue\n")
    assert mount.read_only


def test_a_mount_hidden_by_a_later_one_above_it_is_not_found() -> None:
    """findmnt -T and every longest prefix say "hidden" here, and are wrong."""
    table = (line(1, 0, "/") + line(2, 1, "/a", "outer") + line(3, 2, "/a/b", "hidden")
             + line(4, 2, "/a", "top"))
    assert mountinfo.mount_of(box(table), "/a/b").fstype == "top"
    assert not mountinfo.is_mountpoint(box(table), "/a/b")


def test_of_mounts_stacked_on_one_directory_the_last_is_seen() -> None:
    table = line(1, 0, "/") + b"".join(line(number, number - 1, "/a", f"fs{number}")
                                       for number in range(2, 6))
    for shuffled in (table, b"\n".join(reversed(table.split(b"\n"))) + b"\n"):
        assert mountinfo.mount_of(box(shuffled), "/a/x").fstype == "fs5"


def test_a_mount_over_the_root_itself_is_followed() -> None:
    table = line(1, 1, "/", "rootfs") + line(2, 1, "/", "ext4") + line(3, 2, "/a", "xfs")
    assert mountinfo.mount_of(box(table), "/a").fstype == "xfs"
    assert mountinfo.mount_of(box(table), "/").fstype == "ext4"


def test_nested_mounts_are_followed_all_the_way() -> None:
    table = line(1, 0, "/") + line(2, 1, "/a") + line(3, 2, "/a/b/c") + line(4, 3, "/a/b/c/d", "x")
    assert mountinfo.mount_of(box(table), "/a/b/c/d/e").fstype == "x"
    assert mountinfo.mount_of(box(table), "/a/b").identifier == 2


def test_a_bind_mount_shows_the_file_system_behind_it() -> None:
    table = line(1, 0, "/") + line(2, 1, "/mnt", "nfs4") + line(3, 1, "/srv", "nfs4", "/low")
    mount = mountinfo.mount_of(box(table), "/srv/x")
    assert (mount.fstype, mount.root) == ("nfs4", "/low")


def test_a_removed_mount_point_is_told_apart() -> None:
    table = line(1, 0, "/") + line(2, 1, "/a//deleted", "xfs")
    table += line(3, 1, "/b", "xfs", "/x//deleted")
    assert mountinfo.mount_of(box(table), "/a").fstype == "ext4"
    assert mountinfo.mount_of(box(table), "/b").deleted
    assert not mountinfo.mount_of(box(table), "/a").deleted


def test_below_a_path_only_the_visible_mounts_count() -> None:
    table = mountinfo.Table(line(1, 0, "/") + line(2, 1, "/a", "outer")
                            + line(3, 2, "/a/b", "hidden") + line(4, 2, "/a", "top")
                            + line(5, 4, "/a/c") + line(6, 5, "/a/c/d")
                            + line(7, 1, "/ab"))
    assert [mount.identifier for mount in table.below("/a")] == [5, 6]
    assert [mount.identifier for mount in table.below("/")] == [4, 5, 6, 7]


def test_the_way_names_every_mount_that_is_passed() -> None:
    table = mountinfo.Table(line(1, 0, "/") + line(2, 1, "/a", "autofs") + line(3, 2, "/a", "nfs4")
                            + line(4, 3, "/a/b", "ext4"))
    assert [mount.fstype for mount in table.way("/a/b/c")] == ["ext4", "autofs", "nfs4", "ext4"]
    assert [mount.fstype for mount in table.passed("/a/b/c")] == ["ext4", "nfs4", "ext4"]
    assert [mount.identifier for mount in table.way("/")] == [1]
    assert [mount.fstype for mount in table.at("/a")] == ["autofs", "nfs4"]
    assert table.at("/b") == []


def test_a_source_that_looks_like_the_mount_point_is_none() -> None:
    table = mountinfo.Table(line(1, 0, "/") + b"2 1 0:9 /a /b rw - overlay /a rw\n"
                            + b"3 2 0:9 /a /b/c rw - /a /a rw\n")
    assert table.at("/a") == [] and table.find("/a/x").identifier == 1
    assert [mount.mount_point for mount in table.below("/a")] == []
    assert [mount.mount_point for mount in table.below("/b")] == ["/b/c"]


def test_a_line_that_no_path_leads_to_need_not_be_understood() -> None:
    table = mountinfo.Table(line(1, 0, "/") + b"7 garbage\n" + line(2, 1, "/a"))
    assert table.find("/a/b").identifier == 2
    with pytest.raises(mountinfo.MountTableDamaged):
        list(table)


def test_a_path_of_a_thousand_parts_is_found() -> None:
    assert mountinfo.Table(line(1, 0, "/")).find("/x" * 2000).identifier == 1


def test_another_process_has_its_own_table() -> None:
    machine = box()
    machine.files.put("/proc/7/mountinfo", line(1, 0, "/", "btrfs"))
    assert mountinfo.mounts(machine, "7").find("/srv").fstype == "btrfs"
    assert mountinfo.mounts(machine).find("/srv").fstype == "xfs"


@pytest.mark.parametrize("path", ["", "srv", "./srv", "/srv/../etc", "/..", "/a\0b"])
def test_paths_whose_meaning_would_need_a_look_are_refused(path: str) -> None:
    with pytest.raises(errors.Failed):
        mountinfo.mount_of(box(), path)


@pytest.mark.parametrize("table", [
    b"garbage\n", b"1 0 8:1 / / rw ext4 src rw\n", b"x 0 8:1 / / rw - ext4 src rw\n",
    b"1 0 8:1 / / rw - ext4\n", b"1 0 8:1 / /a rw - ext4 src rw\n", b""])
def test_a_damaged_table_is_said_so(table: bytes) -> None:
    with pytest.raises(mountinfo.MountTableDamaged) as caught:
        mountinfo.mount_of(box(table), "/a")
    assert "mountinfo" in str(caught.value)


def test_a_missing_table_is_said_so() -> None:
    machine = box()
    machine.files.remove(mountinfo.TABLE)
    with pytest.raises(mountinfo.MountTableDamaged):
        mountinfo.mounts(machine)


def test_the_table_of_this_machine_is_understood() -> None:
    machine = Machine()
    assert mountinfo.is_mountpoint(machine, "/")
    assert mountinfo.mount_of(machine, "/proc/self").fstype == "proc"
    for mount in mountinfo.mounts(machine).below("/"):
        assert os.path.ismount(mount.mount_point) or not os.path.exists(mount.mount_point) \
            or not os.path.isdir(mount.mount_point)


def escaped(text: bytes) -> bytes:
    """Escape a path as the kernel does."""
    for character in b"\\ \t\n":
        text = text.replace(bytes((character,)), b"\\%03o" % character)
    return text


PARTS = st.binary(min_size=1, max_size=12).filter(
    lambda part: b"/" not in part and b"\0" not in part and part not in (b".", b".."))


@given(st.lists(PARTS, min_size=1, max_size=4))
def test_any_path_survives_the_kernels_escapes(parts: List[bytes]) -> None:
    point = b"/" + b"/".join(parts)
    table = line(1, 0, "/")
    table += b"2 1 8:2 / " + escaped(point) + b" rw - xfs " + escaped(point) + b" rw\n"
    mounts = mountinfo.Table(table)
    [_, mount] = mounts
    assert os.fsencode(mount.mount_point) == point
    assert mounts.find(os.fsdecode(point)).identifier == 2


@given(st.binary(max_size=200))
def test_no_bytes_at_all_raise_anything_but_a_reason(table: bytes) -> None:
    try:
        mountinfo.Table(table).find("/srv")
    except mountinfo.MountTableDamaged as error:
        assert str(error)


@given(st.lists(st.tuples(st.sampled_from("mu"), st.sampled_from(["/a", "/a/b", "/a/b/c", "/d"])),
                max_size=12))
def test_the_walk_agrees_with_a_simulated_kernel(actions: List[Tuple[str, str]]) -> None:
    """Mount and unmount at will; the simulation knows what a path leads to, the table only ids."""
    next_id = 2
    mounted = {1: (0, "/")}

    def visible(path: str) -> int:
        current, prefix = 1, ""
        for part in path.split("/")[1:]:
            prefix += "/" + part
            while True:
                child = [number for number, place in mounted.items() if place == (current, prefix)]
                if not child:
                    break
                [current] = child
        return current

    for action, path in actions:
        here = visible(path)
        if action == "m":
            mounted[next_id] = (here, path)
            next_id += 1
        elif mounted[here][1] == path and here not in [parent for parent, _ in mounted.values()]:
            del mounted[here]
    table = mountinfo.Table(b"".join(line(number, parent, point)
                                     for number, (parent, point) in mounted.items()))
    for path in ("/", "/a", "/a/b", "/a/b/c", "/a/b/c/x", "/d"):
        expected = visible(path) if path != "/" else 1
        assert table.find(path).identifier == expected
