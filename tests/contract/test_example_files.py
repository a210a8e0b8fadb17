# SPDX-License-Identifier: GPL-2.0-or-later
"""The files that an example puts on the nodes: read by the programs that they are for.

And the addresses in them: one that is wrong in one file of ten is found by nobody until the first
changeover.
"""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path
from typing import Iterator, List

import pytest

from twonode import image
from twonode.sandbox import Sandbox

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
FILES = EXAMPLES / "kopano-shared-storage/nodes"
CLUSTERS = sorted([*EXAMPLES.glob("*/*.crm"), *EXAMPLES.glob("*/*.pcs.sh")])

LIMIT = 60.0
"""Seconds for one command."""

# The second address of the node's own network is why the kernel answers from the first one.
NETWORK = ("ip address add 192.168.122.25/24 dev lo && ip address add 192.168.122.101/24 dev lo && "
           "ip address add 10.0.0.25/24 dev lo")


@pytest.fixture(scope="module")
def bob() -> Iterator[Sandbox]:
    """A machine with bob's addresses, that of the database among them."""
    if os.geteuid():
        pytest.skip("the sandbox needs root")
    with Sandbox(image.ensure(os.environ.get("LAB_SUITE", "bookworm"))) as sandbox:
        shutil.copytree(EXAMPLES, sandbox.path("/examples"))
        sandbox.run(["sh", "-ec", NETWORK], timeout=LIMIT, check=True)
        yield sandbox


def value(name: str, key: str) -> str:
    """Return the value of a key of one of the nodes' files."""
    found = re.findall(rf"^{re.escape(key)}\s*=\s*(.+)$", (FILES / name).read_text(), re.MULTILINE)
    assert len(found) == 1, f"{name} has {key} {len(found)} times"
    return str(found[0])


def address(resource: str) -> str:
    """Return the address that every cluster configuration gives to `resource`."""
    found = {match.group(1) for cluster in CLUSTERS for match in re.finditer(
        rf"{resource} ocf:heartbeat:IPaddr2 \\\n\s+(?:params )?ip=(\S+)", cluster.read_text())}
    assert len(found) == 1, f"{resource} has the addresses {found}"
    return found.pop()


def code(path: Path) -> str:
    """Return a file without its comments."""
    return "\n".join(line for line in path.read_text().splitlines()
                     if not line.lstrip().startswith(("#", "--", "//")))


def test_kopano_and_mariadb_speak_of_the_same_address() -> None:
    database = address("mysql_ip")
    assert value("server.cfg", "mysql_host") == database
    assert value("mariadb.cnf", "bind-address") == database


def test_everything_that_talks_to_kopano_uses_its_floating_address() -> None:
    kopano = address("kopano_ip")
    assert value("server.cfg", "server_listen").split() == [f"{kopano}:236", "127.0.0.1:236"]
    assert value("dagent.cfg", "lmtp_listen") == f"{kopano}:2003"
    assert value("gateway.cfg", "server_socket") == f"http://{kopano}:236/"
    assert value("gateway.cfg", "imap_listen") == f"{kopano}:143"
    assert value("gateway.cfg", "pop3_listen") == f"{kopano}:110"
    assert value("ical.cfg", "server_socket") == f"http://{kopano}:236/"
    assert value("ical.cfg", "ical_listen") == f"{kopano}:8080"
    assert value("main.cf", "virtual_transport") == f"lmtp:[{kopano}]:2003"
    assert f'"http://{kopano}:236/"' in code(FILES / "webapp-config.php")


@pytest.mark.parametrize("name", ["server.cfg", "dagent.cfg", "gateway.cfg", "ical.cfg"])
def test_no_key_of_another_kopano_stands_outside_a_comment(name: str) -> None:
    """kopano-server 8.7 ends over a server_bind; ical does the same and calls it success."""
    assert not re.search(r"^\s*(server_bind|server_tcp|lmtp_port|\w+_enable|\w+_port)\b",
                         code(FILES / name).replace("mysql_port", ""), re.MULTILINE)


@pytest.mark.parametrize("cluster", CLUSTERS, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_no_password_stands_in_a_cluster_configuration(cluster: Path) -> None:
    assert not re.search(r"\b(password|passwd|passw)=", code(cluster))


@pytest.mark.parametrize("cluster", CLUSTERS, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_no_configuration_ignores_the_loss_of_quorum(cluster: Path) -> None:
    assert "no-quorum-policy" not in code(cluster)


DEVICES = re.compile(r"^(?:primitive \S+ stonith:|cluster stonith create \S+ )(\w+) .*(?:\n .*)*",
                     re.MULTILINE)
"""A fence device, for crmsh and for pcs."""


def test_a_fence_device_has_the_least_privilege_and_is_never_banned_from_its_nodes() -> None:
    """A BMC that was busy three times must not take the device off its only node."""
    found = [match for cluster in CLUSTERS for match in DEVICES.finditer(cluster.read_text())]
    assert len(found) > 40
    for device in found:
        assert "migration-threshold=INFINITY" in device.group(), device.group()
        assert device.group(1) != "fence_ipmi" or " privlvl=operator " in device.group()


def test_every_cluster_gives_a_service_as_many_tries() -> None:
    tries = {str(cluster): re.findall(r"migration-threshold=(\d+)", code(cluster))
             for cluster in CLUSTERS if cluster.name.startswith(("cluster.", "ring."))}
    assert len(tries) > 10 and all(found == ["3"] for found in tries.values()), tries


RING = EXAMPLES / "cyrus-buddies/nodes/corosync-ring.conf"


@pytest.mark.parametrize("path, quorum", [
    (FILES / "corosync.conf", "two_node: 1"), (RING, "last_man_standing: 1")],
    ids=lambda value: getattr(value, "stem", ""))
def test_corosync_accepts_its_file_and_its_quorum(bob: Sandbox, path: Path, quorum: str) -> None:
    text = path.read_text().replace("to_stderr: no", "to_stderr: yes")
    bob.path("/etc/corosync/corosync.conf").write_text(text)
    bob.run(["corosync-keygen", "-l", "-k", "/etc/corosync/authkey"], timeout=LIMIT, check=True)
    done = bob.run(["corosync", "-t"], timeout=LIMIT)
    assert done.returncode == 0, done.stderr
    assert re.search(rf"^\s+{quorum}$", text, re.MULTILINE)
    bob.path("/etc/corosync/corosync.conf").write_text(text.replace("192.168.122.25", "192.0.2.1"))
    assert bob.run(["corosync", "-t"], timeout=LIMIT).returncode != 0


def test_the_ring_has_the_nodes_of_its_configuration_and_all_links() -> None:
    ring = RING.read_text()
    crm = (EXAMPLES / "cyrus-buddies/ring.crm").read_text()
    names = re.findall(r"^\s+name: (\w+)$", ring, re.MULTILINE)
    assert names == sorted(set(re.findall(r" node=(\w+)", crm)))
    for link in (0, 1):
        assert len(set(re.findall(rf"ring{link}_addr: (\S+)", ring))) == len(names)


@pytest.mark.parametrize("host", ["bob", "alice"])
def test_drbdadm_reads_both_resources_and_gives_pacemaker_the_fencing(
        bob: Sandbox, host: str) -> None:
    if not bob.path("/usr/sbin/drbdadm").exists():
        pytest.skip("the image has no drbd-utils")
    for path in (EXAMPLES / "kopano-drbd/nodes/drbd.d").iterdir():
        shutil.copy(path, bob.path("/etc/drbd.d"))
    # A dry run prints the calls to the kernel; the host's name decides whose side they are for.
    done = bob.run(["unshare", "--uts", "sh", "-ec",
                    f"hostname {host}; drbdadm --dry-run adjust all"], timeout=LIMIT)
    calls = done.stdout
    for resource, minor, disk, port in (("mysql", 0, "sdb1", 7788), ("kopano", 1, "sdb2", 7799)):
        assert f"attach {minor} /dev/{disk} " in calls, done.stderr
        assert re.search(rf"new-peer {resource} .*--protocol=C --fencing=resource-and-stonith",
                         calls)
        assert re.search(rf"new-path {resource} \d ipv4:10\.0\.0\.\d+:{port} ", calls)
    handlers = re.findall(r'(?:un)?fence-peer "(.+)"',
                          (EXAMPLES / "kopano-drbd/nodes/drbd.d/global_common.conf").read_text())
    assert len(handlers) == 2
    for handler in handlers:
        assert bob.path(handler).exists()


def test_the_grants_let_kopano_make_its_own_database_and_no_other(bob: Sandbox) -> None:
    if not bob.path("/usr/sbin/mariadbd").exists():
        pytest.skip("the image has no mariadb-server")
    bob.run(["sh", "-ec", """
        cd /examples/kopano-shared-storage/nodes
        cp mariadb.cnf /etc/mysql/mariadb.conf.d/99-cluster.cnf
        install -d -o mysql -g mysql /run/mysqld /var/lib/mysql
        mkdir -p /var/lib/mysql/lost+found /var/lib/mysql/.Filesystem_status
        mariadb-install-db --user=mysql --skip-test-db >/dev/null
        mariadbd --user=mysql --pid-file=/run/mysqld/own.pid </dev/null >/mariadb.log 2>&1 &
        for try in $(seq 600); do
            mariadb-admin ping >/dev/null 2>&1 && exit 0
            sleep 0.1
        done
        cat /mariadb.log >&2; exit 1
    """], timeout=2 * LIMIT, check=True)
    bob.run(["mariadb"], timeout=LIMIT, check=True, input=(FILES / "grants.sql").read_text())
    assert kopano(bob, "SHOW DATABASES") == ["information_schema"]      # lost+found is none
    assert kopano(bob, "CREATE DATABASE kopano; SELECT user()") == ["kopano@192.168.122.25"]
    assert "Access denied" in kopano(bob, "CREATE DATABASE other")[-1]
    assert "denied" in kopano(bob, "SELECT user FROM mysql.user")[-1]
    bob.run(["mariadb-admin", "shutdown"], timeout=LIMIT, check=True)


def kopano(bob: Sandbox, statement: str) -> List[str]:
    """Say something to the database as kopano-server would; return the lines of the answer."""
    done = bob.run(["mariadb", "--batch", "--skip-column-names",
                    f"--host={value('server.cfg', 'mysql_host')}",
                    f"--user={value('server.cfg', 'mysql_user')}",
                    f"--password={value('server.cfg', 'mysql_password')}", "-e", statement],
                   timeout=LIMIT)
    return (done.stdout + done.stderr).strip().splitlines()


def test_the_cluster_s_apache_agent_finds_the_status_page(bob: Sandbox) -> None:
    if not bob.path("/usr/sbin/apache2").exists():
        pytest.skip("the image has no apache2")
    if not any(bob.path(f"/usr/bin/{client}").exists() for client in ("curl", "wget")):
        pytest.skip("the image has neither curl nor wget, and the agent needs one")
    shutil.copy(FILES / "server-status.conf", bob.path("/etc/apache2/conf-enabled"))
    parameters = dict(re.findall(r"(configfile|statusurl)=(\S+)",
                                 (EXAMPLES / "kopano-shared-storage/cluster.crm").read_text()))
    environment = {"OCF_ROOT": "/usr/lib/ocf", "OCF_RESOURCE_INSTANCE": "apache",
                   **{f"OCF_RESKEY_{name}": text for name, text in parameters.items()}}
    bob.path("/run/lock").mkdir(exist_ok=True)      # which a running systemd would have made
    agent = "/usr/lib/ocf/resource.d/heartbeat/apache"
    for action in ("start", "monitor", "stop"):
        done = bob.run(["sh", "-c", f"exec {agent} {action} </dev/null >/apache.log 2>&1"],
                       timeout=LIMIT, environment=environment)
        assert done.returncode == 0, f"{action}: {bob.path('/apache.log').read_text()}"


def test_systemd_knows_what_keeps_mariadb_from_an_empty_directory(bob: Sandbox) -> None:
    if not bob.path("/lib/systemd/system/mariadb.service").exists():
        pytest.skip("the image has no mariadb-server")
    place = bob.path("/etc/systemd/system/mariadb.service.d")
    place.mkdir(parents=True, exist_ok=True)
    shutil.copy(FILES / "mariadb-needs-mount.conf", place)
    done = bob.run(["systemd-analyze", "verify", "mariadb.service"], timeout=LIMIT)
    assert "needs-mount.conf" not in done.stdout + done.stderr


def test_the_fence_devices_script_prints_one_line(bob: Sandbox) -> None:
    script = "/examples/kopano-shared-storage/nodes/bmc-password"
    done = bob.run([script], timeout=LIMIT, check=True)
    assert done.stdout == "CHANGE-ME\n"
    assert script.split("/")[-1] in next(
        line for line in (FILES.parent / "cluster.crm").read_text().splitlines()
        if "password_script=" in line)


def test_every_file_states_its_licence_and_every_link_leads_somewhere() -> None:
    pages = sorted(EXAMPLES.rglob("*.md"))
    assert len(pages) >= 6
    for path in (path for path in EXAMPLES.rglob("*") if path.is_file()):
        assert "SPDX-License-Identifier: GPL-2.0-or-later" in path.read_text(), path
    for page in pages:
        for link in re.findall(r"\]\(([^)]+)\)", page.read_text()):
            assert (page.parent / link).exists(), f"{page}: {link}"
