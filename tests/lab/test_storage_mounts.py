# SPDX-License-Identifier: GPL-2.0-or-later
"""The verdict on storage, on real mounts of this machine's own kernel.

Each case is a row of what can be or become a network file system without looking like one. The
rows that need a kernel with NFS are in test_storage_nfs.py.
"""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Generator

import pytest

from storage_judge import judge, judge_all, try_out
from storage_sandbox import StorageSandbox
from waiting import wait_for

_numbers = itertools.count()


@pytest.fixture(scope="module")
def place(image: Path, storage_layer: Path) -> Generator[StorageSandbox, None, None]:
    """Return a sandbox with an ext4 of its own mounted at /srv/disk, on a real block device."""
    made = StorageSandbox(image, storage_layer)
    try:
        made.mounted(made.disk("ext4", 64, "mkfs.ext4 -q -F"), "/srv/disk")
        yield made
    finally:
        made.close()


@pytest.fixture
def spot() -> str:
    """Return a path that no other test uses."""
    return f"/srv/{next(_numbers)}"


@pytest.mark.parametrize("kind, mebibytes, make", [
    ("ext4", 32, "mkfs.ext4 -q -F"), ("xfs", 300, "mkfs.xfs -q"), ("btrfs", 128, "mkfs.btrfs -q")])
def test_a_file_system_on_a_block_device_is_fit(place: StorageSandbox, spot: str, kind: str,
                                                mebibytes: int, make: str) -> None:
    device = place.disk(f"fit-{kind}", mebibytes, make)
    place.mounted(device, spot)
    said = judge(place, spot)
    said.accepted(device.replace("/dev/", ""))
    assert (said.type, said.mount_point, said.source) == (kind, spot, device)
    assert try_out(place, spot) == ("", "")
    # So is a directory of it, one that does not exist yet, and the device that was asked for.
    for path in (f"{spot}/user", f"{spot}/not/yet"):
        judge(place, path).accepted()
    judge(place, spot, device=device).accepted()


def test_another_device_than_the_one_that_is_wanted_is_refused(place: StorageSandbox,
                                                               spot: str) -> None:
    other = place.disk("other", 16, "mkfs.ext4 -q -F")
    place.mounted(place.disk("spool", 16, "mkfs.ext4 -q -F"), spot)
    judge(place, spot, device=other).refused(other)


def test_an_image_that_is_mounted_for_writing_but_cannot_be_written_is_refused(
        place: StorageSandbox, spot: str) -> None:
    place.sh("mkdir /var/tmp/tree; mksquashfs /var/tmp/tree /var/tmp/image -quiet -no-progress"
             " >/dev/null")
    place.mounted(place.loop("/var/tmp/image"), spot)
    judge(place, spot).refused("squashfs")


@pytest.mark.parametrize("options", ["-o ro", "-o bind,ro"])
def test_what_is_read_only_in_either_way_is_refused(place: StorageSandbox, spot: str,
                                                    options: str) -> None:
    if options == "-o ro":
        place.mounted(place.disk("read-only", 16, "mkfs.ext4 -q -F"), spot, options)
    else:
        place.sh(f"mkdir -p {spot}; mount --bind /srv/disk {spot}; mount -o remount,bind,ro {spot}")
    judge(place, spot).refused("read-only")


def test_layers_over_a_good_disk_are_refused(place: StorageSandbox, spot: str) -> None:
    place.sh(f"mkdir -p {spot} /srv/disk/lower /srv/disk/upper /srv/disk/work;"
             " mount -t overlay -o lowerdir=/srv/disk/lower,upperdir=/srv/disk/upper,"
             f"workdir=/srv/disk/work overlay {spot}")
    judge(place, spot).refused("overlay")


@pytest.mark.parametrize("rule, fit", [("BLOCK", False), ("ANY_LASTING", False),
                                       ("EPHEMERAL", True)])
def test_memory_is_fit_only_for_what_need_not_last(place: StorageSandbox, spot: str, rule: str,
                                                   fit: bool) -> None:
    place.sh(f"mkdir -p {spot}; mount -t tmpfs tmpfs {spot}")
    said = judge(place, spot, rule)
    said.accepted() if fit else said.refused("tmpfs")


def test_a_directory_on_which_nothing_is_mounted_is_refused(place: StorageSandbox,
                                                            spot: str) -> None:
    place.sh(f"mkdir -p {spot}")
    judge(place, spot).refused("/")


def test_a_mount_whose_directory_was_removed_is_refused(place: StorageSandbox, spot: str) -> None:
    place.sh(f"mkdir -p {spot} /srv/disk/removed; mount --bind /srv/disk/removed {spot};"
             " rmdir /srv/disk/removed")
    judge(place, spot).refused("removed")


@pytest.mark.parametrize("subtype", ["nfs", "sshfs", "glusterfs", ""])
def test_whatever_a_program_serves_is_refused_by_every_rule_and_never_asked(
        place: StorageSandbox, spot: str, subtype: str) -> None:
    with place.served(subtype or "x", spot) as server:
        place.run(["ls", spot], timeout=30, check=True)
        # The kernel does not wait for the answer to the last request of ls.
        wait_for("the end of ls", lambda: "RELEASEDIR" in server.record)
        before = server.record
        for rule in ("BLOCK", "ANY_LASTING", "EPHEMERAL"):
            judge(place, spot, rule).refused(f"fuse.{subtype}", "nas.example.com:/spool")
            judge(place, f"{spot}/user/a", rule).refused(f"fuse.{subtype}")
        assert server.record == before, "the verdict has touched the file system"
        # And where a program that serves files passed for a disk, the trial would not.
        fault, _ = try_out(place, spot)
        assert spot in fault


@pytest.mark.parametrize("tool", [["stat", "-f"], ["df"], ["readlink", "-f"]])
def test_a_dead_server_is_refused_at_once_while_others_hang_on_it(
        place: StorageSandbox, spot: str, tool: "list[str]") -> None:
    place.sh(f"mkdir -p {spot}-bound {spot}-way/far; ln -s {spot}-way/far {spot}-link")
    with place.served("nfs", spot) as server:
        place.sh(f"mount --bind {spot} {spot}-bound; ln -s {spot}/deep {spot}-way/far/x")
        server.stop()
        with place.hanging(*tool, f"{spot}/file"):
            said = judge_all(place, [(path, "BLOCK", "") for path in (
                spot, f"{spot}/user/a", f"{spot}-bound", f"{spot}-link/x/y")])
            for verdict in said.values():
                verdict.refused("fuse.nfs")
        place.sh(f"umount -l {spot}-bound")


def test_symbolic_links_are_followed_to_where_the_data_really_are(place: StorageSandbox,
                                                                  spot: str) -> None:
    place.sh(f"mkdir -p /srv/disk/mail; ln -s {spot}-b {spot}-a; ln -s /srv/disk/mail {spot}-b;"
             f" ln -s {spot}-loop {spot}-loop")
    said = judge(place, f"{spot}-a/user")
    said.accepted()
    assert said.mount_point == "/srv/disk"


def test_a_bind_mount_is_judged_by_what_is_bound(place: StorageSandbox, spot: str) -> None:
    place.sh(f"mkdir -p {spot}-good {spot}-bad /srv/disk/part;"
             f" mount --bind /srv/disk/part {spot}-good")
    judge(place, f"{spot}-good").accepted()
    with place.served("glusterfs", f"{spot}-volume"):
        place.sh(f"mount --bind {spot}-volume {spot}-bad")
        judge(place, f"{spot}-bad").refused("fuse.glusterfs")
        place.sh(f"umount {spot}-bad")


def test_a_mount_below_the_path_is_held_against_it(place: StorageSandbox, spot: str) -> None:
    place.mounted(place.disk("outer", 16, "mkfs.ext4 -q -F"), spot)
    judge(place, spot).accepted()
    with place.served("nfs", f"{spot}/partition"):
        judge(place, spot).refused(f"{spot}/partition", "fuse.nfs")
    judge(place, spot).accepted()


def test_the_mount_that_is_seen_counts_and_not_one_that_it_hides(place: StorageSandbox,
                                                                 spot: str) -> None:
    """`findmnt -T` names the hidden one."""
    place.sh(f"mkdir -p {spot}/spool")
    device = place.disk("hidden", 16, "mkfs.ext4 -q -F")
    with place.served("nfs", f"{spot}/spool"):
        place.sh(f"mkdir -p /srv/disk/top/spool; mount --bind /srv/disk/top {spot}")
        judge(place, f"{spot}/spool").accepted()
        place.sh(f"umount {spot}")
    place.mounted(device, f"{spot}/spool")
    judge(place, f"{spot}/spool").accepted()
    with place.served("nfs", spot):
        assert f"{spot}/spool" in place.sh("cat /proc/self/mountinfo")
        judge(place, f"{spot}/spool").refused("fuse.nfs")


def test_a_file_on_what_a_program_serves_makes_no_block_device(place: StorageSandbox,
                                                               spot: str) -> None:
    place.sh("mkdir /var/tmp/images; truncate -s 8M /var/tmp/images/disk;"
             " mkfs.ext4 -q -F /var/tmp/images/disk")
    with place.served("sshfs", f"{spot}-low", files="/var/tmp/images") as server:
        device = place.loop(f"{spot}-low/disk")
        place.mounted(device, spot)
        place.sh(f"echo mail > {spot}/a; sync {spot}/a")
        assert "WRITE" in server.record
        judge(place, spot).refused("ext4", device.replace("/dev/", ""), "fuse.sshfs")
        place.sh(f"umount {spot}")


def test_a_file_on_a_good_disk_makes_a_good_one(place: StorageSandbox, spot: str) -> None:
    place.sh("truncate -s 8M /srv/disk/disk; mkfs.ext4 -q -F /srv/disk/disk")
    device = place.loop("/srv/disk/disk")
    place.mounted(device, spot)
    judge(place, spot).accepted(device.replace("/dev/", ""), "/srv/disk/disk")
    place.sh(f"umount {spot}")


def test_a_file_in_layers_makes_no_good_disk(place: StorageSandbox, spot: str) -> None:
    place.sh("truncate -s 8M /var/tmp/disk; mkfs.ext4 -q -F /var/tmp/disk")
    place.mounted(place.loop("/var/tmp/disk"), spot)
    judge(place, spot).refused("/var/tmp/disk", "overlay")


def test_a_trigger_of_the_automounter_is_refused_and_not_pulled(place: StorageSandbox,
                                                                spot: str) -> None:
    with place.automounted(spot):
        with place.hanging("ls", spot):
            judge(place, spot).refused("autofs")
            judge(place, f"{spot}/user").refused("autofs")


def test_a_mount_point_with_a_space_and_other_letters_is_found(place: StorageSandbox,
                                                               spot: str) -> None:
    path = f"{spot} my\tmail\\1"
    place.run(["mkdir", path], timeout=30, check=True)
    device = place.disk("space", 16, "mkfs.ext4 -q -F")
    place.run(["mount", device, path], timeout=30, check=True)
    said = judge(place, path)
    said.accepted()
    assert said.mount_point == path
