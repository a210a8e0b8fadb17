# SPDX-License-Identifier: GPL-2.0-or-later
"""The Kopano stand-in's conversations, over a socket pair and with a server that is a puppet."""

from __future__ import annotations

import socket
import threading
from typing import Callable, Dict, Iterator, List, Tuple

import pytest

from kopano.standin import calls, http, ical, imap, link, lines, lmtp, pop3, soap, soapserver
from kopano.standin.database import DatabaseDown
from kopano.standin.mailbox import NoSuchThing
from kopano.standin.release import Release


class PuppetSession:
    """A session on a server that knows test1 and can be told to fail."""

    def __init__(self) -> None:
        self.delivered: List[Tuple[str, bytes]] = []
        self.store_error = 0
        self.deliver_error = 0

    def open_store(self) -> None:
        if self.store_error:
            raise link.ServerRefused("getStore", self.store_error)

    def resolve(self, address: str) -> str:
        if not address.startswith("test"):
            raise link.ServerRefused("standinResolve", soap.NOT_FOUND)
        return address.partition("@")[0]

    def deliver(self, user: str, message: bytes) -> int:
        if self.deliver_error:
            raise link.ServerRefused("standinDeliver", self.deliver_error)
        self.delivered.append((user, message))
        return len(self.delivered)

    def items(self) -> List[link.Item]:
        return [link.Item(7, 10), link.Item(9, 20)]

    def fetch(self, number: int) -> bytes:
        return b"Subject: x\r\n\r\n.dot\r\n"

    def close(self) -> None:
        pass


class Client:
    """The client's end of a conversation with one of the stand-in's services."""

    def __init__(self, talk: Callable[[socket.socket], None]) -> None:
        self.socket, theirs = socket.socketpair()
        self.socket.settimeout(60)
        self._file = self.socket.makefile("rb")

        def run() -> None:
            with theirs:
                talk(theirs)

        self._thread = threading.Thread(target=run)
        self._thread.start()

    def say(self, *texts: str) -> None:
        self.socket.sendall("".join(f"{text}\r\n" for text in texts).encode())

    def hear(self) -> str:
        return self._file.readline().decode().rstrip("\r\n")

    def ask(self, text: str) -> str:
        self.say(text)
        return self.hear()

    def end(self) -> None:
        self._file.close()
        self.socket.close()
        self._thread.join(60)
        assert not self._thread.is_alive()


@pytest.fixture
def session() -> PuppetSession:
    return PuppetSession()


@pytest.fixture
def lmtp_client(session: PuppetSession) -> Iterator[Client]:
    client = Client(lambda theirs: lmtp.talk(
        theirs, lambda: session))  # type: ignore[arg-type,return-value]
    yield client
    client.end()


def test_lmtp_takes_pipelined_commands_and_undoes_the_quoting_of_dots(
        lmtp_client: Client, session: PuppetSession) -> None:
    client = lmtp_client
    assert client.hear() == "220 2.1.5 LMTP server is ready"
    client.say("MAIL FROM:<>", "RCPT TO:<test1@example.com>", "DATA", "a", "..b", ".", "QUIT")
    assert [client.hear()[:3] for _ in range(5)] == ["250", "250", "354", "250", "221"]
    assert session.delivered == [("test1", b"a\r\n.b\r\n")]


@pytest.mark.parametrize("line, reply", [
    ("LHLO", "501 5.5.4 Syntax: LHLO hostname"),
    ("RCPT TO:test1", "503 5.1.3 Bad destination mailbox address syntax"),
    ("RCPT TO:<nobody>", "503 5.1.1 User does not exist"),
    ("DATA", "503 5.1.1 No recipients"),
    ("RSET", "250 2.1.0 Ok"),
    ("NOOP", "555 5.5.4 Command not recognized"),
    ("", "555 5.5.4 Command not recognized"),
])
def test_lmtp_replies_to_one_command(lmtp_client: Client, line: str, reply: str) -> None:
    lmtp_client.hear()
    assert lmtp_client.ask(line) == reply


def test_lmtp_acknowledges_nothing_that_the_server_did_not_store(
        lmtp_client: Client, session: PuppetSession) -> None:
    session.deliver_error = soap.CALL_FAILED
    lmtp_client.hear()
    lmtp_client.say("RCPT TO:<test1@x>", "DATA", "text", ".")
    assert lmtp_client.hear() == "250 2.1.5 Ok"
    assert lmtp_client.hear().startswith("354")
    assert lmtp_client.hear() == "450 4.2.0 test1@x Mailbox temporarily unavailable"


def test_lmtp_greets_with_421_where_the_store_does_not_open(session: PuppetSession) -> None:
    session.store_error = soap.DATABASE_ERROR
    client = Client(lambda theirs: lmtp.talk(
        theirs, lambda: session))  # type: ignore[arg-type,return-value]
    assert client.hear() == "421 internal error: GetSession failed"
    assert client.hear() == ""
    client.end()


def test_lmtp_stores_nothing_of_a_message_whose_client_left(
        lmtp_client: Client, session: PuppetSession) -> None:
    lmtp_client.hear()
    lmtp_client.say("RCPT TO:<test1@x>", "DATA", "half a mess")
    lmtp_client.hear()
    lmtp_client.hear()
    lmtp_client.end()
    assert session.delivered == []


def refuse(user: str, password: str) -> link.Session:
    raise link.ServerRefused("logon", soap.LOGON_FAILED)


def unreachable(user: str, password: str) -> link.Session:
    raise link.ServerUnreachable("nobody there")


def test_imap_quoted_names_and_unknown_commands() -> None:
    client = Client(lambda theirs: imap.talk(theirs, refuse))
    client.hear()
    assert client.ask('a LOGIN "no such" x') == "a NO LOGIN wrong username or password"
    assert client.ask("b NOOP") == "b OK NOOP completed"
    assert client.ask("c IDLE") == "c NO Command not allowed without login"
    assert client.ask('d LOGIN "unbalanced x').startswith("d ")
    assert client.ask("e LOGOUT").startswith("* BYE")
    client.end()


def test_imap_and_pop3_name_an_internal_error_where_the_server_is_dead() -> None:
    client = Client(lambda theirs: imap.talk(theirs, unreachable))
    client.hear()
    assert client.ask("a LOGIN x y") == "a BAD Internal error: OpenECSession failed"
    client.end()
    client = Client(lambda theirs: pop3.talk(theirs, unreachable))
    client.hear()
    client.ask("USER x")
    assert client.ask("PASS y") == "-ERR [SYS/TEMP] Internal error: HrLogin failed"
    assert client.hear() == ""
    client.end()


def test_pop3_lists_and_quotes_dots(session: PuppetSession) -> None:
    client = Client(lambda theirs: pop3.talk(
        theirs, lambda user, password: session))  # type: ignore[arg-type,return-value]
    assert client.hear() == "+OK POP3 gateway ready"
    assert client.ask("STAT") == "-ERR Invalid command"
    client.ask("USER test1")
    client.ask("PASS test1")
    assert client.ask("STAT") == "+OK 2 30"
    client.say("UIDL", "RETR 2")
    assert [client.hear() for _ in range(4)] == ["+OK", "1 7", "2 9", "."]
    assert [client.hear() for _ in range(5)] == ["+OK", "Subject: x", "", "..dot", "."]
    client.end()


@pytest.mark.parametrize("message", [b"", b"a", b"a\n", b".\r\n", b"a\r\n..\r\n"])
def test_quoted_dots_come_back_as_they_were(message: bytes) -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.sendall(lines.quote_dots(message))
        found = lines.Conversation(theirs).hear_message()
    assert found is not None
    assert found.replace(b"\r\n", b"\n").rstrip(b"\n") == (
        message.replace(b"\r\n", b"\n").rstrip(b"\n"))


@pytest.mark.parametrize("header, status", [
    ("", "401"), ("Bearer x", "401"), ("Basic !", "401"), ("Basic Ym9ndXM6eA==", "401")])
def test_ical_answers_401_without_a_right_password(header: str, status: str) -> None:
    request = http.Request("GET", "/caldav/", {"authorization": header}, b"")
    assert ical.answer(request, unreachable).split(b" ")[1] == status.encode()


class PuppetMailboxes:
    """Mailboxes that fail as they are told."""

    error: Exception = DatabaseDown("gone")

    def check(self) -> None:
        raise self.error

    def authenticate(self, login: str, password: str) -> bool:
        raise self.error

    def deliver(self, login: str, message: bytes) -> int:
        raise self.error


LOGON: Dict[str, str] = dict.fromkeys(calls.LOGON_ELEMENTS, "")


def logged_on(user: str = "SYSTEM", trusted: bool = True) -> Tuple[calls.Calls, Dict[str, str]]:
    found = calls.Calls(PuppetMailboxes(), Release("8.7.25"), bytes(16))  # type: ignore[arg-type]
    answer = found.answer(soap.Call("logon", {**LOGON, "szUsername": user}), trusted=trusted)
    assert answer is not None
    return found, dict(answer)


def test_without_database_a_logon_succeeds_and_get_store_fails() -> None:
    found, answer = logged_on()
    assert answer["er"] == "0" and answer["lpszVersion"] == "0,8,7,25"
    call = soap.Call("getStore", {"ulSessionId": answer["ulSessionId"]})
    assert found.answer(call, trusted=True) == [("er", str(0x80000007))]


def test_without_database_a_users_logon_looks_like_a_wrong_password() -> None:
    assert logged_on("test1")[1] == {"er": str(0x80000009)}


def test_system_needs_the_unix_socket() -> None:
    assert logged_on(trusted=False)[1] == {"er": str(0x80000009)}


@pytest.mark.parametrize("error, number", [
    (OSError("full"), soap.CALL_FAILED), (NoSuchThing("x"), soap.NOT_FOUND)])
def test_a_delivery_that_fails_says_so(error: Exception, number: int,
                                       monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(PuppetMailboxes, "error", error)
    found, answer = logged_on()
    call = soap.Call("standinDeliver", {"ulSessionId": answer["ulSessionId"]})
    assert found.answer(call, trusted=True) == [("er", str(number))]


def test_a_call_that_there_is_not_is_a_fault() -> None:
    found, _ = logged_on()
    request = http.Request("POST", "/", {}, soap.envelope("getNothing", []))
    assert soapserver.answer(request, found, True).startswith(b"HTTP/1.1 500 ")
    request = http.Request("POST", "/", {}, b"no xml")
    assert soapserver.answer(request, found, True).startswith(b"HTTP/1.1 500 ")


def test_an_envelope_comes_back_with_its_elements_in_order() -> None:
    document = soap.envelope("logon", [("a", "<&>"), ("b", "")])
    assert document.index(b"<a>") < document.index(b"<b>")
    assert soap.parse(document) == soap.Call("logon", {"a": "<&>", "b": ""})
    assert soap.parse(b"<x/>") is None


def test_a_request_in_pieces_and_two_requests_in_one_are_read() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        reader = http.Reader(theirs)
        ours.sendall(b"POST / HTTP/1.1\r\nContent-Length: 3\r\n\r\nabcHEAD /x HTTP/1.1\r\n\r\n")
        first, second = reader.request(), reader.request()
        assert first is not None and (first.method, first.body) == ("POST", b"abc")
        assert second is not None and (second.method, second.path) == ("HEAD", "/x")
        ours.sendall(b"nonsense\r\n\r\n")
        assert reader.request() is None
        ours.close()
        assert reader.request() is None
