# SPDX-License-Identifier: GPL-2.0-or-later
"""A node's controller by IPMI 2.0 over LAN, with the library pyghmi.

Only two requests are ever made of a node's power: "get chassis status", and "chassis control" with
0 (down, at once) or 1 (up). Cycle and reset are not used: nobody sees whether the power was off in
between, and a request that is sent twice, as happens to datagrams, would do it twice. Soft shutdown
is not used: a node that hangs ignores it.
"""

from __future__ import annotations

import gc
import time

from mailha.bmc import ipmi_login
from mailha.bmc.ipmi_unfit import Unfit
from mailha.fencing import packages
from mailha.fencing.failures import FencingFailed, NotUnderstood, OrderRefused, PrivilegeTooLow

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Protocol, Sequence
    from mailha.bmc.ipmi_login import Login
    from mailha.fencing.deadline import Deadline, Phases
    from mailha.fencing.settings import Settings

    class Conversation(Protocol):
        """A session in which requests are answered; ipmi_session and ipmi_command have one."""

        def ask(self, netfn: int, command: int, data: Sequence[int] = ()) -> tuple[int, bytes]:
            """Return the completion code and the data of the answer."""

        def close(self) -> None:
            """End the session; never raises."""

CHASSIS = 0x00
GET_STATUS, CONTROL = 0x01, 0x02
DOWN, UP = 0x00, 0x01
POWER_IS_ON = 0x01

BUSY = (0xc0, 0xc3, 0xc4, 0xce, 0xcf, 0xd0, 0xd1, 0xd2)
"""Completion codes of a controller that cannot answer at the moment: busy, itself waiting, out of
space, nothing to answer with, repeated request, updating, starting. Table 5-2."""

INSUFFICIENT_PRIVILEGE = 0xd4

PERHAPS_SO_ALREADY = (0xcc, 0xd5, 0xff)
"""With 0xd5, "not supported in present state", Dell's controllers refuse "off" when the node is
off; the other two (invalid data, unspecified) are what firmware says that has no better word."""

_MEANINGS = {0xc1: "invalid command", 0xcc: "invalid data field", 0xd4: "insufficient privilege",
             0xd5: "not supported in the present state", 0xd6: "function disabled",
             0xff: "unspecified error", 0xc0: "busy", 0xc3: "it waited in vain itself",
             0xd1: "its firmware is being updated", 0xd2: "it is starting"}

BUSY_FOR = 3.0
"""Seconds for which the same request is repeated to a controller that says it is busy."""

BUSY_PAUSE = 0.2


def connect(settings: Settings, deadline: Deadline, phases: Phases) -> Controller:
    """Log in at the controller.

    Raises MissingLibrary, NameUnknown, Unreachable, Silent, NotUnderstood, SessionsExhausted,
    LoginRefused, PrivilegeTooLow, NoCommonCipher, WrongKey, TimeUp.
    """
    # Loading the library makes objects and no garbage, and looking for it takes a tenth of it.
    gc.disable()
    login = ipmi_login.Login.of(settings)
    return Controller(login, deadline, converse(login, deadline))


def converse(login: Login, deadline: Deadline) -> Conversation:
    """Return a session by the fast way, or by the slow one where pyghmi does not allow it."""
    packages.reach()
    try:
        try:
            from mailha.bmc import ipmi_session
        except AttributeError as error:     # no Session, or no private.session, in it
            raise Unfit(str(error)) from error
        return ipmi_session.Conversation(login, deadline)
    except (Unfit, ImportError):
        from mailha.bmc import ipmi_command
        return ipmi_command.Conversation(login, deadline)


class Controller:
    """See mailha.fencing.controller.Controller."""

    def __init__(self, login: Login, deadline: Deadline, conversation: Conversation) -> None:
        """Use a session; close() ends it."""
        self._login = login
        self._deadline = deadline
        self._conversation = conversation

    def is_on(self) -> bool:
        """Return whether the power is on, read from the device now."""
        code, data = self._ask(GET_STATUS)
        if code == INSUFFICIENT_PRIVILEGE:
            raise PrivilegeTooLow(f"{self._login.name} does not let {self._login.who} read the "
                                  "power", remedy="give the user the privilege operator")
        if code:
            raise NotUnderstood(f"{self._login.name} does not say whether the power is on: "
                                f"{meaning(code)}")
        if len(data) < 3:
            raise NotUnderstood(f"{self._login.name} does not say whether the power is on: its "
                                f"answer has {len(data)} bytes, where 3 are the least")
        return bool(data[0] & POWER_IS_ON)

    def order(self, on: bool) -> None:
        """Order the power on or off, once."""
        code, _ = self._ask(CONTROL, [UP if on else DOWN])
        if not code:
            return
        what = f"{self._login.name} refuses to power {'on' if on else 'off'}"
        if code == INSUFFICIENT_PRIVILEGE:
            raise PrivilegeTooLow(
                f"{what}: {self._login.who} is not allowed to",
                remedy="set privlvl=operator or higher, and give the user that privilege")
        if code in BUSY:
            raise FencingFailed(f"{what}: {meaning(code)}", transient=True)
        raise OrderRefused(f"{what}: {meaning(code)}", look=code in PERHAPS_SO_ALREADY)

    def close(self) -> None:
        """End the session at the device."""
        self._conversation.close()

    def _ask(self, command: int, data: Sequence[int] = ()) -> tuple[int, bytes]:
        """Ask until the controller is not busy, for BUSY_FOR seconds; the last answer counts."""
        # Not up to the deadline itself: that it is busy is the better reason.
        until = min(time.monotonic() + BUSY_FOR, self._deadline.end - 2 * BUSY_PAUSE)
        while True:
            code, answer = self._conversation.ask(CHASSIS, command, data)
            if code not in BUSY or time.monotonic() >= until:
                return code, answer
            self._deadline.pause(BUSY_PAUSE)


def meaning(code: int) -> str:
    """Return a completion code in words."""
    return f"{_MEANINGS.get(code, 'completion code')} ({code:#04x})"
