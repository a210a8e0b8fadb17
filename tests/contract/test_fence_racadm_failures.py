# SPDX-License-Identifier: GPL-2.0-or-later
"""fence_racadm where things go wrong: one reason each, in time, and never success with power on.

The calls that take as long as their deadline allows are made side by side, before the first test.
"""

from __future__ import annotations

import os
import subprocess
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Callable, Dict, Iterator, List, Mapping, NamedTuple, Tuple

import pytest

from idrac_host import LIMIT, Answer, Idrac, Machine
from twonode import image
from twonode.sandbox import Sandbox

WHOLE = 25.0
"""Seconds that an action has at most, the start and the end of the process included."""

LOOK = 15.0
"""Seconds that an action has that only reads."""

CONTACT = 10.0
"""Seconds after which a controller that never answered is given up."""

SLACK = 12.0
"""Seconds that a busy machine may take for starting and ending the processes around an action."""


@pytest.fixture(scope="module")
def machine() -> Iterator[Machine]:
    """A machine with the suite and an SSH server."""
    if os.geteuid():
        pytest.skip("the sandbox needs root")
    with Sandbox(image.ensure(os.environ.get("LAB_SUITE", "bookworm"))) as sandbox:
        yield Machine(sandbox)


class Case(NamedTuple):
    """A call that takes long."""

    action: str
    manners: Dict[str, Any]     # of the iDRAC
    options: Dict[str, str]     # of the agent
    reason: str                 # a part of stderr, with {where} for the address
    least: float
    most: float                 # seconds that it may take


STAYS = "still on"

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
                            * 40}}, {}, "itself on", 20,
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
    assert case.least < outcome.answer.seconds < case.most + SLACK, outcome.answer
    assert outcome.on or case.manners.get("obeys", True)
    assert outcome.clients == 0


@pytest.mark.parametrize("name", PEERS)
def test_what_is_no_ssh_server_is_a_failure_with_a_reason_and_in_time(
        outcomes: Mapping[str, Outcome], name: str) -> None:
    _, reason, least = PEERS[name]
    answer = outcomes[name].answer
    assert answer.failed and reason in answer.errors, answer
    assert least < answer.seconds < LOOK + SLACK, answer
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
    assert answer.seconds < WHOLE + SLACK
    # A new session begins with the order, and both of its readings are its own.
    assert log.count("login") == 2
    assert log[-5:] == ["login", "powerdown", "powerstatus", "powerstatus", "left"]
