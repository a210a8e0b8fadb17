# SPDX-License-Identifier: GPL-2.0-or-later
"""The Kopano stand-in under systemd on two nodes, with its data on disks that both can reach."""

from __future__ import annotations

import functools
import time
from pathlib import Path
from typing import Callable, Iterator, List

import pytest

from kopano import provision
from standin_machine import DAEMONS, Conversation
from twonode.lab import Lab
from waiting import wait_for

UNITS = [f"kopano-{service}" for service in DAEMONS]

TAKE_OVER = """
ip addr add 198.51.100.100/24 dev eth0
ip addr add 198.51.100.101/24 dev eth0
arping -q -U -c 1 -I eth0 198.51.100.100
mount /dev/san-mysql /var/lib/mysql
mount /dev/san-kopano /var/lib/kopano
systemctl start mariadb
systemctl start $UNITS
"""
GIVE_UP = """
systemctl stop $UNITS
systemctl stop mariadb
umount /var/lib/mysql
umount /var/lib/kopano
ip addr del 198.51.100.101/24 dev eth0
ip addr del 198.51.100.100/24 dev eth0
"""


@pytest.fixture(scope="module")
def lab(image: Path, make_lab: Callable[..., Lab]) -> Iterator[Lab]:
    lab = make_lab(provision=[functools.partial(provision.provision, image=image)])
    provision.prepare_shared(lab.execute, "alice")
    yield lab


def run(lab: Lab, node: str, script: str) -> str:
    text = f"UNITS='{' '.join(UNITS)}'\n{script}"
    return lab.execute(node, ["/bin/sh", "-eu"], input=text, timeout=120).stdout


def deliver(lab: Lab, name: str) -> str:
    """Deliver one message from outside and return the last reply, empty if nobody answers."""
    try:
        with Conversation(lab.connect("198.51.100.100", 2003, 30)) as client:
            if not client.hear().startswith("220"):
                return ""
            client.say("MAIL FROM:<sender@example.com>", "RCPT TO:<test1@example.com>", "DATA")
            if [client.hear()[:3] for _ in range(3)] != ["250", "250", "354"]:
                return ""
            client.say(f"Message-ID: <{name}>", "", "Some text.", ".")
            return client.hear()
    except OSError:
        return ""


def read_by_pop3(lab: Lab) -> List[str]:
    """Return the header Message-ID of everything in the mailbox of test1."""
    found = []
    with Conversation(lab.connect("198.51.100.100", 110, 30)) as client:
        client.hear()
        client.ask("USER test1")
        assert client.ask("PASS test1").startswith("+OK")
        for number in range(1, int(client.ask("STAT").split()[1]) + 1):
            assert client.ask(f"RETR {number}") == "+OK"
            found.append(client.hear())
            while client.hear() != ".":
                pass
    return found


def test_mail_that_was_acknowledged_on_one_node_is_read_on_the_other(lab: Lab) -> None:
    run(lab, "alice", TAKE_OVER)
    wait_for("the first mail", lambda: deliver(lab, "one@test").startswith("250 "))
    guid = "mariadb -BNe \"SELECT HEX(value) FROM kopano.settings WHERE name = 'server_guid'\""
    before = run(lab, "alice", guid)
    run(lab, "alice", GIVE_UP)
    assert run(lab, "alice", "pgrep -f /usr/sbin/[k]opano- || :") == ""
    run(lab, "bob", TAKE_OVER)
    wait_for("mail on bob", lambda: deliver(lab, "two@test").startswith("250 "))
    assert read_by_pop3(lab) == ["Message-ID: <one@test>", "Message-ID: <two@test>"]
    assert run(lab, "bob", guid) == before
    run(lab, "bob", GIVE_UP)


def test_prepared_disks_are_left_as_they_are(lab: Lab) -> None:
    run(lab, "alice", "mount /dev/san-mysql /var/lib/mysql; touch /var/lib/mysql/mine;"
                      " umount /var/lib/mysql")
    provision.prepare_shared(lab.execute, "alice")
    run(lab, "alice", "mount /dev/san-mysql /var/lib/mysql; test -e /var/lib/mysql/mine;"
                      " umount /var/lib/mysql")


def test_nothing_of_the_groups_starts_at_boot(lab: Lab) -> None:
    for node in ("alice", "bob"):
        active = run(lab, node, "systemctl is-active $UNITS mariadb apache2 || :").split()
        assert active == ["inactive"] * 8
        assert run(lab, node, "stat -c '%a %U' /run/kopano") == "775 kopano\n"


def test_apache_tells_its_status_to_its_own_node_only(lab: Lab) -> None:
    run(lab, "alice", "systemctl start apache2")
    fetch = ("python3 -c \"import sys, urllib.request as u;"
             " print(u.urlopen(sys.argv[1]).read().decode()[:2000])\" ")
    assert "Apache Status" in run(lab, "alice", f"{fetch} http://127.0.0.1/server-status")
    refused = lab.client("sh", "-c", f"{fetch} http://198.51.100.11/server-status", check=False)
    assert "403" in refused.stderr
    run(lab, "alice", "systemctl stop apache2")


def test_a_service_under_systemd_is_its_script_and_ends_with_code_0(lab: Lab) -> None:
    run(lab, "alice", "systemctl start kopano-ical kopano-monitor || :")
    script = "tr '\\0' ' ' </proc/$(systemctl show -P MainPID kopano-monitor)/cmdline"
    wanted = "/usr/bin/python3 /usr/sbin/kopano-monitor -F"
    wait_for("the monitor", lambda: run(lab, "alice", script).strip() == wanted)
    before = time.monotonic()
    run(lab, "alice", "systemctl stop kopano-monitor")
    assert time.monotonic() - before < 30
    assert run(lab, "alice", "systemctl show -P Result kopano-monitor") == "success\n"
    # The floating address is not here, so it cannot have bound.
    wait_for("the failure", lambda: "exit-code" in run(
        lab, "alice", "systemctl show -P Result kopano-ical"))
    run(lab, "alice", "systemctl reset-failed")
