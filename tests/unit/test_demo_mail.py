# SPDX-License-Identifier: GPL-2.0-or-later
"""The postman of the demonstration: what counts as acknowledged, and what is tried again."""

from __future__ import annotations

import re
import socket
import threading
from typing import Callable, Iterator, List, Sequence

import pytest

from failover import mail
from failover.mail import Postman

LIMIT = 20.0

GREETING = "220 2.1.5 LMTP server is ready"


class Server:
    """An LMTP server that gives each client, in turn, one of the scripts that it was made with.

    A script is the answers to greeting, LHLO, MAIL, RCPT, DATA and the text; where it ends the
    connection ends. The last script is for all further clients.
    """

    def __init__(self, *scripts: Sequence[str]) -> None:
        self._scripts = list(scripts)
        self.texts: List[str] = []
        self.clients = 0

    def connect(self, timeout: float) -> socket.socket:
        """Return a client's end of a connection."""
        script = self._scripts[min(self.clients, len(self._scripts) - 1)]
        self.clients += 1
        if not script:
            raise ConnectionRefusedError("Connection refused")
        ours, theirs = socket.socketpair()
        theirs.settimeout(timeout)
        threading.Thread(target=self._talk, args=(ours, script), daemon=True).start()
        return theirs

    def _talk(self, connection: socket.socket, script: Sequence[str]) -> None:
        with connection, connection.makefile("rwb", 0) as lines:
            try:
                for number, answer in enumerate(script):
                    if number == 5:
                        self._read_text(lines)
                    elif number:
                        lines.readline()
                    lines.write(answer.encode() + b"\r\n")
                while script[-1].startswith("250") and len(script) == 6:
                    for answer in script[2:5]:
                        if not lines.readline():
                            return
                        lines.write(answer.encode() + b"\r\n")
                    self._read_text(lines)
                    lines.write(script[5].encode() + b"\r\n")
            except OSError:
                return

    def _read_text(self, lines: "Iterator[bytes]") -> None:
        text = b""
        for line in lines:
            if line == b".\r\n":
                break
            text += line
        self.texts.append(text.decode())


GOOD = (GREETING, "250 SERVER ready", "250 2.1.0 Ok", "250 2.1.5 Ok", "354 go on",
        "250 2.1.5 Ok")


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mail, "RETRY_AFTER", 0.01)
    # No server here is silent, but a busy machine may be.
    monkeypatch.setattr(mail, "ANSWER_LIMIT", LIMIT)


def deliver(server: Server, letters: int) -> Postman:
    """Let a postman deliver some letters and finish."""
    postman = Postman(server.connect, ["test1@example.com", "test2@example.com"], 200.0)
    enough = wait_for(lambda: len(postman.receipts) >= letters)
    postman.start()
    enough()
    assert postman.finish(LIMIT) == 0
    return postman


def wait_for(come: Callable[[], bool]) -> Callable[[], None]:
    def wait() -> None:
        pause, left = threading.Event(), LIMIT
        while not come():
            assert left > 0
            pause.wait(0.005)
            left -= 0.005
    return wait


def message_ids(server: Server) -> List[str]:
    return [re.findall(r"(?m)^Message-ID: (\S+)", text)[0] for text in server.texts]


def test_letters_are_delivered_in_order_each_under_a_name_of_its_own() -> None:
    server = Server(GOOD)
    postman = deliver(server, 10)
    sent = message_ids(server)
    assert [receipt.message_id for receipt in postman.receipts] == sent
    assert len(set(sent)) == len(sent) >= 10
    assert server.clients == 1
    assert postman.refusals == []


@pytest.mark.parametrize("bad, answer", [
    ((), "Connection refused"),
    (("421 internal error: GetSession failed",), "421"),
    ((*GOOD[:3], "503 5.1.1 Connection error: 0x80040115"), "503"),
    ((*GOOD[:5], "450 4.2.0 test1@example.com Mailbox temporarily unavailable"), "450"),
    # Which of the two is a matter of who is faster: our next line, or the end of the connection.
    (GOOD[:2], "closed|not connected"),
])
def test_what_is_not_acknowledged_is_tried_again_under_the_same_name(
        bad: Sequence[str], answer: str) -> None:
    server = Server(bad, bad, GOOD)
    postman = deliver(server, 3)
    accepted = [receipt.message_id for receipt in postman.receipts]
    assert len(postman.refusals) == 2
    assert re.search(answer, postman.refusals[0][1])
    assert len(set(accepted)) == len(accepted)
    assert [name for name in dict.fromkeys(message_ids(server))] == accepted


def test_a_lost_answer_makes_a_letter_come_twice_and_count_once() -> None:
    server = Server(GOOD[:5] + ("",), GOOD)     # takes the text, answers nothing sensible
    postman = deliver(server, 2)
    accepted = [receipt.message_id for receipt in postman.receipts]
    assert message_ids(server)[0] == message_ids(server)[1] == accepted[0]
    assert accepted.count(accepted[0]) == 1


def test_a_machine_that_is_too_slow_for_so_many_letters_writes_no_more_than_it_delivers() -> None:
    """Else the postman hangs under load, with ever more to write before the next delivery."""
    postman = Postman(Server(GOOD).connect, ["test1@example.com"], 1e9)
    enough = wait_for(lambda: len(postman.receipts) >= 3)
    postman.start()
    enough()
    assert postman.waiting <= mail.MOST_AT_ONCE
    assert postman.finish(LIMIT) == 0 and not postman.is_alive()


def test_letters_that_nobody_takes_are_waiting_at_the_end() -> None:
    server = Server(())
    postman = Postman(server.connect, ["test1@example.com"], 100.0)
    postman.start()
    wait_for(lambda: bool(postman.refusals))()
    assert postman.finish(0.2) == postman.waiting > 0
    assert postman.receipts == []
    assert not postman.is_alive()
