# SPDX-License-Identifier: GPL-2.0-or-later
"""A controller by IPMI: what its answers mean, and by which way through pyghmi they come."""

from __future__ import annotations

import os
import signal
import sys
import time
from typing import Any, List, Sequence, Tuple

import fake_pyghmi
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailha.bmc import ipmi
from mailha.bmc.ipmi_login import Login
from mailha.bmc.ipmi_unfit import Unfit
from mailha.fencing import failures, packages
from mailha.fencing.deadline import Deadline

LOGIN = Login("192.0.2.7", 623, b"fence", b"s3cret")
STATUS = bytes([0x61, 0, 0x40])


class Script:
    """A session that answers as told, and in the end with the last answer for ever."""

    def __init__(self, *answers: Tuple[int, bytes]) -> None:
        self.answers = list(answers)
        self.asked: List[Tuple[int, int, List[int]]] = []
        self.closed = 0

    def ask(self, netfn: int, command: int, data: Sequence[int] = ()) -> Tuple[int, bytes]:
        self.asked.append((netfn, command, list(data)))
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]

    def close(self) -> None:
        self.closed += 1


def controller(*answers: Tuple[int, bytes]) -> Tuple[ipmi.Controller, Script]:
    script = Script(*answers)
    return ipmi.Controller(LOGIN, Deadline(25, sleep=lambda seconds: None), script), script


def test_only_the_first_bit_is_the_power() -> None:
    assert controller((0, bytes([0x01, 0, 0])))[0].is_on()
    assert controller((0, bytes([0xff, 0, 0])))[0].is_on()
    assert not controller((0, bytes([0xfe, 0xff, 0xff, 0xff])))[0].is_on()


@given(st.integers(0, 255), st.binary(max_size=8))
def test_no_answer_but_a_good_one_is_a_reading(code: int, data: bytes) -> None:
    device, _ = controller((code, data))
    device._deadline.end = 0            # else a busy one is asked for seconds
    if code == 0 and len(data) >= 3:
        assert device.is_on() == bool(data[0] & 1)
    else:
        with pytest.raises(failures.FencingFailed):
            device.is_on()


def test_every_reading_is_asked_for() -> None:
    device, script = controller((0, STATUS))
    assert device.is_on() and device.is_on()
    assert script.asked == [(0, 1, [])] * 2


def test_an_order_is_up_or_down_and_nothing_else() -> None:
    device, script = controller((0, b""))
    device.order(False)
    device.order(True)
    assert script.asked == [(0, 2, [0]), (0, 2, [1])]


@pytest.mark.parametrize("code, look", [(0xd5, True), (0xcc, True), (0xff, True), (0xc1, False),
                                        (0xd6, False)])
def test_a_refused_order_is_never_a_success(code: int, look: bool) -> None:
    with pytest.raises(failures.OrderRefused, match=f"192.0.2.7 refuses.*{code:#x}") as caught:
        controller((code, b""))[0].order(False)
    assert caught.value.look is look


def test_insufficient_privilege_has_a_class_of_its_own() -> None:
    with pytest.raises(failures.PrivilegeTooLow, match="user 'fence' is not allowed to"):
        controller((0xd4, b""))[0].order(False)
    with pytest.raises(failures.PrivilegeTooLow):
        controller((0xd4, b""))[0].is_on()


@pytest.mark.parametrize("code", ipmi.BUSY)
def test_a_busy_controller_is_asked_again_in_the_same_session(code: int) -> None:
    device, script = controller((code, b""), (code, b""), (0, STATUS))
    assert device.is_on()
    assert len(script.asked) == 3


def test_an_order_to_a_controller_that_stays_busy_may_be_tried_again() -> None:
    device, _ = controller((0xc0, b""))
    device._deadline.end = 0
    with pytest.raises(failures.FencingFailed, match="busy") as caught:
        device.order(False)
    assert caught.value.transient


def test_closing_closes() -> None:
    device, script = controller((0, STATUS))
    device.close()
    assert script.closed == 1


# The ways through pyghmi

@pytest.fixture(autouse=True)
def no_packages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packages, "reach", lambda: None)


def way(monkeypatch: pytest.MonkeyPatch) -> str:
    """Return which module would be used, without any network."""
    made: List[str] = []

    class Slow:
        def __init__(self, login: Login, deadline: Deadline) -> None:
            made.append("ipmi_command")

    def fast(login: Login, line: Any) -> None:
        made.append("ipmi_session")
        raise failures.Silent("nobody")

    from mailha.bmc import ipmi_command
    monkeypatch.setattr(ipmi_command, "Conversation", Slow)
    try:
        from mailha.bmc import ipmi_session
        monkeypatch.setattr(ipmi_session, "Handshake", fast)
    except AttributeError:
        pass
    try:
        ipmi.converse(Login("127.0.0.1", 9, b"", b""), Deadline(25))
    except failures.Silent:
        pass
    return made[-1]


def without(name: str) -> Any:
    """Return a Session in which something has another name."""
    members = {key: value for key, value in vars(fake_pyghmi.Session).items() if key != name}
    return type("Session", (), {key: members[key] for key in members if key != "__dict__"
                                and key != "__weakref__"})


def test_a_known_pyghmi_is_used_by_its_private_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    fake_pyghmi.install(monkeypatch)
    assert way(monkeypatch) == "ipmi_session"


@pytest.mark.parametrize("name", ["_xmit_packet", "_got_rakp4", "_initsession", "raw_command"])
def test_a_pyghmi_without_a_private_part_is_used_by_its_public_ones(
        monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    fake_pyghmi.install(monkeypatch, without(name))
    assert way(monkeypatch) == "ipmi_command"


def test_a_pyghmi_with_other_parameters_is_used_by_its_public_parts(
        monkeypatch: pytest.MonkeyPatch) -> None:
    class Other(fake_pyghmi.Session):
        def _xmit_packet(self, again: bool = True) -> None:     # type: ignore[override]
            """Stand in."""

    fake_pyghmi.install(monkeypatch, Other)
    assert way(monkeypatch) == "ipmi_command"


def test_a_pyghmi_without_a_session_is_used_by_its_public_parts(
        monkeypatch: pytest.MonkeyPatch) -> None:
    fake_pyghmi.install(monkeypatch, None)
    assert way(monkeypatch) == "ipmi_command"


# The child process of the slow way

def slow(monkeypatch: pytest.MonkeyPatch, seconds: float = 25, **script: Any) -> Any:
    """Return a session by the slow way, with a pyghmi that does as the script says."""
    fake_pyghmi.install(monkeypatch, script=script)
    from mailha.bmc import ipmi_command
    return ipmi_command.Conversation(Login("127.0.0.1", 9, b"fence", b"s3cret"), Deadline(seconds))


def test_the_child_answers_and_keeps_stdout_clean(
        monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    session = slow(monkeypatch, answer={"code": 0, "data": bytearray(STATUS)})
    assert session.ask(0, 1) == (0, STATUS)
    session.close()
    assert capfd.readouterr() == ("", "")


def test_the_child_is_gone_after_close(monkeypatch: pytest.MonkeyPatch) -> None:
    session = slow(monkeypatch, answer={"code": 0, "data": b""})
    child = session._child
    session.close()
    with pytest.raises(ProcessLookupError):
        os.kill(child, 0)


def test_a_completion_code_comes_through(monkeypatch: pytest.MonkeyPatch) -> None:
    session = slow(monkeypatch, answer={"code": 0xd5, "data": b"", "error": "not now"})
    assert session.ask(0, 2, [0]) == (0xd5, b"")
    session.close()


def test_an_answer_that_took_long_may_be_of_another_session(
        monkeypatch: pytest.MonkeyPatch) -> None:
    session = slow(monkeypatch, takes=60, answer={"code": 0})
    monkeypatch.setattr(sys.modules["mailha.bmc.ipmi_command"], "LONGEST_ANSWER", 0.1)
    begun = time.monotonic()
    with pytest.raises(failures.SessionLost):
        session.ask(0, 1)
    assert session._child == 0, "it was killed"
    with pytest.raises(failures.SessionLost):
        session.ask(0, 1)
    assert time.monotonic() - begun < 10


@pytest.mark.parametrize("answer", [{"error": "timeout", "code": 0xffff}, {"error": "lost"}])
def test_what_pyghmi_says_without_a_controller_is_no_answer(
        monkeypatch: pytest.MonkeyPatch, answer: Any) -> None:
    session = slow(monkeypatch, answer=answer)
    with pytest.raises(failures.SessionLost):
        session.ask(0, 1)


@pytest.mark.parametrize("text, kind", [
    ("Incorrect password provided", failures.LoginRefused),
    ("Invalid RAKP4 integrity code (wrong Kg?)", failures.WrongKey),
    ("timeout", failures.Silent), ("what\nis this", failures.NotUnderstood)])
def test_a_failed_login_comes_through(
        monkeypatch: pytest.MonkeyPatch, text: str, kind: Any) -> None:
    with pytest.raises(kind) as caught:
        slow(monkeypatch, login={"error": text})
    assert "127.0.0.1" in caught.value.reason and "\n" not in caught.value.reason


def test_a_child_that_dies_is_a_lost_session(monkeypatch: pytest.MonkeyPatch) -> None:
    session = slow(monkeypatch, answer={"code": 0, "data": b""})
    os.kill(session._child, signal.SIGKILL)
    os.waitid(os.P_PID, session._child, os.WEXITED | os.WNOWAIT)    # its end of the line is closed
    with pytest.raises(failures.SessionLost):
        session.ask(0, 1)
    session.close()


def test_who_insists_on_suite_17_does_not_get_3(monkeypatch: pytest.MonkeyPatch) -> None:
    fake_pyghmi.install(monkeypatch)
    from mailha.bmc import ipmi_command
    with pytest.raises(failures.MissingLibrary, match="suite 17"):
        ipmi_command.Conversation(Login("127.0.0.1", 9, b"", b"", suites=(17,)), Deadline(25))


def test_unfit_is_no_failure_that_an_administrator_sees() -> None:
    assert not issubclass(Unfit, failures.FencingFailed)
