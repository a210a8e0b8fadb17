# SPDX-License-Identifier: GPL-2.0-or-later
"""fence_ipmi: a node's power by IPMI 2.0 over the network, with pyghmi.

Takes the place of fence_ipmilan: its options mean the same here, or are said to have no effect, or
are refused because with them a node could be taken for switched off that is not.
"""

from __future__ import annotations

from mailha.fencing.declaration import FenceAgent, Option

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import NoReturn, Union

    from mailha.fencing.controller import Controller
    from mailha.fencing.deadline import Deadline, Phases
    from mailha.fencing.failures import FencingFailed
    from mailha.fencing.settings import Settings

LONGEST_USER = 16
LONGEST_PASSWORD = 20
LONGEST_KEY = 20
"""Bytes, by IPMI 2.0 (22.28, 22.30 and 13.31)."""

CIPHERS = (3, 17)
"""What pyghmi speaks: AES with HMAC-SHA1, and AES with HMAC-SHA256. The others of IPMI 2.0 encrypt
nothing or rest on MD5 or RC4."""

_NO_TOOL = "no ipmitool is used"


def _lanplus(text: str) -> bool:
    from mailha.fencing import values
    if not values.boolean(text):
        raise values.Invalid("0 is not safe: IPMI 1.5 sends everything unencrypted; leave it out, "
                             "IPMI 2.0 is always used")
    return True


def _auth(text: str) -> NoReturn:
    from mailha.fencing import values
    raise values.Invalid("it chooses how IPMI 1.5 authenticates, which is not safe and not spoken "
                         "here; leave it out")


def _target(text: str) -> NoReturn:
    from mailha.fencing import values
    raise values.Invalid("requests cannot be bridged to another controller, and without that the "
                         "wrong node would be switched; give the address of the node's own "
                         "controller in ip")


def _cipher(text: str) -> int:
    from mailha.fencing import values
    number = values.whole_number(text, 0, 255)
    if number not in CIPHERS:
        raise values.Invalid(f"cipher suite {number} is not spoken here, where 3 or 17 is expected;"
                             " leave it out for the better one that the controller has")
    return number


def _kg(text: str) -> str:
    from mailha.fencing import values
    digits = text.strip()
    digits = digits[2:] if digits[:2].lower() == "0x" else digits
    if not digits or len(digits) % 2 or any(digit not in "0123456789abcdefABCDEF"
                                            for digit in digits):
        raise values.Invalid("it is no even number of hexadecimal digits (the value is not shown)")
    if len(digits) > 2 * LONGEST_KEY:
        raise values.Invalid(f"it has more than {2 * LONGEST_KEY} digits (the value is not shown)")
    return digits


def _port(text: str) -> int:
    from mailha.fencing import values
    return values.port(text)


def options() -> tuple[Option, ...]:
    """Return the options that other fence agents do not have, or have with another default."""
    return (
        Option("ipport", "integer", "UDP port of the controller", letter="u", default="623",
               check=_port, shown="port"),
        Option("lanplus", "boolean", "IPMI 2.0, which is always used; 0 is refused", letter="P",
               default="1", check=_lanplus),
        Option("cipher", "string", "Cipher suite, 3 or 17; by default the better one that the "
               "controller has", letter="C", check=_cipher),
        Option("privlvl", "select", "Privilege level; operator is enough to switch the power",
               letter="L", default="administrator",
               choices=("callback", "user", "operator", "administrator"), shown="level"),
        Option("hexadecimal_kg", "string", "Key of the controller (kg), in hexadecimal digits",
               secret=True, check=_kg, shown="key"),
        Option("auth", "select", "Refused: authentication of IPMI 1.5", letter="A",
               choices=("md5", "password", "none"), check=_auth),
        Option("target", "string", "Refused: requests are not bridged to another controller",
               check=_target, shown="targetaddress"),
        Option("power_wait", "second", "No effect: the power is read at once and until it is off",
               default="2", shown="seconds",
               idle="the power is read at once after an order and then until it is as ordered"),
        Option("ipmitool_path", "string", f"No effect: {_NO_TOOL}", default="/usr/bin/ipmitool",
               shown="path", empty=True, idle=_NO_TOOL),
        Option("ipmitool_timeout", "string", f"No effect: {_NO_TOOL}", default="2",
               shown="seconds", empty=True, idle=_NO_TOOL),
        Option("use_sudo", "boolean", f"No effect: {_NO_TOOL}", obsoletes=("sudo",), idle=_NO_TOOL),
        Option("sudo_path", "string", f"No effect: {_NO_TOOL}", default="/usr/bin/sudo",
               shown="path", empty=True, idle=_NO_TOOL),
    )


def check(settings: Settings) -> Iterator[Union[str, FencingFailed]]:
    """Yield what no controller takes."""
    from mailha.fencing.failures import WrongInput
    user = settings["username"] or ""
    if len(user.encode("utf-8", "surrogateescape")) > LONGEST_USER:
        yield WrongInput(f"option username: it has more than the {LONGEST_USER} bytes that IPMI "
                         "allows")
    # Not of a program that prints it: that may need the network.
    password = settings.given("password")
    if settings["password_file"]:
        password = settings.known("password")
    if len(password.encode("utf-8", "surrogateescape")) > LONGEST_PASSWORD:
        where = "password_file" if settings["password_file"] else "password"
        yield WrongInput(f"option {where}: it has more than the {LONGEST_PASSWORD} bytes that "
                         "IPMI 2.0 allows")
    if not (password or settings["password_script"] or settings["password_file"]):
        yield "there is no password: set password_script, password_file or password"
    if settings["privlvl"] in ("callback", "user"):
        yield (f"option privlvl: {settings['privlvl']} is not enough to switch the power; operator "
               "is")


def connect(settings: Settings, deadline: Deadline, phases: Phases) -> Controller:
    """Log in at the controller. Raises FencingFailed."""
    from mailha.bmc import ipmi
    return ipmi.connect(settings, deadline, phases)


AGENT = FenceAgent(
    "fence_ipmi",
    short="Fence agent for IPMI 2.0 that reads the power as off before it says so",
    long="""
fence_ipmi switches the power of a node by the node's own controller (BMC: iDRAC, iLO, XCC, IMM and
others) with IPMI 2.0 over the network. off and reboot succeed only when the power has been read as
off twice, half a second apart, in one session; the order is repeated while the node stays on. The
whole action ends within 25 seconds, under Pacemaker too, and says in one line why it failed: wrong
password, privilege too low, unreachable, ordered off and still on, and so on. It takes the place of
fence_ipmilan: a working definition of that needs only the other name. Set node to the name of the
cluster node whose controller this is; the agent then acts on no other node.
""",
    vendor_url="https://www.intel.com/content/www/us/en/products/docs/servers/ipmi/"
               "ipmi-home.html",
    options=options, connect=connect, check=check, libraries=("pyghmi",))
