#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""A controller that misbehaves as it is told to: IPMI 2.0 over LAN, small and our own.

ipmi_sim is a controller that works. What a fence agent has to survive are those that do not, and
those that speak cipher suite 17, which ipmi_sim does not. This one runs in a sandbox:

    bmc_responder.py '{"port": 6231, "ignore_orders": true}'

It prints "ready" and serves until it is killed. What happens goes to the file `log`, one JSON
object a line, with the time of the monotonic clock: power changes, readings, orders, logins,
closings, and in each line how many datagrams have been taken and sent. Needs python3-cryptography,
for AES only.
"""

from __future__ import annotations

import hashlib
import hmac
import heapq
import json
import os
import random
import select
import signal
import socket
import struct
import sys
import time
from typing import Any, Callable, Dict, List, Optional, Tuple

from cryptography.hazmat.backends import default_backend
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

DEFAULTS: Dict[str, Any] = {
    "address": "127.0.0.1", "port": 623, "log": "/tmp/bmc.log",
    "power": True,
    "users": {"admin": ["secret", 4], "operator": ["0perat", 3], "viewer": ["v1ewer", 2]},
    "kg": "",                   # hexadecimal
    "suites": [17, 3],
    "ipmi15": False,            # knows no IPMI 2.0
    "silent": False,            # says nothing at all
    "echo": False,              # says what it hears
    "garbage": "",              # random | short | text | cut: what it says instead of answers
    "garbage_after": "",        # from which event on; empty: from the start
    "stop_after": "",           # event after which it stops itself with SIGSTOP
    "forget_after": "",         # event after which it forgets its sessions, once
    "reset_after": "",          # event after which it forgets them and is deaf for a while, once
    "deaf_for": 1.5,
    "forget_always": False,     # forgets after every such event
    "drop_every_reading": False,
    "ignore_orders": False,     # says OK and does nothing
    "off_takes": 0.0,           # seconds from the order to the deed
    "on_again": 0.0,            # seconds after which it is on again by itself
    "on_again_times": 1000000,
    "lie": [],                  # what the first readings say, whatever the power is
    "refuse_off_when_off": False,
    "order_code": 0, "order_code_times": 1000000,
    "reading_code": 0, "reading_code_times": 1000000,
    "reading_length": 4,
    "privilege_code": 0,
    "slow": 0.0,                # seconds that every answer takes
    "loss": 0.0, "seed": 1,     # part of the datagrams lost, each way
    "no_room": 0,               # how many logins find no free session
    "rakp2_status": 0, "rakp4_status": 0,
    "twice": False,             # sends every answer twice
    "ignore_close": False,
}

HASHES: Dict[int, Tuple[Callable[..., Any], int]] = {17: (hashlib.sha256, 16),
                                                     3: (hashlib.sha1, 12)}
"""Cipher suite -> hash, and bytes of it that are sent."""

ALGORITHMS = {(3, 4, 1): 17, (1, 1, 1): 3}
HEADER = b"\x06\x00\xff\x07"
GUID = bytes(range(16))


class Session:
    """A session, from "open session" on."""

    def __init__(self, number: int, console: int, suite: int, sender: Any) -> None:
        self.number = number
        self.console = console
        self.suite = suite
        self.sender = sender
        self.established = False
        self.sequence = 0
        self.level = 2
        self.k1 = self.k2 = self.sik = b""
        self.proof = b""

    def digest(self, key: bytes, data: bytes) -> bytes:
        """Return the keyed hash of the session's cipher suite."""
        return hmac.new(key, data, HASHES[self.suite][0]).digest()


class Responder:
    """The controller."""

    def __init__(self, more: Dict[str, Any]) -> None:
        unknown = set(more) - set(DEFAULTS)
        if unknown:
            raise SystemExit(f"unknown settings: {unknown}")
        self.how = {**DEFAULTS, **more}
        self.power = self.how["power"]
        self.sessions: Dict[int, Session] = {}
        self.chance = random.Random(self.how["seed"])
        self.later: List[Tuple[float, int, Callable[[], None]]] = []
        self.ticket = 0
        self.deaf_until = 0.0
        self.garbling = bool(self.how["garbage"]) and not self.how["garbage_after"]
        self.taken = self.sent = 0
        self.log = open(self.how["log"], "a", buffering=1)
        family = socket.AF_INET6 if ":" in self.how["address"] else socket.AF_INET
        self.socket = socket.socket(family, socket.SOCK_DGRAM)
        self.socket.bind((self.how["address"], self.how["port"]))

    def serve(self) -> None:
        """Answer for ever."""
        print("ready", flush=True)
        while True:
            wait = max(0.0, self.later[0][0] - time.monotonic()) if self.later else None
            if select.select([self.socket], [], [], wait)[0]:
                datagram, sender = self.socket.recvfrom(4096)
                self.taken += 1
                self.hear(datagram, sender)
            while self.later and self.later[0][0] <= time.monotonic():
                heapq.heappop(self.later)[2]()

    def after(self, seconds: float, do: Callable[[], None]) -> None:
        """Do something later."""
        self.ticket += 1
        heapq.heappush(self.later, (time.monotonic() + seconds, self.ticket, do))

    def note(self, event: str, **more: Any) -> None:
        """Write an event to the log, and misbehave after it if told to."""
        self.log.write(json.dumps({"time": time.monotonic(), "event": event, "taken": self.taken,
                                   "sent": self.sent, "power": self.power, **more}) + "\n")
        how = self.how
        if how["stop_after"] == event:
            self.after(0, lambda: os.kill(os.getpid(), signal.SIGSTOP))
        if how["garbage_after"] == event:
            self.after(0, self._garble)
        if how["forget_after"] == event:
            self.after(0, self.sessions.clear)
            if not how["forget_always"]:
                how["forget_after"] = ""
        if how["reset_after"] == event:
            how["reset_after"] = ""
            self.after(0, self._reset)

    def _garble(self) -> None:
        self.garbling = True

    def _reset(self) -> None:
        self.sessions.clear()
        self.deaf_until = time.monotonic() + self.how["deaf_for"]

    # What comes in

    def hear(self, datagram: bytes, sender: Any) -> None:
        """Take a datagram."""
        how = self.how
        if how["silent"] or self.chance.random() < how["loss"] \
                or time.monotonic() < self.deaf_until:
            return
        if how["echo"]:
            self.say(datagram, sender)
        elif self.garbling:
            self.say(self._nonsense(datagram), sender)
        elif datagram[:4] == HEADER and len(datagram) >= 16:
            if datagram[4] == 0:
                self._outside(datagram, sender)
            elif datagram[4] == 6:
                self._inside(datagram, sender)

    def _nonsense(self, datagram: bytes) -> bytes:
        kind = self.how["garbage"]
        if kind == "random":
            return self.chance.randbytes(self.chance.randrange(4, 200))
        if kind == "short":
            return datagram[:self.chance.randrange(4, 16)]
        if kind == "cut":               # a right beginning and nothing after it
            return HEADER + b"\x06" + bytes([self.chance.choice([0x11, 0x13, 0x15, 0xc0])]) \
                + self.chance.randbytes(self.chance.randrange(0, 40))
        return b"HTTP/1.1 400 Bad Request\r\n\r\n"

    def _outside(self, datagram: bytes, sender: Any) -> None:
        """Answer "get channel authentication capabilities", outside of a session."""
        message = datagram[14:14 + datagram[13]]
        if len(message) < 7 or (message[1] >> 2, message[5]) != (6, 0x38):
            return
        support = 0x16 if self.how["ipmi15"] else 0x96
        kg = 0x20 if self.how["kg"] else 0
        data = bytes([1, support, 0x04 | kg, 0x01 if self.how["ipmi15"] else 0x03, 0, 0, 0, 0])
        answer = self._message(message, 0, data)
        self.say(HEADER + bytes(9) + bytes([len(answer)]) + answer, sender)

    def _inside(self, datagram: bytes, sender: Any) -> None:
        kind = datagram[5]
        number, = struct.unpack_from("<I", datagram, 6)
        length, = struct.unpack_from("<H", datagram, 14)
        body = datagram[16:16 + length]
        if kind == 0x10:
            self._open(body, sender)
        elif kind == 0x12:
            self._rakp1(body)
        elif kind == 0x14:
            self._rakp3(body)
        elif kind == 0xc0 and number in self.sessions:
            self._request(self.sessions[number], datagram, body)

    # The login

    def _open(self, body: bytes, sender: Any) -> None:
        console, = struct.unpack_from("<I", body, 4)
        suite = ALGORITHMS.get((body[12], body[20], body[28]))
        if self.how["no_room"] > 0:
            self.how["no_room"] -= 1
            self.note("no room")
            self._plain(0x11, bytes([body[0], 0x01, 0, 0]) + body[4:8], sender)
            return
        if suite not in self.how["suites"]:
            self._plain(0x11, bytes([body[0], 0x11, 0, 0]) + body[4:8], sender)
            return
        assert suite is not None
        number = self.chance.randrange(1, 2 ** 32)
        self.sessions[number] = Session(number, console, suite, sender)
        self.note("open", suite=suite)
        self._plain(0x11, bytes([body[0], 0, 4, 0]) + body[4:8] + struct.pack("<I", number)
                    + body[8:32], sender)

    def _rakp1(self, body: bytes) -> None:
        session = self.sessions.get(struct.unpack_from("<I", body, 4)[0])
        if session is None:
            return
        role, length = body[24], body[27]
        name = body[28:28 + length]
        password, highest = self.how["users"].get(name.decode("utf-8", "replace"), (None, 0))
        console = struct.pack("<I", session.console)
        status = self.how["rakp2_status"] or (0x0d if password is None else
                                              0x09 if role & 0x0f > highest else 0)
        if status:
            self.note("refused", status=status)
            del self.sessions[session.number]
            self._plain(0x13, bytes([body[0], status, 0, 0]) + console, session.sender)
            return
        key = password.encode()
        theirs, ours = body[8:24], self.chance.randbytes(16)
        who = bytes([role, length]) + name
        sik = session.digest(bytes.fromhex(self.how["kg"]) or key, theirs + ours + who)
        session.sik = sik
        session.k1 = session.digest(sik, b"\x01" * 20)
        session.k2 = session.digest(sik, b"\x02" * 20)
        session.proof = session.digest(key, ours + console + who)
        session.level = 0
        own = struct.pack("<I", session.number)
        answer = session.digest(key, console + own + theirs + ours + GUID + who)
        self.icv = session.digest(sik, theirs + own + GUID)[:HASHES[session.suite][1]]
        self._plain(0x13, bytes([body[0], 0, 0, 0]) + console + ours + GUID + answer,
                    session.sender)

    def _rakp3(self, body: bytes) -> None:
        session = self.sessions.get(struct.unpack_from("<I", body, 4)[0])
        if session is None:
            return
        console = struct.pack("<I", session.console)
        status = self.how["rakp4_status"] or (0 if body[8:] == session.proof else 0x0f)
        if status:
            del self.sessions[session.number]
            self._plain(0x15, bytes([body[0], status, 0, 0]) + console, session.sender)
            return
        session.established = True
        self.note("login", session=session.number)
        self._plain(0x15, bytes([body[0], 0, 0, 0]) + console + self.icv, session.sender)

    # Requests in a session

    def _request(self, session: Session, datagram: bytes, body: bytes) -> None:
        size = HASHES[session.suite][1]
        if not session.established or not hmac.compare_digest(
                session.digest(session.k1, datagram[4:-size])[:size], datagram[-size:]):
            return
        clear = self._cipher(session, body[:16]).decryptor().update(body[16:])
        message = clear[:len(clear) - clear[-1] - 1]
        function, command, data = message[1] >> 2, message[5], message[6:-1]
        code, answer = 0xc1, b""
        after: Optional[Callable[[], None]] = None
        if (function, command) == (0, 1):
            code, answer = self._reading(session)
            if self.how["drop_every_reading"]:
                return
        elif (function, command) == (0, 2):
            code = self._order(session, data[0])
        elif (function, command) == (6, 0x3b):
            code, answer = self.how["privilege_code"], data
            self.note("privilege", session=session.number, level=data[0])
        elif (function, command) == (6, 0x3c):
            self.note("close", session=session.number)
            if self.how["ignore_close"]:
                return
            code, after = 0, lambda: self.sessions.pop(session.number, None) and None
        elif (function, command) == (6, 1):
            code, answer = 0, bytes([0x20, 1, 1, 0, 2, 0xbf, 0, 0, 0, 0, 0])
        self._encrypted(session, self._message(message, code, answer))
        if after:
            after()

    def _reading(self, session: Session) -> Tuple[int, bytes]:
        if self.how["reading_code"] and self.how["reading_code_times"] > 0:
            self.how["reading_code_times"] -= 1
            self.note("refused reading", session=session.number)
            return self.how["reading_code"], b""
        said = self.how["lie"].pop(0) if self.how["lie"] else self.power
        self.note("read", session=session.number, said=said)
        return 0, bytes([0x60 | int(said), 0, 0x40, 0])[:self.how["reading_length"]]

    def _order(self, session: Session, what: int) -> int:
        if self.how["order_code"] and self.how["order_code_times"] > 0:
            self.how["order_code_times"] -= 1
            self.note("refused order", session=session.number, what=what)
            return int(self.how["order_code"])
        if what == 0 and not self.power and self.how["refuse_off_when_off"]:
            self.note("refused order", session=session.number, what=what)
            return 0xd5
        self.note("order", session=session.number, what=what)
        if what in (0, 1) and not self.how["ignore_orders"]:
            if what == 0 and self.how["off_takes"]:
                self.after(self.how["off_takes"], lambda: self.switch(False))
            else:
                self.switch(bool(what))
        return 0

    def switch(self, on: bool) -> None:
        """Switch the power."""
        if on == self.power:
            return
        self.power = on
        self.note("on" if on else "off")
        if not on and self.how["on_again"] and self.how["on_again_times"] > 0:
            self.how["on_again_times"] -= 1
            self.after(self.how["on_again"], lambda: self.switch(True))

    # What goes out

    def _message(self, request: bytes, code: int, data: bytes) -> bytes:
        head = bytes([request[3], request[1] + 4])
        body = bytes([request[0], request[4], request[5], code]) + data
        return head + bytes([-sum(head) & 0xff]) + body + bytes([-sum(body) & 0xff])

    def _plain(self, kind: int, body: bytes, sender: Any) -> None:
        self.say(HEADER + bytes([6, kind]) + bytes(8) + struct.pack("<H", len(body)) + body, sender)

    def _cipher(self, session: Session, vector: bytes) -> Any:
        return Cipher(algorithms.AES(session.k2[:16]), modes.CBC(vector), default_backend())

    def _encrypted(self, session: Session, message: bytes) -> None:
        vector = self.chance.randbytes(16)
        pad = -(len(message) + 1) % 16
        body = vector + self._cipher(session, vector).encryptor().update(
            message + bytes(range(1, pad + 1)) + bytes([pad]))
        session.sequence += 1
        packet = bytes([6, 0xc0]) + struct.pack("<IIH", session.console, session.sequence,
                                                len(body)) + body
        fill = -(len(packet) + 2) % 4
        packet += b"\xff" * fill + bytes([fill, 7])
        self.say(HEADER + packet + session.digest(session.k1, packet)[:HASHES[session.suite][1]],
                 session.sender)

    def say(self, datagram: bytes, sender: Any) -> None:
        """Send a datagram, as late, as often and as surely as told to."""
        def send() -> None:
            for _ in range(2 if self.how["twice"] else 1):
                self.sent += 1
                self.socket.sendto(datagram, sender)
        if self.chance.random() < self.how["loss"]:
            return
        if self.how["slow"]:
            self.after(self.how["slow"], send)
        else:
            send()


if __name__ == "__main__":
    Responder(json.loads(sys.argv[1])).serve()
