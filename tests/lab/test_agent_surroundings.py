# SPDX-License-Identifier: GPL-2.0-or-later
"""A node that is not fit: data, disk, /run, address, configuration, memory, open files."""

from __future__ import annotations

from typing import List, Optional

import pytest

from agent_node import KOPANO_IP, Node

FEW = "server ical"
DATA = "/var/lib/kopano"

# A second mount over the first, because what has files open for writing cannot be made read-only.
READ_ONLY = "mount --bind /run /run; mount -o remount,bind,ro /run"
WRITABLE = "umount -l /run"

UNMOUNT, MOUNT = f"umount {DATA}", f"mount /dev/san-kopano {DATA}"


def refused(node: Node, code: int, *parts: str, **options: str) -> None:
    """Assert that a start is refused, with such a reason, and leaves nothing; and a stop works."""
    answer = node.start(services=FEW, **options)
    assert answer.code == code and answer.seconds < 30, str(answer)
    for part in parts:
        assert part in answer.reason, str(answer)
    assert node.living() == {} and node.marks() == ""
    probe = node.probe(services=FEW, **options)
    assert probe.code == 7, str(probe)
    node.stopped(services=FEW, **options)


def test_nothing_starts_over_data_that_is_not_mounted(node: Node) -> None:
    with node.undone(UNMOUNT, f"rm -rf {DATA}/.mailha-* {DATA}/attachments; {MOUNT}"):
        node.sh(f"rm -rf {DATA}/attachments")
        refused(node, 1, f"'{DATA}' is no mount point", "Filesystem")
        assert node.sh(f"ls -A {DATA}") == "", "something was made on the disk below"
        # Its own administrator's word that this directory is the data.
        node.sh(f"touch {DATA}/.mailha-data")
        node.started(services=FEW)
        assert node.monitor(services=FEW).code == 0
        node.stopped(services=FEW)
        node.sh(f"rm {DATA}/.mailha-data")
        node.started(services=FEW, require_mount="false")
        node.stopped(services=FEW, require_mount="false")


def test_data_that_went_away_under_a_running_server_is_a_failure(node: Node) -> None:
    node.started(services=FEW)
    for away, back in ((f"umount -l {DATA}", MOUNT),
                       (f"mount -o remount,ro {DATA}", f"mount -o remount,rw {DATA}")):
        with node.undone(away, back):
            answer = node.monitor(services=FEW)
            assert answer.code == 1 and DATA in answer.reason, str(answer)
    assert node.monitor(services=FEW).code == 0
    node.stopped(services=FEW)


def test_data_that_is_mounted_read_only_is_refused(node: Node) -> None:
    with node.undone(f"mount -o remount,ro {DATA}", f"mount -o remount,rw {DATA}"):
        refused(node, 1, DATA, "read-only")


def test_a_full_disk_is_refused_and_takes_no_running_server_down(node: Node) -> None:
    fill = f"dd if=/dev/zero of={DATA}/filling bs=4k 2>/dev/null || :"
    with node.undone(f"{UNMOUNT}; mount -t tmpfs -o size=256k,mode=750 none {DATA}; "
                     f"chown kopano: {DATA}; {fill}", f"{UNMOUNT}; {MOUNT}"):
        refused(node, 1, f"{DATA}/.mailha-last-run", "No space left")
    with node.undone(f"{UNMOUNT}; mount -t tmpfs -o size=4m,mode=750 none {DATA}; "
                     f"chown kopano: {DATA}", f"{UNMOUNT}; {MOUNT}"):
        node.started(services=FEW)
        node.sh(fill)
        for level in (0, 10, 20):
            assert node.monitor(level, services=FEW).code == 0
        node.stopped(services=FEW)


def test_a_run_directory_without_space_starts_nothing_and_stops_everything(node: Node) -> None:
    mount = ("mkdir -p /run/mailha; mount -t tmpfs -o size=64k none /run/mailha;"
             " mkdir /run/mailha/lock /run/mailha/active /run/mailha/told;"
             " dd if=/dev/zero of=/run/mailha/filling bs=4k 2>/dev/null || :")
    with node.undone(mount, "umount /run/mailha"):
        refused(node, 1, "/run/mailha", "No space left")
        node.sh("rm /run/mailha/filling")
        for manager in ("systemd", "direct"):
            node.started(services=FEW, manager=manager)
            node.sh("dd if=/dev/zero of=/run/mailha/filling bs=4k 2>/dev/null || :")
            assert node.monitor(10, services=FEW, manager=manager).code == 0
            answer = node.stopped(services=FEW, manager=manager)
            assert "is killed" not in answer.stderr
            node.sh("rm /run/mailha/filling")


def test_a_read_only_run_starts_nothing_and_stops_everything(node: Node) -> None:
    with node.undone(READ_ONLY, WRITABLE):
        refused(node, 1, "/run/mailha", "Read-only file system")
    for manager in ("systemd", "direct"):
        node.started(services=FEW, manager=manager)
        with node.undone(READ_ONLY, WRITABLE):
            assert node.monitor(10, services=FEW, manager=manager).code == 0
            assert node.probe(services=FEW, manager=manager).code == 0
            answer = node.stopped(services=FEW, manager=manager)
            assert "is killed" not in answer.stderr and "read-only" in answer.stderr.lower()
            assert node.monitor(services=FEW, manager=manager).code == 7
        node.stopped(services=FEW, manager=manager)
        assert node.marks() == ""


def test_an_address_that_is_not_here_starts_nothing(node: Node) -> None:
    """kopano-server up to 8.7 would end its whole process group, kopano-dagent with success."""
    away, back = f"ip addr del {KOPANO_IP}/24 dev eth0", f"ip addr add {KOPANO_IP}/24 dev eth0"
    with node.undone(away, back):
        refused(node, 1, KOPANO_IP, "port 236", "/etc/kopano/server.cfg", "IPaddr2")
    node.started(services=FEW)
    with node.undone(away, back):
        answer = node.monitor(services=FEW)
        assert answer.code == 1 and KOPANO_IP in answer.reason
    assert node.monitor(10, services=FEW).code == 0
    node.stopped(services=FEW)


@pytest.mark.parametrize("damage, parts", [
    ("echo 'no_such_key = 1' >>{}", ["refuses its configuration", "no_such_key"]),
    ("echo 'server_listen = nowhere:70000' >>{}", [" line ", "server_listen", "nowhere:70000"]),
    ("head -c 3000 /dev/urandom >{}", None),
    ("rm {0}; mkdir {0}", ["directory"]),
    ("rm {0}; ln -s server.cfg {0}", ["symbolic links"]),
    ("rm {0}; mkfifo {0}", ["FIFO"]),
])
def test_a_configuration_that_would_end_the_server_is_refused_and_ends_nothing(
        node: Node, damage: str, parts: Optional[List[str]]) -> None:
    path = "/etc/kopano/server.cfg"
    node.started(services=FEW)
    node.sh(f"cp -a {path} /root/kept.cfg; {damage.format(path)}")
    for level in (0, 10):
        answer = node.monitor(level, services=FEW)
        assert answer.code == 0, str(answer)
    assert node.probe(services=FEW).code == 0
    node.stopped(services=FEW)
    answer = node.start(services=FEW, timeout=20)
    if parts is not None:
        assert answer.code == 5, str(answer)
        for part in (path, *parts):
            assert part in answer.reason, str(answer)
    else:
        # Kopano skips what has no "=", so it may well start with its built-in settings.
        node.stopped(services=FEW)
    assert node.living() == {}
    node.stopped(services=FEW)
    assert node.probe(services=FEW).code == 7 and node.marks() == ""
    node.sh(f"rm -rf {path}; mv /root/kept.cfg {path}")


def test_a_device_in_place_of_a_pid_file_stays(node: Node) -> None:
    node.configure("server", pid_file="/dev/null")
    node.started(services="server")
    node.stopped(services="server")
    node.stopped(services="server")
    assert node.sh("stat -c %F /dev/null") == "character special file\n"
