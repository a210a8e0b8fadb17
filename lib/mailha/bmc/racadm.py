# SPDX-License-Identifier: GPL-2.0-or-later
"""A Dell iDRAC, or a module of a Dell chassis, by the command `racadm serveraction` over SSH.

One login and one interactive session carry the order and every reading of one transition. The form
`ssh HOST racadm ...` is not used: it takes a login for every command, so that two readings would
never be of one session, and every iDRAC from 6 to 9 that has SSH gives the shell.

An answer is taken literally. A reading is one line that says the power, or there is none: what the
shell says besides is never searched for the word "OFF".
"""

from __future__ import annotations

import re

from mailha.bmc import screen, ssh, ssh_failures
from mailha.fencing.failures import (NotUnderstood, OrderRefused, PrivilegeTooLow,
                                     SessionsExhausted)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from mailha.fencing.deadline import Deadline, Phases
    from mailha.fencing.settings import Settings

CHASSIS = "DRAC CMC"
"""The value of drac_version for a chassis controller, in which plug names the module."""

_STATES = {"on": True, "off": False, "powering on": True, "powering off": True}
"""What serveraction powerstatus says, in small letters -> whether the power is on. While it is
going off it is on: the node may still write."""

_SERVER = re.compile(r"server power status *: *(on|off|powering on|powering off)\.?", re.IGNORECASE)
_MODULE = re.compile(r"(?:server power status *: *)?(on|off|powering on|powering off)\.?",
                     re.IGNORECASE)
"""The line of an iDRAC; that of a chassis controller is the bare word."""

_ALREADY = re.compile(r"\balready\b[^\n]{0,200}\b(?:on|off)\b|present state|"
                      r"current (?:power )?state", re.IGNORECASE)
_PRIVILEGE = re.compile(r"privilege|permission|not (?:authori[sz]ed|permitted|allowed)|"
                        r"access (?:is )?denied", re.IGNORECASE)
_DONE = re.compile(r"\bsuccess|\binitiated\b", re.IGNORECASE)
_NOT_DONE = re.compile(r"\berror\b|\bfail|\bdenied\b|\bnot success", re.IGNORECASE)
_UNKNOWN = re.compile(r"\binvalid\b|\bspecify\b|\bunknown\b|\bnot (?:recognized|found|supported)\b",
                      re.IGNORECASE)
"""How a shell says that it has no such command or no such module: it will not have it later."""

_REFUSED = re.compile(r"\bERROR\b|\bRAC\d{3,4}\b|\bfail|\binvalid\b|\bunable\b|\bcannot\b|"
                      r"\bnot (?:recognized|supported|possible|found|available)\b|\bunknown\b",
                      re.IGNORECASE)


class Racadm:
    """A session with the controller of one node; see mailha.fencing.controller."""

    def __init__(self, shell: ssh.Shell, where: str, *, user: str = "", module: str = "",
                 secret: str = "") -> None:
        """Use a shell at its prompt.

        where: the controller, for messages. user: who is logged in. module: name of the server in
        a chassis. secret: what no message may hold.
        """
        self._shell = shell
        self._where = where
        self._user = user
        self._module = module
        self._secret = secret
        self._status = _MODULE if module else _SERVER

    def is_on(self) -> bool:
        """Read the power from the controller. Raises FencingFailed."""
        answer = self._ask("powerstatus")
        found = [match[1].lower() for match in map(self._status.fullmatch, answer.split("\n"))
                 if match]
        if len(found) == 1:
            return _STATES[found[0]]
        self._raise_known(answer)
        if len(found) > 1:
            raise NotUnderstood(f"{self._where} says the power more than once: "
                                f"{self._quoted(answer)}")
        said = self._quoted(answer) if answer else "nothing"
        raise NotUnderstood(f"{self._where} does not say the power but {said}",
                            transient=not _UNKNOWN.search(answer),
                            remedy="see whether the controller is a Dell iDRAC, or a chassis "
                                   "controller for which module has to be set")

    def order(self, on: bool) -> None:
        """Order the power on or off at once, without the operating system. Raises FencingFailed.

        An acknowledgement proves nothing but that the order has arrived.
        """
        answer = self._ask("powerup" if on else "powerdown")
        if _ALREADY.search(answer):
            raise OrderRefused(f"{self._where} refused to switch the power: {self._quoted(answer)}",
                               look=True)
        if _DONE.search(answer) and not _NOT_DONE.search(answer):
            return
        self._raise_known(answer)
        if answer and _REFUSED.search(answer):
            # Not every firmware says "already": the power has to be looked at before it counts.
            raise OrderRefused(f"{self._where} refused to switch the power: {self._quoted(answer)}",
                               look=True)
        # Older controllers say nothing when all is well (DRAC 4 User's Guide, serveraction). Words
        # that are not known are no reason to give up before the power has been read.

    def close(self) -> None:
        """Log out. Raises nothing and takes less than a second."""
        self._shell.close()

    def _ask(self, action: str) -> str:
        """Return the answer to a serveraction."""
        words = ["racadm", "serveraction", *(["-m", self._module] if self._module else []), action]
        return self._shell.ask(" ".join(words), bool)

    def _raise_known(self, answer: str) -> None:
        """Raise the failure that an answer is known to mean."""
        if ssh_failures.SESSIONS.search(answer):
            raise SessionsExhausted(f"{self._where} has no session left: {self._quoted(answer)}",
                                    remedy="close other sessions (racadm getssninfo, closessn)")
        if _PRIVILEGE.search(answer):
            raise PrivilegeTooLow(f"{self._where} does not allow {self._user} to do this: "
                                  f"{self._quoted(answer)}",
                                  remedy="give the user the privilege Execute Server Control "
                                         "Commands (role Operator)")

    def _quoted(self, answer: str) -> str:
        return screen.quoted(answer, self._secret)


def connect(settings: Settings, deadline: Deadline, phases: Phases) -> Racadm:
    """Log in at the controller. Raises FencingFailed."""
    shell = ssh.open_shell(settings, deadline)
    return Racadm(shell, settings.address(), user=settings["username"], module=module(settings),
                  secret=settings.secret("password"))


def module(settings: Settings) -> str:
    """Return the name of the server in its chassis; "" where the controller is the server's own.

    fence_drac5 has it in plug when drac_version says that this is a chassis controller. Everywhere
    else plug is what Pacemaker puts there, the name of the node.
    """
    name: str = settings["module"] or ""
    if not name and settings["drac_version"] == CHASSIS:
        name = settings["plug"] or ""
    return name
