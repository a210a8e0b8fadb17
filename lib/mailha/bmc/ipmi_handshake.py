# SPDX-License-Identifier: GPL-2.0-or-later
"""The protocol of an IPMI 2.0 session: pyghmi's Session without its socket, thread and registers.

pyghmi's own way to drive a session cannot be used for fencing. What it does, and what this module
has in its place:

* A thread reads the socket, and an answer that it queues before the caller waits for it wakes
  nobody: the caller sleeps for a whole retry period. Here there is no thread; whoever waits reads.
* It keeps every session in registers of its class and finds the second one for the same controller
  under a key that is never removed: that waits for ever, or shares the first one's session. Here an
  object registers nowhere and shares nothing.
* It repeats a datagram after 0.5 to 1 s, and more slowly each time. Here after 0.15 s.
* It ends after its own 5 to 30 s, without a reason. Here everything ends at the caller's deadline.
* In the middle of a session it logs in again by itself and sends the last request again, unseen.
  Here a lost session is reported: what was read in it proves nothing about what is read next.
* It does not hear that a port is closed (see ipmi_line), and it prints.

So this class overrides the parts of Session that touch a socket, a clock or a register, and keeps
those that frame, encrypt and prove. They are private to pyghmi: `unfit` looks whether they are what
they were in 1.5.34 (Debian 12) and 1.6.19, and ipmi_command is the way for any other release.

Importing this module imports pyghmi, and raises ImportError where there is none.
"""

from __future__ import annotations

import struct
import time

from mailha.bmc import ipmi_loading, ipmi_login
from mailha.bmc.ipmi_unfit import Unfit
from mailha.fencing.failures import NotUnderstood

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from mailha.bmc.ipmi_line import Line
    from mailha.bmc.ipmi_login import Login
    from mailha.fencing.failures import FencingFailed

PRIVATE: Any = ipmi_loading.session_module()

RMCP = b"\x06\x00\xff\x07"
WHERE = ("", 0)
"""What pyghmi is told as the sender of every datagram: our sockets hear nobody else."""

HASH_OF_SUITE = {17: 256, 3: 1}
"""Cipher suite -> what pyghmi calls attemptedhash."""

ALGORITHMS_OF_SUITE = {17: (3, 4, 1), 3: (1, 1, 1)}
"""Cipher suite -> its numbers of authentication, integrity and confidentiality."""

_NEEDED = {
    "raw_command": ("netfn", "command", "data", "retry", "callback"),
    "send_payload": ("payload", "payload_type", "retry"),
    "_xmit_packet": ("retry", "delay_xmit", "timeout"),
    "_handle_ipmi_packet": ("data", "sockaddr", "qent"),
    "_got_channel_auth_cap": ("response",),
    "_got_rmcp_response": ("data",), "_got_rakp2": ("data",), "_got_rakp4": ("data",),
    "_assignsocket": (), "_initsession": (), "_get_channel_auth_cap": (),
    "_open_rmcpplus_request": (), "_req_priv_level": (), "onlogon": (), "login": (), "logout": (),
}
"""Method of pyghmi's Session -> parameters that it has to have."""


def _quiet(*words: object) -> None:
    """Print nothing: stdout is where a fence agent's answer goes."""


PRIVATE.print = _quiet


def unfit() -> str:
    """Return what of pyghmi's private parts is not as this module needs it, or an empty text."""
    for name, parameters in _NEEDED.items():
        method = getattr(PRIVATE.Session, name, None)
        code = getattr(getattr(method, "__func__", method), "__code__", None)
        if code is None:
            return f"pyghmi's Session has no {name}"
        for parameter in parameters:
            if parameter not in code.co_varnames[:code.co_argcount]:
                return f"pyghmi's Session.{name} has no {parameter}"
    return ""


class Handshake(PRIVATE.Session):       # type: ignore[misc]  # pyghmi has no types
    """pyghmi's Session without its socket, thread, timers and registers.

    It reacts to `hear`, and to raw_command with a callback; it never waits.
    """

    def __new__(cls, *given: Any, **named: Any) -> Handshake:
        """Make an object; pyghmi would look for one in its registers first, and hang on it."""
        made: Handshake = object.__new__(cls)
        made.forbidsock = []
        return made

    def __init__(self, login: Login, line: Line) -> None:
        """Send the first request."""
        self.wanted = login
        self.line = line
        self.suites = list(login.suites)
        self.failure: FencingFailed | None = None
        self.established = False
        self.sent_at = self.first_sent_at = 0.0     # the last copy of a request, and the first
        self.took, self.certain = 0.0, True         # the last answer, and whether that is known
        self._repeating = False
        self._copies: dict[int, float] = {}
        self.seqlun = 0
        super().__init__(login.host, login.user, login.password, port=login.port, kg=login.key,
                         onlogon=self._never, privlevel=login.level, keepalive=False)

    def hear(self, datagram: bytes) -> bool:
        """Take a datagram; say whether it changed anything.

        Raises Unfit where pyghmi fails in a way that no datagram explains.
        """
        if len(datagram) < 16 or datagram[:4] != RMCP:
            return False
        before = self._situation()
        first, last, is_first_step = self.first_sent_at, self.sent_at, self.sessioncontext is None
        try:
            self._handle_ipmi_packet(bytearray(datagram), sockaddr=WHERE,
                                     qent=(datagram, WHERE, None))
        except (AttributeError, NameError, TypeError) as error:
            raise Unfit(f"pyghmi's Session failed: {error}") from error
        except (LookupError, ValueError, struct.error):
            return False                # shorter than it says, or not a multiple of a block
        if self._situation() == before:
            return False
        if is_first_step:
            first = last = self._copies.get(datagram[18] >> 2, first)
        self.took, self.certain = time.monotonic() - first, first == last
        return True

    def again(self) -> None:
        """Send what got no answer once more.

        In the middle of a login that means to open it anew: a controller that takes the same
        message twice may answer with another random number, and the proof would be of neither.
        """
        if self.sessioncontext in ("OPENSESSION", "EXPECTINGRAKP2", "EXPECTINGRAKP4"):
            self.rmcptag %= 0xf0        # one octet on the wire
            self._open_rmcpplus_request()
        elif self.sessioncontext is None:
            # Each copy has a number of its own, so that its answer measures how long that took.
            self.seqlun = (self.seqlun + 1) & 0x3f
            self.lastpayload = None
            self._get_channel_auth_cap()
        elif self.lastpayload is None:
            # pyghmi forgets what it sent when an answer comes, and only then finds it too short.
            raise NotUnderstood(f"{self.wanted.name} answers without a completion code")
        else:
            self._repeating = True
            self.send_payload()
            self._repeating = False

    def _situation(self) -> tuple[Any, ...]:
        return (self.sessioncontext, self.attemptedhash, self.rmcptag, self.established,
                self.failure, self.seqlun)

    # What pyghmi calls, in the order in which it does.

    def _assignsocket(self, *given: Any, **named: Any) -> None:
        """Have no socket, and start no thread for it."""

    def login(self) -> None:
        """Begin a login with the first of the cipher suites."""
        self.logontries = 0             # makes pyghmi report what it would try again
        self._initsession()
        self.attemptedhash = HASH_OF_SUITE[self.suites[0]]
        self._get_channel_auth_cap()

    def _xmit_packet(self, retry: bool = True, delay_xmit: float | None = None,
                     timeout: float | None = None) -> None:
        if self.sequencenumber:         # zero is special: outside a session
            self.sequencenumber += 1
        self.sent_at = time.monotonic()
        if not self._repeating:
            self.first_sent_at = self.sent_at
        self._copies[self.seqlun] = self.sent_at
        self.line.send(bytes(self.netpacket))

    def _got_channel_auth_cap(self, response: Any) -> None:
        data = response.get("data", b"")
        if response.get("code") == 0 and len(data) < 4:
            self.failure = NotUnderstood(f"{self.wanted.name} says too little of how to log in")
        elif response.get("code") or not (data[1] & 0x80 and data[3] & 0x02):
            self.failure = ipmi_login.too_old(self.wanted)
        else:
            self.currentchannel = data[0]
            self.ipmiversion = 2.0
            self._open_rmcpplus_request()

    def _got_rmcp_response(self, data: bytearray) -> None:
        if self.sessioncontext != "OPENSESSION" or data[0] != self.rmcptag:
            return
        if data[1] in (*ipmi_login.SUITE_REFUSED, 0x12):        # 0x12: "illegal parameter"
            self._next_suite()
        elif data[1]:
            self.failure = ipmi_login.refused(self.wanted, data[1])
        elif (data[16], data[24], data[32]) != ALGORITHMS_OF_SUITE[self.suites[0]]:
            self._next_suite()          # pyghmi would believe that it got what it offered
        else:
            super()._got_rmcp_response(data)

    def _next_suite(self) -> None:
        del self.suites[0]
        if self.suites:
            self.attemptedhash = HASH_OF_SUITE[self.suites[0]]
            self._open_rmcpplus_request()
        else:
            self.failure = ipmi_login.no_common_suite(self.wanted)

    def _got_rakp2(self, data: bytearray) -> None:
        if self._is_answer(data, "EXPECTINGRAKP2", 40):
            super()._got_rakp2(data)

    def _got_rakp4(self, data: bytearray) -> None:
        if self._is_answer(data, "EXPECTINGRAKP4", 8):
            super()._got_rakp4(data)

    def _is_answer(self, data: bytearray, expected: str, length: int) -> bool:
        """Say whether a message is the next one of the login; note what it refuses."""
        if self.sessioncontext != expected or data[0] != self.rmcptag:
            return False
        if data[1] in ipmi_login.SESSION_UNKNOWN:
            return False                # it lost the beginning; the login is soon opened anew
        if data[1]:
            self.failure = ipmi_login.refused(self.wanted, data[1])
            return False
        return len(data) >= length

    def _relog(self) -> None:
        """Open the login anew, where pyghmi would start from nothing with the same numbers."""
        self.again()

    def _req_priv_level(self) -> None:
        """Be established; pyghmi would wait here for an answer, inside the handling of another."""
        self.logged = 1
        self.logging = False
        self.logoutexpiry = None
        self.established = True

    def onlogon(self, parameter: Any) -> None:
        """Note why the login failed."""
        self.failure = ipmi_login.of_text(self.wanted, str(parameter.get("error", "")), 0.0)

    def awaitresponse(self, *given: Any, **named: Any) -> None:
        """Refuse to be waited in."""
        raise Unfit("pyghmi's Session would wait by itself")

    def logout(self, sessionok: bool = True) -> Any:
        """Do nothing; Conversation.close logs out."""
        return {"success": True}

    def _never(self, response: Any) -> None:
        """Be the callback that makes pyghmi not wait."""
