# SPDX-License-Identifier: GPL-2.0-or-later
"""ocf:mailha:cyrus-storage from its handlers down, on a node that is a small tree of files."""

from __future__ import annotations

import errno
import functools
import os
from pathlib import Path
from typing import Any

import pytest

from cyrus_node import IMAPD_CONF, PARTITIONS, SPLIT_CONF, CyrusNode
from mailha import errors
from mailha.agents.cyrus_storage import AGENT, monitor, trial
from mailha.storage import probe_file
from mailha.storage.patience import DiskSilent
from mailha.storage.probe_file import Outcome
from mailha.system import forked


@pytest.fixture
def node(tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
         capfd: pytest.CaptureFixture[str]) -> CyrusNode:
    """A node on which Cyrus's two disks are mounted."""
    made = CyrusNode(tmp_path, monkeypatch, capfd)
    made.mount_the_usual()
    return made


@pytest.fixture
def real_node(tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
              capfd: pytest.CaptureFixture[str]) -> CyrusNode:
    """The same with real children, and the directories that Cyrus makes."""
    made = CyrusNode(tmp_path, monkeypatch, capfd, with_children=True)
    made.mount_the_usual()
    for directory in ("run/cyrus/proc", "run/cyrus/lock", "tmp"):
        (made.root / directory).mkdir(parents=True)
    return made


def serving(node: CyrusNode, **parameters: str) -> CyrusNode:
    """Return the node after a start."""
    assert node.start(**parameters).code == 0
    return node


def test_it_runs_between_start_and_stop_and_both_may_be_repeated(node: CyrusNode) -> None:
    assert (node.probe().code, node.monitor().code) == (7, 7)
    for _ in range(2):
        assert node.start().code == 0
        assert (node.probe().code, node.monitor().code, node.monitor(level=10).code) == (0, 0, 0)
    for _ in range(2):
        assert node.stop().code == 0
        assert node.monitor().code == 7


def test_a_disk_that_was_mounted_by_hand_does_not_make_it_run_here_too(node: CyrusNode) -> None:
    """Nor does GFS2 on both nodes: Pacemaker would stop a service that it finds running twice."""
    node.mount("/var/spool/cyrus", "gfs2", node.disk("sdg"))
    assert node.probe().code == 7 and node.monitor().code == 7


@pytest.mark.parametrize("damage", ["unmounted", "nfs", "no configuration", "garbage"])
def test_without_the_marker_a_monitor_is_not_running_whatever_the_verdict(
        node: CyrusNode, damage: str) -> None:
    spoil(node, damage)
    said = node.probe()
    assert said.code == 7 and "ocf-exit-reason" not in said.err
    assert node.monitor().code == 7


def spoil(node: CyrusNode, damage: str) -> None:
    """Make the node unfit."""
    if damage == "unmounted":
        node.unmount("/var/spool/cyrus")
    elif damage == "nfs":
        node.mount("/var/spool/cyrus", "nfs4", "nas:/cyrus")
    elif damage == "no configuration":
        (node.root / "etc/imapd.conf").unlink()
    else:
        node.put("/etc/imapd.conf", b"\xff\xfe<html>\0")


def test_a_power_loss_stops_it(node: CyrusNode) -> None:
    serving(node).boot()
    assert node.probe().code == 7


@pytest.mark.parametrize("point, fstype, source", [
    ("/var/spool/cyrus", "nfs4", "nas:/cyrus"), ("/var/spool/cyrus", "nfs", "nas:/cyrus"),
    ("/var/spool/cyrus", "fuse.sshfs", "nas:/cyrus"), ("/var/spool", "cifs", "//nas/cyrus"),
    ("/var/spool/cyrus", "autofs", "auto.mail"), ("/var/spool/cyrus/mail", "nfs4", "nas:/mail"),
    ("/var/spool/cyrus/mail/user", "nfs4", "nas:/user"), ("/var/lib/cyrus/db", "9p", "host"),
    ("/var/lib/cyrus", "tmpfs", "tmpfs"), ("/run/cyrus/lock", "nfs4", "nas:/lock"),
    ("/var/lib/cyrus", "newfs", "x")])
def test_a_path_that_is_unfit_refuses_the_start_and_nothing_is_left(
        node: CyrusNode, point: str, fstype: str, source: str) -> None:
    if point == "/var/spool":
        node.unmount("/var/spool/cyrus")
    node.mount(point, fstype, source)
    before = node.files()
    said = node.start()
    assert said.code == 5
    for part in (fstype, source, point, "; "):
        assert part in said.reason, said.reason
    assert not node.running and node.files() == before


def test_a_path_that_becomes_unfit_while_it_runs_fails_the_monitor_with_1(node: CyrusNode) -> None:
    serving(node)
    node.mount("/var/spool/cyrus", "nfs4", "nas:/cyrus")
    said = node.monitor()
    assert said.code == 1 and "nfs4 'nas:/cyrus'" in said.reason
    assert node.probe().code == 1       # and not 5, which would say "not here" of what runs here


def test_a_directory_on_which_nothing_is_mounted_is_refused(node: CyrusNode) -> None:
    node.unmount("/var/spool/cyrus")
    said = node.start()
    assert said.code == 5 and "'/var/spool/cyrus/mail' is on ext4 '/dev/vda'" in said.reason
    assert "operating system" in said.reason
    assert node.start(require_mount="false").code == 0


def test_on_the_node_s_own_disk_only_what_is_there_can_be_the_mail(node: CyrusNode) -> None:
    """Without require_mount, a path that does not exist is all that is left of a missing disk."""
    node.unmount("/var/spool/cyrus")
    (node.root / "var/spool/cyrus/mail").rmdir()
    said = node.start(require_mount="false")
    assert said.code == 5 and "'/var/spool/cyrus/mail' does not exist on ext4" in said.reason
    assert "require_mount" in said.reason and not node.running
    assert "does not exist" in node.validate(level=10, require_mount="false").err
    # A database is made by Cyrus; a directory is not.
    (node.root / "var/spool/cyrus/mail").mkdir()
    node.put("/etc/imapd.conf", IMAPD_CONF + "quota_db_path: /var/lib/cyrus/quotas.db\n"
             "annotation_db_path: /var/lib/other/annotations.db\n")
    said = node.start(require_mount="false")
    assert said.code == 5 and "/var/lib/other" in said.reason and "quotas" not in said.reason


def test_a_path_that_is_missing_on_a_disk_of_its_own_is_a_warning(node: CyrusNode) -> None:
    """A new server, or a blank disk in place of the right one."""
    (node.root / "var/spool/cyrus/mail").rmdir()
    said = node.start()
    assert said.code == 0 and len(said.warnings) == 1
    assert "'/var/spool/cyrus/mail' does not exist on /dev/sdc" in said.warnings[0]


class Torn:
    """Lets the first reading of a table of mounts lack a line, as before Linux 5.8 while others
    unmount something."""

    def __init__(self, node: CyrusNode, monkeypatch: pytest.MonkeyPatch, table: str,
                 lacking: str) -> None:
        self.left = 1
        kind = type(node.machine.files)
        real = kind.read

        def read(files: Any, path: str, *limit: int) -> bytes:
            content: bytes = real(files, path, *limit)
            if path == table and self.left:
                self.left -= 1
                content = b"".join(line for line in content.splitlines(True)
                                   if f" {lacking} ".encode() not in line)
            return content

        monkeypatch.setattr(kind, "read", read)


def test_a_table_that_changed_while_it_was_read_takes_nothing_down(
        node: CyrusNode, monkeypatch: pytest.MonkeyPatch) -> None:
    for action in (node.start, node.monitor, functools.partial(node.monitor, level=10)):
        torn = Torn(node, monkeypatch, "/proc/self/mountinfo", "/var/spool/cyrus")
        assert action().code == 0 and torn.left == 0
    node.run_cyrus(namespace="mnt:[2]")
    node.put("/proc/4711/mountinfo", node.table())
    torn = Torn(node, monkeypatch, "/proc/4711/mountinfo", "/var/spool/cyrus")
    assert node.monitor().code == 0 and torn.left == 0
    assert node.monitor(require_mount="false").code == 0


def test_several_unfit_paths_make_one_reason_that_names_them_all(node: CyrusNode) -> None:
    node.unmount("/var/spool/cyrus")
    node.unmount("/var/lib/cyrus")
    reason = node.start().reason
    assert reason.startswith("'/var/lib/cyrus' is on")
    assert "; unfit as well: /var/spool/cyrus/mail; " in reason


def test_stop_succeeds_over_everything_and_touches_nothing(
        node: CyrusNode, monkeypatch: pytest.MonkeyPatch) -> None:
    serving(node)
    for damage in ("nfs", "garbage", "no configuration"):
        spoil(node, damage)
    monkeypatch.setattr(type(node.machine.files), "read", None)
    monkeypatch.setattr(os, "readlink", None)
    monkeypatch.setattr(os, "fork", None)
    said = node.stop(policy="nonsense", paths="relative")
    assert said.code == 0 and not node.running


def test_stop_leaves_nothing_in_run(node: CyrusNode) -> None:
    before = node.files()
    serving(node).run_cyrus(pid_file="")
    assert node.monitor().code == 0
    assert node.files() != before
    assert node.stop().code == 0
    assert node.files() == before


def test_a_run_that_cannot_be_written_never_fails_the_stop(
        node: CyrusNode, monkeypatch: pytest.MonkeyPatch) -> None:
    serving(node)

    def refuse(self: object, path: str) -> bool:
        raise errors.Failed(f"cannot remove {path}: {os.strerror(errno.EROFS)}")

    monkeypatch.setattr(type(node.machine.files), "remove", refuse)
    said = node.stop()
    assert said.code == 0 and "until then a probe takes" in said.warnings[0]


def test_a_run_that_cannot_be_written_fails_the_start(
        node: CyrusNode, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: object, path: str, data: bytes, mode: int = 0o644) -> None:
        raise errors.Failed(f"cannot write {path}: {os.strerror(errno.ENOSPC)}")

    monkeypatch.setattr(type(node.machine.files), "write_atomic", refuse)
    said = node.start()
    assert said.code == 1 and "/run/mailha/cyrus-storage" in said.reason


# the configuration

BAD = {
    "missing": None,
    "binary": b"\x7fELF\0\0",
    "garbage": b"<html>404</html>\n",
    "not UTF-8": b"\xe4\xf6\xfc\n",
    "loop": IMAPD_CONF + "@include: /etc/imapd.conf\n",
    "missing include": IMAPD_CONF + "@include: /etc/gone\n",
    "relative path": IMAPD_CONF + "partition-a: spool/a\n",
    "empty": "",
    "endless": b"#" * (1 << 21),
}


def spoil_configuration(node: CyrusNode, what: str) -> None:
    """Put something else in the place of imapd.conf."""
    content = BAD[what]
    if content is None:
        (node.root / "etc/imapd.conf").unlink()
    else:
        node.put("/etc/imapd.conf", content)


@pytest.mark.parametrize("what", BAD)
def test_a_configuration_of_no_use_is_5_at_start_and_no_fault_of_what_runs(
        node: CyrusNode, what: str) -> None:
    serving(node)
    spoil_configuration(node, what)
    for level in (0, 10):
        said = node.monitor(level=level)
        assert said.code == 0 and "/etc/" in said.warnings[0], said
        assert "going on with the paths that were examined at the start" in said.warnings[0]
    said = node.start()
    assert said.code == 5 and "/etc/" in said.reason and "Traceback" not in said.err
    assert said.err.count("\n") == 1


def test_what_the_start_examined_is_examined_while_the_configuration_cannot_be_read(
        node: CyrusNode) -> None:
    node.put("/etc/imapd.conf", IMAPD_CONF.encode() + b"partition-b: /var/spool/cyrus/b\xe4r x\n")
    serving(node)
    spoil_configuration(node, "garbage")
    assert node.monitor().code == 0
    node.mount("/var/spool/cyrus/mail", "nfs4", "nas:/mail")
    said = node.monitor()
    assert said.code == 1 and "/var/spool/cyrus/mail" in said.reason


def test_a_marker_that_is_damaged_still_runs(node: CyrusNode) -> None:
    serving(node)
    spoil_configuration(node, "garbage")
    node.put("/run/mailha/cyrus-storage/cyrus_storage", b"\xff\0 what\n")
    assert node.monitor().code == 0


def test_a_partition_that_is_added_while_it_runs_is_examined(
        node: CyrusNode, monkeypatch: pytest.MonkeyPatch) -> None:
    serving(node)
    monkeypatch.setattr(node.machine.clock, "sleep", lambda seconds: None)
    node.mount("/srv/nas", "nfs4", "nas:/more")
    node.put("/etc/imapd.conf", IMAPD_CONF + "partition-more: /srv/nas/more\n")
    assert "'/srv/nas/more' is on nfs4" in node.monitor().reason


def test_a_list_of_partitions_that_is_just_being_written_takes_nothing_down(
        node: CyrusNode, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the line that BlueMind appends, the monitor saw the half; a second later it is whole."""
    node.put("/etc/cyrus-partitions", PARTITIONS)
    serving(node)
    waited = []

    def sleep(seconds: float) -> None:
        waited.append(seconds)
        node.put("/etc/cyrus-partitions", PARTITIONS + "partition-b:/var/spool/cyrus/data/b\n")

    monkeypatch.setattr(node.machine.clock, "sleep", sleep)
    node.put("/etc/cyrus-partitions", PARTITIONS + "partition-b:/var/spo")
    assert node.monitor() == (0, "") and waited == [1.0]
    node.unmount("/var/spool/cyrus")        # what was there at the start is believed at once
    assert node.monitor().code == 1 and waited == [1.0]


def test_a_configuration_on_a_network_file_system_is_refused_unread(
        node: CyrusNode, monkeypatch: pytest.MonkeyPatch) -> None:
    node.mount("/srv/nas", "nfs4", "nas:/etc")
    said = node.start(imapd_conf="/srv/nas/imapd.conf")
    assert said.code == 5 and "is read from '/srv/nas' (nfs4 nas:/etc)" in said.reason
    (node.root / "etc/imapd.conf").unlink()
    node.link("/etc/imapd.conf", "/srv/nas/imapd.conf")
    assert "is read from '/srv/nas'" in node.start().reason


def test_a_configuration_on_the_mail_s_own_disk_is_read_at_start_and_at_depth_10(
        node: CyrusNode, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(node.machine.clock, "sleep", lambda seconds: None)
    node.put("/var/lib/cyrus/imapd.conf", IMAPD_CONF)
    (node.root / "etc/imapd.conf").unlink()
    node.link("/etc/imapd.conf", "../var/lib/cyrus/imapd.conf")
    serving(node)
    assert node.monitor() == (0, "") and node.monitor(level=10) == (0, "")
    node.put("/var/lib/cyrus/imapd.conf", IMAPD_CONF + "partition-b: /srv/b\n")
    assert node.monitor() == (0, "")
    assert "'/srv/b'" in node.monitor(level=10).reason


def test_the_partitions_of_bluemind_are_examined(node: CyrusNode) -> None:
    node.put("/etc/cyrus-partitions", PARTITIONS)
    node.mount("/var/spool/cyrus/data", "nfs4", "nas:/data")
    said = node.start()
    assert said.code == 5 and "'/var/spool/cyrus/data/example_org' is on nfs4" in said.reason
    node.put("/etc/cyrus-partitions", "no partition\n")
    assert "/etc/cyrus-partitions line 1" in node.start().reason
    assert node.start(partitions_file="/etc/none").code == 0


# policies and profiles

@pytest.fixture
def split(node: CyrusNode) -> CyrusNode:
    """A node as the French documents allow it: only the metadata on a disk."""
    node.put("/etc/imapd.conf", SPLIT_CONF)
    node.put("/etc/cyrus-partitions", PARTITIONS)
    node.unmount("/var/spool/cyrus")
    node.unmount("/var/lib/cyrus")
    node.mount("/var/lib/cyrus", "nfs4", "nas:/lib")
    node.mount("/var/spool/cyrus", "nfs4", "nas:/spool")
    node.mount("/var/spool/cyrus/meta", source="/dev/sdb")
    return node


def test_split_allows_messages_on_nfs_and_warns_of_it(split: CyrusNode) -> None:
    said = split.start(policy="split")
    assert said.code == 0
    assert any("'/var/lib/cyrus' is on NFS" in warning for warning in said.warnings)
    assert split.monitor(policy="split").code == 0
    assert split.start().code == 5      # strict is the default


@pytest.mark.parametrize("policy, code", [("strict", 5), ("split", 5)])
def test_metadata_are_never_on_nfs(split: CyrusNode, policy: str, code: int) -> None:
    split.unmount("/var/spool/cyrus/meta")
    said = split.start(policy=policy)
    assert said.code == code and not split.running
    if policy == "split":
        assert "'/var/spool/cyrus/meta/example_org' is on nfs4" in said.reason


@pytest.mark.parametrize("missing", ["header", "index", "cache", "expunge", "annotations", "lock",
                                     "dav", "archivecache"])
def test_split_proves_that_no_metadata_stay_beside_the_messages(
        split: CyrusNode, missing: str) -> None:
    split.put("/etc/imapd.conf", SPLIT_CONF.replace(f" {missing}", ""))
    said = split.start(policy="split")
    assert said.code == 5 and "/var/spool/cyrus/data/example_org" in said.reason
    assert f"because metadata stay in it ({missing}: metapartition_files" in said.reason


def test_split_refuses_messages_on_nfs_of_a_partition_without_metapartition(
        split: CyrusNode) -> None:
    split.put("/etc/cyrus-partitions", PARTITIONS + "partition-b:/var/spool/cyrus/data/b\n")
    assert "there is no metapartition-b" in split.start(policy="split").reason


def test_the_cyrus_of_bluemind_3_has_fewer_files_to_move(split: CyrusNode) -> None:
    split.put("/etc/imapd.conf", SPLIT_CONF.replace("annotations lock dav archivecache", ""))
    assert split.start(policy="split").code == 5
    assert split.start(policy="split", profile="bluemind3").code == 0


def test_split_over_block_devices_alone_is_fit_and_says_what_is_not_split(node: CyrusNode) -> None:
    said = node.start(policy="split")
    assert said.code == 0 and "has no metapartition" in said.warnings[0]


def test_bluemind_4_wants_the_index_and_the_database_on_block_devices(node: CyrusNode) -> None:
    said = node.start(profile="bluemind4")
    assert said.code == 5 and "/var/spool/bm-elasticsearch" in said.reason
    assert "/var/lib/postgresql" in said.reason
    node.mount("/var/spool/bm-elasticsearch", source=node.disk("sde"))
    node.mount("/var/lib/postgresql", source=node.disk("sdf"))
    assert node.start(profile="bluemind4").code == 0


def test_bluemind_s_directories_count_where_nothing_is_named_in_them_yet(node: CyrusNode) -> None:
    node.put("/etc/imapd.conf", "configdirectory: /var/lib/cyrus\n")
    node.mount("/var/spool/cyrus", "nfs4", "nas:/cyrus")
    assert node.start().code == 0
    assert "'/var/spool/cyrus' is on nfs4" in node.start(profile="bluemind3").reason


def test_bluemind_allows_the_archive_on_nfs(node: CyrusNode) -> None:
    node.mount("/var/spool/bm-hsm", "nfs4", "nas:/hsm")
    node.put("/etc/imapd.conf", IMAPD_CONF + "metapartition_files: archivecache\n"
             "metapartition-default: /var/spool/cyrus/meta\n"
             "archivepartition-default: /var/spool/bm-hsm/cyrus-archives\n")
    assert node.start().code == 5
    assert node.start(profile="bluemind3").code == 0


def test_further_paths_must_be_on_block_devices(node: CyrusNode) -> None:
    node.mount("/srv/nas", "nfs4", "nas:/x")
    assert "'/srv/nas/x' is on nfs4" in node.start(paths="/var/spool/cyrus,/srv/nas/x").reason
    node.mount("/srv/a", source=node.disk("sde"))
    assert node.start(paths="/srv/a /var/spool/cyrus").code == 0


def test_scripts_may_be_on_nfs_but_not_on_the_node_s_own_disk(node: CyrusNode) -> None:
    node.put("/etc/imapd.conf", IMAPD_CONF.replace(
        "sieveusehomedir: yes", "sievedir: /var/spool/sieve"))
    assert "'/var/spool/sieve'" in node.start().reason
    node.mount("/var/spool/sieve", "nfs4", "nas:/sieve")
    assert node.start().code == 0


def test_locks_and_proc_files_may_be_in_memory_but_not_on_a_server(node: CyrusNode) -> None:
    for point in ("/var/lib/cyrus/proc", "/var/lib/cyrus/lock"):
        node.mount(point, "tmpfs", "tmpfs")
    node.put("/etc/imapd.conf", "configdirectory: /var/lib/cyrus\n")
    assert node.start().code == 0
    node.mount("/var/lib/cyrus/lock", "nfs4", "nas:/lock")
    assert "'/var/lib/cyrus/lock' is on nfs4" in node.start().reason


# the right disk

@pytest.mark.parametrize("device, code", [
    ("/dev/sdb", 5), ("/var/lib/cyrus=/dev/sdb /var/spool/cyrus=/dev/sdc", 0),
    ("/dev/sdc /var/lib/cyrus=/dev/sdb", 0), ("/dev/sdc /var/lib/cyrus=/dev/sdz", 5),
    ("/var/lib/cyrus=UUID=11-22,/var/spool=/dev/sdc", 0), ("/var/lib/cyrus=UUID=22-11", 5)])
def test_the_disk_of_another_server_is_refused(node: CyrusNode, device: str, code: int) -> None:
    node.link("/dev/disk/by-uuid/11-22", "../../sdb")
    node.link("/dev/disk/by-uuid/22-11", "../../sdc")
    assert node.start(device=device).code == code


@pytest.mark.parametrize("path", ["/var/lib/cyrsu", "/var/spool/cyrus/mail/user", "/var/lib/cyr"])
def test_a_device_for_a_path_that_cyrus_does_not_use_is_refused(node: CyrusNode, path: str) -> None:
    """It would be ignored, and any disk taken for the right one."""
    wrong = f"/dev/sdc /var/lib/cyrus=/dev/sdb {path}=/dev/sdb"
    said = node.start(device=wrong)
    assert said.code == 5 and f"{path}=/dev/sdb holds for no path of /etc/imapd.conf" in said.reason
    assert "/var/lib/cyrus, /var/spool/cyrus/mail" in said.reason
    assert any(f"{path}=/dev/sdb" in each for each in node.validate(device=wrong).warnings)
    serving(node)
    assert node.monitor(device=wrong).code == 0, "what serves is not taken down for it"
    said = node.do("reload-agent", device=wrong)
    assert said.code == 0 and f"the next start will be refused: device: {path}" in said.err


@pytest.mark.parametrize("name, value", [
    ("policy", "loose"), ("imapd_conf", "etc/imapd.conf"), ("imapd_conf", "/etc/../imapd.conf"),
    ("paths", "var/spool"), ("paths", "/a\n/b"), ("paths", "/a /b/../c"), ("profile", "exchange"),
    ("device", "sdb"), ("device", "/var/lib=sdb"), ("device", "UUID="), ("device", "/dev/a /dev/b"),
    ("device", "/dev/../etc"), ("require_mount", "perhaps")])
def test_a_parameter_that_can_be_right_nowhere_is_6_and_stops_no_monitor(
        node: CyrusNode, name: str, value: str) -> None:
    serving(node)
    said = node.do("start", **{name: value})
    assert said.code == 6 and f"parameter {name}: " in said.reason
    assert node.do("monitor", interval=30000, **{name: value}).code == 0
    assert node.do("stop", **{name: value}).code == 0


# the running Cyrus

def test_mounts_that_only_cyrus_sees_count(node: CyrusNode) -> None:
    serving(node)
    node.run_cyrus(namespace="mnt:[2]")
    node.put("/proc/4711/mountinfo", node.table())
    assert node.monitor().code == 0
    node.mount("/var/spool/cyrus/mail", "nfs4", "nas:/mail")
    node.put("/proc/4711/mountinfo", node.table())
    node.unmount("/var/spool/cyrus/mail")
    said = node.monitor()
    assert said.code == 1
    assert "Cyrus (process 4711) sees other mounts than this node" in said.reason
    assert "nfs4 'nas:/mail'" in said.reason


def test_a_link_that_leads_to_a_disk_leads_there_for_cyrus_too(node: CyrusNode) -> None:
    """Debian's unit has PrivateTmp=yes, so every Cyrus has mounts of its own."""
    node.link("/srv/link", "/var/spool/cyrus/mail")
    node.put("/etc/imapd.conf", IMAPD_CONF + "partition-b: /srv/link\n")
    serving(node)
    node.run_cyrus(namespace="mnt:[2]")
    node.mount("/tmp", source="/dev/vda", root="/tmp/systemd-private-1/tmp")
    node.put("/proc/4711/mountinfo", node.table())
    node.unmount("/tmp")
    assert node.monitor() == (0, "")


def test_what_a_unit_hides_from_cyrus_of_other_services_is_no_fault(node: CyrusNode) -> None:
    node.mount("/srv/database", source=node.disk("sde"))
    serving(node, paths="/srv/database")
    node.run_cyrus(namespace="mnt:[2]")
    node.mount("/srv/database", "tmpfs", "tmpfs", "ro")     # InaccessiblePaths=
    node.put("/proc/4711/mountinfo", node.table())
    node.unmount("/srv/database")
    node.mount("/srv/database", source="/dev/sde")
    assert node.monitor(paths="/srv/database") == (0, "")


def test_a_cyrus_that_ends_while_it_is_looked_at_is_no_failure(node: CyrusNode) -> None:
    serving(node)
    node.run_cyrus(namespace="mnt:[2]")     # without a table, as when it has just gone
    (node.root / "proc/4711/stat").rename(node.root / "proc/4711/gone")
    assert node.monitor().code == 0


# depth 10

def test_the_probe_file_is_tried_on_each_disk_once_at_start_and_at_depth_10(
        node: CyrusNode, monkeypatch: pytest.MonkeyPatch) -> None:
    tried = []

    def try_out(machine: object, directory: str, *, timeout: float,
                mount_point: str = "") -> Outcome:
        tried.append(directory)
        return Outcome()

    monkeypatch.setattr(probe_file, "try_out", try_out)
    node.put("/etc/imapd.conf", IMAPD_CONF + "partition-b: /var/spool/cyrus/b\n"
             "mboxlist_db_path: /srv/db/mailboxes.db\n")
    node.mount("/srv/db", source=node.disk("sde"))
    serving(node)
    assert tried == ["/var/lib/cyrus", "/var/spool/cyrus/mail", "/srv/db/mailboxes.db"]
    node.monitor()
    assert len(tried) == 3
    node.monitor(level=10)
    assert len(tried) == 6


@pytest.mark.parametrize("outcome, at_start, at_depth_10", [
    (Outcome("'/x' is not like a disk", "move it"), 5, 1), (Outcome(warning="it is full"), 0, 0)])
def test_what_fails_the_trial_is_unfit_and_a_full_disk_is_a_warning(
        node: CyrusNode, monkeypatch: pytest.MonkeyPatch, outcome: Outcome, at_start: int,
        at_depth_10: int) -> None:
    serving(node)
    monkeypatch.setattr(probe_file, "try_out", lambda *_, **__: outcome)
    for said, code in ((node.start(), at_start), (node.monitor(level=10), at_depth_10)):
        assert said.code == code
        assert said.warnings == (["it is full"] if outcome.warning else [])
    assert node.monitor().code == 0


def test_a_disk_that_does_not_answer_fails_inside_the_budget(
        node: CyrusNode, monkeypatch: pytest.MonkeyPatch) -> None:
    waited = []

    def hang(machine: object, directory: str, *, timeout: float, mount_point: str = "") -> Outcome:
        waited.append(timeout)
        raise DiskSilent(f"'{directory}' did not answer", remedy="look for it")

    serving(node)
    monkeypatch.setattr(probe_file, "try_out", hang)
    assert node.monitor(level=10).code == 1
    assert node.start().code == 1
    assert all(0 < seconds <= trial.LONGEST for seconds in waited)
    waited.clear()
    node.do("monitor", interval=1, level=10, timeout=10000)
    assert waited[0] <= 4.0


def test_the_trial_leaves_nothing_on_the_disk(real_node: CyrusNode) -> None:
    serving(real_node)
    assert real_node.monitor(level=10).code == 0
    left = [path for path in (real_node.root / "var").rglob("*") if not path.is_dir()]
    assert left == [] and not list((real_node.root / "var").rglob("*mailha*"))


def test_a_disk_that_lacks_something_is_found_by_the_trial(
        real_node: CyrusNode, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: object, **more: object) -> None:
        raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))

    serving(real_node)
    monkeypatch.setattr(os, "link", refuse)
    for said, code in ((real_node.monitor(level=10), 1), (real_node.start(), 5)):
        assert said.code == code and "link" in said.reason
    assert real_node.monitor().code == 0


def test_a_monitor_at_depth_0_has_no_child(
        real_node: CyrusNode, monkeypatch: pytest.MonkeyPatch) -> None:
    serving(real_node)
    real_node.run_cyrus()

    def never(*arguments: object) -> bytes:
        raise AssertionError("a child")

    monkeypatch.setattr(forked, "bounded", never)
    monkeypatch.setattr(os, "fork", never)
    assert real_node.monitor() == (0, "")


# validate-all and reload-agent

def test_validate_all_warns_of_what_a_start_would_be_refused_for(node: CyrusNode) -> None:
    assert node.validate() == (0, "")
    node.mount("/var/spool/cyrus", "nfs4", "nas:/cyrus")
    before = node.files()
    said = node.validate()
    assert said.code == 0 and "nfs4 'nas:/cyrus'" in said.warnings[0]
    assert node.validate(level=10).code == 5
    assert node.files() == before


def test_validate_all_says_that_there_is_no_configuration(node: CyrusNode) -> None:
    (node.root / "etc/imapd.conf").unlink()
    said = node.validate()
    assert said.code == 0 and "there is no /etc/imapd.conf" in said.warnings[0]


def test_reload_says_whether_what_runs_is_fit_under_the_new_parameters(node: CyrusNode) -> None:
    serving(node)
    assert "INFO: the changed parameters are in force" in node.do("reload-agent").err
    said = node.do("reload-agent", device="/dev/sdz")
    assert said.code == 1 and "/dev/sdz" in said.reason


def test_every_parameter_can_be_changed_while_the_mail_runs() -> None:
    assert all(parameter.reloadable for parameter in AGENT.parameters)


def test_two_resources_on_one_node_know_nothing_of_each_other(node: CyrusNode) -> None:
    serving(node)
    other = node.call("monitor")
    other.resource = "another"
    with pytest.raises(errors.NotRunning):
        monitor.monitor(other, node.machine)
