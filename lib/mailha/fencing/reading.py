# SPDX-License-Identifier: GPL-2.0-or-later
"""What an agent is given: lines on stdin, or options on the command line.

As fencing.py of fence-agents 4.12.1 reads them, because definitions that work there must mean the
same here. On stdin: "name=value" lines, "#" for a comment, the last of several wins, "-" and "_"
are one letter in a name, a value in double quotes is what is between them, an unknown name is
ignored. Where it loses or shows something, this does not: blanks around a password stay (fencing.py
strips the line), and of an ignored line only the name goes to the log, and only if it looks like
one, because the line may be a mistyped password.

On the command line: getopt(3) with its "--name=value", "--name value", "-nvalue", bundled letters,
unambiguous beginnings of names, and "--".
"""

from __future__ import annotations

from mailha.fencing import standard
from mailha.fencing.failures import WrongInput

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Iterable, Sequence

    from mailha.fencing.declaration import Option

LONGEST = 1 << 20
"""Bytes on stdin; more is no list of options."""

NODENAME = "nodename"
"""What Pacemaker gives in addition: the node that the action is for."""

_NAME = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-")
_LONGEST_NAME = 30


class Given:
    """What an agent was given.

    texts: the values by the name of the option, as text; a boolean's is "1" or "0". nodename: what
    Pacemaker says. notes: what is to be logged of it, once there is a log.
    """

    def __init__(self) -> None:
        self.texts: dict[str, str] = {}
        self.nodename = ""
        self.notes: list[str] = []


def read_all(descriptor: int) -> bytes:
    """Return all that comes in. Raises WrongInput if it is endless or cannot be read."""
    import os
    content = b""
    while True:
        try:
            chunk = os.read(descriptor, 1 << 16)
        except OSError as error:
            raise WrongInput(f"stdin cannot be read: {error.strerror}") from None
        if not chunk:
            return content
        content += chunk
        if len(content) > LONGEST:
            raise WrongInput(f"stdin has more than {LONGEST} bytes, where lines of name=value are "
                             "expected")


def from_lines(content: bytes, options: Iterable[Option]) -> Given:
    """Return what stdin says. Raises WrongInput for what can mean nothing."""
    given = Given()
    names = _by_name(options)
    for number, line in enumerate(content.split(b"\n"), 1):
        text = line.decode("utf-8", "surrogateescape")
        text = text[:-1] if text.endswith("\r") else text
        if not text.strip() or text.lstrip().startswith("#"):
            continue
        name, equals, value = text.partition("=")
        name = name.strip()
        option = names.get(name.replace("-", "_"))
        if option is not None:
            _take(given, option, _value(option, value), has_value=bool(equals))
        elif name == NODENAME:
            given.nodename = value.strip()
        else:
            # Base64 of a password looks like a name too, but for its capitals and for nothing
            # behind its "=".
            is_name = name == name.lower() and value.strip("= \t")
            shown = f"option {name}" if is_name and _looks_like_a_name(name) else "the option"
            given.notes.append(f"{shown} in line {number} of stdin is unknown and ignored; its "
                               "value is not shown")
    return given


def from_arguments(arguments: Sequence[str], options: Iterable[Option]) -> Given:
    """Return what the command line says. Raises WrongInput for what can mean nothing.

    arguments: without the program's name.
    """
    given = Given()
    known = tuple(options)
    names = _by_name(known)
    letters = {option.letter: option for option in known if option.letter}
    waiting = [_as_utf8(argument) for argument in arguments]
    while waiting:
        argument = waiting.pop(0)
        if argument == "--" or not argument.startswith("-") or argument == "-":
            rest = waiting if argument == "--" else [argument]
            if rest:
                # fence_ipmilan ignores these, and "fence_ipmilan -a bmc off" then is a reboot.
                raise WrongInput("the command line has an argument that belongs to no option (not "
                                 "shown, as it may be a password)",
                                 remedy="give the action with -o")
        elif argument.startswith("--"):
            name, equals, value = argument[2:].partition("=")
            option = _named(names, name)
            if option.takes_value and not equals:
                value = _next(waiting, f"--{name}")
            # getopt refuses --lanplus=0; whoever writes it means it.
            _take(given, option, value if option.takes_value or equals else "1", has_value=True)
        else:
            _take_letters(given, argument, letters, waiting)
    for option in known:
        if option.secret and given.texts.get(option.name):
            given.notes.append(f"option {option.name} is on the command line, where every user of "
                               "this machine can see it; give it on stdin")
    if "plug" in given.texts and names["plug"] in standard.CONNECTION \
            and given.texts.get("port_as_ip") != "1":
        raise WrongInput("option plug: a controller has no plugs; on the command line it is taken "
                         "only with --port-as-ip")
    return given


def _take_letters(given: Given, argument: str, letters: dict[str, Option],
                  waiting: list[str]) -> None:
    """Take an argument like -v, -vP, -ovalue, or -o with the value in the next one."""
    rest = argument[1:]
    while rest:
        letter, rest = rest[0], rest[1:]
        option = letters.get(letter)
        if option is None:
            raise WrongInput(f"there is no option -{letter}" if letter in _NAME
                             else "the command line has an unknown option of one letter")
        if option.takes_value:
            _take(given, option, rest or _next(waiting, "-" + letter), has_value=True)
            return
        _take(given, option, "1", has_value=True)


def _take(given: Given, option: Option, value: str, *, has_value: bool) -> None:
    """Take a value of an option; the last one wins."""
    if not option.takes_value and not value:
        given.notes.append(f"option {option.name} is given without a value and ignored")
        return
    if not has_value and option.secret:
        raise WrongInput(f"option {option.name}: there is no '=' after it")
    if given.texts.get(option.name, value) != value:
        given.notes.append(f"option {option.name} is given more than once; the last value counts")
    given.texts[option.name] = value


def _value(option: Option, text: str) -> str:
    """Return the value from what stands behind the "="."""
    stripped = text.rstrip()
    if len(stripped) > 1 and stripped.startswith('"') and stripped.endswith('"'):
        return stripped[1:-1]
    if option.secret:
        return text
    text = text.strip()
    return text[1:-1] if len(text) > 1 and text.startswith('"') and text.endswith('"') else text


def _by_name(options: Iterable[Option]) -> dict[str, Option]:
    """Return the options by all of their names."""
    names = {}
    for option in options:
        for name in (*option.obsoletes, option.name):
            names[name.replace("-", "_")] = option
    return names


def _named(names: dict[str, Option], name: str) -> Option:
    """Return the option of a long name or of an unambiguous beginning of it."""
    wanted = name.replace("-", "_")
    option = names.get(wanted)
    if option is not None:
        return option
    shown = f"--{name}" if _looks_like_a_name(name) else "of that name"
    found = {id(names[known]): names[known] for known in names
             if wanted and known.startswith(wanted)}
    if not found:
        raise WrongInput(f"there is no option {shown}", remedy="see --help")
    if len(found) > 1:
        raise WrongInput(f"option {shown} may be "
                         + " or ".join("--" + option.name.replace("_", "-")
                                       for option in found.values()))
    return next(iter(found.values()))


def _next(waiting: list[str], name: str) -> str:
    """Take the value of an option from the next argument."""
    if not waiting:
        raise WrongInput(f"option {name} has no value behind it")
    return waiting.pop(0)


def _looks_like_a_name(text: str) -> bool:
    """Say whether a text may be shown, because it is rather a name than a part of a password."""
    return 0 < len(text) <= _LONGEST_NAME and _NAME.issuperset(text)


def _as_utf8(argument: str) -> str:
    """Return an argument decoded as UTF-8, whatever the locale of an administrator's shell."""
    import os
    return os.fsencode(argument).decode("utf-8", "surrogateescape")
