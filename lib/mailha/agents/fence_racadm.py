# SPDX-License-Identifier: GPL-2.0-or-later
"""fence_racadm: a Dell server's power by racadm on its iDRAC, over SSH, with pexpect.

For sites that switch IPMI off, because it hands the hash of a password to whoever asks.
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


def _port(text: str) -> int:
    from mailha.fencing import values
    return values.port(text)


def _path(text: str) -> str:
    from mailha.fencing import values
    return values.path(text)


def _secure(text: str) -> bool:
    from mailha.fencing import values
    if not values.boolean(text):
        raise values.Invalid("0 would mean telnet, which is not encrypted and not spoken here; "
                             "leave it out, SSH is always used")
    return True


def options() -> tuple[Option, ...]:
    """Return the options that other fence agents do not have, or have with another default."""
    return (
        Option("ipport", "integer", "TCP port of the iDRAC's SSH", letter="u", default="22",
               check=_port, shown="port"),
        Option("identity_file", "string", "Private key to log in with", letter="k", check=_path,
               shown="path"),
        Option("known_hosts_file", "string", "File with the host keys of the iDRACs",
               default="/etc/ssh/ssh_known_hosts", check=_path, shown="path"),
        Option("host_key_checking", "boolean", "Refuse an iDRAC whose host key is not known; 0 "
               "takes any", default="1"),
        Option("ssh_path", "string", "The SSH client", default="/usr/bin/ssh", check=_path,
               shown="path"),
        Option("ssh", "boolean", "SSH, which is always used; 0 is refused", letter="x",
               obsoletes=("secure",), default="1", check=_secure),
        Option("inet4_only", "boolean", "Use IPv4 only", letter="4"),
        Option("inet6_only", "boolean", "Use IPv6 only", letter="6"),
        Option("command_prompt", "string", "No effect: racadm is executed without a prompt",
               letter="c", obsoletes=("cmd_prompt",), shown="prompt", empty=True,
               idle="the prompt is recognized by itself"),
    )


def check(settings: Settings) -> Iterator[Union[str, FencingFailed]]:
    """Yield what contradicts itself, and what is not there on this node."""
    import os

    from mailha.fencing.failures import WrongInput
    if not settings["username"]:
        yield WrongInput("option username: it is not set, where the iDRAC's user is expected")
    if settings["inet4_only"] and settings["inet6_only"]:
        yield WrongInput("options inet4_only and inet6_only: both are set, which leaves no address")
    for name in ("identity_file", "ssh_path"):
        path = settings[name]
        if path and not os.path.isfile(path):
            yield WrongInput(f"option {name}: there is no file {path} on this node")


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
why it failed. The iDRAC's host key is checked. For sites where IPMI is switched off, or as the
second level of a fencing topology. Set node to the name of the cluster node whose iDRAC this is;
the agent then acts on no other node.
""",
    vendor_url="https://www.dell.com/",
    options=options, connect=connect, check=check, libraries=("pexpect",))
