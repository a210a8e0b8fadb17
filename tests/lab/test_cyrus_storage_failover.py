# SPDX-License-Identifier: GPL-2.0-or-later
"""ocf:mailha:cyrus-storage in a running cluster: a node with a false disk never gets the mail.

A unit that makes what it does not find, as Cyrus does, stands for Cyrus. Everything else is real,
and as in the example: a node that is missed is fenced by its controller, and comes back by itself.
ocf:heartbeat:Filesystem takes what is mounted there for its disk, whatever it is.
"""

from __future__ import annotations

import functools
import inspect
import re
import subprocess
from pathlib import Path
from typing import Callable, Dict, Generator, List
from xml.etree import ElementTree

import pytest

from failover import configuration
from filesystems import lookalike
from twonode.lab import Lab
from twonode.plan import BMC_USER
from waiting import wait_for

SPOOL = "/var/spool/cyrus"
MAIL = f"{SPOOL}/data/mail"

IMAPD_CONF = f"""
configdirectory: {SPOOL}/conf
partition-default: {SPOOL}/data
metapartition-default: {SPOOL}/meta
"""

STANDIN = f"""
[Unit]
Description=Stands for Cyrus: makes what it does not find, and writes mail
[Service]
ExecStart=/bin/sh -c 'mkdir -p {SPOOL}/data {SPOOL}/meta; while :; do date >>{MAIL}; sleep 1; done'
"""

CONFIGURATION = f"""
property stonith-enabled=true stonith-timeout=120s
rsc_defaults migration-threshold=1
primitive guard ocf:mailha:fencing-guard op start timeout=60s op stop timeout=20s \
    op monitor interval=10s timeout=20s
primitive disk ocf:heartbeat:Filesystem params device=/dev/san-cyrus directory={SPOOL} \
    fstype=ext4 op start timeout=60s op stop timeout=60s op monitor interval=10s timeout=40s
primitive storage ocf:mailha:cyrus-storage op start timeout=60s op stop timeout=20s \
    op monitor interval=3s timeout=30s
primitive imap systemd:cyrus-standin op start timeout=60s op stop timeout=60s \
    op monitor interval=10s timeout=40s
group cyrus guard disk storage imap
location first cyrus 100: alice
"""

FENCE = f"""
primitive fence_{{node}} stonith:fence_ipmi params ip={{address}} username={BMC_USER} \
    password_script=/etc/mailha/bmc-password node={{node}} pcmk_host_list={{node}} \
    meta migration-threshold=INFINITY op start timeout=60s op monitor interval=120s timeout=60s
location fence_{{node}}_not_there fence_{{node}} -inf: {{node}}
"""

FALSE = "/var/tmp/false"
"""On bob: what the false disk serves, and beside it the record of what is asked of it."""


def provision(node: str, disk: Path) -> None:
    """Give a node its Cyrus, before it boots."""
    for path, text in (("etc/imapd.conf", IMAPD_CONF),
                       ("etc/systemd/system/cyrus-standin.service", STANDIN),
                       ("usr/local/sbin/lookalike.py", inspect.getsource(lookalike))):
        (disk / path).parent.mkdir(parents=True, exist_ok=True)
        (disk / path).write_text(text)
    (disk / SPOOL.lstrip("/")).mkdir(parents=True)
    configuration.install(disk, [configuration.SECRET])


@pytest.fixture(scope="module")
def lab(make_lab: Callable[..., Lab]) -> Lab:
    """Two nodes with a shared disk that can fence each other, and Cyrus running on alice."""
    lab = make_lab(disks={"cyrus": 64}, provision=[provision], post_seconds=1.0)
    fencing = "".join(FENCE.format(node=node, address=lab.bmc(node).address)
                      for node in ("alice", "bob"))
    lab.execute("bob", ["crm", "-F", "configure", "load", "update", "-"],
                input=fencing + CONFIGURATION, timeout=90)
    wait_for("Cyrus on alice", functools.partial(runs_on, lab, "alice"))
    wait_for("mail", lambda: sh(lab, "alice", f"cat {MAIL} || :"))
    return lab


@pytest.fixture
def false_disk(lab: Lab) -> "Generator[subprocess.Popen[bytes], None, None]":
    """Mount a look-alike of NFS on bob where the mail's own disk belongs, and under its name.

    Filesystem up to 4.12 looks at the mount point alone, a later one (Debian 13) also at the name.
    """
    sh(lab, "bob", f"mkdir -p {FALSE}; : >{FALSE}.record")
    with lab.door("bob") as door, door.popen(
            ["/usr/bin/python3", "-I", "/usr/local/sbin/lookalike.py", "nfs", "/dev/san-cyrus",
             SPOOL, FALSE, f"{FALSE}.record"], stdout=subprocess.PIPE) as server:
        try:
            assert server.stdout is not None and server.stdout.readline() == b"ready\n"
            yield server
        finally:
            server.kill()
            sh(lab, "bob", f"umount -l {SPOOL} 2>/dev/null || :")


def sh(lab: Lab, node: str, script: str) -> str:
    """Run a shell script on a node, which has to succeed, and return what it printed."""
    return lab.execute(node, ["/bin/sh", "-euc", script], timeout=90).stdout


def state(lab: Lab) -> ElementTree.Element:
    """Return what crm_mon shows on bob, who is never fenced here."""
    return ElementTree.fromstring(sh(lab, "bob", "crm_mon -1 --output-as=xml"))


def places(lab: Lab) -> Dict[str, List[str]]:
    """Return the nodes on which each resource of the group is active."""
    return {str(resource.get("id")): [str(node.get("name")) for node in resource.iter("node")]
            for resource in state(lab).iter("resource")}


def runs_on(lab: Lab, node: str) -> bool:
    """Say whether all of the group runs on this node, and nowhere else."""
    return all(places(lab).get(name) == [node] for name in ("guard", "disk", "storage", "imap"))


def idle(lab: Lab) -> bool:
    """Say whether the scheduler, asked now, wants nothing done."""
    plan = re.search(r"^Executing cluster transition:(.*)^Revised", sh(
        lab, "bob", "crm_simulate --live-check --simulate"), re.DOTALL | re.MULTILINE | re.I)
    return plan is not None and "*" not in plan.group(1)


def refusals(lab: Lab) -> List[str]:
    """Return the reasons that crm_mon shows for refused starts of the storage on bob."""
    return [str(failure.get("exitreason")) for failure in state(lab).iter("failure")
            if failure.get("node") == "bob" and str(failure.get("op_key")).startswith("storage_")
            and failure.get("task") == "start" and failure.get("exitcode") == "5"]


def fencings(lab: Lab) -> List[str]:
    """Return what bob has done to alice: "reboot success"."""
    said = sh(lab, "bob", "stonith_admin --history alice --verbose --output-as=xml")
    return [f"{event.get('action')} {event.get('status')}"
            for event in ElementTree.fromstring(said).iter("fence_event")]


def test_a_false_disk_refuses_the_group_which_stays_or_returns_and_touches_nothing(
        lab: Lab, false_disk: "subprocess.Popen[bytes]") -> None:
    before = sh(lab, "alice", f"sync; cat {MAIL}")
    lab.poweroff("alice")
    wait_for("bob's refusal", lambda: refusals(lab))
    # Pacemaker keeps 128 characters of a reason.
    for part in (SPOOL, "fuse.nfs", "/dev/san-cyrus"):
        assert part in refusals(lab)[0], refusals(lab)

    # Alice, whom bob has fenced, boots again, and it returns by itself, to the mail that it had.
    wait_for("Cyrus on alice again", functools.partial(runs_on, lab, "alice"))
    assert "reboot success" in fencings(lab)
    assert before and sh(lab, "alice", f"cat {MAIL}").startswith(before)

    # Filesystem has unmounted the false disk, and below it there is nothing but the directory.
    false_disk.wait(timeout=90)
    assert sh(lab, "bob", f"find {SPOOL} {FALSE} -mindepth 1") == ""
    asked = set(sh(lab, "bob", f"cat {FALSE}.record").split())
    assert "INIT" in asked and not asked & {"CREATE", "WRITE", "SETATTR", "MKDIR", "MKNOD"}, asked
    assert sh(lab, "bob", "journalctl --quiet --unit=cyrus-standin") == ""

    # It stays, as bob is banned until somebody has looked, whatever is mounted there by now.
    sh(lab, "bob", "crm_resource --resource cyrus --move --node bob")
    wait_for("the scheduler to want nothing done", functools.partial(idle, lab))
    assert runs_on(lab, "alice")
    sh(lab, "bob", "crm_resource --resource cyrus --clear")


def test_the_same_node_with_the_right_disk_gets_the_mail(lab: Lab) -> None:
    """Without this, the test before would pass with an agent that refuses everything."""
    sh(lab, "bob", "crm_resource --cleanup --resource storage --node bob")
    sh(lab, "bob", "crm_standby --node alice --update on")
    wait_for("Cyrus on bob", functools.partial(runs_on, lab, "bob"))
    assert sh(lab, "bob", f"cat {MAIL}")


def test_a_disk_that_becomes_false_under_the_running_mail_is_a_failure(lab: Lab) -> None:
    """And nothing but the marker says what runs where: alice, with the disk mounted by hand, is no
    second place."""
    sh(lab, "alice", f"mount -t tmpfs none {SPOOL}")
    said = sh(lab, "alice", "crm_resource --resource storage --force-check || :")
    assert "not running" in said.lower(), said
    sh(lab, "alice", f"umount {SPOOL}")
    sh(lab, "bob", f"mount -t tmpfs none {SPOOL}")
    wait_for("the failure", lambda: any(
        failure.get("op_key", "").startswith("storage_monitor") and failure.get("exitcode") == "1"
        and "tmpfs" in failure.get("exitreason", "") for failure in state(lab).iter("failure")))
    sh(lab, "bob", "crm_standby --node alice --delete")
    wait_for("Cyrus on alice", functools.partial(runs_on, lab, "alice"))
    assert sh(lab, "alice", f"cat {MAIL}")
