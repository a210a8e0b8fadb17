# SPDX-License-Identifier: GPL-2.0-or-later
"""From a mount down to its disks, with the texts that the kernel has for what no test can have."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from mailha import errors
from mailha.storage import chain, loops, mountinfo, rules, verdict
from mailha.storage.filesystems import DISK, kind_of
from mailha.storage.verdict import Verdict
from mailha.system.machine import Machine
from storage_tree import StorageTree

SPOOL = "/var/spool/cyrus"


@pytest.fixture
def tree(tmp_path: Path) -> StorageTree:
    """Return a machine with the disk of the operating system and nothing else."""
    return StorageTree(tmp_path)


def examine(tree: StorageTree, path: str = SPOOL, **more: Any) -> Verdict:
    """Examine a path under the strictest rule."""
    return verdict.examine(tree.machine, path, **{"rule": rules.BLOCK, **more})


def mount(tree: StorageTree, device: str, source: str, fstype: str = "ext4") -> None:
    """Mount something as the spool."""
    tree.mount(SPOOL, fstype, source, device=device)


ISCSI = "platform/host3/session1/target3:0:0/3:0:0:1"
FIBRE = "pci0000:00/0000:00:05.0/host1/rport-1:0-0/target1:0:0/1:0:0:0"
SAS = "pci0000:00/0000:00:06.0/host0/port-0:0/end_device-0:0/target0:0:0/0:0:0:0"


@pytest.mark.parametrize("name, place, words", [
    ("sdb", ISCSI, "sdb (iSCSI)"), ("sdb", FIBRE, "sdb (Fibre Channel)"), ("sdb", SAS, "sdb (SAS)"),
    ("sdb", "pci0000:00/0000:00:1f.2/ata1/host0/target0:0:0/0:0:0:0", "sdb (SATA)"),
    ("vdb", "pci0000:00/0000:00:05.0/virtio3", "vdb (virtio)"), ("drbd0", "", "drbd0 (DRBD)"),
    ("rbd0", "", "rbd0 (Ceph RBD)"), ("zd16", "", "zd16 (ZFS volume)"),
    ("nvme0n1", "pci0000:00/0000:00:05.0/nvme/nvme0", "nvme0n1 (NVMe)"),
    ("xvdb", "vbd-51728", "xvdb (Xen)"), ("mmcblk0", "platform/emmc", "mmcblk0"),
    ("rapid0", "", "rapid0"), ("mdisk0", "", "mdisk0")])
def test_a_disk_is_named_with_the_way_it_is_connected(tree: StorageTree, name: str, place: str,
                                                      words: str) -> None:
    tree.disk(name, "8:16", place=place)
    mount(tree, "8:16", f"/dev/{name}")
    found = examine(tree)
    assert found.fit and found.chain == [words] and not found.warnings


def test_nvme_over_a_network_is_told_apart(tree: StorageTree) -> None:
    tree.disk("nvme1n1", "259:0", place="virtual/nvme-fabrics/ctl/nvme1", state="live",
              device__transport="tcp")
    mount(tree, "259:0", "/dev/nvme1n1")
    assert examine(tree).fit and examine(tree).chain == ["nvme1n1 (NVMe over tcp)"]


def test_a_partition_of_an_nvme_disk_leads_to_it(tree: StorageTree) -> None:
    tree.disk("nvme0n1", "259:0", place="pci0000:00/0000:00:05.0/nvme/nvme0", state="live")
    tree.partition("nvme0n1", "nvme0n1p2", "259:2")
    mount(tree, "259:2", "/dev/nvme0n1p2")
    assert examine(tree).fit and examine(tree).chain == ["nvme0n1p2", "nvme0n1 (NVMe)"]


def test_a_partition_leads_to_its_disk(tree: StorageTree) -> None:
    tree.disk("sdb", "8:16", place=ISCSI)
    tree.partition("sdb", "sdb1", "8:17")
    mount(tree, "8:17", "/dev/sdb1")
    assert examine(tree).chain == ["sdb1", "sdb (iSCSI)"]


@pytest.mark.parametrize("fstype", ["gfs2", "ocfs2"])
def test_cluster_file_systems_on_a_shared_disk_are_fit(tree: StorageTree, fstype: str) -> None:
    tree.disk("sdb", "8:16", place=FIBRE)
    mount(tree, "8:16", "/dev/sdb", fstype)
    assert examine(tree).fit and examine(tree).chain == ["sdb (Fibre Channel)"]


def test_encrypted_lvm_over_multipath_over_fibre_channel_is_followed_to_every_path(
        tree: StorageTree) -> None:
    tree.disk("sdb", "8:16", place=FIBRE, state="running")
    tree.disk("sdc", "8:32", place=FIBRE.replace("1:0", "2:0"), state="running")
    tree.mapped("dm-0", "253:0", ["sdb", "sdc"], identity="mpath-3600508", label="mpatha")
    tree.mapped("dm-1", "253:1", ["dm-0"], identity="part1-mpath-3600508", label="mpatha1")
    tree.mapped("dm-2", "253:2", ["dm-1"], identity="LVM-abc", label="vg-mail")
    tree.mapped("dm-3", "253:3", ["dm-2"], identity="CRYPT-LUKS2-abc", label="mail")
    mount(tree, "253:3", "/dev/mapper/mail", "xfs")
    found = examine(tree)
    assert found.fit and not found.warnings
    assert found.chain == [
        "dm-3 (encrypted mail)", "dm-2 (LVM vg-mail)", "dm-1 (multipath mpatha1)",
        "dm-0 (multipath mpatha)", "sdb (Fibre Channel)", "sdc (Fibre Channel)"]


def test_md_is_followed_to_its_members(tree: StorageTree) -> None:
    tree.disk("sdb", "8:16", place=SAS)
    tree.disk("sdc", "8:32", place=SAS)
    tree.mapped("md127", "9:127", ["sdb", "sdc"])
    mount(tree, "9:127", "/dev/md127")
    assert examine(tree).fit
    assert examine(tree).chain == ["md127 (md)", "sdb (SAS)", "sdc (SAS)"]


def test_bcache_is_followed_to_both_of_its_disks(tree: StorageTree) -> None:
    tree.disk("sdb", "8:16")
    tree.disk("sdc", "8:32")
    tree.mapped("bcache0", "252:0", ["sdb", "sdc"])
    mount(tree, "252:0", "/dev/bcache0")
    assert examine(tree).fit and examine(tree).chain == ["bcache0 (bcache)", "sdb", "sdc"]


@pytest.mark.parametrize("state", ["offline", "transport-offline", "cancel", "deleted", "dead",
                                   "deleting"])
def test_one_dead_path_of_two_is_a_warning_and_both_are_a_refusal(tree: StorageTree,
                                                                  state: str) -> None:
    tree.disk("sdb", "8:16", place=FIBRE, state="running")
    tree.disk("sdc", "8:32", place=FIBRE, state=state)
    tree.mapped("dm-0", "253:0", ["sdb", "sdc"], identity="mpath-1", label="mpatha")
    mount(tree, "253:0", "/dev/mapper/mpatha")
    found = examine(tree)
    assert found.fit and found.warnings == [f"sdc is {state}; other disks are left"]
    tree.write(f"/sys/devices/{FIBRE}/block/sdb/device/state", f"{state}\n")
    found = examine(tree)
    assert not found.fit and f"sdb is {state}; sdc is {state}" in found.reason


@pytest.mark.parametrize("state", ["blocked", "quiesce", "connecting", "resetting"])
def test_a_disk_that_may_come_back_by_itself_takes_nothing_down(tree: StorageTree,
                                                                state: str) -> None:
    tree.disk("sdb", "8:16", place=ISCSI, state=state)
    mount(tree, "8:16", "/dev/sdb")
    found = examine(tree)
    assert found.fit and found.warnings == [f"sdb does not answer at the moment: it is {state}"]


def test_a_single_disk_that_is_offline_is_refused(tree: StorageTree) -> None:
    tree.disk("sdb", "8:16", place=ISCSI, state="offline")
    mount(tree, "8:16", "/dev/sdb")
    found = examine(tree)
    assert not found.fit and "sdb is offline" in found.reason and found.remedy


def test_a_disconnected_nbd_is_refused_and_a_connected_one_warned_of(tree: StorageTree) -> None:
    tree.disk("nbd0", "43:0")
    mount(tree, "43:0", "/dev/nbd0")
    found = examine(tree)
    assert found.fit and found.chain == ["nbd0 (network block device)"]
    assert "network block device" in found.warnings[0]
    tree.write("/sys/devices/virtual/block/nbd0/size", "0\n")
    found = examine(tree)
    assert not found.fit and "nbd0 has no size" in found.reason


def test_a_dm_device_over_nbd_is_warned_of_too(tree: StorageTree) -> None:
    tree.disk("nbd0", "43:0")
    tree.mapped("dm-0", "253:0", ["nbd0"], identity="LVM-abc", label="vg-mail")
    mount(tree, "253:0", "/dev/mapper/vg-mail")
    assert examine(tree).fit and "nbd0" in examine(tree).warnings[0]


def test_a_device_that_is_gone_while_mounted_is_refused(tree: StorageTree) -> None:
    mount(tree, "8:16", "/dev/sdb")
    found = examine(tree)
    assert not found.fit and "device 8:16 is gone" in found.reason


def test_a_device_of_no_disks_is_refused(tree: StorageTree) -> None:
    """dmsetup's targets error and zero, and an md that was taken apart."""
    tree.mapped("dm-0", "253:0", [], identity="", label="hole")
    mount(tree, "253:0", "/dev/mapper/hole")
    found = examine(tree)
    assert not found.fit and "dm-0 is made of no disk at all" in found.reason


def test_a_suspended_volume_is_a_warning_because_every_snapshot_makes_one(
        tree: StorageTree) -> None:
    tree.disk("sdb", "8:16")
    tree.mapped("dm-0", "253:0", ["sdb"], identity="LVM-a", label="vg-mail", dm__suspended="1")
    mount(tree, "253:0", "/dev/mapper/vg-mail")
    assert examine(tree).fit and "dm-0 is suspended" in examine(tree).warnings[0]


def test_a_device_that_became_read_only_is_refused(tree: StorageTree) -> None:
    """A DRBD that was demoted, or a LUN that the storage has locked."""
    tree.disk("drbd0", "147:0", read_only=True)
    mount(tree, "147:0", "/dev/drbd0")
    found = examine(tree)
    assert not found.fit and "device drbd0 is read-only" in found.reason


@pytest.mark.parametrize("name", ["zram0", "ram1"])
def test_a_disk_in_memory_is_refused_for_what_lasts_and_fit_for_what_does_not(
        tree: StorageTree, name: str) -> None:
    tree.disk(name, "251:0")
    mount(tree, "251:0", f"/dev/{name}")
    assert "memory" in examine(tree).reason
    assert examine(tree, rule=rules.EPHEMERAL).fit


def test_more_devices_on_each_other_than_anybody_builds_end(tree: StorageTree) -> None:
    tree.disk("sdb", "8:16")
    below = "sdb"
    for number in range(chain.DEEPEST + 2):
        tree.mapped(f"dm-{number}", f"253:{number}", [below])
        below = f"dm-{number}"
    mount(tree, f"253:{chain.DEEPEST + 1}", "/dev/mapper/tower")
    assert "lie on each other" in examine(tree).reason


def test_devices_that_are_made_of_each_other_end(tree: StorageTree) -> None:
    tree.mapped("dm-0", "253:0", [])
    tree.mapped("dm-1", "253:1", ["dm-0"])
    for name in ("dm-0", "dm-1"):
        tree.directory(f"/sys/devices/virtual/block/{name}/slaves")
    tree.link("/sys/devices/virtual/block/dm-0/slaves/dm-1",
              f"{tree.machine.root}/sys/devices/virtual/block/dm-1")
    mount(tree, "253:1", "/dev/mapper/ring")
    assert examine(tree).chain == ["dm-1 (device mapper)", "dm-0 (device mapper)"]


def test_without_sys_nothing_is_said(tree: StorageTree) -> None:
    """A check that cannot be made is not the same as a disk that is gone."""
    mount(tree, "8:16", "/dev/sdb")
    (tree.root / "sys").rename(tree.root / "not-mounted")
    with pytest.raises(errors.Failed) as caught:
        examine(tree)
    assert "mount /sys" in str(caught.value)


# --- loop devices ---------------------------------------------------------------------------------

def loop(tree: StorageTree, file: str) -> None:
    """Mount a file as the spool."""
    tree.loop("loop3", "7:3", file)
    mount(tree, "7:3", "/dev/loop3")


def test_a_loop_file_on_a_disk_is_fit(tree: StorageTree) -> None:
    tree.disk("sdb", "8:16")
    tree.mount("/srv", "xfs", "/dev/sdb", device="8:16")
    loop(tree, "/srv/spool.img")
    found = examine(tree)
    assert found.fit and found.chain == ["loop3 (loop)", "'/srv/spool.img' on xfs /dev/sdb", "sdb"]


@pytest.mark.parametrize("fstype", ["nfs4", "nfs", "cifs", "fuse.sshfs", "fuse", "newfangledfs"])
def test_a_loop_file_on_a_server_is_refused(tree: StorageTree, fstype: str) -> None:
    tree.mount("/srv", fstype, "filer:/export", device="0:50")
    loop(tree, "/srv/spool.img")
    found = examine(tree)
    assert not found.fit and found.type == "ext4"
    assert f"'/srv/spool.img', lies on {fstype} 'filer:/export' at '/srv'" in found.reason


def test_a_loop_file_on_nfs_is_refused_even_where_nfs_itself_is_allowed(tree: StorageTree) -> None:
    tree.mount("/srv", "nfs4", "filer:/export", device="0:50")
    loop(tree, "/srv/spool.img")
    assert not examine(tree, rule=rules.ANY_LASTING).fit


def test_a_loop_file_in_memory_is_refused(tree: StorageTree) -> None:
    tree.mount("/srv", "tmpfs", "tmpfs", device="0:50")
    loop(tree, "/srv/spool.img")
    assert "tmpfs" in examine(tree).reason and "memory" in examine(tree).reason
    assert examine(tree, rule=rules.EPHEMERAL).fit


@pytest.mark.parametrize("file", ["/srv/spool.img (deleted)", "", "spool.img"])
def test_a_loop_without_its_file_is_refused(tree: StorageTree, file: str) -> None:
    loop(tree, file)
    assert "the file of its device loop3 is gone" in examine(tree).reason


def test_a_partition_of_a_loop_leads_to_its_file(tree: StorageTree) -> None:
    tree.mount("/srv", "nfs4", "filer:/export", device="0:50")
    tree.loop("loop3", "7:3", "/srv/disk.img")
    tree.partition("loop3", "loop3p1", "259:1")
    mount(tree, "259:1", "/dev/loop3p1")
    assert "lies on nfs4" in examine(tree).reason


def test_lvm_over_a_loop_file_on_nfs_is_refused(tree: StorageTree) -> None:
    tree.mount("/srv", "nfs4", "filer:/export", device="0:50")
    tree.loop("loop3", "7:3", "/srv/disk.img")
    tree.mapped("dm-0", "253:0", ["loop3"], identity="LVM-abc", label="vg-mail")
    mount(tree, "253:0", "/dev/mapper/vg-mail")
    assert "lies on nfs4" in examine(tree).reason


def test_a_loop_file_in_a_loop_file_on_nfs_is_refused(tree: StorageTree) -> None:
    tree.mount("/srv", "nfs4", "filer:/export", device="0:50")
    tree.loop("loop1", "7:1", "/srv/outer.img")
    tree.mount("/mnt", "ext4", "/dev/loop1", device="7:1")
    loop(tree, "/mnt/inner.img")
    assert "/srv/outer.img" in examine(tree).reason


def test_a_disk_mounted_over_the_loop_files_server_does_not_hide_it(tree: StorageTree) -> None:
    """The file was opened before; its path now seems to lead to a disk."""
    tree.disk("sdb", "8:16")
    tree.mount("/srv", "nfs4", "filer:/export", device="0:50")
    tree.mount("/srv", "ext4", "/dev/sdb", device="8:16")
    loop(tree, "/srv/spool.img")
    assert "may lie (a later mount hides it) on nfs4" in examine(tree).reason


def test_the_loop_itself_knows_that_its_file_is_not_on_the_hidden_server(
        tree: StorageTree, monkeypatch: pytest.MonkeyPatch) -> None:
    tree.disk("sdb", "8:16")
    tree.mount("/srv", "nfs4", "filer:/export", device="0:50")
    tree.mount("/srv/local", "ext4", "/dev/sdb", device="8:16")
    loop(tree, "/srv/local/spool.img")
    for answer, fit in ((loops.NOT_TOLD, False), (loops.SILENT, False), ("0:50", False),
                        ("8:16", True)):
        answering(monkeypatch, answer)
        assert examine(tree).fit is fit, answer


def answering(monkeypatch: pytest.MonkeyPatch, answer: str) -> None:
    """Let loop devices tell this number of their file's device."""
    monkeypatch.setattr(loops, "device_of_file", lambda *_: answer)


def test_in_a_container_the_loop_itself_says_where_its_file_lies(
        tree: StorageTree, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its path is one of the host, and would be taken for a place on our own root."""
    tree.mount("/", "overlay", "overlay", device="0:60", super_options="rw,lowerdir=/l,upperdir=/u")
    loop(tree, "/host/only/spool.img")
    assert not examine(tree).fit
    answering(monkeypatch, "254:1")
    found = examine(tree)
    assert found.fit
    assert found.chain == ["loop3 (loop)", "'/host/only/spool.img'", "vda1", "vda (virtio)"]


def test_a_loop_file_on_a_file_system_out_of_sight_is_refused(
        tree: StorageTree, monkeypatch: pytest.MonkeyPatch) -> None:
    """On the host it is NFS (0:77), here its path leads to a disk."""
    loop(tree, "/host/only/spool.img")
    assert examine(tree).fit
    answering(monkeypatch, "0:77")
    assert "not in sight" in examine(tree).reason


def test_a_loop_whose_file_does_not_answer_is_refused(tree: StorageTree,
                                                      monkeypatch: pytest.MonkeyPatch) -> None:
    loop(tree, "/srv/spool.img")
    answering(monkeypatch, loops.SILENT)
    assert "does not answer" in examine(tree).reason


def test_a_loop_file_on_btrfs_is_fit_though_every_subvolume_has_its_own_number(
        tree: StorageTree, monkeypatch: pytest.MonkeyPatch) -> None:
    tree.disk("sdb", "8:16")
    tree.mount("/srv", "btrfs", "/dev/sdb", device="0:52")
    loop(tree, "/srv/spool.img")
    answering(monkeypatch, "0:53")
    assert examine(tree).fit and examine(tree).chain[-1] == "sdb"


def test_a_loop_device_that_may_not_be_asked_tells_nothing(tree: StorageTree) -> None:
    assert loops.device_of_file(tree.machine, "7:3", ("/dev/loop3", ""), 20) == loops.NOT_TOLD


def test_a_file_that_is_not_the_loop_device_is_not_asked(tree: StorageTree) -> None:
    tree.write("/dev/loop3", "")
    assert loops.device_of_file(tree.machine, "7:3", ("/dev/loop3",), 20) == loops.NOT_TOLD


# --- file systems with no device of their own -----------------------------------------------------

def test_btrfs_is_followed_by_its_source_because_its_own_number_is_nobodys(
        tree: StorageTree) -> None:
    tree.disk("sdb", "8:16", place=ISCSI)
    mount(tree, "0:52", "/dev/sdb", "btrfs")
    assert examine(tree).fit and examine(tree).chain == ["sdb (iSCSI)"]


def test_btrfs_over_several_disks_is_followed_to_all_of_them(tree: StorageTree) -> None:
    tree.disk("sdb", "8:16", place=ISCSI)
    tree.mount("/srv", "nfs4", "filer:/export", device="0:50")
    tree.loop("loop3", "7:3", "/srv/second.img")
    for name, where in (("sdb", f"{ISCSI}/block/sdb"), ("loop3", "virtual/block/loop3")):
        tree.link(f"/sys/fs/btrfs/0d4b-uuid/devices/{name}",
                  f"{tree.machine.root}/sys/devices/{where}")
    mount(tree, "0:52", "/dev/sdb", "btrfs")
    found = examine(tree)
    assert not found.fit and "/srv/second.img" in found.reason


def test_btrfs_whose_device_is_gone_is_refused(tree: StorageTree) -> None:
    mount(tree, "0:52", "/dev/sdb", "btrfs")
    assert "its device /dev/sdb is gone" in examine(tree).reason


@pytest.mark.parametrize("fstype, source", [("zfs", "tank/mail"),
                                            ("bcachefs", "/dev/sdb:/dev/sdc")])
def test_a_pool_is_fit_and_says_that_its_disks_were_not_looked_at(tree: StorageTree, fstype: str,
                                                                  source: str) -> None:
    mount(tree, "0:52", source, fstype)
    found = examine(tree)
    assert found.fit and found.chain == [f"{fstype} {source}"]
    assert "not looked at" in found.warnings[0]


# --- names of devices -----------------------------------------------------------------------------

def test_devices_are_known_by_every_name_that_udev_gives_them(tree: StorageTree) -> None:
    tree.disk("sdb", "8:16", place=ISCSI)
    tree.partition("sdb", "sdb1", "8:17")
    tree.mapped("dm-0", "253:0", ["sdb1"], identity="LVM-a", label="vg-mail")
    tree.disk("cciss!c0d0", "104:0")
    tree.node("/dev/disk/by-uuid/1f3a", "../../sdb1")
    tree.node("/dev/mapper/vg-mail", "../dm-0")
    tree.node("/dev/vg/mail", "../mapper/vg-mail")
    tree.node("/dev/absolute", "/dev/sdb1")
    for name, number in (("/dev/sdb", "8:16"), ("/dev/sdb1", "8:17"), ("/dev/cciss/c0d0", "104:0"),
                         ("/dev/disk/by-uuid/1f3a", "8:17"), ("/dev/mapper/vg-mail", "253:0"),
                         ("/dev/vg/mail", "253:0"), ("/dev/absolute", "8:17"), ("/dev/sdc", ""),
                         ("/dev", ""), ("sdb", ""), ("", "")):
        assert chain.number_of(tree.machine, name) == number, name


def test_a_name_that_leads_out_of_dev_is_not_followed_there(tree: StorageTree) -> None:
    """It may lead to a dead server."""
    tree.node("/dev/strange", "/net/filer/disk")
    tree.node("/net/filer/disk", "/dev/vda1")
    assert chain.number_of(tree.machine, "/dev/strange") == ""
    assert chain.number_of(tree.machine, "/net/filer/disk") == ""


def test_names_that_lead_round_in_a_circle_end(tree: StorageTree) -> None:
    tree.node("/dev/one", "two")
    tree.node("/dev/two", "one")
    assert chain.number_of(tree.machine, "/dev/one") == ""


def test_the_disks_of_this_machine_are_found() -> None:
    machine = Machine()
    table = mountinfo.mounts(machine)
    for mounted in table:
        if kind_of(mounted.fstype) is DISK:
            assert chain.follow(machine, table, mounted, rules.EPHEMERAL.kinds).names
