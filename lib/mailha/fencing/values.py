# SPDX-License-Identifier: GPL-2.0-or-later
"""The values of options: what the kinds of the fence-agent schema look like, and a few of ours.

A value that is wrong raises mailha.validation.Invalid, which says what was found and expected.
Values of secret options never come here with their text in a message.
"""

from __future__ import annotations

from mailha.validation.network import numeric
from mailha.validation.text import Choice, Invalid, Type, shown

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from mailha.fencing.declaration import Option

TRUE = ("1", "yes", "on", "true", "y")
FALSE = ("0", "no", "off", "false", "n")
"""In any case of letters; what fence agents and Pacemaker take."""

LONGEST_NAME = 253
"""Characters of a host name."""

LONGEST_TIME = 3600
"""Seconds. Nothing that fencing waits for takes an hour; whoever writes more meant milliseconds."""

_LETTERS = frozenset("abcdefghijklmnopqrstuvwxyz0123456789-_")


def parse(option: Option, text: str) -> Any:
    """Return the value of an option. Raises Invalid."""
    if option.check is not None:
        return option.check(text)
    if option.kind == "boolean":
        return boolean(text)
    if option.idle and option.kind in ("integer", "second"):
        return number(text)
    if option.kind == "integer":
        return whole_number(text, 0, 2**31 - 1)
    if option.kind == "second":
        return seconds(text)
    if option.kind == "select":
        return choice(text, option.choices)
    return line(text)


def line(text: str) -> str:
    """Return any text that can be printed, without the blanks around it. Raises Invalid."""
    value = text.strip()
    if not value.isprintable():
        raise Invalid(f"{shown(text)} has a character in it that cannot be printed, or is not "
                      "UTF-8, where a line of text is expected")
    return value


def boolean(text: str) -> bool:
    """Return the truth. Raises Invalid."""
    word = text.strip().lower()
    if word in TRUE:
        return True
    if word in FALSE:
        return False
    raise Invalid(f"{shown(text)} is neither, where true or false is expected")


def whole_number(text: str, least: int, most: int) -> int:
    """Return a number in a range, both ends allowed. Raises Invalid."""
    from mailha.validation.numbers import Integer
    return Integer(least, most).parse(text)


def number(text: str) -> float:
    """Return any number or length of time, of what has no effect: only its kind must be right.

    Definitions have retry_on=-1 and login_timeout=7200. Raises Invalid.
    """
    value = text.strip()
    from mailha.validation.numbers import Seconds
    return Seconds(0, 2**31 - 1).parse(value[1:] if value.startswith("-") else value)


def level(text: str) -> bool:
    """Return whether a switch is on that may also be a count: verbose=2. Raises Invalid."""
    value = text.strip()
    return int(value) > 0 if value.isascii() and value.isdigit() and len(value) < 10 \
        else boolean(text)


def pause(text: str) -> float:
    """Return the seconds of a wait; a negative number is none, as in Pacemaker. Raises Invalid."""
    return 0.0 if number(text) and text.strip().startswith("-") else seconds(text)


def slowness(text: str) -> float:
    """Return seconds, at most LONGEST_TIME, whatever was written for "for ever". Raises Invalid."""
    from mailha.validation.numbers import Seconds
    return min(float(Seconds(0, 2**31 - 1).parse(text)), float(LONGEST_TIME))


def port(text: str) -> int:
    """Return the number of a TCP or UDP port. Raises Invalid."""
    from mailha.validation.numbers import Port
    return Port().parse(text)


def seconds(text: str) -> float:
    """Return a length of time: 20, 20s, 500ms, 1min. Raises Invalid."""
    from mailha.validation.numbers import Seconds
    return Seconds(0, LONGEST_TIME).parse(text)


def choice(text: str, choices: tuple[str, ...]) -> str:
    """Return one of some words as it is declared; the case of its letters does not count.

    Raises Invalid.
    """
    word = text.strip()
    for declared in choices:
        if word.lower() == declared.lower():
            return declared
    return Choice(*choices).parse(text)


def node_name(text: str) -> str:
    """Return the name of a node of the cluster. Raises Invalid."""
    from mailha.validation.text import Name
    return Name().parse(text)


def path(text: str) -> str:
    """Return an absolute path. Raises Invalid."""
    from mailha.validation.text import Path
    return Path().parse(text)


class _Place(Type):
    """Where a controller is, for the words of a refusal."""

    expected = "a host name or a numeric address"


def address(text: str) -> str:
    """Return where a controller is: a numeric address, or a name in lower case.

    Unlike the name of a mail server, it may have an underscore in it, as people have in their
    /etc/hosts; an IPv6 address may have a zone, or stand in brackets. Nothing is looked up. No
    value has a blank, a quote or a leading dash. Raises Invalid.
    """
    place = _Place()
    value = place.plain(text)
    if value.startswith("[") and value.endswith("]"):
        value = value[1:-1]
    plain, zone, interface = value.partition("%")
    number = numeric(plain)
    if number:
        if zone and not (":" in number and _is_interface(interface)):
            raise place.refusal(text, "has no zone of an IPv6 address after the '%'")
        return number + zone + interface
    name = value.lower()
    if name.endswith("."):
        name = name[:-1]
    labels = name.split(".")
    if len(name) > LONGEST_NAME or not all(_is_label(label) for label in labels):
        raise place.refusal(text, "is no host name")
    # 192.0.2.300 is an address with a slip; a resolver would take 10.1 for some other address.
    if labels[-1].isdigit():
        raise place.refusal(text, "is no address and no host name")
    return name


def is_numeric(place: str) -> bool:
    """Tell whether what address() returned needs no name to be resolved."""
    return bool(numeric(place.partition("%")[0]))


def _is_label(label: str) -> bool:
    """Say whether this may stand between two dots of a host name."""
    return 0 < len(label) < 64 and _LETTERS.issuperset(label) \
        and not label.startswith("-") and not label.endswith("-")


def _is_interface(name: str) -> bool:
    """Say whether a network interface may be called so (dev_valid_name of the kernel)."""
    return 0 < len(name) < 16 and name.isascii() and name.isprintable() \
        and not any(letter in "/: %" for letter in name)


__all__ = ["Invalid", "address", "boolean", "choice", "is_numeric", "level", "line", "node_name",
           "number", "parse", "path", "pause", "port", "seconds", "shown", "slowness",
           "whole_number"]
