# SPDX-License-Identifier: GPL-2.0-or-later
"""What pyghmi does that fencing cannot live with, each shown not to happen, with real pyghmi.

The hazards are numbered as in the notes on pyghmi's Session; all but those that need a controller
that misbehaves for long, which are in test_fence_ipmi_misbehaving.
"""

from __future__ import annotations

import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Iterator

import pytest

from fence_ipmi_machine import AGENT, HUNG, PACKAGES, RELEASES, Machine, machine, release

__all__ = ["machine", "release"]

PYGHMI = "/usr/lib/python3/dist-packages/pyghmi"


def test_an_answer_that_is_there_before_anybody_waits_wakes_the_waiter(machine: Machine) -> None:
    """Hazard 1, the lost wake-up: pyghmi sleeps for 0.5 to 1 s beside the answer."""
    usual = machine.drive(machine.controller(), """
        from mailha.bmc import ipmi_line, ipmi_session
        class Late(ipmi_line.Line):
            def send(self, datagram):
                super().send(datagram)
                time.sleep(0.05)        # by now the answer is there
        ipmi_session.Line = Late
        conversation = ipmi_session.Conversation(login, deadline)
        spent = []
        for _ in range(10):
            begun = time.monotonic()
            assert conversation.ask(0, 1)[0] == 0
            spent.append(time.monotonic() - begun)
        conversation.close()
        print(sorted(spent)[5])
    """)
    # Of most of them: a busy machine may hold one or two up.
    assert float(usual) < 0.15, "not even the first repetition was waited for"


def test_a_second_login_in_one_process_is_a_session_of_its_own(machine: Machine) -> None:
    """Hazard 2: pyghmi's second session to a controller hangs for ever, or is the first one."""
    bmc = machine.controller()
    spent = machine.drive(bmc, """
        from mailha.bmc import ipmi_session
        begun = time.monotonic()
        first = ipmi_session.Conversation(login, deadline)
        second = ipmi_session.Conversation(login, deadline)
        first.close()
        assert second.ask(0, 1)[0] == 0, "the end of the first is not the end of the second"
        second.close()
        third = ipmi_session.Conversation(login, deadline)
        assert third.ask(0, 1)[0] == 0
        third.close()
        print(time.monotonic() - begun)
    """)
    assert float(spent) < 10
    sessions = [event["session"] for event in bmc.events("login")]
    assert len(set(sessions)) == 3
    assert sorted(event["session"] for event in bmc.events("close")) == sorted(sessions)


def test_a_request_that_could_not_be_sent_does_not_keep_the_session_from_being_closed(
        machine: Machine) -> None:
    """Debian 11: what encrypts could not be loaded, and each such monitor hung to its deadline."""
    bmc = machine.controller()
    machine.drive(bmc, """
        from mailha.bmc import ipmi_session
        conversation = ipmi_session.Conversation(login, deadline)
        session, whole = conversation._handshake, conversation._handshake.send_payload
        def refuse(*given, **named):
            session.send_payload = whole
            raise ImportError("no backend")
        session.send_payload = refuse
        try:
            conversation.ask(0, 1)
        except ImportError:
            conversation.close()
    """)
    assert len(bmc.events("close")) == 1


def test_a_login_after_a_lost_session_does_not_hang(machine: Machine) -> None:
    """Hazard 2 as it happens: the first session is never ended properly."""
    bmc = machine.controller(forget_after="login")
    machine.drive(bmc, """
        from mailha.bmc import ipmi_session
        try:
            ipmi_session.Conversation(login, deadline)
        except failures.SessionLost:
            pass
        conversation = ipmi_session.Conversation(login, deadline)
        assert conversation.ask(0, 1)[0] == 0
        conversation.close()
    """)
    assert len(bmc.events("login")) == 2


def test_the_deadline_holds_in_the_middle_of_everything(machine: Machine) -> None:
    """Hazard 3: pyghmi ends after 5 to 30 s of its own."""
    spent = machine.drive(machine.controller(silent=True), """
        from mailha.bmc import ipmi_session
        begun = time.monotonic()
        try:
            ipmi_session.Conversation(login, Deadline(1.0))
        except (failures.TimeUp, failures.Silent):
            print(time.monotonic() - begun)
    """)
    assert float(spent) < 4.5, "pyghmi's shortest is 5"


def test_a_forgotten_session_is_reported_and_not_renewed_unseen(machine: Machine) -> None:
    """Hazard 4: pyghmi 1.6 logs in again by itself and sends the request again."""
    bmc = machine.controller(forget_after="read")
    said = machine.drive(bmc, """
        controller = ipmi.Controller(login, deadline, ipmi.converse(login, deadline))
        controller.is_on()
        begun = time.monotonic()
        try:
            controller.is_on()
        except failures.SessionLost:
            print(time.monotonic() - begun)
        try:
            controller.is_on()
        except failures.SessionLost:
            pass                        # it stays lost
        controller.close()
    """)
    assert 0 < float(said) < 15
    assert len(bmc.events("login")) == 1


def test_nothing_but_up_and_down_is_ever_ordered(machine: Machine) -> None:
    """Hazard 4: what may be sent twice must do no harm; cycle (2) and reset (3) would."""
    bmc = machine.controller(loss=0.2, off_takes=2.5)
    for action in ("off", "on", "reboot"):
        assert machine.fence(action, bmc).code == 0
    assert {event["what"] for event in bmc.events("order")} == {0, 1}


def test_a_code_in_the_answer_is_a_failure(machine: Machine) -> None:
    """Hazard 5: pyghmi's raw_command returns a dict with a code and does not raise."""
    names = machine.drive(machine.controller(reading_code=0xcb, order_code=0xd4), """
        controller = ipmi.Controller(login, deadline, ipmi.converse(login, deadline))
        for what in (controller.is_on, lambda: controller.order(False)):
            try:
                what()
            except failures.FencingFailed as failure:
                print(type(failure).__name__)
        controller.close()
    """)
    assert names.split() == ["NotUnderstood", "PrivilegeTooLow"]


def test_the_privilege_is_asked_for_and_never_lowered_at_login(machine: Machine) -> None:
    """Hazard 6: without one, pyghmi tries administrator and falls back unseen."""
    bmc = machine.controller()
    assert machine.fence("off", bmc, username="operator", password="0perat").code == 1
    assert not bmc.events("login")


def test_no_thread_and_no_word_on_stdout(machine: Machine) -> None:
    """Hazard 7: pyghmi has a thread, wakes it through loopback, and prints."""
    said = machine.drive(machine.controller(), """
        conversation = ipmi.converse(login, deadline)
        conversation.ask(0, 1)
        print(threading.active_count())
        conversation.close()
    """)
    assert said == "1\n"


def test_no_more_of_pyghmi_is_loaded_than_is_needed(machine: Machine) -> None:
    """Hazard 8, and 80 ms: neither the session that repeats nothing nor all of Command."""
    said = machine.drive(machine.controller(), """
        ipmi.converse(login, deadline).close()
        print([name for name in sys.modules if name in (
            "pyghmi.ipmi.command", "pyghmi.ipmi.private.simplesession", "ssl", "http.client")])
    """)
    assert said == "[]\n"


@pytest.mark.parametrize("how", [{"privilege_code": 0x81}, {"order_code": 0xd4}])
def test_the_session_is_closed_after_every_failure(machine: Machine, how: dict) -> None:
    """Hazard 9: a controller has few sessions, and keeps those that are not closed."""
    bmc = machine.controller(**how)
    assert machine.fence("off", bmc).code == 1
    assert len(bmc.events("login")) == len(bmc.events("close")) > 0


def test_the_session_is_closed_when_the_agent_is_told_to_end(machine: Machine) -> None:
    """Hazard 9: Pacemaker sends SIGTERM to an agent that takes too long."""
    bmc = machine.controller(off_takes=60)
    options = {"action": "off", "nodename": "bob", **bmc.options}
    agent = machine.sandbox.door.popen([AGENT], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                       stderr=subprocess.PIPE)
    assert agent.stdin is not None
    agent.stdin.write("".join(f"{name}={value}\n" for name, value in options.items()).encode())
    agent.stdin.close()
    agent.stdin = None
    until = time.monotonic() + HUNG
    while not bmc.events("read"):
        assert time.monotonic() < until
        time.sleep(0.02)
    # The child that we know is nsenter, outside; the agent has a number of its own in the machine.
    found = machine.sandbox.run(["pgrep", "-f", f"^/usr/bin/python3.*{AGENT}$"], timeout=HUNG)
    machine.sandbox.run(["kill", "-TERM", *found.stdout.split()], timeout=HUNG, check=True)
    agent.communicate(timeout=HUNG)
    assert agent.returncode == 1
    assert len(bmc.events("close")) == 1


def test_an_idle_session_sends_nothing_and_lives(machine: Machine) -> None:
    """Hazard 10: with keepalive=False pyghmi ends a session that is idle."""
    bmc = machine.controller()
    machine.drive(bmc, """
        conversation = ipmi.converse(login, deadline)
        conversation.ask(0, 1)
        time.sleep(2)
        assert conversation.ask(0, 1)[0] == 0
        conversation.close()
    """)
    first, second = bmc.events("read")
    assert second["taken"] == first["taken"] + 1


def test_any_datagram_at_any_moment_of_a_login_is_survived(machine: Machine) -> None:
    """pyghmi's parser raises whatever Python raises for a list that is too short."""
    machine.drive(machine.controller(), """
        import random
        from mailha.bmc import ipmi_session
        chance = random.Random(7)
        class Mean(ipmi_session.Handshake):
            def hear(self, datagram):
                for _ in range(40):
                    forged = bytearray(datagram)
                    for _ in range(chance.randrange(1, 8)):
                        forged[chance.randrange(4, len(forged))] = chance.randrange(256)
                    forged = forged[:chance.randrange(4, len(forged))]
                    super().hear(bytes(forged))
                self.failure = None
                return super().hear(datagram)
        ipmi_session.Handshake = Mean
        for _ in range(3):
            try:
                ipmi_session.Conversation(login, Deadline(2)).close()
            except failures.FencingFailed:
                pass                    # a forgery may end a login; it must not raise anything else
    """)


# Where pyghmi is not as it was

@pytest.fixture
def unknown_release(machine: Machine) -> Iterator[Machine]:
    """The machine with a pyghmi whose private parts have other names."""
    own = f"{PACKAGES}/pyghmi" if machine.release != RELEASES[0] else PYGHMI
    script = f"""
        mkdir -p {PACKAGES}
        cp -r {own} /tmp/pyghmi
        [ -d {PACKAGES}/pyghmi ] && mv {PACKAGES}/pyghmi /tmp/kept
        mv /tmp/pyghmi {PACKAGES}/pyghmi
        sed -i s/_xmit_packet/_transmit/g {PACKAGES}/pyghmi/ipmi/private/session.py
        grep -q _transmit {PACKAGES}/pyghmi/ipmi/private/session.py
    """
    machine.sandbox.run(["sh", "-c", script], timeout=HUNG, check=True)
    yield machine
    machine.sandbox.run(["sh", "-c", f"rm -r {PACKAGES}/pyghmi; [ ! -d /tmp/kept ] || "
                         f"mv /tmp/kept {PACKAGES}/pyghmi"], timeout=HUNG, check=True)


def test_an_unknown_pyghmi_is_used_by_its_public_interface(unknown_release: Machine) -> None:
    bmc = unknown_release.controller()
    said = unknown_release.drive(bmc, """
        conversation = ipmi.converse(login, deadline)
        print(type(conversation).__module__)
        conversation.close()
    """)
    assert said == "mailha.bmc.ipmi_command\n"
    for action in ("off", "on", "reboot", "monitor"):
        assert unknown_release.fence(action, bmc).code == 0
    assert len(bmc.events("login")) == len(bmc.events("close"))


@pytest.mark.parametrize("options, reason", [
    ({"password": "wr0ng"}, "has another password for user 'admin'"),
    ({"username": "nobody"}, "knows no user 'nobody'"),
    ({"username": "operator", "password": "0perat"}, "does not let user 'operator' be"),
    ({"hexadecimal_kg": "0102"}, "key (Kg)"),
    ({"ip": "no-such-host.invalid"}, "has no address"),
    ({"cipher": 17}, "cannot be held to cipher suite 17")])
def test_an_unknown_pyghmi_gives_the_same_reasons(
        unknown_release: Machine, options: dict, reason: str) -> None:
    outcome = unknown_release.fence("off", unknown_release.controller(), **options)
    assert outcome.code == 1
    assert reason in outcome.stderr


def test_an_unknown_pyghmi_hangs_in_a_child_that_is_killed(unknown_release: Machine) -> None:
    controllers = [unknown_release.controller(**how) for how in (
        {"stop_after": "login"}, {"silent": True}, {"garbage": "random"})]
    with ThreadPoolExecutor(len(controllers)) as pool:
        for outcome in pool.map(lambda each: unknown_release.fence("monitor", each), controllers):
            assert outcome.code == 1
            assert outcome.seconds < 15 + 15
    left = unknown_release.sandbox.run(["pgrep", "-f", AGENT], timeout=HUNG)
    assert left.stdout == ""


def test_an_unknown_pyghmi_that_logs_in_again_unseen_proves_nothing(
        unknown_release: Machine) -> None:
    bmc = unknown_release.controller(forget_after="read")
    outcome = unknown_release.fence("off", bmc)         # Machine.fence looks at the proof
    assert outcome.code == 0
    assert len(bmc.events("login")) > 1


def test_without_pyghmi(machine: Machine) -> None:
    hidden = "mv {0} {0}.hidden; [ ! -d {1}/pyghmi ] || mv {1}/pyghmi {1}/hidden"
    shown = "mv {0}.hidden {0}; [ ! -d {1}/hidden ] || mv {1}/hidden {1}/pyghmi"
    machine.sandbox.run(["sh", "-c", hidden.format(PYGHMI, PACKAGES)], timeout=HUNG, check=True)
    try:
        outcome = machine.fence("off", machine.controller())
        assert outcome.code == 1
        assert "python3-pyghmi" in outcome.stderr
        assert machine.sandbox.run([AGENT, "-o", "metadata"], timeout=HUNG).returncode == 0
    finally:
        machine.sandbox.run(["sh", "-c", shown.format(PYGHMI, PACKAGES)], timeout=HUNG, check=True)
