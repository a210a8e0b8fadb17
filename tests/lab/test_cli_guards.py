# SPDX-License-Identifier: GPL-2.0-or-later
"""The administrator's tool on a node with real systemd, and its guards against a real boot."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Callable, Generator, List

import pytest
import runbooks
from waiting import wait_for

from twonode.enter import CommandFailed
from twonode.lab import Lab, LabError
from twonode.sandbox import Sandbox

SERVER, GATEWAY, CONTROL = "kopano-server.service", "kopano-gateway.service", "control.service"
UNIT = "[Service]\nExecStart={}\nRestart=on-failure\n[Install]\nWantedBy=multi-user.target\n"
PROGRAM = """#!/bin/sh
[ "$1" = -V ] && { echo "kopano-server 11.0.0"; exit; }
exec sleep infinity
"""
CLUSTER = """\
primitive mail ocf:mailha:kopano params services="server gateway" meta target-role=Stopped
primitive one ocf:pacemaker:Dummy
group g-mail one mail meta target-role=Stopped
primitive cloned ocf:mailha:kopano params services=server meta target-role=Stopped
clone cl-mail cloned meta target-role=Stopped
"""

Completed = subprocess.CompletedProcess


class Node:
    """alice, with a mail server that is enabled at boot beside a unit that nobody guards."""

    def __init__(self, lab: Lab) -> None:
        self.lab = lab

    def run(self, *argv: str, check: bool = True) -> Completed[str]:
        """Run a command."""
        return self.lab.execute("alice", argv, timeout=120, check=check)

    def mailha(self, *argv: str) -> Completed[str]:
        """Call the tool, which never says anything but what it has to."""
        said = self.run("mailha", *argv, check=False)
        assert "Traceback" not in said.stderr and "defect" not in said.stderr, said.stderr
        return said

    def active(self, unit: str) -> bool:
        """Tell whether a unit runs."""
        return self.run("systemctl", "is-active", unit, check=False).stdout.strip() == "active"

    def starts(self, unit: str) -> bool:
        """Tell whether `systemctl start` makes a unit run; it says 0 in either case."""
        self.run("systemctl", "start", unit)
        return self.active(unit)

    def reboot(self) -> None:
        """Shut the node down and boot it, to the end."""
        self.lab.shutdown("alice")
        self.lab.poweron("alice")
        wait_for("the end of the boot", self._has_booted)

    def _has_booted(self) -> bool:
        try:
            said = self.run("systemctl", "is-system-running", check=False).stdout.strip()
        except (LabError, CommandFailed):
            return False
        return said in ("running", "degraded")


@pytest.fixture(scope="module")
def lab(make_lab: Callable[..., Lab]) -> Lab:
    """Return a lab with the resources of these tests in its cluster, none of them started."""
    lab = make_lab(disks={}, post_seconds=1.0)
    lab.copy_in("alice", "/usr/sbin/kopano-server", PROGRAM.encode(), mode=0o755)
    for unit in (SERVER, CONTROL):
        lab.copy_in("alice", f"/etc/systemd/system/{unit}",
                    UNIT.format("/usr/sbin/kopano-server").encode())
    lab.execute("alice", ["sh", "-c", f"systemctl daemon-reload; systemctl enable {SERVER} "
                          f"{CONTROL}"], timeout=60)
    lab.execute("alice", ["crm", "-F", "configure", "load", "update", "-"], timeout=60,
                input=CLUSTER)
    return lab


@pytest.fixture
def node(lab: Lab) -> Generator[Node, None, None]:
    """Return alice as she is before anybody has guarded anything, and make her so again."""
    made = Node(lab)
    yield made
    made.run("mailha", "guards", "off", "--all", "--force")
    made.run("sh", "-c", f"systemctl stop {SERVER} {GATEWAY}; rm -rf /run/mailha/active "
             f"/etc/systemd/system/{GATEWAY} /etc/systemd/system/{SERVER}.d/*; "
             "systemctl daemon-reload", check=False)


def test_a_guarded_unit_that_is_enabled_runs_neither_by_hand_nor_at_boot(node: Node) -> None:
    assert node.starts(SERVER)
    node.run("systemctl", "stop", SERVER)
    said = node.mailha("guards", "on", "mail")
    assert (said.returncode, said.stderr) == (0, "")
    assert not node.starts(SERVER)
    node.reboot()
    assert node.active(CONTROL) and not node.active(SERVER)
    show = node.mailha("guards", "show").stdout.splitlines()
    assert [line.split() for line in show if line.startswith(SERVER)] == [
        [SERVER, "mail", "in", "force", "enabled", "no"]]
    said = node.mailha("guards", "off", "mail")
    assert (said.returncode, said.stderr) == (0, "") and "it is enabled at boot" in said.stdout
    assert node.starts(SERVER)
    assert "Restart=on-failure" in node.run("systemctl", "show", SERVER).stdout


def test_a_unit_that_comes_after_its_guard_is_guarded(node: Node) -> None:
    said = node.mailha("guards", "on", "mail")
    assert f"{GATEWAY}  guarded as soon as it is there (systemd: not-found)" in said.stdout
    node.lab.copy_in("alice", f"/etc/systemd/system/{GATEWAY}",
                     UNIT.format("/bin/sleep infinity").encode())
    node.run("systemctl", "daemon-reload")
    assert not node.starts(GATEWAY)
    assert node.mailha("guards", "on", "mail").stdout.count("guarded as before") == 2


def test_the_guards_of_an_active_resource_stay(node: Node) -> None:
    node.mailha("guards", "on", "mail")
    node.run("sh", "-c", "mkdir -p /run/mailha/active; touch /run/mailha/active/mail")
    assert node.starts(SERVER)
    for names in (["mail"], ["--all"]):
        said = node.mailha("guards", "off", *names)
        assert said.returncode == 1 and "'mail' is active on this node" in said.stderr
    assert "yes" in node.mailha("guards", "show").stdout
    said = node.mailha("guards", "off", "--force", "mail")
    assert said.returncode == 0 and "warning" in said.stderr and node.active(SERVER)


@pytest.mark.parametrize("weakened, why", [
    ("[Unit]\nConditionPathExists=\n", "systemd does not see its condition"),
    ("[Service]\nRestart=always\n", "Restart=always is in force"),
    ("[Service]\nTimeoutStopSec=90\n", "TimeoutStopSec=infinity is not in force")])
def test_a_later_drop_in_that_weakens_the_guard_is_found(node: Node, weakened: str,
                                                         why: str) -> None:
    node.lab.copy_in("alice", f"/etc/systemd/system/{SERVER}.d/zzz-later.conf", weakened.encode())
    said = node.mailha("guards", "on", "mail")
    assert said.returncode == 1 and why in said.stderr
    assert why in " ".join(node.mailha("guards", "show").stdout.split())


def test_an_ordinary_user_may_look(node: Node) -> None:
    node.mailha("guards", "on", "mail")
    said = node.run("runuser", "-u", "nobody", "--", "mailha", "guards", "show")
    assert [line.split()[1:4] for line in said.stdout.splitlines()
            if line.startswith(SERVER)] == [["mail", "in", "force"]]
    said = node.run("runuser", "-u", "nobody", "--", "mailha", "guards", "off", "mail", check=False)
    assert said.returncode == 1 and "only root" in said.stderr


def test_the_installed_version_is_accepted_under_the_name_that_start_asks_for(node: Node) -> None:
    for named, filed in (("mail", "mail"), ("cloned:0", "cloned")):
        said = node.mailha("accept-version", named)
        assert (said.returncode, said.stderr) == (0, "")
        assert "Accepted: Kopano 11.0.0" in said.stdout
        assert "'/var/lib/kopano' is no mount point" in " ".join(said.stdout.split())
        file = node.run("cat", f"/var/lib/mailha/accepted/{filed}").stdout
        assert file == "format 1\nversion 11.0.0\nend\n"
        assert "11.0.0 is accepted" in node.mailha("accept-version", "--show", named).stdout
        assert "Withdrawn" in node.mailha("accept-version", "--withdraw", named).stdout
    said = node.mailha("accept-version", "mial")
    assert said.returncode == 1 and "name one of 'mail', 'cloned'" in said.stderr
    said = node.mailha("accept-version", "one")
    assert said.returncode == 1 and "ocf:pacemaker:Dummy" in said.stderr


@pytest.mark.parametrize("ran, code, answer", [
    ("8.7.25.0-0+1", 0, "The next start of 'mail' on this node upgrades the database."),
    ("11.0.0-0+1", 0, "needs no word"), ("11.0.1", 1, "update this node")])
def test_what_last_ran_on_the_mounted_data_decides(node: Node, ran: str, code: int,
                                                   answer: str) -> None:
    record = f"format 1\nsoftware kopano\nversion {ran}\nnode bob\ntime 2024-05-06T07:08:09Z\nend\n"
    node.run("sh", "-ec", "mkdir -p /var/lib/kopano; mount -t tmpfs none /var/lib/kopano")
    try:
        node.lab.copy_in("alice", "/var/lib/kopano/.mailha-last-run", record.encode())
        said = node.mailha("accept-version", "mail")
    finally:
        node.run("umount", "/var/lib/kopano")
    assert said.returncode == code and answer in " ".join((said.stdout + said.stderr).split())
    withdrawn = node.mailha("accept-version", "--withdraw", "mail").stdout
    assert withdrawn.startswith("Withdrawn" if ran.startswith("8") else "No version was accepted")


WHOLE = """\
property stonith-enabled=false
primitive kopano_guard ocf:mailha:fencing-guard meta target-role=Stopped
primitive kopano_services ocf:mailha:kopano meta target-role=Stopped
primitive mysql_guard ocf:mailha:fencing-guard meta target-role=Stopped
primitive mysqld ocf:pacemaker:Dummy meta target-role=Stopped
group kopano kopano_guard kopano_services
group mysql mysql_guard mysqld
"""


def test_a_node_is_guarded_before_it_takes_part_as_the_runbook_says(node: Node) -> None:
    shown = runbooks.play(node.lab, "alice", "replace.guards", kopano_services="mail")
    assert [line.split() for line in shown.splitlines() if line.startswith(SERVER)][-1] == [
        SERVER, "mail", "in", "force", "enabled", "no"]


@pytest.mark.parametrize("block", ["uninstall.delete.crm", "uninstall.delete.pcs"])
def test_what_is_mailhas_is_taken_out_of_the_cluster_as_the_runbook_says(node: Node,
                                                                         block: str) -> None:
    node.lab.execute("alice", ["crm", "-F", "configure", "load", "update", "-"], timeout=60,
                     input=WHOLE)
    runbooks.play(node.lab, "alice", block)
    left = node.run("cibadmin", "--query", "--scope", "resources").stdout
    assert 'id="mysqld"' in left and 'id="kopano_' not in left and 'id="mysql_guard"' not in left
    node.run("crm", "configure", "delete", "mysqld")


def test_without_the_cluster_the_tool_goes_on_as_far_as_it_can(node: Node) -> None:
    """Last on purpose: bringing a node back into the cluster takes a while."""
    runbooks.play(node.lab, "alice", "uninstall.cluster")
    said = node.mailha("guards", "on", "mail")
    assert said.returncode == 1 and "--services" in said.stderr
    said = node.mailha("guards", "on", "mail", "--services", "server")
    assert said.returncode == 0 and "warning: cannot read the local CIB" in said.stderr
    assert not node.starts(SERVER)
    said = node.mailha("accept-version", "mail")
    assert said.returncode == 0 and "warning" in said.stderr
    node.mailha("accept-version", "--withdraw", "mail")
    assert node.mailha("guards", "off", "--all").returncode == 0
    assert node.starts(SERVER)


@pytest.fixture(scope="module")
def sandbox(image: Path) -> Generator[Sandbox, None, None]:
    """Return a machine on which neither systemd nor a cluster runs."""
    with Sandbox(image) as made:
        yield made


def test_the_package_can_be_removed_where_systemd_does_not_run(sandbox: Sandbox) -> None:
    directory = "/etc/systemd/system/kopano-server.service.d"
    sandbox.run(["mkdir", "-p", directory], timeout=20, check=True)
    mark = "# mailha guard of the cluster resource mail\n"
    for name, text in (("zz-mailha.conf", mark), ("override.conf", "[Service]\n")):
        sandbox.run(["tee", f"{directory}/{name}"], timeout=20, check=True, input=text)
    said = sandbox.run(["mailha", "guards", "off", "--all"], timeout=60)
    assert (said.returncode, said.stderr) == (0, "") and "only the files" in said.stdout
    assert sandbox.run(["ls", directory], timeout=20).stdout.split() == ["override.conf"]


@pytest.mark.parametrize("argv, code", [
    (["--version"], 0), (["help"], 0), (["guards", "show"], 0), (["guards", "on", "mail"], 1),
    (["accept-version", "mail"], 1), ([], 2)])
def test_every_answer_is_short_where_nothing_is_installed(sandbox: Sandbox, argv: List[str],
                                                          code: int) -> None:
    said = sandbox.run(["/usr/sbin/mailha", *argv], timeout=60)
    assert said.returncode == code and "Traceback" not in said.stderr
    assert bool(said.stderr) == (code != 0)
