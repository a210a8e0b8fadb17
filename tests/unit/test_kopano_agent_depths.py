# SPDX-License-Identifier: GPL-2.0-or-later
"""The deeper monitors of ocf:mailha:kopano: whose fault it is that something does not answer."""

from __future__ import annotations

from typing import Callable, List

import pytest
from fake_machine import Script
from kopano_machine import ADDRESS, NAMES, unit
from kopano_node import DATABASE, LMTP, NO_SESSION, SOCKET, Node, soap

IMAP, POP3, CALDAV, HTTP = (ADDRESS, 143), (ADDRESS, 110), (ADDRESS, 8080), (ADDRESS, 236)
HEALTHY = b"220 2.1.5 LMTP server is ready\r\n"


@pytest.fixture
def running(node: Node) -> Node:
    """Return a node on which everything serves and nobody has connected to anything yet."""
    node.started()
    node.machine.sockets.connected.clear()
    node.machine.sockets.sent.clear()
    return node


def asked_database(node: Node) -> bool:
    return DATABASE in node.machine.sockets.connected


# Healthy

def test_depth_0_connects_to_nothing_and_starts_no_child(running: Node) -> None:
    running.machine.children.ran.clear()
    assert running.monitor().code == 0
    assert running.machine.sockets.connected == [] and running.machine.children.ran == []


def test_depth_10_hears_every_service_and_leaves_politely(running: Node) -> None:
    assert running.monitor(10).code == 0
    assert {HTTP, LMTP, IMAP, POP3, CALDAV} <= set(running.machine.sockets.connected)
    sent = b"".join(data for _, data in running.machine.sockets.sent)
    assert b"QUIT" in sent and b"LOGOUT" in sent
    assert b"LOGIN" not in sent and b"USER" not in sent, "a failed login each time"
    assert not asked_database(running)


def test_depth_20_opens_a_store_and_logs_off(running: Node) -> None:
    assert running.monitor(20).code == 0
    said = [data for endpoint, data in running.machine.sockets.sent if endpoint == SOCKET]
    assert [word in data for word, data in zip((b"<ns:logon>", b"<ns:getStore>", b"<ns:logoff>"),
                                               said)] == [True, True, True]


# LMTP, the proof from end to end

def test_lmtp_says_421_and_the_database_answers(running: Node) -> None:
    running.script("dagent", LMTP).greeting = NO_SESSION
    answer = running.monitor(10)
    assert answer.code == 1
    assert "421 internal error: GetSession failed" in answer.reason
    assert "dagent at 192.0.2.100:2003" in answer.reason
    assert "the database answers" in answer.reason
    assert answer.seconds >= 4.0, "it was asked again before the verdict"


def test_lmtp_says_421_because_the_database_greets_and_lets_nobody_in(running: Node) -> None:
    """With all max_connections taken MariaDB refuses after the login only."""
    running.script("dagent", LMTP).greeting = NO_SESSION
    running.script("server", SOCKET).answers[b"<ns:getStore>"] = soap("getStore", er=0x80000007)
    answer = running.monitor(10)
    assert answer.code == 190 and "cannot reach" in answer.reason


def test_lmtp_says_421_because_the_database_is_away(running: Node) -> None:
    running.lose_database()
    answer = running.monitor(10)
    assert answer.code == 190
    for word in ("database 'kopano' at 192.0.2.101:3306", "serves again by itself"):
        assert word in answer.reason


def test_lmtp_says_421_once(running: Node) -> None:
    """As it does for a moment after its server or the database came back."""
    lmtp = running.script("dagent", LMTP)
    lmtp.greeting = NO_SESSION
    running.machine.clock.after(2.0, lambda: setattr(lmtp, "greeting", HEALTHY))
    answer = running.monitor(10)
    assert answer.code == 0 and answer.seconds < 4.0


@pytest.mark.parametrize("lost, code, word", [(False, 1, "the database answers"),
                                              (True, 190, "192.0.2.101:3306")])
def test_mute_lmtp(running: Node, lost: bool, code: int, word: str) -> None:
    """A server that hangs makes the dagent mute; so does a database that hangs."""
    if lost:
        running.lose_database()
    running.script("dagent", LMTP).mood = "mute"
    answer = running.monitor(10)
    assert answer.code == code and word in answer.reason
    assert lost or "says nothing" in answer.reason


def test_a_database_that_takes_connections_and_is_mute_is_away(running: Node) -> None:
    running.script("dagent", LMTP).greeting = NO_SESSION
    running.database.program.listens[DATABASE].mood = "mute"
    answer = running.monitor(10)
    assert answer.code == 190 and "192.0.2.101:3306" in answer.reason


@pytest.mark.parametrize("greeting, word", [
    (b"\x45\x00\x00\x00\xff\x10\x04Too many connections".replace(b"\x45", b"\x17", 1),
     "Too many connections"),
    (b"SSH-2.0-OpenSSH_9.2p1 Debian-2\r\n", "not MySQL")])
def test_a_database_that_lets_nobody_in_is_away(running: Node, greeting: bytes,
                                                word: str) -> None:
    running.script("dagent", LMTP).greeting = NO_SESSION
    running.database.program.listens[DATABASE].greeting = greeting
    answer = running.monitor(10)
    assert answer.code == 190 and word in answer.reason


def test_a_configuration_that_does_not_tell_the_database_blames_nobody(running: Node) -> None:
    running.script("dagent", LMTP).greeting = NO_SESSION
    running.write("server", "server_bind = 192.0.2.100\n")
    answer = running.monitor(10)
    assert answer.code == 1 and "421" in answer.reason and not asked_database(running)
    assert "the database answers" not in answer.reason


def test_everything_is_mute_at_once_and_the_monitor_still_answers(running: Node) -> None:
    for name in NAMES:
        for script in (unit(running.machine, name).program.listens  # type: ignore[union-attr]
                       .values()):
            script.mood = "mute"
    running.database.program.listens[DATABASE].mood = "mute"
    answer = running.monitor(10)
    assert answer.code == 190
    running.database.program.listens[DATABASE].mood = "answers"
    answer = running.monitor(10, timeout=20)
    assert answer.code == 1 and "server" in answer.reason


# The services in front

@pytest.mark.parametrize("name, endpoint, script, words", [
    ("gateway", IMAP, Script(greeting=b"* BYE too many connections\r\n"),
     ["gateway at 192.0.2.100:143", "* BYE too many connections", "* OK"]),
    ("gateway", IMAP, Script(greeting=b"+OK POP3 gateway ready\r\n"), ["+OK", "* OK"]),
    ("gateway", POP3, Script(mood="closes"), ["gateway at 192.0.2.100:110"]),
    ("gateway", POP3, Script(mood="resets"), ["192.0.2.100:110", "reset"]),
    ("ical", CALDAV, Script(mood="mute"), ["ical at 192.0.2.100:8080", "says nothing"]),
    ("ical", CALDAV, Script(answers={b"OPTIONS": b"\x16\x03\x01\x02\x00 TLS\r\n"}), ["ical"]),
    ("server", HTTP, Script(mood="mute"), ["server at 192.0.2.100:236", "says nothing"])])
def test_a_wrong_greeting_fails_and_is_quoted(running: Node, name: str, endpoint: object,
                                              script: Script, words: List[str]) -> None:
    its = unit(running.machine, name).program
    assert its is not None
    its.listens[endpoint] = script  # type: ignore[index]
    answer = running.monitor(10)
    assert answer.code == 1
    for word in words:
        assert word in answer.reason
    assert asked_database(running) == (name == "server")
    assert running.monitor().code == 0, "nothing of it can be seen without connecting"


def test_an_optional_service_that_does_not_greet_degrades(running: Node) -> None:
    running.script("ical", CALDAV).mood = "mute"
    answer = running.monitor(10, optional_services="ical")
    assert answer.code == 190 and "ical at 192.0.2.100:8080" in answer.reason


def test_a_required_service_counts_more_than_an_optional_one(running: Node) -> None:
    running.script("ical", CALDAV).mood = "mute"
    running.script("gateway", IMAP).mood = "mute"
    answer = running.monitor(10, optional_services="ical")
    assert answer.code == 1 and "gateway" in answer.reason


def test_an_optional_dagent_and_no_database(running: Node) -> None:
    running.lose_database()
    answer = running.monitor(10, optional_services="dagent")
    assert answer.code == 190 and "192.0.2.101:3306" in answer.reason


def test_a_dead_optional_service_hides_no_fault_behind_it(running: Node) -> None:
    running.main("ical").die()
    running.script("gateway", IMAP).mood = "mute"
    assert running.monitor(optional_services="ical").code == 190
    answer = running.monitor(10, optional_services="ical")
    assert answer.code == 1 and "gateway" in answer.reason


def test_the_monitor_of_leaves_whose_server_is_another_resource(
        make_node: Callable[..., Node]) -> None:
    """Their greetings say nothing about the server, so a dead one is not held against them."""
    node = make_node(names=("gateway", "ical"))
    node.started()
    node.database.die()
    assert node.monitor(10).code == 0 and node.monitor(20).code == 0


# The store

def test_a_store_that_cannot_be_opened_for_want_of_the_database(running: Node) -> None:
    """The logon alone succeeds from the cache (measured)."""
    running.script("server", SOCKET).answers[b"<ns:getStore>"] = soap("getStore", er=0x80000007)
    assert running.monitor(10).code == 0
    answer = running.monitor(20)
    assert answer.code == 190 and "database" in answer.reason


def test_a_logon_that_root_may_not_do_is_no_fault_of_the_service(running: Node) -> None:
    """local_admin_users without root: restarting cures that nowhere."""
    running.script("server", SOCKET).answers[b"<ns:logon>"] = soap("logon", er=0x80000009)
    answer = running.monitor(20)
    assert answer.code == 0 and "add root to local_admin_users" in answer.log


@pytest.mark.parametrize("away, code", [(False, 1), (True, 190)])
def test_a_server_that_hangs_only_at_its_socket(make_node: Callable[..., Node], away: bool,
                                                code: int) -> None:
    """Alone in its resource there is no LMTP to tell that the database hangs."""
    node = make_node(names=("server",))
    node.started()
    node.script("server", SOCKET).mood = "mute"
    if away:
        node.database.program.listens[DATABASE].mood = "mute"
    answer = node.monitor(20)
    assert answer.code == code
    assert ("192.0.2.101:3306" if away else "does not answer logon") in answer.reason


@pytest.mark.parametrize("reply", [b"HTTP/1.1 200 OK\r\n\r\n", b"220 hello\r\n", soap("x", er=77)])
def test_a_server_that_answers_nonsense_has_failed(running: Node, reply: bytes) -> None:
    running.script("server", SOCKET).answers = {b"<ns:": reply}
    running.script("server", SOCKET).mood = "closes"
    answer = running.monitor(20)
    assert answer.code == 1 and "kopano-server" in answer.reason
