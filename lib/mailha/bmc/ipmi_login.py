# SPDX-License-Identifier: GPL-2.0-or-later
"""What it takes to log in at an IPMI controller, and in plain words why a login failed.

The numbers are those of the IPMI 2.0 specification: cipher suites of table 22-20, statuses of
table 13-15, privilege levels of table 13-9.
"""

from __future__ import annotations

from mailha.fencing.failures import (FencingFailed, LoginRefused, NoCommonCipher, NotUnderstood,
                                     PrivilegeTooLow, SessionLost, SessionsExhausted, Silent,
                                     WrongKey)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from mailha.fencing.settings import Settings

LEVELS = {"callback": 1, "user": 2, "operator": 3, "administrator": 4}

SUITES = (17, 3)
"""The cipher suites that pyghmi speaks, the better one first: HMAC-SHA256, HMAC-SHA1; both AES."""

PORT = 623

NO_ROOM = (0x01, 0x0b)
SESSION_UNKNOWN = (0x02, 0x08)
LEVEL_REFUSED = (0x09, 0x0a)
NAME_REFUSED = (0x0c, 0x0d)
PROOF_REFUSED = (0x0f,)
SUITE_REFUSED = (0x04, 0x05, 0x06, 0x07, 0x10, 0x11)

_STATUS_OF_TEXT = (
    ("Insufficient resources", 0x01), ("Invalid Session ID", 0x02), ("Inactive Session", 0x08),
    ("Invalid authentication algorithm", 0x04), ("Invalid integrity algorithm", 0x05),
    ("No matching", 0x06), ("Invalid role", 0x09), ("Unauthorized role", 0x0a),
    ("Invalid username length", 0x0c), ("Unauthorized name", 0x0d),
    ("Invalid integrity check value", 0x0f), ("Invalid confidentiality algorithm", 0x10),
    ("No Cipher suite match", 0x11),
)
"""What pyghmi makes of the statuses (its constants.rmcp_codes, the same from 1.5 to 1.6)."""


class Login:
    """Whom to ask for entry, as whom, and with which secrets.

    host, port: where the controller listens.
    user, password: as they go over the wire, UTF-8.
    key: the controller's own key (Kg), or None where it has none.
    level: the privilege asked for, one of LEVELS.
    suites: the cipher suites to offer, in this order.
    """

    def __init__(self, host: str, port: int, user: bytes, password: bytes, *,
                 key: bytes | None = None, level: int = LEVELS["administrator"],
                 suites: tuple[int, ...] = SUITES) -> None:
        self.host = host
        self.port = port
        self.user = user
        self.password = password
        self.key = key
        self.level = level
        self.suites = suites

    @classmethod
    def of(cls, settings: Settings) -> Login:
        """Return what the administrator configured; raises what reading a secret raises."""
        cipher = settings["cipher"]
        return cls(
            settings["ip"], settings["ipport"] or PORT, _wire(settings["username"] or ""),
            _wire(settings.secret("password")), key=key_of(settings.secret("hexadecimal_kg")),
            level=LEVELS[settings["privlvl"] or "administrator"],
            suites=SUITES if cipher is None else (int(cipher),))

    @property
    def name(self) -> str:
        """The controller as texts name it: its address, and its port where that is unusual."""
        return self.host if self.port == PORT else f"{self.host} port {self.port}"

    @property
    def who(self) -> str:
        """The user as texts name him."""
        if not self.user:
            return "the user without a name"
        return f"user {self.user.decode('utf-8', 'backslashreplace')!r}"

    @property
    def level_name(self) -> str:
        """The privilege asked for, as privlvl names it."""
        return {number: name for name, number in LEVELS.items()}[self.level]


def _wire(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


def key_of(text: str) -> bytes | None:
    """Return the bytes of hexadecimal_kg, or None for no key.

    text: hexadecimal digits, with or without 0x and blanks around. A key of zeros is how a
    controller says that it has none (13.32 of the specification), and ipmitool takes it so as well.
    Raises ValueError for anything else.
    """
    digits = text.strip()
    key = bytes.fromhex(digits[2:] if digits[:2] in ("0x", "0X") else digits)
    return key if key.strip(b"\0") else None


def refused(login: Login, status: int) -> FencingFailed:
    """Return why a login failed, from the controller's status."""
    if status in NO_ROOM:
        return SessionsExhausted(
            f"{login.name} has no room for another session",
            remedy="close sessions of other tools; forgotten ones end by themselves after a while")
    if status in SESSION_UNKNOWN:
        return SessionLost(f"{login.name} forgot the login that it was in the middle of")
    if status in LEVEL_REFUSED:
        return level_refused(login)
    if status in NAME_REFUSED:
        return LoginRefused(f"{login.name} knows no {login.who}",
                            remedy="check username, and that the user may use IPMI over LAN")
    if status in PROOF_REFUSED:
        return wrong_password(login)
    if status in SUITE_REFUSED:
        return no_common_suite(login)
    return NotUnderstood(f"{login.name} refuses the login with status {status:#04x}")


def level_refused(login: Login) -> PrivilegeTooLow:
    """Return the failure of a user who may not have the privilege that was asked for."""
    remedy = f"give the user the privilege {login.level_name}"
    if login.level > LEVELS["operator"]:
        remedy = "set privlvl=operator, which is enough for power, or give the user that privilege"
    return PrivilegeTooLow(f"{login.name} does not let {login.who} be {login.level_name}",
                           remedy=remedy)


def wrong_password(login: Login) -> LoginRefused:
    """Return the failure of a password that is not the controller's."""
    return LoginRefused(f"{login.name} has another password for {login.who}",
                        remedy="check password")


def wrong_key(login: Login) -> WrongKey:
    """Return the failure of a Kg that is not the controller's."""
    given = "another key (Kg) than hexadecimal_kg" if login.key else (
        "a key (Kg) of its own, and hexadecimal_kg is not set")
    return WrongKey(f"{login.name} uses {given}",
                    remedy="set hexadecimal_kg to the controller's Kg")


def no_common_suite(login: Login) -> NoCommonCipher:
    """Return the failure of a controller that takes none of the offered cipher suites."""
    offered = " or ".join(map(str, login.suites))
    return NoCommonCipher(f"{login.name} does not take cipher suite {offered}",
                          remedy="enable suite 17 or 3 on the controller" if login.suites == SUITES
                          else "unset cipher, which offers 17 and then 3")


def too_old(login: Login) -> NoCommonCipher:
    """Return the failure of a controller without IPMI 2.0."""
    return NoCommonCipher(f"{login.name} speaks IPMI 1.5 only, which is not safe to use",
                          remedy="enable IPMI 2.0 (RMCP+) on the controller")


def silent(login: Login, seconds: float) -> Silent:
    """Return the failure of a controller from which nothing came at all."""
    return Silent(f"{login.name} gave no answer within {seconds:.1f} s",
                  remedy="check the address, IPMI over LAN being enabled, and firewalls")


def of_text(login: Login, text: str, seconds: float) -> FencingFailed:
    """Return why a login failed, from pyghmi's words.

    text: what pyghmi's callback got as "error"; empty where it said nothing.
    seconds: how long the login had taken.
    """
    if "Incorrect password" in text:
        return wrong_password(login)
    if "wrong Kg" in text:
        return wrong_key(login)
    if "requesting privelege level" in text:         # its spelling
        return level_refused(login)
    if "MD5 required" in text:
        return too_old(login)
    for fragment, status in _STATUS_OF_TEXT:
        if fragment in text:
            return refused(login, status)
    if not text or text in ("timeout", "None") or "failed to initialize" in text:
        return silent(login, seconds)
    return NotUnderstood(f"{login.name}: the login failed: {' '.join(text.split())}")
