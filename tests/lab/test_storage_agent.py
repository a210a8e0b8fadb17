# SPDX-License-Identifier: GPL-2.0-or-later
"""ocf:mailha:cyrus-storage and `mailha storage` on real mounts, called as Pacemaker and people do.

What needs a kernel with NFS is in test_storage_nfs.py, what needs a cluster in
test_cyrus_storage_failover.py.
"""

from __future__ import annotations

import contextlib
import json
import subprocess
from pathlib import Path
from typing import Any, Dict, Generator, Iterator, Tuple

import pytest

from storage_judge import call, try_out
from storage_sandbox import StorageSandbox
from waiting import wait_for

SPOOL, LIB = "/var/spool/cyrus", "/var/lib/cyrus"

IMAPD_CONF = f"""
configdirectory: {LIB}
partition-default: {SPOOL}/data
@include: /etc/imapd.more
proc_path: /run/cyrus/proc
mboxname_lockpath: /run/cyrus/lock
"""

MORE = f"metapartition-default: {SPOOL}/meta\n"

AGENT_IS_QUICK = 5.0
"""Seconds; it takes a tenth of one. Who touches a dead server takes for ever."""


@pytest.fixture(scope="module")
def place(image: Path, storage_layer: Path) -> Generator[StorageSandbox, None, None]:
    """Return a sandbox in which Cyrus's two directories are on disks of their own."""
    made = StorageSandbox(image, storage_layer)
    try:
        made.sandbox.path("/etc/imapd.conf").write_text(IMAPD_CONF)
        made.sandbox.path("/etc/imapd.more").write_text(MORE)
        for where in (SPOOL, LIB):
            made.mounted(made.disk(Path(where).parent.name, 32, "mkfs.ext4 -q -F -m 0"), where)
        yield made
    finally:
        made.close()


@pytest.fixture
def started(place: StorageSandbox) -> Generator[StorageSandbox, None, None]:
    """Return the same, with the resource started; it is stopped after."""
    call(place, "start").is_code(0)
    call(place, "monitor", interval=10).is_code(0)
    yield place
    call(place, "stop").is_code(0)
    call(place, "monitor").is_code(7)


@contextlib.contextmanager
def over_the_spool(place: StorageSandbox, *options: str) -> Iterator[None]:
    """Have something else mounted where the mail belongs."""
    place.sh(f"mount {' '.join(options)} {SPOOL}")
    try:
        yield
    finally:
        place.sh(f"umount -l {SPOOL}")


def table(place: StorageSandbox, *options: str) -> Tuple[int, str]:
    """Return the code of `mailha storage`, and all that it printed."""
    said = place.run(["mailha", "storage", *options], timeout=60)
    return said.returncode, said.stdout + said.stderr


def document(place: StorageSandbox) -> Dict[str, Any]:
    """Return what `mailha storage --json` says of each path."""
    found: Dict[str, Any] = json.loads(
        place.run(["mailha", "storage", "--json"], timeout=60).stdout)
    return {path["path"]: path for path in found["paths"]}


def test_disks_that_are_mounted_by_hand_are_not_running(place: StorageSandbox) -> None:
    """GFS2 is mounted on both nodes all the time, and must not read as "running twice"."""
    call(place, "monitor").is_code(7)
    assert table(place)[0] == 0


def test_what_is_not_mounted_is_refused_and_stays_empty(place: StorageSandbox) -> None:
    device = place.sh(f"findmnt -n -o SOURCE {SPOOL}").strip()
    place.sh(f"umount {SPOOL}")
    try:
        call(place, "start").is_code(5, f"'{SPOOL}/", "overlay")
        call(place, "monitor").is_code(7)
        code, said = table(place)
        assert code == 1 and f"{SPOOL}/data" in said and "UNFIT" in said, said
        assert place.sh(f"ls -A {SPOOL}") == ""
    finally:
        place.sh(f"mount {device} {SPOOL}")


def test_what_becomes_unfit_while_it_runs_is_a_failure(started: StorageSandbox) -> None:
    with over_the_spool(started, "-t tmpfs none"):
        for level in (0, 10):
            call(started, "monitor", level=level, interval=10).is_code(1, "tmpfs", SPOOL)
    call(started, "monitor", interval=10).is_code(0)
    started.sh(f"mount -o remount,ro {LIB}")
    call(started, "monitor", interval=10).is_code(1, "read-only", LIB)
    started.sh(f"mount -o remount,rw {LIB}")
    call(started, "monitor", level=10, interval=10).is_code(0)


def test_a_full_disk_is_a_warning_and_no_reason_to_stop(started: StorageSandbox) -> None:
    started.sh(f"for size in 64k 1k; do dd if=/dev/zero bs=$size >>{SPOOL}/filling 2>/dev/null ||"
               " :; done")
    try:
        fault, warning = try_out(started, SPOOL)
        assert not fault and "No space left" in warning
        for action, level in (("start", 0), ("monitor", 0), ("monitor", 10)):
            answer = call(started, action, level=level, interval=10 * (action == "monitor"))
            answer.is_code(0, *["No space left"] * (action == "start" or level > 0))
    finally:
        started.sh(f"rm {SPOOL}/filling")


@pytest.mark.parametrize("policy", ["strict", "split"])
def test_no_action_waits_for_a_dead_server(place: StorageSandbox, policy: str) -> None:
    with place.served("nfs", SPOOL) as server:
        before = server.record
        server.stop()
        with place.hanging("stat", f"{SPOOL}/data"):
            for action, code in (("start", 5), ("monitor", 7), ("stop", 0), ("validate-all", 0)):
                answer = call(place, action, policy=policy)
                assert (answer.code, answer.seconds < AGENT_IS_QUICK) == (code, True), answer
                assert action != "start" or "fuse.nfs" in answer.reason, answer
            code, said = table(place, f"--policy={policy}")
            assert code == 1 and "fuse.nfs" in said and "nas.example.com:/spool" in said, said
        server.go_on()
        place.sh(f"ls {SPOOL}")
        asked = set(server.record[len(before):])
        assert not asked & {"STATFS", "CREATE", "MKNOD", "MKDIR", "WRITE", "OPEN"}, asked


def test_a_server_that_dies_under_the_running_mail_is_told_and_stop_touches_nothing(
        started: StorageSandbox) -> None:
    with started.served("glusterfs", SPOOL) as server:
        server.stop()
        with started.hanging("df", SPOOL):
            call(started, "monitor", interval=10).is_code(1, "fuse.glusterfs")
            call(started, "monitor", level=10, interval=10).is_code(1, "fuse.glusterfs")
            call(started, "stop").is_code(0)
            call(started, "monitor").is_code(7)


def test_a_configuration_on_a_dead_server_is_told_and_not_waited_for(place: StorageSandbox) -> None:
    with place.served("nfs", "/srv/config") as server:
        server.stop()
        with place.hanging("cat", "/srv/config/imapd.conf"):
            answer = call(place, "start", imapd_conf="/srv/config/imapd.conf")
            answer.is_code(5, "/srv/config", "fuse.nfs")
            assert answer.seconds < AGENT_IS_QUICK, answer
            # BlueMind's own file of partitions is no exception.
            answer = call(place, "start", partitions_file="/srv/config/cyrus-partitions")
            assert answer.code == 5 and answer.seconds < AGENT_IS_QUICK, answer


def test_what_the_running_cyrus_sees_counts_too(started: StorageSandbox) -> None:
    """Its unit may have a mount namespace of its own (PrivateMounts=, ProtectSystem=)."""
    started.sh("mkdir -p /usr/lib/cyrus/bin; cp /bin/sleep /usr/lib/cyrus/bin/master")
    with started.sandbox.door.popen(
            ["unshare", "--mount", "--propagation", "private", "/bin/sh", "-euc",
             f"mount -t tmpfs none {SPOOL}; echo $$; exec /usr/lib/cyrus/bin/master 1000"],
            stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        number = process.stdout.readline().decode().strip()
        wait_for("Cyrus", lambda: "master" in started.sh(f"cat /proc/{number}/comm"))
        call(started, "monitor", interval=10).is_code(1, f"process {number}", "tmpfs", SPOOL)
        started.sh(f"kill -KILL {number}")
        process.kill()
    wait_for("its end", lambda: call(started, "monitor", interval=10).code == 0)


def test_the_right_disk_can_be_named(place: StorageSandbox) -> None:
    names = {where: place.sh(f"findmnt -n -o SOURCE {where}").strip() for where in (SPOOL, LIB)}
    right = " ".join(f"{where}={device}" for where, device in names.items())
    call(place, "start", device=right).is_code(0)
    call(place, "monitor", interval=10, device=right).is_code(0)
    call(place, "stop").is_code(0)
    wrong = f"{SPOOL}={names[LIB]}"
    call(place, "start", device=wrong).is_code(5, names[LIB], names[SPOOL])


def test_further_paths_and_those_of_a_product_are_examined_as_well(place: StorageSandbox) -> None:
    place.sh("mkdir -p /srv/memory; mount -t tmpfs none /srv/memory")
    call(place, "start", paths="/srv/memory/more").is_code(5, "/srv/memory/more", "tmpfs")
    call(place, "start", profile="bluemind4").is_code(5, "/var/spool/bm-elasticsearch")
    call(place, "monitor").is_code(7)


def test_people_are_told_all_that_was_found_out(place: StorageSandbox) -> None:
    said = document(place)
    data = said[f"{SPOOL}/data"]
    assert (data["fit"], data["mount"], data["type"]) == (True, SPOOL, "ext4")
    assert f"{SPOOL}/meta" in said, "@include was not followed"
    device = place.sh(f"findmnt -n -o SOURCE {SPOOL}").strip()
    assert data["source"] == device and data["chain"][0].startswith(device[len("/dev/"):])
    assert said["/run/cyrus/proc"]["fit"] and said["/run/cyrus/proc"]["type"] == "tmpfs"
    with place.served("sshfs", f"{SPOOL}/data"):
        said = document(place)
        assert not said[f"{SPOOL}/data"]["fit"] and "fuse.sshfs" in said[f"{SPOOL}/data"]["reason"]
        assert said[f"{SPOOL}/meta"]["fit"]
