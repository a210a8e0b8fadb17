# SPDX-License-Identifier: GPL-2.0-or-later
"""ocf:mailha:config-sync in a running cluster, with systemd, Pacemaker, fencing and OpenSSH.

A resource that does nothing stands for the mail; what matters is where it is, and which
configuration lies there.
"""

from __future__ import annotations

import functools
import re
from pathlib import Path
from typing import Callable, Dict, List
from xml.etree import ElementTree

import pytest

import runbooks
from failover import configuration
from failover.replication import Pairing
from twonode.lab import Lab
from twonode.plan import BMC_USER, Plan
from waiting import wait_for

AGENT = "/usr/lib/ocf/resource.d/mailha/config-sync"
UNIT = "mailha-sync@sync.service"
MAP = "/etc/postfix/virtual"

CONFIGURATION = """
property stonith-enabled=true stonith-timeout=120s
rsc_defaults migration-threshold=1 resource-stickiness=200
primitive guard ocf:mailha:fencing-guard op start timeout=60s op stop timeout=20s \
    op monitor interval=10s timeout=20s
primitive disk ocf:heartbeat:Filesystem params device=/dev/san-mail directory=/srv/mail \
    fstype=ext4 op start timeout=60s op stop timeout=60s op monitor interval=20s timeout=40s
primitive address ocf:heartbeat:IPaddr2 params ip=198.51.100.100 cidr_netmask=24 nic=eth0 \
    op start timeout=20s op stop timeout=20s op monitor interval=10s timeout=20s
primitive mail ocf:pacemaker:Dummy op start timeout=20s op stop timeout=20s \
    op monitor interval=10s timeout=20s
primitive sync ocf:mailha:config-sync params profile=none include="/etc/postfix/ /etc/app/" \
    generation_dir=/srv/mail {meta} \
    op start timeout=60s op stop timeout=40s op monitor interval=2s timeout=60s
group server guard disk address mail {member}
location first server 100: alice
"""

CRITICAL = CONFIGURATION.format(meta="meta critical=false", member="sync")

# Pacemaker 2.0 does not know critical: outside of the group, and too weak to pull it.
OUTSIDE = CONFIGURATION.format(meta="", member="") + """
colocation sync_with_server 100: sync server
order sync_after_server Mandatory: server sync
"""

FENCE = f"""
primitive fence_{{node}} stonith:fence_ipmi params ip={{address}} username={BMC_USER} \
    password_script=/etc/mailha/bmc-password node={{node}} pcmk_host_list={{node}} \
    meta migration-threshold=INFINITY op start timeout=60s op monitor interval=120s timeout=60s
location fence_{{node}}_not_there fence_{{node}} -inf: {{node}}
"""

GROUP = ("guard", "disk", "address", "mail")


def provision(node: str, disk: Path) -> None:
    """Give a node something to replicate, before it boots."""
    (disk / "srv/mail").mkdir(parents=True)
    (disk / "etc/postfix").mkdir(parents=True)
    (disk / "etc/app").mkdir(parents=True)
    (disk / "etc/app/common").write_text("equal from the beginning\n")
    configuration.install(disk, [configuration.SECRET])


@pytest.fixture(scope="module")
def lab(make_lab: Callable[..., Lab], tmp_path_factory: pytest.TempPathFactory) -> Lab:
    """Two paired nodes with a shared disk that can fence each other; all runs on alice."""
    plan = Plan("plan", "bookworm", "", ("alice", "bob"), {}, 0)
    pairing = Pairing(tmp_path_factory.mktemp("keys"),
                      {node: plan.address(node) for node in plan.nodes})
    lab = make_lab(disks={"mail": 64}, provision=[provision, pairing.provision], post_seconds=1.0)
    fencing = "".join(FENCE.format(node=node, address=lab.bmc(node).address)
                      for node in ("alice", "bob"))
    lab.execute("bob", ["crm", "-F", "configure", "load", "update", "-"],
                input=fencing + (OUTSIDE if lab.plan.suite == "bullseye" else CRITICAL), timeout=90)
    wait_for("the group on alice", functools.partial(runs_on, lab, "alice"))
    return lab


def sh(lab: Lab, node: str, script: str) -> str:
    """Run a shell script on a node, which has to succeed, and return what it printed."""
    return lab.execute(node, ["/bin/sh", "-euc", script], timeout=90).stdout


def state(lab: Lab, seen_by: str) -> ElementTree.Element:
    """Return what crm_mon shows."""
    return ElementTree.fromstring(sh(lab, seen_by, "crm_mon -1 -A --output-as=xml"))


def places(lab: Lab, seen_by: str = "bob") -> Dict[str, List[str]]:
    """Return the nodes on which each resource of the group is active."""
    return {str(resource.get("id")): [str(node.get("name")) for node in resource.iter("node")]
            for resource in state(lab, seen_by).iter("resource")}


def runs_on(lab: Lab, node: str, seen_by: str = "bob") -> bool:
    """Say whether all of the group runs on this node, and nowhere else."""
    seen = list(state(lab, seen_by).iter("resource"))
    found = {resource.get("id"): [each.get("name") for each in resource.iter("node")]
             for resource in seen}
    # While one starts, it is shown as if it ran already.
    return all(found.get(name) == [node] for name in (*GROUP, "sync")) \
        and all(resource.get("pending", "Monitoring") == "Monitoring" for resource in seen)


def findings(lab: Lab, seen_by: str = "bob") -> List[str]:
    """Return code and reason of each monitor of the resource that did not say 0."""
    return [f"{failure.get('exitcode')} {failure.get('exitreason')}"
            for failure in state(lab, seen_by).iter("failure")
            if str(failure.get("op_key", "")).startswith("sync_monitor")]


def attribute(lab: Lab, name: str, seen_by: str = "bob") -> str:
    """Return the value of an attribute of the active node, "" if it is not there."""
    found = [each.get("value") for each in state(lab, seen_by).iter("attribute")
             if each.get("name") == f"mailha-sync-sync-{name}"]
    return str(found[0]) if found else ""


def flush(lab: Lab, node: str) -> None:
    """Return when all that was changed on the node is acknowledged."""
    wait_for(f"the acknowledgement of what {node} sends", lambda: "done" in sh(
        lab, node, "mailha sync push >/dev/null 2>&1 && echo done || :"))


def generation(lab: Lab, node: str) -> int:
    """Return the number of the starts on the shared disk, which is mounted on the node."""
    found = re.search(r"^generation (\d+)$", sh(
        lab, node, "cat /srv/mail/.mailha-sync-generation-*"), re.MULTILINE)
    assert found is not None
    return int(found.group(1))


def clean(lab: Lab, seen_by: str = "bob") -> None:
    """Let the cluster forget what it has seen."""
    sh(lab, seen_by, "crm_resource --cleanup -r sync")


def test_a_change_is_on_the_other_node_when_it_is_acknowledged(lab: Lab) -> None:
    sh(lab, "alice", f"echo 'one@example.com one' >{MAP}")
    flush(lab, "alice")
    assert sh(lab, "bob", f"cat {MAP}") == "one@example.com one\n"
    wait_for("a monitor without a finding", lambda: not findings(lab) or clean(lab))
    wait_for("the state of bob for crm_mon -A", lambda: attribute(lab, "state") == "bob in step")
    assert attribute(lab, "lag") == attribute(lab, "differing") == "0"
    assert places(lab)["sync"] == ["alice"]


def test_the_sender_is_a_hardened_service_that_nothing_enables(lab: Lab) -> None:
    shown = sh(lab, "alice", f"systemctl show -p ActiveState,UnitFileState,NRestarts,"
               f"NoNewPrivileges,ProtectSystem {UNIT}")
    assert "ActiveState=active" in shown and "NRestarts=0" in shown
    assert "UnitFileState=static" in shown and "NoNewPrivileges=yes" in shown
    level = re.search(r"exposure level for .*: ([0-9.]+)",
                      sh(lab, "alice", f"systemd-analyze security --no-pager {UNIT} || :"))
    assert level is not None and float(level.group(1)) < 4.0
    # Without the settings that a start leaves, systemd does not run it, whoever asks for it.
    sh(lab, "bob", f"systemctl start {UNIT}")
    assert "inactive" in sh(lab, "bob", f"systemctl is-active {UNIT} || :")
    assert places(lab)["sync"] == ["alice"]


def test_ocf_tester_has_nothing_against_it(lab: Lab) -> None:
    # Another resource beside the one of the cluster, by hand: the two carry nothing in common.
    sh(lab, "alice", "mkdir /etc/tester; echo by hand >/etc/tester/file")
    said = sh(lab, "alice", f"""ocf-tester -n tester -o profile=none -o include=/etc/tester/ \
        -o exclude='*.local' -o peers=bob -o generation_dir=/srv/mail -o apply_sysctl=no \
        {AGENT} 2>&1 || :""")
    assert said.endswith(f"{AGENT} passed all tests\n") and "* rc=" not in said, said
    assert sh(lab, "bob", "cat /etc/tester/file") == "by hand\n"
    for node in ("alice", "bob"):
        sh(lab, node, "rm -r /etc/tester /var/lib/mailha/sync/tester; "
                      "rm -rf /run/mailha/sync/tester /srv/mail/.mailha-sync-generation-tester")


def test_what_is_changed_on_the_passive_node_is_reported_and_put_right(lab: Lab) -> None:
    sh(lab, "bob", "echo tampered >/etc/app/common")
    wait_for("the finding", lambda: any("/etc/app/common" in each or "changed there" in each
                                        for each in findings(lab)))
    wait_for("the repair", lambda: "equal" in sh(lab, "bob", "cat /etc/app/common"))
    sh(lab, "bob", "mailha sync kept --all-seen")
    clean(lab)
    wait_for("a monitor without a finding", lambda: not findings(lab))
    wait_for("the group on alice", functools.partial(runs_on, lab, "alice"))


def test_a_peer_without_ssh_never_moves_the_mail(lab: Lab) -> None:
    sh(lab, "bob", "systemctl kill --signal=KILL ssh; systemctl stop ssh")
    sh(lab, "alice", "echo changed >/etc/app/while-away")
    wait_for("the finding", lambda: any(each.startswith("190") and "bob" in each
                                        for each in findings(lab)))
    wait_for("the state for crm_mon -A", lambda: attribute(lab, "state") == "bob unreachable")
    assert runs_on(lab, "alice")
    # A restart of the resource succeeds as well, and its stop waits for nobody.
    sh(lab, "bob", "crm_resource --restart -r sync")
    assert runs_on(lab, "alice")
    sh(lab, "bob", "systemctl start ssh")
    wait_for("the change on bob", lambda: "changed" in sh(
        lab, "bob", "cat /etc/app/while-away || :"))
    clean(lab)
    wait_for("a monitor without a finding", lambda: not findings(lab))


def test_a_killed_sender_comes_back_and_a_dead_one_is_told_without_moving_the_mail(
        lab: Lab) -> None:
    sh(lab, "alice", f"systemctl kill --signal=KILL {UNIT}; echo after >/etc/app/after-kill")
    wait_for("the change on bob", lambda: "after" in sh(
        lab, "bob", "cat /etc/app/after-kill || :"))
    assert places(lab)["mail"] == ["alice"]
    assert "=1" in sh(lab, "alice", f"systemctl show -p NRestarts {UNIT}")
    clean(lab)
    wait_for("a monitor without a finding", lambda: runs_on(lab, "alice") and not findings(lab))
    sh(lab, "alice", f"systemctl stop {UNIT}")
    wait_for("the failure", lambda: any("dead" in each for each in findings(lab)))
    # Its place has failed it once too often, and it does not pull the mail to the other one.
    wait_for("its end", lambda: places(lab)["sync"] == [])
    assert places(lab)["mail"] == ["alice"]
    clean(lab)
    wait_for("the group on alice", functools.partial(runs_on, lab, "alice"))


def test_the_survivor_has_what_was_acknowledged_and_sets_aside_what_was_not(lab: Lab) -> None:
    sh(lab, "alice", f"echo 'two@example.com two' >{MAP}")
    flush(lab, "alice")
    before = generation(lab, "alice")
    sh(lab, "bob", "systemctl kill --signal=KILL ssh; systemctl stop ssh")
    sh(lab, "alice", "echo lost >/etc/app/unsent; echo 'three@example.com three' >"
       f"{MAP}; sync")
    lab.poweroff("alice")
    wait_for("the group on bob", functools.partial(runs_on, lab, "bob"))
    sh(lab, "bob", "systemctl start ssh")
    assert sh(lab, "bob", f"cat {MAP}") == "two@example.com two\n"
    assert "lost" not in sh(lab, "bob", "ls /etc/app")
    # Pacemaker 2.0 does not tell that a start is still on its way.
    wait_for("the next generation", lambda: generation(lab, "bob") > before)
    sh(lab, "bob", "echo 'four@example.com four' >/etc/postfix/four")
    # The fencing has switched alice on again.
    wait_for("bob's configuration on alice", lambda: "four@" in sh(
        lab, "alice", "cat /etc/postfix/four 2>/dev/null || :") if is_up(lab, "alice") else "")
    wait_for("the map of the survivor on alice", lambda: "two@" in sh(lab, "alice", f"cat {MAP}"))
    # What alice had not sent is not merged, not lost, and told.
    kept = sh(lab, "alice", "cd /var/lib/mailha/sync/sync/kept; find . -name '*~unsent' | sort")
    assert "./etc/app/unsent~" in kept and "./etc/postfix/virtual~" in kept
    assert "three@" in sh(lab, "alice",
                          "cat /var/lib/mailha/sync/sync/kept/etc/postfix/virtual~*~unsent")
    wait_for("the state of alice for crm_mon -A", lambda: (
        attribute(lab, "state") == "alice in step" and int(attribute(lab, "conflicts") or 0) > 0))
    # Of monitors with the same code Pacemaker keeps the first reason: that alice was away.
    clean(lab)
    wait_for("the finding", lambda: any("had not sent" in each for each in findings(lab)))
    assert runs_on(lab, "bob")


BY_HAND = re.compile(r"^(mailha sync pair .*?) +# on (bob|alice|both)\b", re.MULTILINE)
README = Path(__file__).resolve().parents[2] / "examples/config-sync/README.md"
NO_LOGIN = "/etc/ssh/sshd_config.d/no-login.conf"


def test_nodes_into_which_root_cannot_log_in_are_paired_as_the_example_says(lab: Lab) -> None:
    nodes = ("bob", "alice")
    wait_for("both nodes", lambda: len(lab.online("bob")) == 2)
    for node, other in (nodes, nodes[::-1]):
        sh(lab, node, f"echo PermitRootLogin forced-commands-only >{NO_LOGIN}; "
           f"systemctl reload ssh; mailha sync pair {other} --remove; cd /root; rm -f *.offer")
    steps = BY_HAND.findall(README.read_text())
    assert len(steps) == 5
    for command, where in steps:
        said = {node: sh(lab, node, f"cd /root; {command}") for node in nodes
                if where in (node, "both")}
        if "--offer" in command:
            other = "alice" if where == "bob" else "bob"
            lab.copy_in(other, f"/root/{where}.offer",
                        sh(lab, where, f"cat /root/{where}.offer").encode())
        elif "--accept" in command:
            key = sh(lab, "alice" if where == "bob" else "bob",
                     "ssh-keygen -l -f /etc/mailha/sync/key.pub").split()[1]
            assert key in " ".join(said[where].split())
        else:
            assert all(line.split()[-1] == "works" for each in said.values()
                       for line in each.splitlines()[1:]) and len(said) == 2
    for node in nodes:
        sh(lab, node, f"rm {NO_LOGIN}; systemctl reload ssh")
    wait_for("a peer in step again", lambda: attribute(lab, "state") == "alice in step")


NEW_MACHINE = """
systemctl stop pacemaker corosync
SYSTEMCTL_SKIP_SYSV=1 systemctl disable pacemaker corosync
rm -rf /etc/corosync/corosync.conf /etc/corosync/authkey /var/lib/corosync/* \
    /var/lib/pacemaker/cib/* /etc/mailha /var/lib/mailha /run/mailha /root/.ssh \
    /etc/ssh/ssh_host_* /etc/app /etc/postfix
mkdir -p /etc/app /etc/postfix /root/.ssh
chmod 700 /root/.ssh
ssh-keygen -q -A
systemctl restart ssh
cat >/etc/corosync/corosync.conf <<END
totem {
    version: 2
    cluster_name: debian
    crypto_cipher: none
    crypto_hash: none
}
quorum {
    provider: corosync_votequorum
}
nodelist {
    node {
        name: node1
        nodeid: 1
        ring0_addr: 127.0.0.1
    }
}
END
systemctl start corosync pacemaker
"""
"""Makes of a node one on which all packages are installed and nobody has done anything yet.

Nothing is enabled, as Red Hat has it, and yet a cluster runs, as Debian has it: one of a node by
another name, with the configuration that its package brings.
"""


def test_a_node_that_is_replaced_is_a_full_member_after_the_runbook(lab: Lab) -> None:
    gone, survivor = "alice", "bob"
    play = functools.partial(runbooks.play, lab, bob=gone, alice=survivor)
    wait_for("both nodes", lambda: len(lab.online(survivor)) == 2)
    # The administrator's own way from node to node, which knew the old one.
    sh(lab, survivor, f"cd /root/.ssh; ssh-keygen -q -N '' -t ed25519 -f id_ed25519; "
       f"ssh-keyscan {gone} >known_hosts 2>/dev/null; "
       "echo 'StrictHostKeyChecking accept-new' >config")
    for block in ("replace.standby.crm", "replace.standby.pcs"):
        play(survivor, block)
    sh(lab, gone, NEW_MACHINE)
    lab.copy_in(gone, "/root/.ssh/authorized_keys",
                sh(lab, survivor, "cat /root/.ssh/id_ed25519.pub").encode(), mode=0o600)
    wait_for("its absence", lambda: lab.online(survivor) == {survivor})

    play(survivor, "replace.files")
    play(gone, "replace.join")
    wait_for("both nodes", lambda: len(lab.online(survivor)) == 2)
    assert f"Node {gone}: standby" in play(gone, "replace.joined")
    assert gone in play(survivor, "replace.pair")
    wait_for("the configuration on it", lambda: attribute(
        lab, "state", survivor) == f"{gone} in step")
    assert gone in play(survivor, "replace.synced")
    assert sh(lab, gone, "cat /etc/app/common") == sh(lab, survivor, "cat /etc/app/common")
    play(survivor, "replace.fence")
    wait_for("both nodes", lambda: len(lab.online(survivor)) == 2)
    assert runs_on(lab, survivor)
    for block in ("replace.online.crm", "replace.online.pcs"):
        play(survivor, block)
    wait_for("a full member", lambda: state(lab, survivor).find(
        f"nodes/node[@name='{gone}'][@online='true'][@standby='false'][@pending='false']")
        is not None)
    assert runs_on(lab, survivor)


def is_up(lab: Lab, node: str) -> bool:
    """Say whether the node can be asked."""
    return node in lab.online("bob")
