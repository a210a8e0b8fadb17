# SPDX-License-Identifier: GPL-2.0-or-later
"""One IPMI 2.0 session: pyghmi's Session does the protocol, and we send, wait and give up.

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

import importlib
import struct
import time

from mailha.bmc import ipmi_login
from mailha.bmc.ipmi_line import Line, resolve
from mailha.bmc.ipmi_unfit import Unfit
from mailha.fencing.failures import NotUnderstood, SessionLost, Silent

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable, Sequence
    from mailha.bmc.ipmi_login import Login
    from mailha.fencing.deadline import Deadline
    from mailha.fencing.failures import FencingFailed

PRIVATE: Any = importlib.import_module("pyghmi.ipmi.private.session")

FIRST_REPEAT = 0.15
SLOWEST_REPEAT = 1.2
"""Seconds after which a request is sent again: the first, then twice as much, up to the slowest."""

REPEATS = 5
"""How often a request of a session is sent before the session counts as lost: 3.45 s in all."""

MIDDLE_OF_LOGIN = 5.0
"""Seconds without any answer after which a login that had begun has failed."""

ANSWER_TO_CLOSE = 0.15
"""Seconds that the answer to "close session" may take, at the first of two times."""

APPLICATION = 0x06
SET_PRIVILEGE, CLOSE_SESSION = 0x3b, 0x3c
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

    It reacts to `hear` and to the calls of Session below; it never waits.
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
        super().__init__(login.host, login.user, login.password, port=login.port, kg=login.key,
                         onlogon=self._never, privlevel=login.level, keepalive=False)

    def hear(self, datagram: bytes) -> bool:
        """Take a datagram; say whether it changed anything.

        Raises Unfit where pyghmi fails in a way that no datagram explains.
        """
        if len(datagram) < 16 or datagram[:4] != RMCP:
            return False
        before = self._situation()
        try:
            self._handle_ipmi_packet(bytearray(datagram), sockaddr=WHERE,
                                     qent=(datagram, WHERE, None))
        except (AttributeError, NameError, TypeError) as error:
            raise Unfit(f"pyghmi's Session failed: {error}") from error
        except (LookupError, ValueError, struct.error):
            return False                # shorter than it says, or not a multiple of a block
        return self._situation() != before

    def again(self) -> None:
        """Send what got no answer once more.

        In the middle of a login that means to open it anew: a controller that takes the same
        message twice may answer with another random number, and the proof would be of neither.
        """
        if self.sessioncontext in ("OPENSESSION", "EXPECTINGRAKP2", "EXPECTINGRAKP4"):
            self.rmcptag %= 0xf0        # one octet on the wire
            self._open_rmcpplus_request()
        else:
            self.send_payload()

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


class Conversation:
    """An established session with a controller. Close it after use."""

    def __init__(self, login: Login, deadline: Deadline) -> None:
        """Log in.

        Raises what the login fails with (see ipmi_login), NameUnknown, Unreachable, Silent,
        NotUnderstood, TimeUp, and Unfit where this pyghmi is not what this module needs.
        """
        missing = unfit()
        if missing:
            raise Unfit(missing)
        self._login = login
        self._deadline = deadline
        self._lost = False
        self._strange = 0
        self._line = Line(login, resolve(login, deadline))
        self._handshake: Any = None
        try:
            self._handshake = Handshake(login, self._line)
            self._establish()
            self._take_privilege()
        except BaseException:
            self.close()
            raise

    def ask(self, netfn: int, command: int, data: Sequence[int] = ()) -> tuple[int, bytes]:
        """Return the completion code and the data of the answer to a request.

        Raises SessionLost, Unreachable, TimeUp.
        """
        if self._lost:
            raise SessionLost(f"{self._login.name} had lost this session before")
        session = self._handshake
        answers: list[Any] = []
        session.raw_command(netfn=netfn, command=command, data=data, callback=answers.append)
        try:
            wait = FIRST_REPEAT
            for sent in range(REPEATS):
                if sent:
                    session.again()
                self._listen(wait, lambda: bool(answers))
                if answers:
                    break
                wait = min(2 * wait, SLOWEST_REPEAT)
        except BaseException:
            self._lost = True
            raise
        finally:
            session.incommand = False   # left to us by pyghmi, as there is a callback
        if not answers:
            self._lost = True
            raise SessionLost(f"{self._login.name} answered nothing to {REPEATS} requests in the "
                              "middle of a session")
        answer = answers[0]
        if answer.get("netfn") != netfn + 1 or answer.get("command") != command:
            self._lost = True
            raise NotUnderstood(f"{self._login.name} answered another request than was sent")
        return answer["code"], bytes(answer["data"])

    def close(self) -> None:
        """End the session at the controller, which has few of them; never raises."""
        session = self._handshake
        try:
            if session is not None and session.established:
                number = struct.pack("<I", session.sessionid)
                wait, patient = ANSWER_TO_CLOSE, not self._lost
                for _ in range(2 if patient else 1):
                    answers: list[Any] = []
                    session.lastpayload = None
                    session.raw_command(netfn=APPLICATION, command=CLOSE_SESSION, data=number,
                                        retry=False, callback=answers.append)
                    session.incommand = False
                    if patient:
                        self._hear_until(time.monotonic() + wait, lambda: bool(answers))
                    if answers:
                        break
                    wait *= 2
        except Exception:
            pass            # the action has its result; a session that is lost ends by itself
        finally:
            self._handshake = None
            self._lost = True
            self._line.close()

    def _establish(self) -> None:
        """Drive the login to its end."""
        session = self._handshake
        begun = time.monotonic()
        heard = begun
        patience = max(1.0, self._deadline.contact())
        wait = FIRST_REPEAT
        while True:
            progress = self._listen(wait, lambda: session.established or session.failure)
            if session.failure is not None:
                raise session.failure
            if session.established:
                return
            now = time.monotonic()
            if progress:
                heard = now
            elif now - heard >= (patience if heard == begun else MIDDLE_OF_LOGIN):
                raise self._nothing(now - begun, heard > begun)
            session.again()
            wait = min(2 * wait, SLOWEST_REPEAT)

    def _take_privilege(self) -> None:
        """Ask for the privilege, which a session does not have from the start."""
        levels = ipmi_login.LEVELS
        code, _ = self.ask(APPLICATION, SET_PRIVILEGE, [self._login.level])
        if code in (0x80, 0x81) and self._login.level == levels["administrator"]:
            # Some controllers promise a level at login that they do not give.
            code, _ = self.ask(APPLICATION, SET_PRIVILEGE, [levels["operator"]])
        if code:
            raise ipmi_login.level_refused(self._login)

    def _nothing(self, seconds: float, began: bool) -> FencingFailed:
        name = self._login.name
        if self._strange:
            return NotUnderstood(f"{name} answers, but not in IPMI 2.0: {self._strange} datagrams "
                                 f"in {seconds:.1f} s made no sense",
                                 remedy="check that ip and ipport are those of the controller")
        if began:
            return Silent(f"{name} began a login and then gave no answer within "
                          f"{MIDDLE_OF_LOGIN:g} s")
        return ipmi_login.silent(self._login, seconds)

    def _listen(self, seconds: float, enough: Callable[[], object]) -> bool:
        """Take datagrams for so long or until `enough()`; say whether the session moved."""
        left = self._deadline.left()
        return self._hear_until(time.monotonic() + min(seconds, left), enough)

    def _hear_until(self, until: float, enough: Callable[[], object]) -> bool:
        moved = False
        while not enough():
            datagram = self._line.receive(until)
            if datagram is None:
                break
            if self._handshake.hear(datagram):
                moved = True
                self._strange = 0
            else:
                self._strange += 1
            if time.monotonic() >= until:
                break                   # a flood: receive() always finds something
        return moved
