# SPDX-License-Identifier: GPL-2.0-or-later
"""fence_racadm where it cannot do its work: what it says at once, and what it leaves behind."""

from __future__ import annotations

import os
import re
import subprocess
import threading
import time
from typing import Iterator

import pytest

from idrac_host import KEY, LIMIT, OTHER_KEY, TOP, Idrac, Machine
from twonode import image
from twonode.sandbox import Sandbox

AT_ONCE = 9.0
"""Seconds in which a failure is there that nothing is waited for; less than every deadline."""

LOOK = 19.0
"""Seconds that an action has that only reads, and what a busy machine needs around it."""


@pytest.fixture(scope="module")
def machine() -> Iterator[Machine]:
    """A machine with the suite and an SSH server."""
    if os.geteuid():
        pytest.skip("the sandbox needs root")
    with Sandbox(image.ensure(os.environ.get("LAB_SUITE", "bookworm"))) as sandbox:
        yield Machine(sandbox)


@pytest.fixture(scope="module")
def shared(machine: Machine) -> Iterator[Idrac]:
    """The iDRAC of this module."""
    idrac = Idrac(machine)
    yield idrac
    idrac.stop()


@pytest.fixture
def idrac(shared: Idrac) -> Idrac:
    """The same, with good manners and the power on."""
    shared.behave()
    return shared


def test_two_readings_of_two_sessions_prove_nothing(idrac: Idrac) -> None:
    idrac.behave(logins=[{"answers": {"powerstatus": [None, {"cut": True}]}}])
    assert idrac.fence("off").code == 0
    assert idrac.log.count("powerstatus") == 4


def test_a_wrong_password_is_said_and_typed_only_once(machine: Machine) -> None:
    """A second wrong try may lock the user out, and with it every later attempt to fence."""
    idrac = Idrac(machine)
    done = idrac.fence("off", password="wr0ng")
    assert done.failed and "does not let fencer in" in done.errors and done.seconds < AT_ONCE
    assert "wr0ng" not in done.errors
    idrac.stop()
    assert idrac.server_log.count("Failed password for fencer") == 1


def test_an_unknown_user_and_a_key_that_is_not_let_in_are_said(idrac: Idrac) -> None:
    done = idrac.fence("off", username="stranger")
    assert done.failed and "does not let stranger in" in done.errors
    done = idrac.fence("off", password=None, identity_file=OTHER_KEY)
    assert done.failed and f"does not let fencer in with the key {OTHER_KEY}" in done.errors
    assert (idrac.on, idrac.log) == (True, [])


def test_a_user_without_the_right_to_switch_the_power_is_said_at_once(idrac: Idrac) -> None:
    idrac.behave(rights=False)
    done = idrac.fence("off")
    assert done.failed and "does not allow fencer to do this" in done.errors
    assert "Permission denied" in done.errors and "Execute Server Control" in done.errors
    assert done.seconds < AT_ONCE and idrac.on
    assert idrac.fence("status").output == "Status: ON\n"


def test_an_unknown_host_key_is_refused_before_any_password_is_typed(idrac: Idrac) -> None:
    idrac.write("known-hosts", "")
    done = idrac.fence("off")
    idrac.write("known-hosts", idrac.line_of("host-key"))
    assert done.failed and done.seconds < AT_ONCE
    assert f"the host key of 127.0.0.1 port {idrac.port} is not in {idrac.known_hosts}" \
        in done.errors
    assert f"ssh-keyscan -p {idrac.port} 127.0.0.1" in done.errors
    assert (idrac.on, idrac.log) == (True, [])


@pytest.mark.parametrize("checking", ["yes", "accept-new"])
def test_a_changed_host_key_is_refused_whatever_is_accepted(idrac: Idrac, checking: str) -> None:
    idrac.write("known-hosts", idrac.line_of("other-host-key"))
    done = idrac.fence("off", host_key_checking=checking)
    idrac.write("known-hosts", idrac.line_of("host-key"))
    assert done.failed and "has another host key than the one in" in done.errors
    assert (idrac.on, idrac.log) == (True, [])


def test_a_new_host_key_is_remembered_where_that_is_wanted(idrac: Idrac) -> None:
    new = f"{idrac.directory}/new-known-hosts"
    options = {"known_hosts_file": new, "host_key_checking": "accept-new"}
    assert idrac.fence("status", **options).code == 0
    key = idrac.line_of("host-key").split()[2]
    assert key in idrac.path("new-known-hosts").read_text()
    assert idrac.fence("status", known_hosts_file=new).code == 0


def test_an_old_encryption_is_said_with_the_option_that_allows_it(machine: Machine) -> None:
    idrac = Idrac(machine, "KexAlgorithms diffie-hellman-group14-sha1\n")
    done = idrac.fence("status")
    assert done.failed and "has no key exchange that ssh on this node takes" in done.errors
    option = "-o KexAlgorithms=+diffie-hellman-group14-sha1"
    assert f"ssh_options='{option}'" in done.errors
    assert idrac.fence("status", ssh_options=option).output == "Status: ON\n"
    idrac.stop()


@pytest.mark.parametrize("more", [
    "PasswordAuthentication no\n", "AuthenticationMethods password,keyboard-interactive\n"],
    ids=["once", "after a password"])
def test_a_password_that_is_asked_for_by_a_dialogue_is_typed(machine: Machine, more: str) -> None:
    """iDRAC 9 from 4.22 asks only so, and some before it ask so after they took the password."""
    idrac = Idrac(machine, "UsePAM yes\nKbdInteractiveAuthentication yes\n" + more)
    done = idrac.fence("status")
    assert (done.code, done.output, done.errors) == (0, "Status: ON\n", "")
    assert idrac.fence("status", password="wr0ng").failed
    idrac.stop()
    assert len(re.findall("Failed password for fencer|PAM: Authentication failure for fencer",
                          idrac.server_log)) == 1


def test_a_node_without_ssh_or_without_pexpect_says_what_to_install(idrac: Idrac) -> None:
    done = idrac.fence("off", ssh_path="/usr/bin/no-ssh")
    assert done.failed and "/usr/bin/no-ssh" in done.errors and "openssh-client" in done.errors
    pexpect = "/usr/lib/python3/dist-packages/pexpect"
    idrac.machine.run("mv", pexpect, pexpect + "-away")
    try:
        done = idrac.fence("off")
    finally:
        idrac.machine.run("mv", pexpect + "-away", pexpect)
    assert done.failed and "pexpect" in done.errors and "python3-pexpect" in done.errors


def test_a_key_file_that_others_may_read_is_said(idrac: Idrac) -> None:
    open_key = f"{TOP}/open-key"
    idrac.machine.run("cp", KEY, open_key)
    idrac.machine.run("chmod", "644", open_key)
    done = idrac.fence("off", password=None, identity_file=open_key)
    assert done.failed and open_key in done.errors and "chmod 600" in done.errors


STUBBORN = """\
#!/usr/bin/python3 -IS
import signal
for number in (signal.SIGHUP, signal.SIGTERM, signal.SIGINT):
    signal.signal(number, signal.SIG_IGN)
while True:
    signal.pause()
"""


def test_an_ssh_that_hangs_and_cannot_be_asked_to_end_is_killed(idrac: Idrac) -> None:
    idrac.write("stubborn", STUBBORN, 0o755)
    done = idrac.fence("status", ssh_path=f"{idrac.directory}/stubborn")
    assert done.failed and "does not get on with the login" in done.errors
    assert done.seconds < LOOK
    assert idrac.machine.processes("stubborn") == []


@pytest.mark.parametrize("number, reason", [("TERM", b"told to end"), ("KILL", b"")])
def test_an_agent_that_is_ended_leaves_no_ssh_behind(
        idrac: Idrac, number: str, reason: bytes) -> None:
    idrac.behave(answers={"powerdown": [{"silent": True}]})
    agent = idrac.machine.sandbox.door.popen(
        ["/usr/sbin/fence_racadm"], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE)
    assert agent.stdin is not None
    agent.stdin.write(idrac.options("off").encode())
    agent.stdin.close()
    agent.stdin = None
    pause = threading.Event()
    while "powerdown" not in idrac.log:
        assert not pause.wait(0.05) and agent.poll() is None
    idrac.machine.run("pkill", "--signal", number, "--full", "/usr/sbin/fence_racadm")
    output, errors = agent.communicate(timeout=LIMIT)
    assert agent.returncode != 0 and output == b"" and reason in errors
    end = time.monotonic() + LIMIT      # the kernel hangs its terminal up, and it ends then
    while [line for line in idrac.machine.processes("ssh") if f"-p {idrac.port} " in line]:
        assert not pause.wait(0.05) and time.monotonic() < end
