# SPDX-License-Identifier: GPL-2.0-or-later
"""Every way in which a path can be, or become, something on which mail is lost."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any, Callable, List

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mailha import errors
from mailha.storage import mountinfo, rules, symlinks, verdict
from mailha.storage.verdict import Survey, Verdict
from storage_tree import StorageTree

SPOOL = "/var/spool/cyrus"
LIB = Path(__file__).resolve().parents[2] / "lib"


@pytest.fixture
def tree(tmp_path: Path) -> StorageTree:
    """Return a machine with a spare disk, sdb, that came by iSCSI."""
    made = StorageTree(tmp_path)
    made.disk("sdb", "8:16", place="platform/host3/session1/target3:0:0/3:0:0:1")
    made.partition("sdb", "sdb1", "8:17")
    return made


@pytest.fixture
def mounted(tree: StorageTree) -> StorageTree:
    """Return a machine on which all is well: sdb1 is mounted as the spool."""
    tree.mount(SPOOL, "ext4", "/dev/sdb1", device="8:17")
    return tree


def examine(tree: StorageTree, path: str = SPOOL, **more: Any) -> Verdict:
    """Examine a path under the strictest rule."""
    return verdict.examine(tree.machine, path, **{"rule": rules.BLOCK, **more})


def nfs(tree: StorageTree, point: str, options: str = "rw,vers=4.2,hard", **more: Any) -> None:
    """Mount NFS."""
    tree.mount(point, "nfs4", "filer:/export", device="0:50", super_options=options, **more)


# --- what is well ---------------------------------------------------------------------------------

@pytest.mark.parametrize("path", [SPOOL, SPOOL + "/", "//var/./spool//cyrus", SPOOL + "/data/p1"])
def test_a_disk_that_is_mounted_for_the_mail_is_fit(mounted: StorageTree, path: str) -> None:
    found = examine(mounted, path)
    assert found.fit and not found.reason and not found.remedy and not found.warnings
    assert (found.mount_point, found.type, found.source) == (SPOOL, "ext4", "/dev/sdb1")
    assert found.chain == ["sdb1", "sdb (iSCSI)"]
    assert found.path == found.real == mountinfo.lexical(path) and found.rule == "block"


def test_a_bind_mount_of_a_disk_is_fit(tree: StorageTree) -> None:
    tree.mount("/mnt/shared", "xfs", "/dev/sdb1", device="8:17")
    tree.mount(SPOOL, "xfs", "/dev/sdb1", device="8:17", root="/cyrus")
    assert examine(tree).fit


@pytest.mark.parametrize("path", ["relative", "/var/../etc", "", "/a\0b"])
def test_a_path_that_cannot_be_understood_is_no_verdict(mounted: StorageTree, path: str) -> None:
    with pytest.raises(errors.Failed):
        examine(mounted, path)


# --- network file systems and their disguises -----------------------------------------------------

@pytest.mark.parametrize("fstype", ["nfs", "nfs4", "cifs", "smb3", "9p", "afs", "coda", "ceph",
                                    "lustre", "glusterfs", "gpfs", "beegfs", "newfangledfs"])
def test_a_network_file_system_is_refused(tree: StorageTree, fstype: str) -> None:
    tree.mount(SPOOL, fstype, "filer:/export", device="0:50")
    found = examine(tree)
    assert not found.fit and found.remedy
    for words in (f"'{SPOOL}' is on {fstype} 'filer:/export', mounted at '{SPOOL}'",
                  "it must be on a block device"):
        assert words in found.reason


@pytest.mark.parametrize("fstype", ["fuse", "fuse.nfs", "fuse.sshfs", "fuse.glusterfs",
                                    "fuse.mergerfs", "fuse.ext4", "fuseblk"])
def test_fuse_is_refused_whatever_it_calls_itself(tree: StorageTree, fstype: str) -> None:
    tree.mount(SPOOL, fstype, "/dev/sdb1", device="0:50")
    found = examine(tree)
    assert not found.fit and f"on {fstype}" in found.reason and "FUSE" in found.reason


def test_a_bind_mount_of_a_directory_on_nfs_is_refused(tree: StorageTree) -> None:
    nfs(tree, "/net")
    nfs(tree, SPOOL, root="/low")
    assert "nfs4 'filer:/export'" in examine(tree).reason


def test_one_partition_on_nfs_below_a_good_spool_is_found(mounted: StorageTree) -> None:
    nfs(mounted, SPOOL + "/data/p2")
    found = examine(mounted)
    assert not found.fit and found.type == "ext4"
    assert f"has below it nfs4 'filer:/export', mounted at '{SPOOL}/data/p2'" in found.reason


def test_a_mount_of_another_path_with_the_same_beginning_is_none_of_ours(
        mounted: StorageTree) -> None:
    nfs(mounted, SPOOL + "-old")
    assert examine(mounted).fit


def test_a_hidden_mount_below_is_none_of_ours(tree: StorageTree) -> None:
    tree.mount(SPOOL, "ext4", "/dev/vda1", device="254:1")
    nfs(tree, SPOOL + "/data")
    tree.mount(SPOOL, "ext4", "/dev/sdb1", device="8:17")
    assert examine(tree).fit


def test_shadowed_mounts_do_not_deceive(tree: StorageTree) -> None:
    """findmnt -T says "ext4" for the second and is wrong: nobody gets there any more."""
    tree.mount("/a", "ext4", "/dev/sdb1", device="8:17")
    tree.mount("/a/b", "ext4", "/dev/sdb1", device="8:17")
    nfs(tree, "/a")
    for path in ("/a", "/a/b"):
        found = examine(tree, path)
        assert not found.fit and found.type == "nfs4" and found.mount_point == "/a"


def test_what_is_mounted_over_nfs_counts(tree: StorageTree) -> None:
    nfs(tree, SPOOL)
    tree.mount(SPOOL, "ext4", "/dev/sdb1", device="8:17")
    assert examine(tree).fit


def test_a_trigger_of_the_automounter_is_refused(tree: StorageTree) -> None:
    tree.mount(SPOOL, "autofs", "systemd-1", device="0:40")
    found = examine(tree)
    assert not found.fit and "automounter" in found.reason and "automounter" in found.remedy


def test_a_path_below_an_automounters_directory_is_refused(tree: StorageTree) -> None:
    tree.mount("/auto", "autofs", "/etc/auto.mail", device="0:40")
    assert "automounter" in examine(tree, "/auto/cyrus").reason


def test_a_disk_over_a_trigger_is_fit_with_a_warning(tree: StorageTree) -> None:
    tree.mount(SPOOL, "autofs", "systemd-1", device="0:40")
    tree.mount(SPOOL, "ext4", "/dev/sdb1", device="8:17")
    found = examine(tree)
    assert found.fit and "watched by an automounter" in found.warnings[0]


def test_a_disk_that_is_reached_over_nfs_is_fit_with_a_warning(tree: StorageTree) -> None:
    nfs(tree, SPOOL)
    tree.mount(SPOOL + "/meta", "ext4", "/dev/sdb1", device="8:17")
    found = examine(tree, SPOOL + "/meta/p1")
    assert found.fit and f"leads over nfs4 'filer:/export' at '{SPOOL}'" in found.warnings[0]


def test_overlay_is_refused_for_what_lasts(mounted: StorageTree) -> None:
    mounted.mount(SPOOL, "overlay", "overlay", device="0:60",
                  super_options="rw,lowerdir=/low,upperdir=/up,workdir=/work")
    assert "layers" in examine(mounted).reason


@pytest.mark.parametrize("layer", ["lowerdir", "upperdir", "workdir"])
def test_each_layer_of_an_overlay_counts_where_an_overlay_may_be(tree: StorageTree,
                                                                 layer: str) -> None:
    nfs(tree, "/net")
    layers = {"lowerdir": "/low:/low2", "upperdir": "/up", "workdir": "/work"}
    for place, fit in (("/local", True), ("/net/x", False)):
        layers[layer] = place
        tree.mount(SPOOL, "overlay", "overlay", device="0:60", super_options="rw," + ",".join(
            f"{name}={value}" for name, value in layers.items()))
        found = examine(tree, rule=rules.EPHEMERAL)
        assert found.fit is fit
    assert "its layer '/net/x' is on nfs4 'filer:/export'" in found.reason


# --- not mounted, wrong, gone ---------------------------------------------------------------------

@pytest.mark.parametrize("at", ["/", "/var", "/var/lib", "/var/spool"])
def test_the_directory_that_is_left_where_nothing_is_mounted_is_refused(tree: StorageTree,
                                                                        at: str) -> None:
    if at != "/":
        tree.disk("vdb", "254:16")
        tree.mount(at, "ext4", "/dev/vdb", device="254:16")
    found = examine(tree, "/var/lib/cyrus" if at == "/var/lib" else SPOOL)
    assert not found.fit and "operating system" in found.reason and "not mounted" in found.reason
    assert found.reason.endswith("it must be on a mount of its own")
    assert "Filesystem" in found.remedy


def test_a_subvolume_of_the_systems_disk_is_not_the_mails_own(tree: StorageTree) -> None:
    """As SUSE installs: /srv is a mount of its own and the same btrfs as /."""
    tree.mount("/", "btrfs", "/dev/sdb1", device="0:30", root="/@")
    tree.mount("/srv", "btrfs", "/dev/sdb1", device="0:30", root="/@/srv")
    assert "operating system" in examine(tree, "/srv/cyrus").reason


def test_what_means_nothing_after_a_restart_may_be_on_the_systems_disk(tree: StorageTree) -> None:
    tree.directory("/run/cyrus/lock")
    assert examine(tree, "/run/cyrus/lock", rule=rules.EPHEMERAL).fit


@pytest.mark.parametrize("device", [
    "/dev/sdb1", "/dev/disk/by-uuid/1f3a", "UUID=1f3a", "LABEL=cyrus spool/1", "PARTUUID=9-01",
    "PARTLABEL=Boîte (mail)"])
def test_the_right_device_is_known_by_each_of_its_names(mounted: StorageTree, device: str) -> None:
    mounted.node("/dev/disk/by-uuid/1f3a", "../../sdb1")
    mounted.node("/dev/disk/by-label/cyrus\\x20spool\\x2f1", "../../sdb1")
    mounted.node("/dev/disk/by-partlabel/Boîte\\x20\\x28mail\\x29", "../../sdb1")
    mounted.node("/dev/disk/by-partuuid/9-01", "../../sdb1")
    assert examine(mounted, device=device).fit


@pytest.mark.parametrize("device, words", [
    ("/dev/vda1", "/dev/vda1 (which is 254:1)"), ("/dev/sdb", "/dev/sdb (which is 8:16)"),
    ("UUID=ffff", "UUID=ffff (which this node does not have)"), ("filer:/export", "filer:/export"),
    ("/dev/sdc1", "/dev/sdc1 (which this node does not have)")])
def test_the_other_groups_disk_is_refused(mounted: StorageTree, device: str, words: str) -> None:
    found = examine(mounted, device=device)
    assert not found.fit and f"not what should be there: {words}" in found.reason


def test_a_btrfs_is_the_right_one_by_any_of_its_disks(tree: StorageTree) -> None:
    for name in ("sdb", "sdb1"):
        where = os.path.realpath(tree.root / "sys/class/block" / name)
        tree.link(f"/sys/fs/btrfs/0d4b/devices/{name}", where)
    tree.mount(SPOOL, "btrfs", "/dev/sdb", device="0:52")
    assert examine(tree, device="/dev/sdb1").fit
    assert not examine(tree, device="/dev/vda1").fit


def test_an_export_is_the_right_one_by_its_name(tree: StorageTree) -> None:
    nfs(tree, SPOOL)
    assert examine(tree, rule=rules.ANY_LASTING, device="filer:/export").fit
    assert not examine(tree, rule=rules.ANY_LASTING, device="filer:/other").fit


@pytest.mark.parametrize("options, super_options", [
    ("ro,relatime", "rw"), ("rw,relatime", "ro"), ("rw", "ro,errors=remount-ro"),
    ("ro", "ro")])
def test_read_only_in_either_field_is_refused(tree: StorageTree, options: str,
                                              super_options: str) -> None:
    tree.mount(SPOOL, "ext4", "/dev/sdb1", device="8:17", options=options,
               super_options=super_options)
    assert "it is read-only; it must be writable" in examine(tree).reason


def test_an_option_that_only_sounds_read_only_is_not(tree: StorageTree) -> None:
    tree.mount(SPOOL, "ext4", "/dev/sdb1", device="8:17", super_options="rw,errors=remount-ro")
    assert examine(tree).fit


@pytest.mark.parametrize("option", ["emergency_ro", "shutdown"])
def test_a_file_system_that_has_given_up_is_refused(tree: StorageTree, option: str) -> None:
    tree.mount(SPOOL, "ext4", "/dev/sdb1", device="8:17", super_options=f"rw,{option}")
    assert option in examine(tree).reason


@pytest.mark.parametrize("fstype", ["squashfs", "erofs", "iso9660"])
def test_an_image_is_refused_though_it_is_mounted_writable(tree: StorageTree, fstype: str) -> None:
    tree.mount(SPOOL, fstype, "/dev/loop0", device="7:0", super_options="ro,errors=continue")
    assert "image" in examine(tree).reason


def test_a_removed_directory_that_is_still_mounted_is_refused(tree: StorageTree) -> None:
    tree.mount(SPOOL, "ext4", "/dev/sdb1", device="8:17", root="/cyrus//deleted")
    assert "has been removed" in examine(tree).reason


def test_a_removed_mount_point_is_no_mount(tree: StorageTree) -> None:
    tree.mount(SPOOL + "//deleted", "ext4", "/dev/sdb1", device="8:17")
    assert "operating system" in examine(tree).reason


@pytest.mark.parametrize("fstype", ["tmpfs", "ramfs", "devtmpfs"])
def test_memory_is_refused_for_mail_and_fit_for_locks(tree: StorageTree, fstype: str) -> None:
    tree.mount(SPOOL, fstype, "tmpfs", device="0:50")
    assert "lost with the power" in examine(tree).reason
    assert not examine(tree, rule=rules.ANY_LASTING).fit
    assert examine(tree, rule=rules.EPHEMERAL).fit


def test_locks_on_nfs_are_refused_too(tree: StorageTree) -> None:
    nfs(tree, SPOOL)
    assert "no network file system" in examine(tree, rule=rules.EPHEMERAL).reason


def test_spaces_in_paths_are_understood(tree: StorageTree) -> None:
    tree.mount("/srv/mail store", "ext4", "/dev/sdb1", device="8:17")
    assert examine(tree, "/srv/mail store/cyrus").fit


# --- what is mounted below ------------------------------------------------------------------------

def test_what_has_a_rule_of_its_own_is_not_held_against_the_path_above(
        mounted: StorageTree) -> None:
    mounted.mount(SPOOL + "/proc", "tmpfs", "tmpfs", device="0:51")
    assert not examine(mounted).fit
    assert examine(mounted, apart=[SPOOL + "/proc"]).fit
    assert examine(mounted, apart=[SPOOL + "/proc/"]).fit
    assert not examine(mounted, apart=[SPOOL + "/pro"]).fit
    assert not examine(mounted, apart=[SPOOL + "/proc/deeper"]).fit


def test_what_is_apart_is_apart_behind_a_link_too(tree: StorageTree) -> None:
    tree.mount("/srv/mail", "ext4", "/dev/sdb1", device="8:17")
    tree.mount("/srv/mail/proc", "tmpfs", "tmpfs", device="0:51")
    tree.link(SPOOL, "/srv/mail")
    found = examine(tree, apart=[SPOOL + "/proc"])
    assert found.fit and found.real == "/srv/mail"


@pytest.mark.parametrize("more", [
    {"options": "ro"}, {"super_options": "ro"}, {"root": "/x//deleted"}, {"device": "8:99"}])
def test_what_is_mounted_below_must_be_as_good(mounted: StorageTree, more: Any) -> None:
    mounted.mount(SPOOL + "/p2", "xfs", "/dev/sdb", **{"device": "8:16"})
    assert examine(mounted).fit
    mounted.mount(SPOOL + "/p2", "xfs", "/dev/sdb", **{"device": "8:16", **more})
    found = examine(mounted)
    assert not found.fit and "has below it xfs" in found.reason


def test_a_directory_of_the_systems_disk_below_the_path_is_refused(mounted: StorageTree) -> None:
    """Bound there for more room, say: it does not go along to the other node."""
    mounted.mount(SPOOL + "/p2", "ext4", "/dev/vda1", device="254:1", root="/room")
    assert "has below it ext4 '/dev/vda1'" in examine(mounted).reason
    assert "operating system" in examine(mounted).reason


# --- NFS where it is allowed ----------------------------------------------------------------------

def test_nfs_where_it_is_allowed_comes_with_cyrus_own_advice(tree: StorageTree) -> None:
    nfs(tree, SPOOL)
    found = examine(tree, SPOOL + "/data/p1", rule=rules.ANY_LASTING)
    assert found.fit and found.real == SPOOL + "/data/p1"
    assert found.warnings == [f"'{SPOOL}/data/p1' is on NFS ('filer:/export'): the rule allows it, "
                              "Cyrus advises against it"]


@pytest.mark.parametrize("option", ["soft", "softerr", "nolock", "local_lock=all",
                                    "local_lock=posix", "local_lock=flock"])
def test_options_of_nfs_that_lose_mail_are_warned_of(tree: StorageTree, option: str) -> None:
    nfs(tree, SPOOL, f"rw,vers=3,{option}")
    found = examine(tree, rule=rules.ANY_LASTING)
    assert found.fit and any(f"'{option}'" in warning for warning in found.warnings)


def test_split_policy_wants_metadata_on_a_disk_and_lets_messages_be_on_nfs(
        tree: StorageTree) -> None:
    nfs(tree, SPOOL + "/data")
    tree.mount(SPOOL + "/meta", "ext4", "/dev/sdb1", device="8:17")
    for purpose, path, fit in ((rules.METADATA, "/meta/p1", True), (rules.DATA, "/data/p1", True),
                               (rules.METADATA, "/data/p1", False)):
        for policy in (rules.STRICT, rules.SPLIT):
            expected = fit and not (policy == rules.STRICT and purpose == rules.DATA)
            assert examine(tree, SPOOL + path,
                           rule=rules.rule_for(policy, purpose)).fit is expected


# --- symbolic links, and never touching what may hang ---------------------------------------------

def test_a_link_to_a_good_disk_is_followed(tree: StorageTree) -> None:
    tree.mount("/srv/mail", "ext4", "/dev/sdb1", device="8:17")
    tree.link(SPOOL, "../../srv/mail/cyrus")
    tree.directory("/srv/mail/cyrus")
    found = examine(tree)
    assert found.fit and found.path == SPOOL and found.real == "/srv/mail/cyrus"


def test_a_link_to_the_systems_disk_is_refused_by_its_true_name(tree: StorageTree) -> None:
    tree.link(SPOOL, "/srv/mail")
    assert f"'{SPOOL}' (in truth '/srv/mail') is on ext4" in examine(tree).reason


def test_a_link_inside_the_good_disk_to_nfs_is_found(mounted: StorageTree) -> None:
    nfs(mounted, "/net")
    mounted.link(SPOOL + "/data", "/net/data")
    found = examine(mounted, SPOOL + "/data/p1")
    assert not found.fit and found.real == "/net/data/p1" and found.type == "nfs4"
    assert examine(mounted, SPOOL + "/data/p1", rule=rules.ANY_LASTING).fit


def test_a_chain_of_links_to_nfs_is_found(mounted: StorageTree) -> None:
    nfs(mounted, "/net/filer")
    mounted.link("/var/one", "/two")
    mounted.link("/two", SPOOL + "/three")
    mounted.link(SPOOL + "/three", "/net/filer/x")
    assert examine(mounted, "/var/one/p").real == "/net/filer/x/p"
    assert not examine(mounted, "/var/one/p").fit


def test_a_loop_of_links_ends_with_a_reason(tree: StorageTree) -> None:
    tree.link(SPOOL, "/var/spool/other")
    tree.link("/var/spool/other", SPOOL)
    found = examine(tree)
    assert not found.fit and "leads nowhere" in found.reason and "namei" in found.remedy
    assert "symbolic links" in found.reason and rules.BLOCK.words in found.reason


@pytest.mark.parametrize("rest", ["x" * 300, "x/" * 3000], ids=["name", "path"])
@pytest.mark.parametrize("place", ["/var/lib", SPOOL])
def test_a_path_that_is_too_long_is_refused(mounted: StorageTree, place: str, rest: str) -> None:
    mounted.directory(place)
    found = examine(mounted, f"{place}/{rest}")
    assert not found.fit and "longer than a path can be" in found.reason and found.remedy


def test_a_loop_on_the_mail_s_own_disk_is_found_by_the_child(mounted: StorageTree) -> None:
    mounted.link(SPOOL + "/data", "data")
    found = examine(mounted, SPOOL + "/data/p1")
    assert not found.fit and "leads nowhere" in found.reason and found.remedy


def test_many_paths_that_need_a_child_share_one_for_each_disk(
        mounted: StorageTree, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before Linux 5.12 nothing is remembered, and BlueMind has thousands of partitions."""
    from mailha.storage import patience
    monkeypatch.setattr(symlinks.remembered, "has_no_links", lambda path: False)
    mounted.mount("/srv/two", "ext4", "/dev/vda1", device="254:1")
    children: List[str] = []
    real = patience.touch

    def touch(machine: Any, path: str, work: Callable[[], bytes], timeout: float) -> bytes:
        children.append(path)
        return real(machine, path, work, timeout)

    monkeypatch.setattr(patience, "touch", touch)
    survey = Survey(mounted.machine)
    mounted.link(SPOOL + "/data/away", "/srv/two/x")
    paths = [f"{place}/{number}" for number in range(50)
             for place in (SPOOL + "/data", "/srv/two", SPOOL + "/data/away")]
    survey.destinations.expect(paths)
    assert [survey.destinations.of(path) for path in paths] == [
        path.replace(SPOOL + "/data/away", "/srv/two/x") for path in paths]
    assert children == [paths[0], paths[1]]


def test_a_dead_disk_says_nothing_of_another_one(
        mounted: StorageTree, monkeypatch: pytest.MonkeyPatch) -> None:
    from mailha.storage import patience
    monkeypatch.setattr(symlinks.remembered, "has_no_links", lambda path: False)
    mounted.mount("/srv/two", "ext4", "/dev/vda1", device="254:1")
    real = patience.touch

    waited: List[str] = []

    def touch(machine: Any, path: str, work: Callable[[], bytes], timeout: float) -> bytes:
        waited.append(path)
        if path.startswith(SPOOL):
            raise patience.DiskSilent(f"'{path}' did not answer")
        return real(machine, path, work, timeout)

    monkeypatch.setattr(patience, "touch", touch)
    survey = Survey(mounted.machine)
    survey.destinations.expect([SPOOL + "/a", "/srv/two/a", SPOOL + "/b"])
    assert survey.destinations.of("/srv/two/a") == "/srv/two/a"
    for path in (SPOOL + "/a", SPOOL + "/b"):
        with pytest.raises(patience.DiskSilent):
            survey.destinations.of(path)
    assert waited == ["/srv/two/a", SPOOL + "/a"]       # once for each disk


def touched(tree: StorageTree, monkeypatch: pytest.MonkeyPatch) -> List[str]:
    """Return a list of all paths of the machine that this process touches from now on."""
    paths: List[str] = []
    prefix = tree.machine.root

    def note(function: Callable[..., Any]) -> Callable[..., Any]:
        def noting(path: Any, *arguments: Any, **more: Any) -> Any:
            text = os.fsdecode(path) if isinstance(path, (str, bytes, os.PathLike)) else ""
            if text.startswith(prefix):
                paths.append(text[len(prefix):] or "/")
            return function(path, *arguments, **more)
        return noting

    for name in ("open", "stat", "lstat", "readlink", "listdir", "scandir", "access", "statvfs"):
        monkeypatch.setattr(os, name, note(getattr(os, name)))
    monkeypatch.setattr(symlinks.remembered, "has_no_links",
                        note(symlinks.remembered.has_no_links))
    return paths


@pytest.mark.parametrize("fstype", ["nfs4", "fuse.sshfs", "autofs", "newfangledfs"])
@pytest.mark.parametrize("rule", [rules.BLOCK, rules.ANY_LASTING, rules.EPHEMERAL])
def test_nothing_on_a_mount_that_may_hang_is_ever_touched(
        tree: StorageTree, monkeypatch: pytest.MonkeyPatch, fstype: str, rule: rules.Rule) -> None:
    tree.mount("/net", fstype, "filer:/export", device="0:50")
    tree.mount("/net/disk", "ext4", "/dev/sdb1", device="8:17")
    tree.mount(SPOOL + "/data", fstype, "filer:/export", device="0:50")
    tree.link("/var/spool/link", "/net/far/away")
    paths = touched(tree, monkeypatch)
    for path in ("/net", "/net/mail", "/net/disk", "/net/disk/mail", SPOOL, SPOOL + "/data/p1",
                 "/var/spool/link", "/var/spool/link/p1"):
        examine(tree, path, rule=rule, device="/net/disk")
    assert "/var/spool/link" in paths
    assert not [path for path in paths if path.startswith(("/net", SPOOL + "/data"))]


def test_a_good_path_is_looked_at_in_no_way_that_could_wait(
        mounted: StorageTree, monkeypatch: pytest.MonkeyPatch) -> None:
    """The disk of the mail may be dead, too: only what the kernel remembers is asked for."""
    if not symlinks.remembered.has_no_links(mounted.machine.root):
        pytest.fail("this kernel remembers nothing (openat2, RESOLVE_CACHED: Linux 5.12)")
    monkeypatch.setattr(os, "fork", lambda: pytest.fail("a child was started"))
    paths = touched(mounted, monkeypatch)
    mounted.directory(SPOOL + "/data/p1")
    assert examine(mounted, SPOOL + "/data/p1").fit
    asked = [path for path in paths if path.startswith(SPOOL) and path != SPOOL]
    assert asked == [SPOOL + "/data/p1"]


def test_a_link_on_the_disk_of_the_mail_is_read_by_a_child_alone(
        mounted: StorageTree, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a link leads may have to be read from a disk that is dead."""
    read: List[str] = []
    real = os.readlink

    def readlink(path: str) -> str:
        read.append(path)
        return real(path)

    monkeypatch.setattr(os, "readlink", readlink)
    mounted.directory(SPOOL + "/real")
    mounted.link(SPOOL + "/data", "real")
    mounted.link("/var/mail", SPOOL + "/data")
    assert examine(mounted, "/var/mail/p1").real == SPOOL + "/real/p1"
    prefix = mounted.machine.root
    assert prefix + "/var/mail" in read
    assert not [path for path in read if path.startswith(prefix + SPOOL + "/")]


def test_where_the_kernel_remembers_nothing_a_child_looks(
        mounted: StorageTree, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(symlinks.remembered, "has_no_links", lambda path: False)
    nfs(mounted, "/net")
    mounted.directory(SPOOL + "/data")
    mounted.link(SPOOL + "/link", "/net/x")
    assert examine(mounted, SPOOL + "/data").fit
    assert not examine(mounted, SPOOL + "/link").fit


def test_a_disk_that_does_not_answer_the_child_is_named(
        mounted: StorageTree, monkeypatch: pytest.MonkeyPatch) -> None:
    from mailha.storage import patience
    from mailha.system.child_failures import ChildTimedOut
    monkeypatch.setattr(symlinks.remembered, "has_no_links", lambda path: False)

    class Hanging:
        def bounded(self, function: Callable[[], bytes], *, timeout: float) -> bytes:
            raise ChildTimedOut("it hangs", command=["work"])

    mounted.machine.children = Hanging()  # type: ignore[assignment]
    with pytest.raises(patience.DiskSilent):
        examine(mounted, SPOOL + "/data")


def test_a_machine_whose_root_is_nfs_is_still_examined(tree: StorageTree) -> None:
    """This program came from there, so looking at it cannot make things worse."""
    nfs(tree, "/")
    tree.mount(SPOOL, "ext4", "/dev/sdb1", device="8:17")
    assert examine(tree).fit
    assert not examine(tree, "/var/lib/cyrus").fit


# --- the mount namespace of Cyrus -----------------------------------------------------------------

def test_what_cyrus_sees_counts_and_not_what_we_see(mounted: StorageTree) -> None:
    """PrivateMounts=, ProtectSystem= and containers give a service mounts of its own."""
    own = StorageTree(mounted.root / "elsewhere")
    nfs(own, SPOOL)
    mounted.write("/proc/4711/mountinfo", (own.root / "proc/self/mountinfo").read_text())
    theirs = Survey(mounted.machine).seen_by("4711")
    assert examine(mounted).fit
    assert not examine(mounted, survey=theirs).fit
    assert "nfs4" in examine(mounted, survey=theirs).reason


def test_a_process_that_has_ended_is_said_so(mounted: StorageTree) -> None:
    with pytest.raises(mountinfo.MountTableDamaged) as caught:
        Survey(mounted.machine).seen_by("4712")
    assert "/proc/4712/mountinfo" in str(caught.value)


# --- one survey for all paths ---------------------------------------------------------------------

def test_the_table_is_read_once_for_all_paths(mounted: StorageTree,
                                              monkeypatch: pytest.MonkeyPatch) -> None:
    paths = touched(mounted, monkeypatch)
    survey = Survey(mounted.machine)
    for path in (SPOOL, SPOOL + "/a", "/var/lib/cyrus", "/run"):
        examine(mounted, path, survey=survey)
    assert paths.count(mountinfo.TABLE) == 1
    assert paths.count("/sys/dev/block/8:17") == 1


KINDS = st.sampled_from(["ext4", "xfs", "nfs4", "tmpfs", "fuse.x", "autofs", "overlay", "zfs",
                         "ro"])
POINTS = st.sampled_from(["/", "/var", "/var/spool", SPOOL, SPOOL + "/data", SPOOL + "/meta"])


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(POINTS, KINDS), max_size=6), st.sampled_from(["", "/data", "/meta/p"]))
def test_whatever_is_mounted_a_fit_verdict_keeps_the_rule(
        tree: StorageTree, mounts: List["tuple[str, str]"], below: str) -> None:
    fresh = StorageTree(tree.root / str(len(os.listdir(tree.root))))
    fresh.disk("sdb", "8:16")
    for point, kind in mounts:
        fresh.mount(point, "ext4" if kind == "ro" else kind, "source",
                    device="8:16" if kind in ("ext4", "xfs", "ro") else "0:50",
                    super_options="ro" if kind == "ro" else "rw")
    found = examine(fresh, SPOOL + below)
    mount = mountinfo.mounts(fresh.machine).find(found.real)
    if found.fit:
        assert mount.fstype in ("ext4", "xfs", "zfs") and not mount.read_only
        assert mount.mount_point.startswith(SPOOL)
        for inner in mountinfo.mounts(fresh.machine).below(found.real):
            assert inner.fstype in ("ext4", "xfs", "zfs") and not inner.read_only
    else:
        assert found.reason and found.remedy and f"'{SPOOL}" in found.reason


# --- what a monitor loads -------------------------------------------------------------------------

def test_a_verdict_loads_nothing_that_a_monitor_cannot_afford() -> None:
    program = ("import sys; before = set(sys.modules)\n"
               "from mailha.system.machine import Machine\n"
               "from mailha.storage import rules, verdict\n"
               "verdict.examine(Machine(), '/var/spool', rule=rules.EPHEMERAL)\n"
               "print(*sorted(set(sys.modules) - before))")
    out = subprocess.run([sys.executable, "-IS", "-c",
                          f"import sys; sys.path.insert(0, {str(LIB)!r})\n{program}"],
                         check=True, capture_output=True, text=True, timeout=60).stdout.split()
    dear = {"typing", "re", "enum", "dataclasses", "functools", "contextlib", "signal", "socket",
            "subprocess", "logging", "json", "pathlib", "shutil", "tempfile", "argparse",
            "collections", "ctypes", "struct", "fcntl", "mmap"}
    assert "mailha.storage.verdict" in out and not dear & set(out)
