# SPDX-License-Identifier: GPL-2.0-or-later
"""A session with an IPMI controller: sending, waiting, repeating and giving up.

The protocol is that of ipmi_handshake, which never waits; everything here ends at the deadline.
Importing this module imports pyghmi, and raises ImportError where there is none.
"""

from __future__ import annotations

import struct
import time

from mailha.bmc import ipmi_loading, ipmi_login
from mailha.bmc.ipmi_handshake import Handshake, unfit
from mailha.bmc.ipmi_line import Line, resolve
from mailha.bmc.ipmi_pace import Pace
from mailha.bmc.ipmi_unfit import Unfit
from mailha.fencing.failures import NotUnderstood, SessionLost, Silent

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable, Sequence

    from mailha.bmc.ipmi_login import Login
    from mailha.fencing.deadline import Deadline
    from mailha.fencing.failures import FencingFailed

REPEATS = 8
"""How often a request of a session is sent before the session counts as lost, after 4.2 s. With a
fifth of all datagrams lost each way, one request in three thousand is so by bad luck."""

MIDDLE_OF_LOGIN = 5.0
"""Seconds without any answer after which a login that had begun has failed."""

ANSWER_TO_CLOSE = 0.15
"""Seconds that the answer to "close session" may take, at the first of two times."""

APPLICATION = 0x06
SET_PRIVILEGE, CLOSE_SESSION = 0x3b, 0x3c
ESTABLISHED = "ESTABLISHED"             # as pyghmi calls it


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
        self._pace = Pace()
        self._lost = False
        self._strange = 0
        self._line = Line(login, resolve(login, deadline))
        self._handshake: Any = None
        try:
            self._handshake = Handshake(login, self._line)
            ipmi_loading.load_backend()     # while the first request is under way
            self._establish()
            ipmi_loading.wait_for_backend()     # from here on everything is encrypted
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
        try:
            session.raw_command(netfn=netfn, command=command, data=data, callback=answers.append)
            self._await(answers)
        finally:
            # Left to us by pyghmi, as there is a callback. Where it stays after a request that
            # could not be sent, the next one waits for pyghmi's own thread, which is not there.
            session.incommand = False
        if not answers:
            self._lost = True
            raise SessionLost(f"{self._login.name} answered nothing to {REPEATS} requests in the "
                              "middle of a session")
        answer = answers[0]
        if answer.get("netfn") != netfn + 1 or answer.get("command") != command:
            self._lost = True
            raise NotUnderstood(f"{self._login.name} answered another request than was sent")
        return answer["code"], bytes(answer["data"])

    def _await(self, answers: list[Any]) -> None:
        """Wait for the answer to the request that was made last, and repeat that."""
        try:
            for sent in range(REPEATS):
                if sent:
                    self._handshake.again()
                self._listen(lambda: bool(answers))
                if answers:
                    break
                self._pace.lost(ESTABLISHED, in_session=True)
        except BaseException:
            self._lost = True
            raise

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
        while True:
            progress = self._listen(lambda: False)
            if session.failure is not None:
                raise session.failure
            if session.established:
                return
            now = time.monotonic()
            if progress:
                heard = now
                continue                # the next message of the login is on its way
            if now - heard >= (patience if heard == begun else MIDDLE_OF_LOGIN):
                raise self._nothing(now - begun, heard > begun)
            self._pace.lost(str(session.sessioncontext), in_session=False)
            session.again()

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

    def _listen(self, enough: Callable[[], object]) -> bool:
        """Take datagrams until the session moves, or for as long as what was sent last may take.

        Return whether it moved; enough(): whether there is an answer, which counts as that.
        """
        session = self._handshake
        step = str(session.sessioncontext)
        until: float = session.sent_at + min(self._pace.wait(step), self._deadline.left())
        if self._hear_until(until, enough):
            self._pace.answered(step, session.took, certain=session.certain)
            return True
        return False

    def _hear_until(self, until: float, enough: Callable[[], object]) -> bool:
        while not enough():
            datagram = self._line.receive(until)
            if datagram is None:
                return False
            if self._handshake.hear(datagram):
                self._strange = 0
                return True
            self._strange += 1
            if time.monotonic() >= until:
                return False            # a flood: receive() always finds something
        return True
