# SPDX-License-Identifier: GPL-2.0-or-later
"""fence_racadm against a real OpenSSH server behind which an iDRAC does as it is told.

The whole agent, called as Pacemaker does. What iDRACs of all ages show on the way must not matter.
"""

from __future__ import annotations

import os
from typing import Any, Dict, Iterator

import pytest

import idrac_host
from idrac_host import KEY, LOCKED_KEY, PASSPHRASE, Idrac, Machine
from twonode import image
from twonode.sandbox import Sandbox

OFF = ["login", "powerdown", "powerstatus", "powerstatus", "left"]
"""What off is at the iDRAC: one login, one order, two readings, a proper end."""


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


@pytest.mark.parametrize("on, action, code, answer", [
    (True, "status", 0, "Status: ON\n"), (False, "status", 2, "Status: OFF\n"),
    (True, "monitor", 0, ""), (False, "monitor", 0, "")])
def test_looking_at_the_power_changes_nothing(
        idrac: Idrac, on: bool, action: str, code: int, answer: str) -> None:
    idrac.behave(on=on)
    done = idrac.fence(action)
    assert (done.code, done.output, done.errors) == (code, answer, "")
    assert (idrac.on, idrac.orders, idrac.log) == (on, [], ["login", "powerstatus", "left"])


def test_off_is_one_login_one_order_and_two_readings_half_a_second_apart(idrac: Idrac) -> None:
    done = idrac.fence("off")
    assert (done.code, done.output, done.errors) == (0, "Success: Powered OFF\n", "")
    assert (idrac.on, idrac.orders, idrac.log) == (False, ["power 0"], OFF)
    assert done.seconds > 0.5


def test_off_is_ordered_of_a_node_that_is_off_and_the_refusal_is_a_reason_to_look(
        idrac: Idrac) -> None:
    idrac.behave(on=False)
    done = idrac.fence("off")
    assert (done.code, done.errors) == (0, "")
    assert (idrac.orders, idrac.log) == ([], OFF)


def test_a_refusal_because_it_is_already_off_is_no_success_while_it_is_on(idrac: Idrac) -> None:
    idrac.behave(answers={"powerdown": ["Server is already powered OFF.", None]})
    done = idrac.fence("off")
    assert done.code == 0
    # It believes what it reads: it goes on ordering until the node is really off.
    assert (idrac.on, idrac.orders) == (False, ["power 0"])
    assert idrac.log.count("powerdown") == 2


def test_on_and_reboot(idrac: Idrac) -> None:
    idrac.behave(on=False)
    assert idrac.fence("on").output == "Success: Powered ON\n"
    assert (idrac.on, idrac.orders) == (True, ["power 1"])
    idrac.behave()
    assert idrac.fence("reboot").output == "Success: Rebooted\n"
    assert (idrac.on, idrac.orders) == (True, ["power 0", "power 1"])
    assert idrac.log == [*OFF[:-1], "powerup", "powerstatus", "left"]


def test_a_reboot_of_a_node_that_does_not_come_back_has_fenced_it_all_the_same(
        idrac: Idrac) -> None:
    idrac.behave(answers={"powerup": ["ERROR: RAC0999: There is no power left in the rack."]})
    done = idrac.fence("reboot")
    assert (done.code, idrac.on, idrac.orders) == (0, False, ["power 0"])


def test_off_waits_for_a_node_that_takes_its_time(idrac: Idrac) -> None:
    on = "Server power status: ON"
    idrac.behave(answers={"powerstatus": [on, on, on, "Server power status: Powering OFF", None]})
    done = idrac.fence("off")
    assert (done.code, idrac.orders) == (0, ["power 0"])
    assert idrac.log.count("powerstatus") == 6


def test_a_node_that_comes_back_by_itself_is_switched_off_again(idrac: Idrac) -> None:
    idrac.behave(answers={"powerstatus": ["Server power status: OFF", "Server power status: ON",
                                          None]})
    done = idrac.fence("off")
    assert done.code == 0
    assert idrac.log.count("powerdown") == 2 and idrac.log.count("powerstatus") == 4


SHELLS: Dict[str, Dict[str, Any]] = {
    "iDRAC 6 to 8": {"prompt": "/admin1-> "},
    "iDRAC 9": {"prompt": "racadm>>", "repeats": True},
    "DRAC 5": {"prompt": "$ "},
    "without echo": {"echo": False},
    "with colours and a title": {"colours": True},
    "with a pager": {"page": True},
    "with all of it": {"colours": True, "page": True, "repeats": True, "prompt": "/admin1-> "},
    "slow to greet": {"login_delay": 1},
    "slow to answer": {"delay": 0.7},
    "greeting with what looks like prompts": {
        "motd": "Wait:\nracadm>>\n/admin1-> \n$$$\nIt costs 5 $\nroot's password: calvin\n"},
    "greeting with readings": {
        "motd": "Server power status: OFF\nServer power status: OFF\nOFF\n"},
}


@pytest.mark.parametrize("manners", SHELLS.values(), ids=SHELLS)
def test_every_shell_is_understood(idrac: Idrac, manners: Dict[str, Any]) -> None:
    idrac.behave(**manners)
    done = idrac.fence("off")
    assert (done.code, done.errors, idrac.on, idrac.log) == (0, "", False, OFF)


def test_a_prompt_of_its_own_can_be_given(idrac: Idrac) -> None:
    idrac.behave(prompt="rack-7 says: ")
    done = idrac.fence("status")
    assert done.failed and "shows no prompt of an iDRAC but \"rack-7 says:\"" in done.errors
    assert "command_prompt" in done.errors and done.seconds < 10
    for name in ("command_prompt", "cmd_prompt"):
        assert idrac.fence("status", **{name: r"rack-\d says:"}).output == "Status: ON\n"


@pytest.mark.parametrize("options", [
    {"module": "server-3"}, {"drac_version": "DRAC CMC", "plug": "server-3"},
    {"drac_version": "DRAC CMC", "port": "server-3"}], ids=["module", "plug", "port"])
def test_a_server_in_a_chassis_is_switched_by_the_controller_of_the_chassis(
        idrac: Idrac, options: Dict[str, str]) -> None:
    idrac.behave(modules=["server-3"], prompt="$ ")
    assert idrac.fence("status", **options).output == "Status: ON\n"
    assert idrac.fence("off", **options).code == 0
    assert (idrac.on, idrac.orders) == (False, ["power 0"])


def test_a_server_that_the_chassis_does_not_have_is_said_at_once(idrac: Idrac) -> None:
    idrac.behave(modules=["server-3"], prompt="$ ")
    done = idrac.fence("status", module="server-4")
    assert done.failed and "ERROR: Specify a valid module name" in done.errors
    assert done.seconds < 9 and idrac.log.count("login") == 1


def test_the_name_of_the_node_that_pacemaker_sends_as_plug_is_no_server(idrac: Idrac) -> None:
    assert idrac.fence("off", plug="alice", nodename="alice", node="alice").code == 0
    assert idrac.log == OFF


def test_another_node_is_not_switched_and_not_even_looked_at(idrac: Idrac) -> None:
    for action in ("off", "reboot", "on", "status"):
        done = idrac.fence(action, node="alice", nodename="bob")
        assert done.failed and "alice" in done.errors and "bob" in done.errors
    assert (idrac.on, idrac.log) == (True, [])


@pytest.mark.parametrize("options", [
    {"password": None, "identity_file": KEY},
    {"password": PASSPHRASE, "identity_file": LOCKED_KEY}], ids=["key", "key with a password"])
def test_a_key_file_does_it_as_well_as_a_password(
        idrac: Idrac, options: Dict[str, Any]) -> None:
    assert idrac.fence("off", **options).code == 0
    assert (idrac.on, idrac.log) == (False, OFF)


def test_a_definition_for_fence_drac5_means_the_same(idrac: Idrac) -> None:
    text = (f"action=off\nipaddr=127.0.0.1\nipport={idrac.port}\nlogin={idrac_host.USER}\n"
            f"passwd={idrac_host.PASSWORD}\nsecure=1\ncmd_prompt=racadm>>\nport=alice\n"
            "power_wait=2\npower_timeout=30\nshell_timeout=30\nlogin_timeout=10\n"
            "ssh_options=-o KexAlgorithms=+diffie-hellman-group14-sha1\ninet4_only=1\n"
            "telnet_path=/usr/bin/telnet\nseparator=,\nnodename=alice\n"
            f"known_hosts_file={idrac.known_hosts}\n")
    done = idrac.machine.run("/usr/sbin/fence_racadm", input=text)
    assert (done.returncode, done.stdout, idrac.on) == (0, "Success: Powered OFF\n", False)


def test_the_command_line_means_the_same(idrac: Idrac) -> None:
    done = idrac.machine.run("/usr/sbin/fence_racadm", "-o", "status", "-a", "127.0.0.1", "-u",
                             str(idrac.port), "-l", idrac_host.USER, "-k", KEY, "-x",
                             "--known-hosts-file", idrac.known_hosts)
    assert (done.returncode, done.stdout) == (0, "Status: ON\n")


def test_a_server_in_its_chassis_can_be_named_on_the_command_line_as_for_fence_drac5(
        idrac: Idrac) -> None:
    idrac.behave(modules=["server-3"], prompt="$ ")
    done = idrac.machine.run("/usr/sbin/fence_racadm", "-o", "status", "-a", "127.0.0.1", "-u",
                             str(idrac.port), "-l", idrac_host.USER, "-k", KEY, "-d", "DRAC CMC",
                             "-n", "server-3", "--known-hosts-file", idrac.known_hosts)
    assert (done.returncode, done.stdout) == (0, "Status: ON\n")
