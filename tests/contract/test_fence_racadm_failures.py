# SPDX-License-Identifier: GPL-2.0-or-later
"""fence_racadm where things go wrong: one reason each, in time, and never success with power on.

The calls that take as long as their deadline allows are made side by side, before the first test.
"""

from __future__ import annotations

import os
import subprocess
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Callable, Dict, Iterator, List, Mapping, NamedTuple, Tuple

import pytest

import idrac_host
from idrac_host import LIMIT, OTHER_KEY, TOP, Answer, Idrac, Machine
from twonode import image
from twonode.sandbox import Sandbox

WHOLE = 25.0
"""Seconds that an action has at most, the start and the end of the process included."""

LOOK = 15.0
"""Seconds that an action has that only reads."""

CONTACT = 13.0
"""Seconds after which a controller that never answered is given up; 10 and the busy machine's."""


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


class Case(NamedTuple):
    """A call that takes long."""

    action: str
    manners: Dict[str, Any]     # of the iDRAC
    options: Dict[str, str]     # of the agent
    reason: str                 # a part of stderr, with {where} for the address
    least: float
    most: float                 # seconds that it may take


STAYS = "it is still on after"

CASES = {
    "says that it is done and does nothing": Case("off", {"obeys": False}, {}, STAYS, 20, WHOLE),
    "the same in a reboot": Case("reboot", {"obeys": False}, {}, STAYS, 20, WHOLE),
    "refuses every order because it were off": Case(
        "off", {"answers": {"powerdown": ["Server is already powered OFF."]}}, {}, STAYS, 20,
        WHOLE),
    "refuses every order with a code": Case(
        "off", {"answers": {"powerdown": ["ERROR: RAC0999: \x1b[31mThe operation\x07 failed."]}},
        {}, STAYS, 20, WHOLE),
    "switches itself on after every reading as off": Case(
        "off", {"answers": {"powerstatus": ["Server power status: OFF", "Server power status: ON"]
                            * 40}}, {}, "itself on again", 20,
        WHOLE),
    "ends the session at every reading": Case(
        "off", {"answers": {"powerstatus": [{"cut": True}]}}, {}, "{where} ended the session", 20,
        WHOLE),
    "ends the session at every order": Case(
        "off", {"answers": {"powerdown": [{"cut": True}]}}, {}, "{where} ended the session", 20,
        WHOLE),
    "says nothing after the order": Case(
        "off", {"answers": {"powerdown": [{"silent": True}]}}, {},
        "{where} has not answered `racadm serveraction powerdown` for", 20, WHOLE),
    "is stopped after the login": Case(
        "off", {"answers": {"powerdown": [{"frozen": True}]}}, {},
        "{where} has not answered `racadm serveraction powerdown` for", 20, WHOLE),
    "never stops talking": Case(
        "status", {"answers": {"powerstatus": [{"flood": True}]}}, {},
        "{where} does not stop talking", 5, LOOK),
    "shows the command and no more": Case(
        "status", {"answers": {"powerstatus": ["racadm serveraction powerstatus"]}}, {},
        "{where} does not say the power but nothing", 5, LOOK),
    "says a word that is neither on nor off": Case(
        "status", {"answers": {"powerstatus": ["Server power status: OFFLINE"]}}, {},
        "{where} does not say the power but \"Server power status: OFFLINE\"", 5, LOOK),
    "says both": Case(
        "off", {"answers": {"powerstatus": ["Server power status: OFF\nServer power status: ON"]}},
        {}, "{where} says the power more than once", 20, WHOLE),
    "has no session left": Case(
        "status", {"full": True}, {}, "{where} has no session left: \"ERROR: RAC0218: The maximum "
        "number of user sessions is reached.\"", 5, LOOK),
    "has a name that nobody knows": Case(
        "status", {}, {"ip": "no-such-host.invalid"},
        "the name no-such-host.invalid cannot be resolved: ", 5, CONTACT),
    "has no SSH": Case("status", {}, {"ipport": "1"},
                       "127.0.0.1 port 1 cannot be reached: Connection refused", 5, CONTACT),
}

VICES = ("cut", "silent", "frozen", "done_cut", "done_silent", "done_frozen")
"""What may happen to the first session at its order; see twonode.idrac."""

PEERS = {
    "says nothing": ("", "takes the connection and ", 8.0),
    "says nothing after its greeting": ("SSH-2.0-sshd\r\n", "does not get on with the login", 8.0),
    "talks of something else": ("220 mail.example.com ESMTP\r\n" * 2000, "does not speak SSH", 0.0),
    "sends noise": ("\x00\xff\x7f\x1b[2J" * 5000, "does not speak SSH", 0.0),
    "echoes": ("echo", "127.0.0.1 port ", 0.0),
}
"""Servers that are no SSH server: what each sends, a part of the reason, and the least seconds."""

PEER = """
import socket, sys, threading
server = socket.create_server(("127.0.0.1", int(sys.argv[1])))
words = sys.stdin.buffer.read()
print("ready", flush=True)
def serve(peer):
    try:
        if words != b"echo":
            peer.sendall(words)
        while True:
            data = peer.recv(4096)
            if not data:
                return
            if words == b"echo":
                peer.sendall(data)
    except OSError:
        pass
while True:
    threading.Thread(target=serve, args=(server.accept()[0],), daemon=True).start()
"""


class Outcome(NamedTuple):
    """What became of a case."""

    answer: Answer
    where: str
    on: bool        # whether the power was on at the end
    clients: int    # how many ssh were left
    log: List[str]  # what the iDRAC noted


@pytest.fixture(scope="module")
def outcomes(machine: Machine) -> Dict[str, Outcome]:
    """All the calls that take long, made side by side."""
    made: List[Tuple[str, Callable[[], Outcome]]] = []
    servers: List["subprocess.Popen[bytes]"] = []
    idracs: List[Idrac] = []
    for name, case in CASES.items():
        idracs.append(Idrac(machine))
        idracs[-1].behave(**case.manners)
        made.append((name, lambda idrac=idracs[-1], case=case: call(idrac, case)))
    for vice in VICES:
        idracs.append(Idrac(machine))
        idracs[-1].behave(logins=[{"answers": {"powerdown": [{vice: True}]}}])
        case = Case("off", {}, {}, "", 0, WHOLE)
        made.append((vice, lambda idrac=idracs[-1], case=case: call(idrac, case)))
    for name, (words, _, _) in PEERS.items():
        port = machine.port()
        server = machine.sandbox.door.popen(["python3", "-c", PEER, str(port)],
                                            stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert server.stdin is not None and server.stdout is not None
        server.stdin.write(words.encode("latin-1"))
        server.stdin.close()
        assert server.stdout.readline() == b"ready\n"
        servers.append(server)
        case = Case("status", {}, {"ipport": str(port), "host_key_checking": "accept-new"}, "",
                    0, LOOK)
        made.append((name, lambda case=case: call(idracs[0], case)))
    with ThreadPoolExecutor(len(made)) as pool:
        waiting = {name: pool.submit(act) for name, act in made}
        found = {name: future.result() for name, future in waiting.items()}
    for idrac in idracs:
        idrac.stop()
    for server in servers:
        server.kill()
        server.wait(timeout=LIMIT)
        assert server.stdout is not None
        server.stdout.close()
    return found


def call(idrac: Idrac, case: Case) -> Outcome:
    """Make the call of a case."""
    answer = idrac.fence(case.action, **case.options)
    port = case.options.get("ipport", str(idrac.port))
    place = case.options.get("ip", "127.0.0.1")
    mine = [line for line in idrac.machine.processes("ssh") if f"-p {port} " in line]
    return Outcome(answer, f"{place} port {port}", idrac.on, len(mine), idrac.log)


@pytest.mark.parametrize("name", CASES)
def test_a_controller_that_misbehaves_is_a_failure_with_a_reason_and_in_time(
        outcomes: Mapping[str, Outcome], name: str) -> None:
    case, outcome = CASES[name], outcomes[name]
    assert outcome.answer.failed, outcome.answer
    assert case.reason.format(where=outcome.where) in outcome.answer.errors, outcome.answer
    assert outcome.where.split()[0] in outcome.answer.errors, outcome.answer
    assert case.least < outcome.answer.seconds < case.most + 1, outcome.answer
    assert outcome.on or case.manners.get("obeys", True)
    assert outcome.clients == 0


@pytest.mark.parametrize("name", PEERS)
def test_what_is_no_ssh_server_is_a_failure_with_a_reason_and_in_time(
        outcomes: Mapping[str, Outcome], name: str) -> None:
    _, reason, least = PEERS[name]
    answer = outcomes[name].answer
    assert answer.failed and reason in answer.errors, answer
    assert least < answer.seconds < LOOK + 1, answer
    assert outcomes[name].clients == 0


def test_no_reason_has_the_words_by_which_pacemaker_knows_a_timeout(
        outcomes: Mapping[str, Outcome]) -> None:
    words = {name: outcome.answer.errors.lower() for name, outcome in outcomes.items()}
    assert [name for name, said in words.items() if "timed out" in said or "timeout" in said] == []


def test_what_the_controller_says_is_quoted_without_what_a_terminal_would_obey(
        outcomes: Mapping[str, Outcome]) -> None:
    said = outcomes["refuses every order with a code"].answer.errors
    assert '"ERROR: RAC0999: The operation failed."' in said
    assert all(char.isprintable() or char == "\n" for char in said)


@pytest.mark.parametrize("vice", VICES)
def test_a_session_that_is_lost_once_is_no_reason_to_fail(
        outcomes: Mapping[str, Outcome], vice: str) -> None:
    answer, log = outcomes[vice].answer, outcomes[vice].log
    assert (answer.code, answer.output, outcomes[vice].on) == (0, "Success: Powered OFF\n", False)
    assert answer.seconds < WHOLE + 1
    # A new session begins with the order, and both of its readings are its own.
    assert log.count("login") == 2
    assert log[-5:] == ["login", "powerdown", "powerstatus", "powerstatus", "left"]


def test_two_readings_of_two_sessions_prove_nothing(idrac: Idrac) -> None:
    idrac.behave(logins=[{"answers": {"powerstatus": [None, {"cut": True}]}}])
    assert idrac.fence("off").code == 0
    assert idrac.log.count("powerstatus") == 4


def test_a_wrong_password_is_said_and_typed_only_once(machine: Machine) -> None:
    """A second wrong try may lock the user out, and with it every later attempt to fence."""
    idrac = Idrac(machine)
    done = idrac.fence("off", password="wr0ng")
    assert done.failed and "does not let fencer in" in done.errors and done.seconds < 5
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
    assert done.seconds < 5 and idrac.on
    assert idrac.fence("status").output == "Status: ON\n"


def test_an_unknown_host_key_is_refused_before_any_password_is_typed(idrac: Idrac) -> None:
    idrac.write("known-hosts", "")
    done = idrac.fence("off")
    idrac.write("known-hosts", idrac.line_of("host-key"))
    assert done.failed and done.seconds < 5
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
    idrac.fence("status", password="wr0ng")
    idrac.stop()
    assert idrac.server_log.count("authentication failure") <= 1


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
    idrac.machine.run("cp", idrac_host.KEY, open_key)
    idrac.machine.run("chmod", "644", open_key)
    done = idrac.fence("off", password=None, identity_file=open_key)
    assert done.failed and open_key in done.errors and "chmod 600" in done.errors


def test_a_terminated_agent_leaves_no_ssh_behind_and_says_that_it_is_not_done(
        idrac: Idrac) -> None:
    idrac.behave(answers={"powerdown": [{"silent": True}]})
    agent = idrac.machine.sandbox.door.popen(
        ["/usr/sbin/fence_racadm"], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE)
    assert agent.stdin is not None
    agent.stdin.write(idrac.options("off").encode())
    agent.stdin.close()
    agent.stdin = None
    limit = threading.Event()
    while "powerdown" not in idrac.log:
        assert not limit.wait(0.05) and agent.poll() is None
    idrac.machine.run("pkill", "--signal", "TERM", "--full", "/usr/sbin/fence_racadm")
    output, errors = agent.communicate(timeout=LIMIT)
    assert (agent.returncode, output) == (1, b"")
    assert b"told to end" in errors
    assert [line for line in idrac.machine.processes("ssh") if f"-p {idrac.port} " in line] == []
