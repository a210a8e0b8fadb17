# SPDX-License-Identifier: GPL-2.0-or-later
"""The SOAP calls that kopano-server answers, and who may make them."""

from __future__ import annotations

import base64
import itertools
import threading
from typing import Callable, Dict, List, Optional, Sequence

from . import soap
from .database import DatabaseDown
from .link import SYSTEM
from .mailbox import Mailboxes, NoSuchThing
from .release import Release

# All of them must be there; without szImpersonateUser the answer was 0x80000009 (measured).
LOGON_ELEMENTS = (
    "szUsername", "szPassword", "szImpersonateUser", "szVersion", "ulCapabilities", "ulFlags",
    "sLicenseReq", "ullSessionGroup", "szClientApp", "szClientAppVersion", "szClientAppMisc")


class Refused(Exception):
    """A call ends with an error number.

    code: one of those in ``soap``.
    """

    def __init__(self, code: int) -> None:
        super().__init__(f"0x{code:08x}")
        self.code = code


class Calls:
    """All calls, and the sessions that they run in.

    guid: the server's GUID of 16 bytes, read once at the start: a logon never asks the database.
    """

    def __init__(self, mailboxes: Mailboxes, release: Release, guid: bytes) -> None:
        self._mailboxes = mailboxes
        self._release = release
        self._guid = guid
        self._sessions: Dict[str, str] = {}
        self._numbers = itertools.count(1000)
        self._lock = threading.Lock()
        self._operations: Dict[str, Callable[[str, soap.Call], soap.Elements]] = {
            "getStore": self._get_store,
            "logoff": self._logoff,
            "standinResolve": self._resolve,
            "standinDeliver": self._deliver,
            "standinList": self._list,
            "standinFetch": self._fetch,
            "standinUsers": self._users,
        }

    def answer(self, call: soap.Call, *, trusted: bool) -> Optional[soap.Elements]:
        """Return the elements of the answer, or None for a call that there is not.

        trusted: the caller came through the unix socket as a local administrator.
        """
        try:
            if call.name == "logon":
                return self._logon(call, trusted)
            operation = self._operations.get(call.name)
            if operation is None:
                return None
            user = self._sessions.get(call.elements.get("ulSessionId", ""))
            if user is None:
                raise Refused(soap.END_OF_SESSION)
            return [("er", str(soap.OK)), *operation(user, call)]
        except DatabaseDown:
            return [("er", str(soap.DATABASE_ERROR))]
        except NoSuchThing:
            return [("er", str(soap.NOT_FOUND))]
        except OSError:
            return [("er", str(soap.CALL_FAILED))]
        except Refused as refusal:
            return [("er", str(refusal.code))]

    def _logon(self, call: soap.Call, trusted: bool) -> soap.Elements:
        user = call.elements.get("szUsername", "")
        known = all(name in call.elements for name in LOGON_ELEMENTS)
        allowed = known and (trusted if user == SYSTEM else self._password_fits(call))
        if not allowed:
            raise Refused(soap.LOGON_FAILED)
        with self._lock:
            number = str(next(self._numbers))
            self._sessions[number] = user
        return [
            ("er", str(soap.OK)), ("ulSessionId", number),
            ("lpszVersion", self._release.on_the_wire), ("ulCapabilities", "0"),
            ("sLicenseResponse", ""),
            ("sServerGuid", base64.b64encode(self._guid).decode("ascii"))]

    def _password_fits(self, call: soap.Call) -> bool:
        try:
            return self._mailboxes.authenticate(
                call.elements["szUsername"], call.elements["szPassword"])
        except DatabaseDown:
            # Measured: with MySQL dead, IMAP still says "wrong username or password".
            return False

    def _get_store(self, user: str, call: soap.Call) -> soap.Elements:
        self._mailboxes.check()
        return []

    def _logoff(self, user: str, call: soap.Call) -> soap.Elements:
        with self._lock:
            self._sessions.pop(call.elements["ulSessionId"], None)
        return []

    def _resolve(self, user: str, call: soap.Call) -> soap.Elements:
        return [("szUsername", self._mailboxes.resolve(call.elements.get("szAddress", "")))]

    def _deliver(self, user: str, call: soap.Call) -> soap.Elements:
        _only_for(user, (SYSTEM,))
        message = base64.b64decode(call.elements.get("sMessage", ""))
        number = self._mailboxes.deliver(call.elements.get("szUsername", ""), message)
        return [("ulMessageId", str(number))]

    def _list(self, user: str, call: soap.Call) -> soap.Elements:
        words: List[str] = []
        for number, size in self._mailboxes.items(user):
            words += [str(number), str(size)]
        return [("sItems", " ".join(words))]

    def _fetch(self, user: str, call: soap.Call) -> soap.Elements:
        number = call.elements.get("ulMessageId", "")
        if not number.isdigit():
            raise Refused(soap.NOT_FOUND)
        content = self._mailboxes.fetch(user, int(number))
        return [("sMessage", base64.b64encode(content).decode("ascii"))]

    def _users(self, user: str, call: soap.Call) -> soap.Elements:
        _only_for(user, (SYSTEM,))
        return [("sUsers", " ".join(self._mailboxes.users()))]


def _only_for(user: str, allowed: Sequence[str]) -> None:
    if user not in allowed:
        raise Refused(soap.LOGON_FAILED)
