# SPDX-License-Identifier: GPL-2.0-or-later
"""The options that every fence agent has.

Names, letters, kinds and defaults are those of fence-agents 4.12 (fencing.py), so that a definition
that works with one of its agents works here when only the name of the agent is changed.
"""

from __future__ import annotations

from mailha.fencing.declaration import Option

ACTIONS = ("on", "off", "reboot", "status", "monitor", "metadata", "manpage", "validate-all")
"""What can be done, as advertised."""


def _address(text: str) -> str:
    from mailha.fencing import values
    return values.address(text)


def _port(text: str) -> int:
    from mailha.fencing import values
    return values.port(text)


def _node(text: str) -> str:
    from mailha.fencing import values
    return values.node_name(text)


def _path(text: str) -> str:
    from mailha.fencing import values
    return values.path(text)


def _command(text: str) -> str:
    from mailha.fencing import secrets, values
    try:
        secrets.words(values.line(text))
    except secrets.NoCommand as error:
        raise values.Invalid(str(error)) from None
    return text.strip()


def _pause(text: str) -> float:
    from mailha.fencing import values
    return values.pause(text)


def _slowness(text: str) -> float:
    from mailha.fencing import values
    return values.slowness(text)


def _level(text: str) -> bool:
    from mailha.fencing import values
    return values.level(text)


def _method(text: str) -> str:
    from mailha.fencing import values
    method = values.choice(text, ("onoff", "cycle"))
    if method == "cycle":
        raise values.Invalid("'cycle' is not safe: nobody can see whether the power has ever been "
                             "off, and the node may go on writing; leave it out, or say onoff")
    return method


CONNECTION = (
    Option("action", "string", "Fencing action", letter="o", default="reboot", required=True),
    Option("ip", "string", "IP address or host name of the node's controller", letter="a",
           obsoletes=("ipaddr",), check=_address),
    Option("ipport", "integer", "Port of the controller", letter="u", check=_port, shown="port"),
    Option("username", "string", "Login name", letter="l", obsoletes=("login",), empty=True,
           shown="name"),
    Option("password", "string", "Login password; blanks at its ends are part of it", letter="p",
           obsoletes=("passwd",), secret=True, empty=True),
    Option("password_script", "string", "Program that prints the password; run without a shell",
           letter="S", obsoletes=("passwd_script",), check=_command, shown="command"),
    Option("password_file", "string", "File with the password, for its owner only",
           check=_path, shown="path"),
    Option("node", "string", "Name of the cluster node whose controller this is; the agent then "
           "refuses to act on any other node", check=_node, shown="name"),
    Option("plug", "string", "Address of the controller, with port_as_ip; else not looked at",
           letter="n", obsoletes=("port",), empty=True),
    Option("port_as_ip", "boolean", "Take plug for ip"),
)
"""How to come to the controller. An agent's own options stand after these."""

BEHAVIOUR = (
    Option("method", "select", "Method to fence; onoff is the only one that is safe", letter="m",
           default="onoff", choices=("onoff", "cycle"), check=_method),
    Option("delay", "second", "Wait before off or reboot, in addition to the agent's own time",
           default="0", shown="seconds", check=_pause),
    Option("power_timeout", "second", "A value above 20 gives the whole action as much more than "
           "its 25 seconds", default="20", shown="seconds", check=_slowness),
    Option("power_wait", "second", "No effect: the power is read at once and until it is off",
           default="0", shown="seconds",
           idle="the power is read at once after an order and then until it is as ordered"),
    Option("login_timeout", "second", "No effect: the whole action has one deadline", default="5",
           shown="seconds", idle="the whole action has one deadline"),
    Option("shell_timeout", "second", "No effect: the whole action has one deadline", default="3",
           shown="seconds", idle="the whole action has one deadline"),
    Option("disable_timeout", "string", "No effect: the whole action always has a deadline",
           shown="true/false", empty=True, idle="the whole action always has a deadline"),
    Option("stonith_status_sleep", "second", "No effect: the power is read every 0.05 to 1 s",
           default="1", shown="seconds", idle="the power is read every 0.05 to 1 s"),
    Option("retry_on", "integer", "No effect: an order is repeated while there is time",
           default="1", shown="attempts", idle="an order is repeated while there is time"),
    Option("plug_separator", "string", "No effect: a controller has one node", default=",",
           shown="char", empty=True, idle="a controller has one node"),
    Option("quiet", "boolean", "Say nothing on stderr unless verbose", letter="q"),
    Option("verbose", "boolean", "Say on stderr too what goes into the system's log",
           letter="v", check=_level),
    Option("verbose_level", "integer", "0 for not verbose, all else for verbose", shown="level"),
    Option("debug_file", "string", "Append what is logged to this file", letter="D",
           obsoletes=("debug",), shown="path"),
    Option("version", "boolean", "Show the version and end", letter="V"),
    Option("help", "boolean", "Show this help and end", letter="h"),
)
"""What to do and what to say."""


def join(own: tuple[Option, ...]) -> tuple[Option, ...]:
    """Return all options of an agent that declares its own; one of a shared name replaces that."""
    replaced = {option.name: option for option in own}
    first = [replaced.pop(option.name, option) for option in CONNECTION]
    last = [replaced.pop(option.name, option) for option in BEHAVIOUR]
    return (*first, *(option for option in own if option.name in replaced), *last)
