# SPDX-License-Identifier: GPL-2.0-or-later
"""Logging in by IPMI: keys, the reasons of refusals, the way to an address, the pace."""

from __future__ import annotations

import socket
import time
from typing import Any, List

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailha.bmc import ipmi_line, ipmi_login
from mailha.bmc.ipmi_login import Login
from mailha.bmc.ipmi_pace import FIRST, Pace
from mailha.fencing import failures
from mailha.fencing.deadline import Deadline

LOGIN = Login("192.0.2.7", 623, b"fence", b"s3cret")


@given(st.binary(min_size=1, max_size=20), st.sampled_from(["", "0x", "0X", " 0x"]))
def test_a_key_is_its_digits(key: bytes, prefix: str) -> None:
    expected = key if any(key) else None
    assert ipmi_login.key_of(prefix + key.hex()) == expected


@pytest.mark.parametrize("text", ["", "00", "0x" + "0" * 40])
def test_a_key_of_zeros_is_no_key(text: str) -> None:
    assert ipmi_login.key_of(text) is None


@pytest.mark.parametrize("status, kind", [
    (0x01, failures.SessionsExhausted), (0x0b, failures.SessionsExhausted),
    (0x02, failures.SessionLost), (0x09, failures.PrivilegeTooLow),
    (0x0a, failures.PrivilegeTooLow), (0x0d, failures.LoginRefused),
    (0x0f, failures.LoginRefused), (0x11, failures.NoCommonCipher),
    (0x04, failures.NoCommonCipher), (0x77, failures.NotUnderstood)])
def test_each_status_has_its_class(status: int, kind: Any) -> None:
    assert type(ipmi_login.refused(LOGIN, status)) is kind


@given(st.integers(0, 255))
def test_no_reason_of_a_login_has_a_secret_or_the_word_of_another_class(status: int) -> None:
    reason = str(ipmi_login.refused(LOGIN, status))
    assert "192.0.2.7" in reason
    assert "s3cret" not in reason
    assert "timeout" not in reason and "timed out" not in reason
    assert "\n" not in reason


@given(st.text())
def test_whatever_pyghmi_says_becomes_a_reason(text: str) -> None:
    failure = ipmi_login.of_text(LOGIN, text, 3.0)
    assert isinstance(failure, failures.FencingFailed)
    assert "\n" not in failure.reason


@pytest.mark.parametrize("text, kind", [
    ("Unauthorized name in RAKP2", failures.LoginRefused),
    ("Incorrect password provided", failures.LoginRefused),
    ("Unauthorized role or privilege level requested in RAKP2", failures.PrivilegeTooLow),
    ("Insufficient resources to create new session (wait for existing sessions to timeout)",
     failures.SessionsExhausted),
    ("No Cipher suite match with proposed security algorithms", failures.NoCommonCipher),
    ("Invalid RAKP4 integrity code (wrong Kg?)", failures.WrongKey),
    ("timeout", failures.Silent), ("Session failed to initialize", failures.Silent)])
def test_what_pyghmi_says_is_understood(text: str, kind: Any) -> None:
    failure = ipmi_login.of_text(LOGIN, text, 3.0)
    assert type(failure) is kind
    assert "timeout" not in str(failure)


def test_a_user_may_have_any_name() -> None:
    assert Login("h", 623, b"\xff\n", b"").who == r"user '\\xff\n'"
    assert Login("h", 623, b"", b"").who == "the user without a name"


def test_an_unusual_port_is_named() -> None:
    assert Login("h", 623, b"", b"").name == "h"
    assert Login("h", 6230, b"", b"").name == "h port 6230"


# The way

def line(*sockets: socket.socket) -> ipmi_line.Line:
    """Return a line to sockets of ours, or to nobody."""
    addresses: List[Any] = [(each.family, each.type, 0, "", each.getsockname()) for each in sockets]
    return ipmi_line.Line(LOGIN, addresses)


@pytest.fixture
def listener() -> Any:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as opened:
        opened.bind(("127.0.0.1", 0))
        yield opened


def closed() -> socket.socket:
    """Return a socket whose address nobody listens at, with its name still to be asked for."""
    class Gone:
        family, type = socket.AF_INET, socket.SOCK_DGRAM

        def __init__(self) -> None:
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as opened:
                opened.bind(("127.0.0.1", 0))
                self.address = opened.getsockname()

        def getsockname(self) -> Any:
            return self.address

    gone: Any = Gone()
    return gone     # type: ignore[no-any-return]


def test_a_datagram_goes_and_comes(listener: socket.socket) -> None:
    way = line(listener)
    way.send(b"ping")
    data, sender = listener.recvfrom(100)
    listener.sendto(b"pong", sender)
    assert data == b"ping"
    assert way.receive(time.monotonic() + 10) == b"pong"
    way.close()


def test_nobody_answers_in_time(listener: socket.socket) -> None:
    way = line(listener)
    assert way.receive(time.monotonic() + 0.01) is None
    assert way.receive(time.monotonic() - 1) is None
    way.close()


def test_a_closed_port_is_reported_at_the_second_refusal() -> None:
    way = line(closed())
    way.send(b"ping")
    assert way.receive(time.monotonic() + 0.05) is None
    with pytest.raises(failures.Unreachable, match="nobody listens"):
        way.send(b"ping")
        way.receive(time.monotonic() + 10)
    way.close()


def test_the_address_that_answers_is_kept(listener: socket.socket) -> None:
    way = line(closed(), listener)
    for _ in range(3):
        way.send(b"ping")
        way.receive(time.monotonic() + 0.02)
    _, sender = listener.recvfrom(100)
    listener.sendto(b"pong", sender)
    assert way.receive(time.monotonic() + 10) == b"pong"
    assert len(way._sockets) == 1
    way.close()


def test_nobody_else_is_heard(listener: socket.socket) -> None:
    way = line(listener)
    way.send(b"ping")
    _, sender = listener.recvfrom(100)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger:
        stranger.sendto(b"power is off", sender)
    assert way.receive(time.monotonic() + 0.05) is None
    way.close()


def test_no_address_family_of_a_name_can_be_used() -> None:
    with pytest.raises(failures.Unreachable):
        ipmi_line.Line(LOGIN, [])


def test_a_name_server_that_is_dead_does_not_hold_us(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: List[Any] = []

    def getaddrinfo(host: str, port: int, **more: Any) -> List[Any]:
        asked.append(host)
        if "flags" in more:
            raise socket.gaierror(socket.EAI_NONAME, "no number")
        time.sleep(30)
        return []

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    begun = time.monotonic()
    with pytest.raises(failures.NameUnknown, match="no name server answers"):
        ipmi_line.resolve(Login("bmc.example", 623, b"", b""), Deadline(0.3))
    assert time.monotonic() - begun < 10
    assert asked == [b"bmc.example", "bmc.example"]


@pytest.mark.parametrize("name", ["a..b", "x" * 70 + ".example"])
def test_a_name_that_is_none_is_unknown(name: str) -> None:
    with pytest.raises(failures.NameUnknown):
        ipmi_line.resolve(Login(name, 623, b"", b""), Deadline(25))


def test_a_numeric_address_is_not_looked_up() -> None:
    assert ipmi_line.resolve(LOGIN, Deadline(25))[0][4] == ("192.0.2.7", 623)


# The pace

def test_the_wait_grows_with_each_loss_up_to_a_limit() -> None:
    pace = Pace()
    waits = []
    for _ in range(8):
        waits.append(pace.wait("x"))
        pace.lost("x", in_session=True)
    assert waits[0] == FIRST
    assert waits == sorted(waits)
    assert sum(waits) == pytest.approx(4.2, abs=0.2)


def test_a_slow_controller_is_waited_for_at_every_step() -> None:
    pace = Pace()
    pace.answered("open", 0.7, certain=True)
    assert pace.wait("open") == pace.wait("next") == pytest.approx(1.4)


def test_a_slow_step_is_not_forgotten_over_the_fast_ones_before_it() -> None:
    """Else a login that begins anew after each loss would never come past that step."""
    pace = Pace()
    for _ in range(5):
        pace.answered("open", 0.001, certain=True)
        pace.lost("rakp", in_session=False)
    assert pace.wait("open") == FIRST
    assert pace.wait("rakp") > 1


def test_an_answer_to_one_of_several_copies_measures_nothing() -> None:
    pace = Pace()
    pace.answered("x", 0.01, certain=True)
    pace.lost("x", in_session=True)
    pace.answered("x", 9.0, certain=False)
    assert pace.wait("x") == FIRST
