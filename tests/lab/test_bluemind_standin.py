# SPDX-License-Identifier: GPL-2.0-or-later
"""The BlueMind of the laboratory, by itself: it does to systemd and to its disk what BlueMind does.

What is expected here was measured with real units, or read in BlueMind's own source. No agent of
ours takes part.
"""

from __future__ import annotations

import re
from typing import Dict, Generator, List

import bluemind_nodes
import pytest
from bluemind_nodes import Node
from waiting import wait_for

from bluemind.layout import DATA, USERS


@pytest.fixture
def node(bluemind_machines: Dict[str, Node], request: pytest.FixtureRequest
         ) -> Generator[Node, None, None]:
    """Return one of them, with its disk mounted and nothing running; reset afterwards."""
    found = bluemind_machines[getattr(request, "param", "target")]
    found.mount()
    yield found
    found.reset()
    found.unmount()


def units(node: Node) -> List[str]:
    """Return its units in the order in which an administrator would start them."""
    own = list(node.release.names)
    if node.release.has_cyrus:
        own.append("bm-cyrus-imapd")
    return [node.release.database, *own, "postfix", "bm-nginx"]


def start_all(node: Node) -> None:
    """Start everything by name; return when core is of use."""
    node.sh(f"systemctl start {' '.join(units(node))}")
    wait_for("core to run", lambda: node.state() == "CORE_STATE_RUNNING")


def is_active(node: Node, unit: str) -> str:
    """Return what systemd says of a unit, as "active"."""
    return node.sh(f"systemctl is-active {unit}", check=False).strip()


def greeting(node: Node, port: int) -> str:
    """Return the first line that a port says within three seconds, "" if it says none."""
    return node.sh(f"timeout 3 bash -c 'exec 3<>/dev/tcp/127.0.0.1/{port}; head -n 1 <&3'",
                   check=False).strip()


@pytest.mark.parametrize("node", list(bluemind_nodes.RELEASES), indirect=True)
def test_every_release_runs_and_answers_where_bm_checks_ask(node: Node) -> None:
    start_all(node)
    assert node.sh("curl -sk -X OPTIONS https://127.0.0.1/ping").strip() == "pong"
    assert '"status":"green"' in node.sh("curl -s http://127.0.0.1:9200/_cluster/health")
    assert greeting(node, 25).startswith("220 ")
    wait_for("LMTP", lambda: greeting(node, 2400).startswith("220 "))
    wait_for("IMAP", lambda: greeting(node, 1143).startswith("* OK "))
    # Nobody without a certificate of this installation gets to speak with bm-node.
    assert "200 OK" not in node.sh("curl -sk -i https://127.0.0.1:8022/ 2>&1", check=False)
    assert "Stand-in" in node.sh("curl -sk -i --cert /etc/bm/bm.pem https://127.0.0.1:8022/")
    assert node.sh("dpkg-query -W -f '${Version}' bm-core") == f"{node.release.version}-1"


def test_cyrus_has_its_passwords_checked_by_ysnp(node: Node) -> None:
    start_all(node)
    user = USERS[0]
    for password, found in ((user.password, "0: OK"), ("wrong", "0: NO")):
        assert found in node.sh("testsaslauthd -f /var/run/saslauthd/mux "
                                f"-u {user.email} -p {password} 2>&1", check=False)
    assert node.sh("readlink /var/run/saslauthd").strip() == "/var/spool/postfix/var/run/saslauthd"


def test_starting_the_target_succeeds_with_dead_members(node: Node) -> None:
    node.sh("systemctl start postgresql")
    node.command("bm-eas", exit_at_start=7)
    node.sh("systemctl start bluemind.target")
    assert (is_active(node, "bluemind.target"), is_active(node, "bm-eas")) == ("active", "failed")


def test_stopping_the_target_returns_while_its_members_still_write(node: Node) -> None:
    node.command("bm-core", stop_seconds=5)
    start_all(node)
    node.sh("systemctl start bluemind.target; systemctl stop bluemind.target")
    assert is_active(node, "bm-core") == "deactivating"
    assert is_active(node, "bm-node") == "active"
    wait_for("their end", lambda: is_active(node, "bm-node") == "inactive")


def test_a_marker_keeps_a_service_from_starting_and_systemd_says_nothing(node: Node) -> None:
    node.sh("touch /etc/bm/bm-tika.disabled; systemctl start bm-tika")
    assert is_active(node, "bm-tika") == "inactive"


@pytest.mark.parametrize("node", ["five"], indirect=True)
def test_two_crashes_in_half_a_minute_leave_a_service_of_5_dead(node: Node) -> None:
    node.sh("systemctl start bm-tika")
    node.sh("systemctl kill --kill-who=main --signal=KILL bm-tika")
    wait_for("the restart", lambda: is_active(node, "bm-tika") == "active" and node.sh(
        "systemctl show -p NRestarts --value bm-tika").strip() == "1")
    node.sh("systemctl kill --kill-who=main --signal=KILL bm-tika")
    wait_for("its end", lambda: is_active(node, "bm-tika") == "failed")
    assert node.sh("systemctl start bluemind.target; systemctl is-active bm-tika",
                   check=False).strip() == "failed"


@pytest.mark.parametrize("node", ["three"], indirect=True)
def test_a_killed_service_of_3_stays_active_for_systemd(node: Node) -> None:
    node.sh("systemctl start bm-tika")
    wait_for("its pid", lambda: node.sh("cat /var/run/bm-tika.pid", check=False).strip())
    node.sh("kill -9 $(cat /var/run/bm-tika.pid)")
    wait_for("its end", lambda: not node.sh("pgrep -f '[t]ika.server.tika'", check=False))
    assert is_active(node, "bm-tika") == "active"


@pytest.mark.parametrize("node", ["five"], indirect=True)
def test_imap_of_5_greets_only_while_core_runs(node: Node) -> None:
    start_all(node)
    for state, web in (("UPGRADE", "503"), ("MAINTENANCE", "502"), ("NOT_INSTALLED", "302"),
                       ("RUNNING", "200")):
        node.command("bm-core", state=f"CORE_STATE_{state}")
        assert node.state() == f"CORE_STATE_{state}"
        assert bool(greeting(node, 1143)) is (state == "RUNNING"), state
        assert node.sh("curl -s -o /dev/null -w '%{http_code}' -X OPTIONS "
                       "http://127.0.0.1:8080/ping") == web, state


def test_ready_is_not_serving(node: Node) -> None:
    node.sh("systemctl start postgresql")
    node.command("bm-core", serve_after=3)
    node.sh("systemctl start bm-core")
    assert node.state() == "CORE_STATE_STARTING"
    wait_for("core to run", lambda: node.state() == "CORE_STATE_RUNNING")


@pytest.mark.parametrize("unit, path", [("bm-ysnp", "bm-core.tok"), ("bm-core", "bm.ini")])
def test_what_identifies_the_installation_is_missed(node: Node, unit: str, path: str) -> None:
    node.sh(f"systemctl start postgresql; cp -a /etc/bm/{path} /root/kept")
    try:
        if path == "bm.ini":
            node.sh("sed -i s/198.51.100.100/198.51.100.99/ /etc/bm/bm.ini")
        else:
            node.sh(f"rm /etc/bm/{path}; systemctl start bm-core")
            wait_for("core", lambda: node.state() == "CORE_STATE_NOT_INSTALLED")
        node.sh(f"systemctl start {unit}", check=False)
        assert is_active(node, unit) == "failed"
    finally:
        node.sh(f"mv /root/kept /etc/bm/{path}")


def test_a_demoted_core_disables_itself_for_every_node_that_gets_its_etc(node: Node) -> None:
    node.sh("systemctl start postgresql bm-core")
    node.command("bm-core", state="CORE_STATE_DEMOTED")
    assert node.state() == "CORE_STATE_DEMOTED"
    node.sh("test -e /etc/bm/bm-core.disabled; systemctl restart bm-core")
    assert is_active(node, "bm-core") == "inactive"


def test_a_machine_out_of_memory_leaves_a_dump_and_lives_on(node: Node) -> None:
    node.sh("systemctl start bm-tika; systemctl kill --kill-who=main --signal=USR1 bm-tika")
    process = node.sh("systemctl show -p MainPID --value bm-tika").strip()
    wait_for("the dump", lambda: process in node.sh("ls /var/log/*.hprof", check=False))
    assert is_active(node, "bm-tika") == "active"


def test_without_its_disk_it_writes_below_the_mount_points(node: Node) -> None:
    """The vice against which guards and the check of mounts stand."""
    node.unmount()
    node.sh("systemctl start bm-core bm-ysnp", check=False)
    wait_for("what it makes", lambda: node.sh("ls /var/spool/bm-docs /var/spool/bm-hollowed"))
    node.sh("systemctl stop bm-core bm-ysnp; rm -rf "
            + " ".join(f"/var/{name}/*" for name in DATA if "bm-" in name))


def test_an_update_of_packages_starts_bluemind_wherever_it_happens(node: Node) -> None:
    newer = node.release.successors()[0]
    node.sh(f"systemctl start postgresql; dpkg -i /var/cache/bluemind/{newer}/*.deb")
    active = re.findall(r"^(bm-[\w-]+)\.service", node.sh(
        "systemctl list-units --plain --no-legend --state=active 'bm-*.service'"), re.MULTILINE)
    assert set(active) >= {"bm-core", "bm-ysnp", "bm-lmtpd", "bm-tika"}
