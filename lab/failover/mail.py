# SPDX-License-Identifier: GPL-2.0-or-later
"""Mail that is delivered continuously, and what of it was acknowledged.

A postman makes letters at a steady pace and delivers them by LMTP or SMTP in order, as a mail
server with its queue does: a letter leaves the queue when the server has answered 250 after its
text. Every other answer, and none, means that it is tried again under the same Message-ID. So a
letter may be in a mailbox twice, when only the answer was lost; an acknowledged one may never be
missing.
"""

from __future__ import annotations

import collections
import smtplib
import socket
import threading
import time
import uuid
from dataclasses import dataclass
from email.message import EmailMessage
from typing import Callable, Deque, List, NamedTuple, Optional, Sequence

Connect = Callable[[float], socket.socket]

SENDER = "postman@example.com"

ANSWER_LIMIT = 3.0
"""Seconds that the postman waits for an answer; a node without power gives none."""

RETRY_AFTER = 0.3

MOST_AT_ONCE = 20
"""Letters that are written in a row, for those that fell due while an attempt was under way."""


@dataclass(frozen=True)
class Letter:
    """One message."""

    message_id: str
    recipient: str
    text: bytes


class Receipt(NamedTuple):
    """One message that the server answers for."""

    when: float         # seconds since the epoch
    message_id: str


class _Smtp(smtplib.SMTP):
    """smtplib's SMTP over a connection that somebody else makes."""

    def __init__(self, connect: Connect) -> None:
        self._connect = connect
        super().__init__("the floating address", local_hostname="outside", timeout=ANSWER_LIMIT)

    def connect(self, host: str = "", port: object = 0,
                source_address: object = None) -> "tuple[int, bytes]":
        self.sock = self._connect(ANSWER_LIMIT)
        self.file = None
        code, greeting = self.getreply()
        return code, greeting


class _Lmtp(_Smtp):
    """The same for LMTP, which says LHLO instead of EHLO."""

    ehlo_msg = smtplib.LMTP.ehlo_msg


def accepts(connect: Connect, recipient: str) -> bool:
    """Say whether the server at the other end takes mail for somebody; none is sent.

    Raises OSError.
    """
    with _Smtp(connect) as server:
        server.ehlo()
        server.mail(SENDER)
        return server.rcpt(recipient)[0] == 250


def letter(number: int, recipient: str) -> Letter:
    """Write a letter; no other one ever has its Message-ID."""
    message = EmailMessage()
    message_id = f"<{number:05d}.{uuid.uuid4().hex}@example.com>"
    message["From"], message["To"] = SENDER, recipient
    message["Subject"], message["Message-ID"] = f"Letter {number}", message_id
    message.set_content(f"This is letter {number}.\n" + "A line of some length to fill it.\n" * 20)
    return Letter(message_id, recipient, message.as_bytes())


class Postman(threading.Thread):
    """Delivers letters until told to finish.

    per_second: how many letters are written a second.
    receipts: what was acknowledged, in order; only ever appended to.
    refusals: why a delivery failed, and when, in order; only ever appended to.
    """

    def __init__(self, connect: Connect, recipients: Sequence[str], per_second: float, *,
                 smtp: bool = False) -> None:
        """Engage a postman; `start` sends it on its way.

        connect: called with a timeout in seconds; returns a connection to LMTP, or raises OSError.
        recipients: who gets the letters, in turn.
        smtp: it is SMTP that answers there, not LMTP.
        """
        super().__init__(name="postman", daemon=True)
        self.receipts: List[Receipt] = []
        self.refusals: List["tuple[float, str]"] = []
        self._connect = connect
        self._recipients = list(recipients)
        self.per_second = per_second
        self._interval = 1.0 / per_second
        self._queue: Deque[Letter] = collections.deque()
        self._written = 0
        self._finish_by: Optional[float] = None
        self._woken = threading.Event()
        self._protocol = _Smtp if smtp else _Lmtp
        self._delivery: Optional[_Smtp] = None

    @property
    def waiting(self) -> int:
        """How many letters were written and not acknowledged."""
        return self._written - len(self.receipts)

    def acknowledged_since(self, when: float) -> List[Receipt]:
        """Return the receipts from a moment on, in order."""
        return [receipt for receipt in list(self.receipts) if receipt.when >= when]

    def finish(self, within: float) -> int:
        """Write no more letters, deliver those that wait; return how many still do at the end.

        within: seconds.
        """
        self._finish_by = time.monotonic() + within
        self._woken.set()
        self.join(within + 3 * ANSWER_LIMIT)
        return self.waiting

    def run(self) -> None:
        """Write and deliver; the body of the thread."""
        started = time.monotonic()
        refused = False
        while self._finish_by is None or (self._queue and time.monotonic() < self._finish_by):
            # What waits comes first where it is taken. On a machine that is too slow for so many
            # letters, each round would have more to write than the one before, and none an end.
            if self._finish_by is None and (refused or not self._queue):
                self._write(int((time.monotonic() - started) / self._interval) + 1)
            if not self._queue:
                self._woken.wait(started + self._written * self._interval - time.monotonic())
                continue
            refused = True
            try:
                self._deliver(self._queue[0])
            except OSError as error:        # smtplib.SMTPException is one
                self.refusals.append((time.time(), str(error) or type(error).__name__))
                self._hang_up()
                time.sleep(RETRY_AFTER)
            else:
                refused = False
                self.receipts.append(Receipt(time.time(), self._queue.popleft().message_id))
        self._hang_up()

    def _write(self, due: int) -> None:
        """Write letters until so many are written, but not too many at once."""
        for _ in range(min(due - self._written, MOST_AT_ONCE)):
            recipient = self._recipients[self._written % len(self._recipients)]
            self._queue.append(letter(self._written, recipient))
            self._written += 1

    def _deliver(self, wanted: Letter) -> None:
        """Return when the letter is acknowledged; raise OSError otherwise."""
        if self._delivery is None:
            self._delivery = self._protocol(self._connect)
        self._delivery.sendmail(SENDER, [wanted.recipient], wanted.text)

    def _hang_up(self) -> None:
        if self._delivery is not None:
            self._delivery.close()
            self._delivery = None
