# SPDX-License-Identifier: GPL-2.0-or-later
"""Each protocol is asked for what only a working service says."""

from __future__ import annotations

from typing import Any

import pytest
from fake_machine import FakeMachine, Program, Script
from mailha.services import greetings
from mailha.services.service import Listening, Service

IMAP = b"* OK [CAPABILITY IMAP4rev1 LITERAL+ AUTH=PLAIN] IMAP gateway ready\r\n"
LMTP = b"220 2.1.5 LMTP server is ready\r\n"


def machine(script: Script, host: str = "127.0.0.1", port: int = 24) -> FakeMachine:
    """Return a machine where one program plays the script."""
    where = FakeMachine()
    where.processes.run(Program("/usr/sbin/x", listens={(host, port): script}))
    return where


def check(where: FakeMachine, protocol: str, host: str = "127.0.0.1", port: int = 24,
          timeout: float = 5.0) -> None:
    service = Service("it", unit="it.service", listens=[Listening(protocol, host, port)])
    where.call(greetings.check, service, timeout)


@pytest.mark.parametrize("protocol, script", [
    ("lmtp", Script(greeting=LMTP)),
    ("imap", Script(greeting=IMAP)),
    ("pop3", Script(greeting=b"+OK POP3 gateway ready\r\n")),
    ("http", Script(answers={b"HEAD / HTTP/1.1\r\n": b"HTTP/1.1 200 OK\r\nServer: gSOAP\r\n"})),
    ("http", Script(answers={b"HEAD": b"HTTP/1.1 405 Method Not Allowed\r\n"})),
    ("caldav", Script(answers={b"OPTIONS": b"HTTP/1.1 200 OK\r\n"})),
])
def test_a_working_service_is_recognised(protocol: str, script: Script) -> None:
    check(machine(script), protocol)


@pytest.mark.parametrize("protocol, greeting", [
    ("lmtp", b"421 internal error: GetSession failed\r\n"),
    ("imap", b"* BYE too many connections\r\n"),
    ("pop3", b"-ERR not now\r\n"),
    ("imap", LMTP), ("lmtp", IMAP),
])
def test_what_another_greeting_says_is_in_the_reason(protocol: str, greeting: bytes) -> None:
    with pytest.raises(greetings.Unfit) as caught:
        check(machine(Script(greeting=greeting)), protocol)
    assert caught.value.said == greeting.decode().strip()
    assert "it at 127.0.0.1:24 says" in caught.value.reason
    assert caught.value.cause == "answer"


@pytest.mark.parametrize("mood, cause", [("mute", "timeout"), ("refuses", "refused"),
                                         ("resets", "reset"), ("closes", "closed"),
                                         ("hangs", "timeout")])
def test_a_service_that_does_not_answer_is_told_apart(mood: str, cause: str) -> None:
    where = machine(Script(mood=mood))
    begin = where.clock.monotonic()
    with pytest.raises(greetings.Unfit) as caught:
        check(where, "lmtp", timeout=3.0)
    assert caught.value.cause == cause
    assert where.clock.monotonic() - begin <= 3.5


@pytest.mark.parametrize("host, reached", [("*", "127.0.0.1"), ("0.0.0.0", "127.0.0.1"),
                                           ("::", "::1")])
def test_a_wildcard_is_reached_through_the_loopback(host: str, reached: str) -> None:
    where = machine(Script(greeting=LMTP), host=host)
    check(where, "lmtp", host=host)
    assert where.sockets.connected == [(reached, 24)]


def test_the_same_port_is_asked_once() -> None:
    where = machine(Script(greeting=LMTP), host="*")
    service = Service("it", unit="it.service", listens=[
        Listening("lmtp", "*", 24), Listening("lmtp", "127.0.0.1", 24)])
    where.call(greetings.check, service, 5.0)
    assert where.sockets.connected == [("127.0.0.1", 24)]


@pytest.mark.parametrize("protocol", ["imaps", "pop3s", "https", "stats"])
def test_no_handshake_is_broken_off_where_tls_is_spoken(protocol: str) -> None:
    where = machine(Script(mood="mute"))
    check(where, protocol)
    assert where.sockets.connected == []


@pytest.mark.parametrize("protocol, script, farewell", [
    ("lmtp", Script(greeting=LMTP), b"QUIT\r\n"),
    ("imap", Script(greeting=IMAP), b"a LOGOUT\r\n")])
def test_the_service_is_left_politely(protocol: str, script: Script, farewell: bytes) -> None:
    where = machine(script)
    check(where, protocol)
    assert where.sockets.sent == [(("127.0.0.1", 24), farewell)]


def test_what_a_broken_service_sends_is_made_fit_for_one_line() -> None:
    with pytest.raises(greetings.Unfit) as caught:
        check(machine(Script(greeting=b"\x00\x1b[2Jocf-exit-reason:\xff" * 40 + b"\r\n")), "imap")
    said: Any = caught.value.said
    assert said.isprintable() and len(said) <= 160


def test_a_flood_without_an_end_is_cut() -> None:
    with pytest.raises(greetings.Unfit):
        check(machine(Script(greeting=b"x" * 200_000, mood="closes")), "imap")
