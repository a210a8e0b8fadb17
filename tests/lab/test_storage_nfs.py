# SPDX-License-Identifier: GPL-2.0-or-later
"""The verdict on storage, on a real NFS and on what else only a kernel of our own can mount.

The guest is server and client in one, so that the server can be ended while the mount is in use.
"""

from __future__ import annotations

import contextlib
import functools
import itertools
from typing import Generator, Iterator, List, Tuple

import pytest

from filesystems.guest import Guest
from storage_judge import call, judge, judge_all, try_out
from waiting import wait_for

# The export is on a tmpfs: NFS can export no overlay. A server that has just started gives out no
# locks for a while, so that its clients can claim theirs: for the shortest time that it takes, and
# where it lets itself be told so (Debian 12), for no time at all.
SERVE = r"""
mkdir -p /run/export /srv/v4.2 /srv/v3 /run/rpcbind /run/lock
mount -t tmpfs export /run/export
mount -t tmpfs state /var/lib/nfs
mkdir /var/lib/nfs/v4recovery /var/lib/nfs/sm /var/lib/nfs/sm.bak
: > /var/lib/nfs/etab
: > /var/lib/nfs/rmtab
modprobe nfsd
echo 3 > /proc/sys/fs/nfs/nlm_timeout
echo 3 > /proc/sys/fs/nfs/nlm_grace_period
mount -t nfsd nfsd /proc/fs/nfsd
echo 10 > /proc/fs/nfsd/nfsv4leasetime
echo 10 > /proc/fs/nfsd/nfsv4gracetime
echo '/run/export 127.0.0.1(rw,no_root_squash,no_subtree_check,fsid=0,insecure)' > /etc/exports
rpcbind -w
exportfs -ra
rpc.mountd
rpc.nfsd 2
{ echo Y > /proc/fs/nfsd/v4_end_grace; } 2> /dev/null || :
mount -t nfs -o vers=4.2 127.0.0.1:/ /srv/v4.2
mount -t nfs -o vers=3,nolock 127.0.0.1:/run/export /srv/v3
echo mail > /srv/v4.2/mail
grep -q mail /srv/v3/mail
"""

MOUNTS = [("/srv/v4.2", "nfs4", "127.0.0.1:/"), ("/srv/v3", "nfs", "127.0.0.1:/run/export")]

_numbers = itertools.count()


@pytest.fixture(scope="module")
def guest(guest_of_storage: Guest) -> Generator[Guest, None, None]:
    """Return a machine with the same directory mounted by NFS 4.2 and by NFS 3."""
    with guest_of_storage as made:
        sh(made, SERVE)
        yield made


@pytest.fixture
def spot(guest: Guest) -> Generator[str, None, None]:
    """Return a directory that no other test uses; what is mounted there is unmounted after."""
    path = f"/srv/spot{next(_numbers)}"
    sh(guest, f"mkdir {path}")
    yield path
    sh(guest, f"if mountpoint -q {path}; then umount {path}; fi")


def sh(guest: Guest, script: str) -> str:
    """Run a shell script in the guest, which has to succeed, and return what it printed."""
    # Nobody but dmsetup itself makes the device files: there is no udev.
    return guest.run(["/bin/sh", "-euc", script], timeout=120, check=True,
                     environment={"DM_DISABLE_UDEV": "1"}).stdout


@pytest.mark.parametrize("path, kind, source", MOUNTS)
def test_a_real_nfs_is_no_block_device(guest: Guest, path: str, kind: str, source: str) -> None:
    for where in (path, f"{path}/user/a"):
        judge(guest, where).refused(kind, source)
        judge(guest, where, "EPHEMERAL").refused(kind, source)


@pytest.mark.parametrize("path, kind, source", MOUNTS)
def test_where_nfs_is_allowed_it_is_fit_with_a_warning(guest: Guest, path: str, kind: str,
                                                       source: str) -> None:
    said = judge(guest, path, "ANY_LASTING")
    said.accepted()
    assert said.type == kind and said.warnings, said
    judge(guest, path, "ANY_LASTING", "nas.example.com:/spool").refused("nas.example.com:/spool")


@pytest.mark.parametrize("path, kind, source", MOUNTS)
def test_a_real_nfs_does_not_do_what_cyrus_relies_on(guest: Guest, path: str, kind: str,
                                                     source: str) -> None:
    fault, _ = try_out(guest, path)
    assert path in fault and "silly rename" in fault, fault


def test_a_directory_of_an_nfs_that_is_bound_elsewhere_is_nfs(guest: Guest, spot: str) -> None:
    sh(guest, f"mkdir /srv/v4.2/part; mount --bind /srv/v4.2/part {spot}")
    judge(guest, spot).refused("nfs4", "127.0.0.1:/part")


def test_a_link_that_leads_to_an_nfs_is_nfs(guest: Guest) -> None:
    sh(guest, "ln -s /srv/v3/part /srv/link")
    judge(guest, "/srv/link/user").refused("nfs", "127.0.0.1:/run/export")


def test_a_disk_that_is_a_file_on_nfs_is_refused(guest: Guest, spot: str) -> None:
    sh(guest, f"modprobe loop; truncate -s 16M /srv/v3/disk; mkfs.ext4 -q -F /srv/v3/disk;"
              f" mount -o loop /srv/v3/disk {spot}")
    judge(guest, spot).refused("ext4", "/dev/loop", "/srv/v3/disk", "nfs")


def test_a_volume_of_a_disk_that_is_a_file_on_nfs_is_refused(guest: Guest, spot: str) -> None:
    device = sh(guest, "modprobe loop; truncate -s 16M /srv/v4.2/disk;"
                       " losetup --find --show /srv/v4.2/disk").strip()
    sh(guest, f"dmsetup create far --table '0 32768 linear {device} 0';"
              f" mkfs.ext4 -q /dev/mapper/far; mount /dev/mapper/far {spot}")
    judge(guest, spot).refused("/dev/mapper/far", "/srv/v4.2/disk", "nfs4")
    sh(guest, f"umount {spot}; dmsetup remove far; losetup -d {device}")


def test_a_volume_of_a_disk_is_fit(guest: Guest, spot: str) -> None:
    sh(guest, "dmsetup create mail --table '0 65536 linear /dev/ubda 0';"
              f" mkfs.ext4 -q -F /dev/mapper/mail; mount /dev/mapper/mail {spot}")
    judge(guest, spot).accepted("dm-", "ubda")
    judge(guest, spot, device="/dev/mapper/mail").accepted()
    sh(guest, f"umount {spot}; dmsetup remove mail")


CLUSTER_FILE_SYSTEMS: List[Tuple[str, str]] = [
    ("gfs2", "mkfs.gfs2 -q -O -p lock_nolock -j 1 -J 8 /dev/ubdb"),
    ("ocfs2", "mkfs.ocfs2 -q -M local -N 1 -J size=4M /dev/ubdb < /dev/null"),
]


@pytest.mark.parametrize("kind, make", CLUSTER_FILE_SYSTEMS)
def test_a_cluster_file_system_on_a_block_device_is_fit(guest: Guest, spot: str, kind: str,
                                                        make: str) -> None:
    sh(guest, f"{make} > /dev/null; mount -t {kind} /dev/ubdb {spot}")
    said = judge(guest, spot)
    said.accepted("ubdb")
    assert try_out(guest, spot) == ("", "")
    assert said.type == kind


def test_a_primary_drbd_is_fit(guest: Guest, spot: str) -> None:
    sh(guest, r"""
        hostname alice
        modprobe drbd
        echo 'resource mail { device /dev/drbd0; disk /dev/ubdc; meta-disk internal;
              on alice { address 127.0.0.1:7788; } on bob { address 127.0.0.2:7788; } }' \
              > /etc/drbd.d/mail.res
        drbdadm create-md --force mail > /dev/null
        drbdadm up mail
        drbdadm primary --force mail
        mkfs.ext4 -q /dev/drbd0
        mount /dev/drbd0 """ + spot)
    said = judge(guest, spot, device="/dev/drbd0")
    said.accepted("drbd0")
    assert try_out(guest, spot) == ("", "")
    # A change of roles that the kernel lets through: the mount has become read-only under Cyrus.
    sh(guest, f"mount -o remount,ro {spot}; drbdadm secondary mail || :")
    judge(guest, spot).refused("read-only")


def test_a_network_block_device_is_fit_and_named(guest: Guest, spot: str) -> None:
    sh(guest, r"""
        mkdir -p /etc/nbd-server
        truncate -s 32M /run/nbd.disk
        printf '[generic]\nuser=root\ngroup=root\n[mail]\nexportname=/run/nbd.disk\n' \
            > /etc/nbd-server/config
        nbd-server
        modprobe nbd
        nbd-client 127.0.0.1 -N mail /dev/nbd0 > /dev/null
        mkfs.ext4 -q /dev/nbd0
        mount /dev/nbd0 """ + spot)
    said = judge(guest, spot)
    said.accepted("nbd0")
    assert try_out(guest, spot) == ("", "")
    assert said.warnings, said
    # No table of the kernel's shows that the server has gone away. Writing does, and does not wait.
    sh(guest, "kill $(pidof nbd-server)")
    fault, _ = try_out(guest, spot)
    assert spot in fault and "Input/output error" in fault


def test_a_dead_nfs_server_is_refused_at_once_while_stat_waits_for_it(guest: Guest) -> None:
    with dead_server(guest):
        said = judge_all(guest, [(f"{path}{below}", "BLOCK", "") for path, _, _ in MOUNTS
                                 for below in ("", "/user/b")])
        for verdict in said.values():
            verdict.refused("nfs")


STRICT = """
configdirectory: /srv/v4.2/conf
partition-default: /srv/v3/data
"""

SPLIT = """
configdirectory: /srv/v4.2/conf
partition-default: /srv/v3/data
metapartition-default: {meta}/meta
metapartition_files: header index cache expunge annotations lock dav archivecache
mboxname_lockpath: /run/cyrus/lock
proc_path: /run/cyrus/proc
temp_path: /run/cyrus/temp
"""


def test_the_agent_refuses_nfs_with_a_dead_server_as_with_a_living_one(guest: Guest) -> None:
    configure(guest, STRICT)
    for action in (contextlib.nullcontext, functools.partial(dead_server, guest)):
        with action():
            call(guest, "start").is_code(5, "/srv/v4.2/conf", "nfs4", "127.0.0.1:/")
            call(guest, "monitor").is_code(7)
            call(guest, "stop").is_code(0)
    # The French documents' rules do not help where no metadata are split off.
    call(guest, "start", policy="split").is_code(5, "/srv/v3/data", "metadata")


def test_the_death_of_a_server_that_has_the_mail_delays_no_action(guest: Guest,
                                                                  spot: str) -> None:
    configure(guest, SPLIT.format(meta=spot))
    sh(guest, f"mkfs.ext4 -q -F /dev/ubda; mount /dev/ubda {spot}")
    call(guest, "start", policy="strict").is_code(5, "nfs")
    call(guest, "start", policy="split").is_code(0, "NFS")
    with dead_server(guest):
        for level in (0, 10):
            call(guest, "monitor", level=level, interval=10, policy="split").is_code(0)
        call(guest, "stop", policy="split").is_code(0)
        call(guest, "monitor", policy="split").is_code(7)


def test_a_disk_that_hangs_is_told_within_the_time_of_the_action(guest: Guest, spot: str) -> None:
    sh(guest, f"dmsetup create slow --table '0 65536 linear /dev/ubda 0';"
              f" mkfs.ext4 -q -F /dev/mapper/slow; mount /dev/mapper/slow {spot}")
    configure(guest, f"configdirectory: {spot}/conf\npartition-default: {spot}/data\n")
    call(guest, "start").is_code(0)
    sh(guest, "dmsetup suspend --nolockfs slow")
    try:
        call(guest, "monitor", interval=10).is_code(0)
        answer = call(guest, "monitor", level=10, interval=10, timeout=8)
        answer.is_code(1, spot, "did not answer")
        assert answer.seconds < 8, answer
    finally:
        sh(guest, "dmsetup resume slow")
    call(guest, "monitor", level=10, interval=10).is_code(0)
    # And one that fails altogether.
    sh(guest, f"mount -o remount,errors=remount-ro {spot}; dmsetup suspend --nolockfs slow;"
              " dmsetup reload slow --table '0 65536 error'; dmsetup resume slow;"
              f" touch {spot}/x || :; sync || :")
    wait_for("the kernel to make it read-only",
             lambda: not call(guest, "monitor", interval=10).code == 0)
    call(guest, "monitor", interval=10).is_code(1, spot)
    call(guest, "stop").is_code(0)
    sh(guest, f"umount {spot}; dmsetup remove slow")


def configure(guest: Guest, text: str) -> None:
    """Make this Cyrus's configuration."""
    guest.run(["/bin/sh", "-c", "cat > /etc/imapd.conf"], timeout=60, input=text, check=True)


@contextlib.contextmanager
def dead_server(guest: Guest) -> Iterator[None]:
    """Have no NFS server for a while; proves that both mounts hang all the time."""
    sh(guest, "rpc.nfsd 0")
    try:
        # A new name each time: what was not there a moment ago, the kernel knows by itself.
        new = f"new{next(_numbers)}"
        waiting = [sh(guest, f"stat {path}/{new} > /dev/null 2>&1 & echo $!").strip()
                   for path, _, _ in MOUNTS]
        wait_for("stat waits for the server on both mounts",
                 lambda: states(guest, waiting) == "DD")
        yield
        assert states(guest, waiting) == "DD", "stat did not wait at all"
    finally:
        sh(guest, "rpc.nfsd 2; { echo Y > /proc/fs/nfsd/v4_end_grace; } 2> /dev/null || :")
    wait_for("stat goes on", lambda: "D" not in states(guest, waiting))


def states(guest: Guest, processes: List[str]) -> str:
    """Return a letter for each process, as ps does; nothing for one that is gone."""
    said = guest.run(["ps", "-o", "stat=", "-p", ",".join(processes)], timeout=60).stdout
    return "".join(word[0] for word in said.split())
