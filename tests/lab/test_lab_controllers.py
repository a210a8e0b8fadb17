# SPDX-License-Identifier: GPL-2.0-or-later
"""The management controllers of the laboratory: two ways in, one power, and a log of who asked."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from pathlib import Path
from typing import Callable, List

import pytest
from chassis import orders
from waiting import wait_for

from twonode import idracaccess, launcher
from twonode.lab import Lab, LabError

IPMI_LIMIT = 20.0
"""Seconds that ipmitool may need to find out that nobody answers."""


@pytest.fixture(scope="module")
def lab(make_lab: Callable[..., Lab]) -> Lab:
    """Return the lab that these tests share; each leaves both nodes with power."""
    return make_lab(post_seconds=1.0)


def ssh(*options: str) -> List[str]:
    """Return an ssh command without its address, that asks nobody anything."""
    return ["ssh", "-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null",
            "-o", "NumberOfPasswordPrompts=1", "-o", "ConnectTimeout=20", *options]


def test_the_idrac_reads_and_switches_the_power_and_ipmi_sees_the_same(lab: Lab) -> None:
    begin = time.time()
    assert "Server power status: ON" in lab.racadm("bob", "serveraction", "powerstatus").stdout
    lab.racadm("bob", "serveraction", "powerdown")
    wait_for("power off", lambda: "is off" in lab.ipmitool("bob", "power", "status").stdout)
    assert "Server power status: OFF" in lab.racadm("bob", "serveraction", "powerstatus").stdout
    lab.ipmitool("bob", "power", "on")
    assert "Server power status: ON" in lab.racadm("bob", "serveraction", "powerstatus").stdout
    lab.wait_online()
    assert orders(lab, "bob", begin) == [
        ("idrac", "power off"), ("power", "off"), ("ipmi", "power on"), ("power", "on")]
    readings = [entry for entry in lab.chassis_log("bob", begin) if entry.what.startswith("read")]
    assert (readings[0].who, readings[0].what) == ("idrac", "read on")
    assert ("idrac", "read off") in [entry[2:] for entry in readings]
    assert orders(lab, "alice", begin) == []


def test_the_chassis_log_tells_the_button_and_the_node_itself_from_a_controller(lab: Lab) -> None:
    begin = time.time()
    lab.poweroff("alice")
    lab.poweron("alice")
    lab.wait_online()
    lab.execute("alice", ["systemctl", "reboot"], timeout=60, check=False)
    wait_for("the reboot", lambda: ("node", "reboots") in orders(lab, "alice", begin))
    wait_for("its end", lambda: orders(lab, "alice", begin)[-1] == ("power", "on"))
    lab.wait_online()
    assert orders(lab, "alice", begin) == [
        ("button", "power off"), ("power", "off"), ("button", "power on"), ("power", "on"),
        ("node", "reboots"), ("power", "off"), ("power", "on")]


def test_the_chassis_log_is_shown_on_the_command_line(lab: Lab) -> None:
    program = Path(__file__).resolve().parents[2] / "lab/lab"
    lab.ipmitool("bob", "power", "status")
    for node, wanted in (([], {"alice", "bob"}), (["bob"], {"bob"})):
        shown = subprocess.run([program, "--name", lab.name, "chassis-log", *node], timeout=60,
                               check=True, stdout=subprocess.PIPE, encoding="utf-8").stdout
        lines = [line.split() for line in shown.splitlines()]
        assert {line[1] for line in lines} == wanted
        assert lines[-1][1:] == ["bob", "ipmi", "read", "on"]


def test_a_node_can_reach_its_peers_controller_with_the_key_and_knows_who_it_is(lab: Lab) -> None:
    """As an administrator would have set it up: see examples/fencing."""
    said = lab.execute("alice", idracaccess.client_command(
        lab.bmc("bob").address, ["racadm", "serveraction", "powerstatus"]), timeout=60)
    assert "Server power status: ON" in said.stdout
    modes = lab.execute("alice", ["stat", "-c", "%a %U", idracaccess.KEY], timeout=20).stdout
    assert modes == "600 root\n"


def test_the_controllers_have_different_host_keys(lab: Lab) -> None:
    """Or whoever is the one could play the other."""
    shown = lab.client("cat", idracaccess.KNOWN_HOSTS).stdout.splitlines()
    assert [line.split()[0] for line in shown] == [
        lab.bmc("alice").address, lab.bmc("bob").address]
    assert len({line.split()[2] for line in shown}) == 2


def test_a_wrong_key_or_password_gets_nobody_into_the_idrac(lab: Lab) -> None:
    controller = lab.bmc("bob")
    script = ("import pexpect, sys\n"
              "s = pexpect.spawn(sys.argv[1], sys.argv[3:], timeout=30, encoding='utf-8')\n"
              "s.expect('assword:')\ns.sendline(sys.argv[2])\n"
              "print(['in', 'refused'][s.expect(['racadm>>', 'denied'])])\n")
    for password, outcome in ((controller.password, "in\n"), ("wrong", "refused\n")):
        done = lab.client("python3", "-c", script, "ssh", password,
                          *ssh("-o", "PubkeyAuthentication=no")[1:], "-l", controller.user,
                          controller.address)
        assert done.stdout == outcome
    lab.client("sh", "-c", "rm -f /tmp/k && ssh-keygen -q -t ed25519 -N '' -f /tmp/k")
    refused = lab.client(*ssh("-o", "BatchMode=yes", "-i", "/tmp/k"), "-l", controller.user,
                         controller.address, "racadm", check=False)
    assert refused.returncode == 255 and "denied" in refused.stderr


def test_a_silent_ipmi_leaves_the_idrac_and_speaks_again(lab: Lab) -> None:
    lab.mute_ipmi("bob")
    try:
        status = lab.status()["nodes"]["bob"]
        assert status["muted"] and status["controller"] and status["power"] == "on"
        with pytest.raises(subprocess.TimeoutExpired):
            lab.ipmitool("bob", "power", "status", timeout=2)
        assert "ON" in lab.racadm("bob", "serveraction", "powerstatus").stdout
        assert "is on" in lab.ipmitool("alice", "power", "status").stdout
    finally:
        lab.unmute_ipmi("bob")
    wait_for("IPMI", lambda: "is on" in lab.ipmitool("bob", "power", "status", check=False,
                                                     timeout=IPMI_LIMIT).stdout)
    assert not lab.status()["nodes"]["bob"]["muted"]


def test_a_controller_without_power_cannot_be_silenced_and_comes_back_speaking(lab: Lab) -> None:
    lab.mute_ipmi("bob")
    lab.bmc_off("bob")
    with pytest.raises(LabError, match="bob's controller is off"):
        lab.mute_ipmi("bob")
    lab.bmc_on("bob")
    wait_for("IPMI", lambda: "is on" in lab.ipmitool("bob", "power", "status", check=False,
                                                     timeout=IPMI_LIMIT).stdout)


def test_a_session_in_the_idrac_ends_with_the_power_of_the_controller(lab: Lab) -> None:
    """Else it would go on by itself, logged in, when the controller has power again."""
    address = lab.bmc("bob").address
    session = lab.door("outside").popen(
        [*idracaccess.client_command(address, [])[:1], "-tt", "-o", "ServerAliveInterval=1",
         "-o", "ServerAliveCountMax=2", *idracaccess.client_command(address, [])[1:]],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert session.stdin is not None and session.stdout is not None
    with session:
        shown = b""
        while b"racadm>>" not in shown:
            piece = os.read(session.stdout.fileno(), 4096)
            assert piece, shown
            shown += piece
        lab.bmc_off("bob")
        refused = lab.racadm("bob", "serveraction", "powerstatus", check=False, timeout=300)
        assert refused.returncode == 255
        lab.bmc_on("bob")
        assert session.wait(60) == 255
        session.stdin.close()
    assert "ON" in wait_for("the iDRAC", lambda: lab.racadm(
        "bob", "serveraction", "powerstatus", check=False).stdout)


def test_a_killed_lab_leaves_no_controller_running(make_lab: Callable[..., Lab]) -> None:
    made = make_lab()
    supervisor = launcher.supervisor(made.name)
    assert supervisor is not None
    servers = [process for process in processes(supervisor)
               if command(process).startswith(("ipmi_sim", "sshd:"))]
    assert len(servers) == 4
    os.kill(supervisor, signal.SIGKILL)
    wait_for("their end", lambda: not [each for each in servers
                                       if command(each).startswith(("ipmi_sim", "sshd:"))])


def processes(ancestor: int) -> List[int]:
    """Return all descendants of a process."""
    parents = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            parents[int(stat.parent.name)] = int(stat.read_bytes().rpartition(b")")[2].split()[1])
        except OSError:
            continue
    found, ahead = [], [ancestor]
    while ahead:
        parent = ahead.pop()
        below = [each for each in parents if parents[each] == parent]
        found += below
        ahead += below
    return found


def command(process: int) -> str:
    """Return the command line of a process, nothing if it is gone."""
    try:
        return Path(f"/proc/{process}/cmdline").read_bytes().replace(b"\0", b" ").decode()
    except OSError:
        return ""
