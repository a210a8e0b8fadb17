# SPDX-License-Identifier: GPL-2.0-or-later
"""fence_racadm: a Dell server's power by racadm on its iDRAC, over SSH, with pexpect.

For sites that switch IPMI off, because it hands the hash of a password to whoever asks. The options
are those of fence_drac5, so that its definitions keep working.
"""

from __future__ import annotations

from mailha.fencing.declaration import FenceAgent, Option

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Union

    from mailha.fencing.controller import Controller
    from mailha.fencing.deadline import Deadline, Phases
    from mailha.fencing.failures import FencingFailed
    from mailha.fencing.settings import Settings

CHASSIS = "DRAC CMC"


def _port(text: str) -> int:
    from mailha.fencing import values
    return values.port(text)


def _path(text: str) -> str:
    from mailha.fencing import values
    return values.path(text)


def _user(text: str) -> str:
    from mailha.fencing import values
    user = values.line(text)
    if user.startswith("-"):
        raise values.Invalid(f"{values.shown(text)} begins with a dash, as no user name does")
    return user


def _secure(text: str) -> bool:
    from mailha.fencing import values
    if not values.boolean(text):
        raise values.Invalid("0 would mean telnet, which is not encrypted and not spoken here; "
                             "leave it out, SSH is always used")
    return True


def _checking(text: str) -> str:
    from mailha.fencing import values
    word = text.strip().lower()
    if word in values.FALSE:
        raise values.Invalid(f"{values.shown(text)} would let anybody who answers at the address "
                             "have the password and say that the node is off; use accept-new")
    return "yes" if word in values.TRUE else values.choice(text, ("yes", "accept-new"))


def _ssh_options(text: str) -> str:
    from mailha.bmc import ssh_command
    from mailha.fencing import values
    text = values.line(text)
    try:
        ssh_command.parse_options(text)
    except ValueError as error:
        raise values.Invalid(f"{values.shown(text)} is not taken: {error}") from None
    return text


def _expression(text: str) -> str:
    import re

    from mailha.fencing import values
    text = values.line(text)
    try:
        fits_nothing = re.search(rf"(?:{text})[ ]*\Z", "")
    except (re.error, RecursionError, OverflowError) as error:
        raise values.Invalid(f"{values.shown(text)} is no regular expression: {error}") from None
    if fits_nothing:
        raise values.Invalid(f"{values.shown(text)} fits an empty line, which no prompt is")
    return text


def _module(text: str) -> str:
    import re

    from mailha.fencing import values
    name = text.strip()
    # "all" and "switch-1" are modules too, and this agent acts on one server only.
    if not re.fullmatch(r"server-[1-9][0-9]?[a-d]?", name):
        raise values.Invalid(f"{values.shown(text)} is no server of a chassis, where a name such "
                             "as server-1 or server-12b is expected")
    return name


def _version(text: str) -> str:
    from mailha.fencing import values
    version = values.choice(text, ("DRAC 5", CHASSIS, "DRAC MC"))
    if version == "DRAC MC":
        raise values.Invalid("'DRAC MC' has no command that reads the power of one server, so that "
                             "nobody can be sure that it is off")
    return version


def options() -> tuple[Option, ...]:
    """Return the options that other fence agents do not have, or have with another default."""
    return (
        Option("ipport", "integer", "TCP port of the iDRAC's SSH", letter="u", default="22",
               check=_port, shown="port"),
        Option("username", "string", "Login name", letter="l", obsoletes=("login",), check=_user,
               shown="name"),
        Option("plug", "string", "Address of the iDRAC, with port_as_ip; the server in its chassis "
               "(server-1), with drac_version='DRAC CMC'; else not looked at", letter="n",
               obsoletes=("port",), empty=True),
        Option("identity_file", "string", "Private key to log in with; password is then that of "
               "the key, if it has one", letter="k", check=_path, shown="path"),
        Option("known_hosts_file", "string", "File with the host keys of the iDRACs",
               default="/etc/ssh/ssh_known_hosts", check=_path, shown="path"),
        Option("host_key_checking", "select", "yes: the host key must be in known_hosts_file; "
               "accept-new: the first key that an address has is taken and remembered there",
               default="yes", choices=("yes", "accept-new"), check=_checking),
        Option("module", "string", "Server in its chassis (server-1), where ip is the controller "
               "of a chassis", check=_module, shown="name"),
        Option("drac_version", "select", "With DRAC CMC, plug is the server in its chassis; else "
               "not needed", letter="d", choices=("DRAC 5", CHASSIS, "DRAC MC"), check=_version,
               shown="version"),
        Option("command_prompt", "string", "Regular expression for the end of the prompt's line, "
               "for one that no iDRAC has by itself", letter="c", obsoletes=("cmd_prompt",),
               check=_expression, shown="prompt"),
        Option("ssh", "boolean", "SSH, which is always used; 0 is refused", letter="x",
               obsoletes=("secure",), default="1", check=_secure),
        Option("ssh_options", "string", "Options of ssh for the encryption of old iDRACs, such as "
               "'-o KexAlgorithms=+diffie-hellman-group14-sha1'", check=_ssh_options,
               shown="options"),
        Option("ssh_path", "string", "OpenSSH's client", default="/usr/bin/ssh", check=_path,
               shown="path"),
        Option("inet4_only", "boolean", "Use IPv4 only", letter="4"),
        Option("inet6_only", "boolean", "Use IPv6 only", letter="6"),
        Option("telnet_path", "string", "No effect: telnet is not spoken", shown="path",
               empty=True, idle="telnet is not spoken"),
        Option("separator", "string", "No effect: there is no list of plugs", letter="C",
               default=",", shown="char", empty=True, idle="there is no list of plugs"),
    )


def check(settings: Settings) -> Iterator[Union[str, FencingFailed]]:
    """Yield what contradicts itself, and what is not there on this node."""
    from mailha.bmc import ssh_command
    from mailha.fencing import values
    from mailha.fencing.failures import WrongInput
    if not settings["username"]:
        yield WrongInput("option username: it is not set, where the iDRAC's user is expected")
    if not settings["identity_file"] and not any(
            settings.is_set(name) for name in ("password", "password_script", "password_file")):
        yield WrongInput("there is neither a password nor an identity_file to log in with",
                         remedy="set identity_file, password_file, password_script or password")
    if settings["drac_version"] == CHASSIS and not settings["module"]:
        try:
            _module(settings["plug"] or "")
        except values.Invalid as error:
            yield WrongInput(f"option plug: {error}, because drac_version is {CHASSIS!r}",
                             remedy="set module, and leave plug to Pacemaker")
    if settings["inet4_only"] and settings["inet6_only"]:
        yield WrongInput("options inet4_only and inet6_only: both are set, which leaves no address")
    yield from ssh_command.findings(settings)


def connect(settings: Settings, deadline: Deadline, phases: Phases) -> Controller:
    """Log in at the iDRAC. Raises FencingFailed."""
    from mailha.bmc import racadm
    return racadm.connect(settings, deadline, phases)


AGENT = FenceAgent(
    "fence_racadm",
    short="Fence agent for Dell iDRAC over SSH that reads the power as off before it says so",
    long="""
fence_racadm switches the power of a Dell server by its iDRAC: it logs in over SSH and executes
racadm serveraction powerdown, powerup and powerstatus. off and reboot succeed only when the power
has been read as off twice, half a second apart, in one session; the order is repeated while the
node stays on. The whole action ends within 25 seconds, under Pacemaker too, and says in one line
why it failed. The iDRAC's host key is checked: put it into known_hosts_file on every node. The
user needs the privileges to log in and to execute server control commands (role Operator). For
sites where IPMI is switched off, or as the second level of a fencing topology. Set node to the
name of the cluster node whose iDRAC this is; the agent then acts on no other node.
""",
    vendor_url="https://www.dell.com/",
    options=options, connect=connect, check=check, libraries=("pexpect",))
