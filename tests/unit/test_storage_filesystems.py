# SPDX-License-Identifier: GPL-2.0-or-later
"""What is known of the types of file systems, and what the rules make of it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailha.storage import filesystems, rules
from mailha.storage.filesystems import kind_of

ON_DISKS = ["ext2", "ext3", "ext4", "xfs", "btrfs", "f2fs", "jfs", "nilfs2", "reiserfs", "gfs2",
            "ocfs2", "zfs", "bcachefs"]

ON_SERVERS = ["cifs", "smb3", "9p", "virtiofs", "afs", "coda", "ceph", "lustre", "gpfs", "beegfs",
              "orangefs", "panfs", "acfs", "vxfs", "vmhgfs", "prl_fs", "hostfs"]


@pytest.mark.parametrize("fstype", ON_DISKS)
def test_file_systems_on_disks_are_fit_under_every_rule(fstype: str) -> None:
    for rule in (rules.BLOCK, rules.ANY_LASTING, rules.EPHEMERAL):
        assert kind_of(fstype) in rule.kinds


@pytest.mark.parametrize("fstype", ["nfs", "nfs4"])
def test_nfs_is_fit_only_where_the_french_documents_allow_it(fstype: str) -> None:
    assert kind_of(fstype) in rules.ANY_LASTING.kinds
    assert kind_of(fstype) not in rules.BLOCK.kinds
    assert kind_of(fstype) not in rules.EPHEMERAL.kinds


@pytest.mark.parametrize("fstype", [
    *ON_SERVERS, "fuse", "fuseblk", "fuse.nfs", "fuse.ext4", "fuse.sshfs", "fuse.glusterfs",
    "fuse.", "autofs", "squashfs", "erofs", "iso9660", "vfat", "ntfs3", "proc", "sysfs", "devpts",
    "", "nfs5", "EXT4", "ext4 ", "newfangledfs"])
def test_whatever_else_there_is_is_fit_under_no_rule(fstype: str) -> None:
    for rule in (rules.BLOCK, rules.ANY_LASTING, rules.EPHEMERAL):
        assert kind_of(fstype) not in rule.kinds


@pytest.mark.parametrize("fstype", ["tmpfs", "ramfs", "devtmpfs", "overlay"])
def test_memory_and_layers_are_fit_only_for_what_means_nothing_after_a_restart(
        fstype: str) -> None:
    assert kind_of(fstype) in rules.EPHEMERAL.kinds
    assert kind_of(fstype) not in rules.BLOCK.kinds
    assert kind_of(fstype) not in rules.ANY_LASTING.kinds


@pytest.mark.parametrize("fstype", [*ON_SERVERS, "nfs", "nfs4", "fuse", "fuse.x", "fuseblk",
                                    "autofs", "overlay", "proc", "newfangledfs"])
def test_what_may_keep_us_waiting_is_never_looked_at(fstype: str) -> None:
    assert not kind_of(fstype).local


@given(st.text(max_size=20))
def test_a_type_that_nobody_knows_is_of_no_kind_that_is_fit(fstype: str) -> None:
    if fstype not in filesystems.KIND_OF and not fstype.startswith("fuse."):
        assert kind_of(fstype) is filesystems.UNKNOWN


@pytest.mark.parametrize("purpose, strict, split", [
    (rules.METADATA, rules.BLOCK, rules.BLOCK),
    (rules.DATA, rules.BLOCK, rules.ANY_LASTING),
    (rules.STATE, rules.BLOCK, rules.ANY_LASTING),
    (rules.REBUILDABLE, rules.EPHEMERAL, rules.EPHEMERAL),
    (rules.TRANSIENT, rules.EPHEMERAL, rules.EPHEMERAL)])
def test_policies_say_what_bluemind_documents(purpose: str, strict: rules.Rule,
                                              split: rules.Rule) -> None:
    assert rules.rule_for(rules.STRICT, purpose) is strict
    assert rules.rule_for(rules.SPLIT, purpose) is split


def test_policies_know_the_same_purposes() -> None:
    assert set(rules.RULES[rules.STRICT]) == set(rules.RULES[rules.SPLIT])
    with pytest.raises(KeyError):
        rules.rule_for("lenient", rules.DATA)


def test_what_lasts_must_be_on_a_mount_of_its_own_and_what_does_not_need_not() -> None:
    assert rules.BLOCK.own_mount and rules.ANY_LASTING.own_mount
    assert not rules.EPHEMERAL.own_mount
    assert all(rule.writable for rule in (rules.BLOCK, rules.ANY_LASTING, rules.EPHEMERAL))
