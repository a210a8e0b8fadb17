# SPDX-License-Identifier: GPL-2.0-or-later
"""What a fence agent declares: its options, and how it comes to the controller of a node.

It is declared once. Metadata, help, stdin, the command line, defaults and validation all read it
from here. Pacemaker asks for the metadata often, and a monitor runs every minute, so nothing is
imported here that costs time.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable, Iterable, Union

    from mailha.fencing.controller import Controller
    from mailha.fencing.deadline import Deadline, Phases
    from mailha.fencing.failures import FencingFailed
    from mailha.fencing.settings import Settings

    Options = Union[tuple["Option", ...], Callable[[], tuple["Option", ...]]]
    Connect = Callable[[Settings, Deadline, Phases], Controller]
    Check = Callable[[Settings], Iterable[Union[str, FencingFailed]]]

KINDS = ("string", "second", "integer", "boolean", "select")
"""The types of content that the schema of fence agents knows (metadata.rng)."""


class Option:
    """An option of a fence agent.

    name: as on stdin; the command line has it with "-" for "_". kind: one of KINDS; a boolean
    takes no value on the command line. short: what it is for, in one line. default: as text, and
    advertised as it stands here; None for none. required: an action is refused without it.
    choices: the values of a select, in any case of letters. obsoletes: names from older fence
    agents that mean the same. letter: for the command line, "" for none. secret: the value is
    never shown, keeps its blanks, and is asked for by Settings.secret. idle: why it has no effect
    here; such an option is accepted, so that a definition made for another agent keeps working,
    and the reason is logged. empty: whether an empty value is allowed; the option then is as if not
    given. check: makes the value from the text, or raises mailha.validation.Invalid; without one
    the kind decides. shown: what the help calls its value.
    """

    __slots__ = ("name", "kind", "short", "default", "required", "choices", "obsoletes", "letter",
                 "secret", "idle", "empty", "check", "shown")

    def __init__(self, name: str, kind: str, short: str, *, default: str | None = None,
                 required: bool = False, choices: tuple[str, ...] = (),
                 obsoletes: tuple[str, ...] = (), letter: str = "", secret: bool = False,
                 idle: str = "", empty: bool = False, check: Callable[[str], Any] | None = None,
                 shown: str = "") -> None:
        self.name = name
        self.kind = kind
        self.short = short
        self.default = default
        self.required = required
        self.choices = choices
        self.obsoletes = obsoletes
        self.letter = letter
        self.secret = secret
        self.idle = idle
        self.empty = empty
        self.check = check
        self.shown = shown or name

    @property
    def takes_value(self) -> bool:
        """Whether the command line has a value for it."""
        return self.kind != "boolean"


class FenceAgent:
    """A fence agent.

    name: of the executable. short, long: what it is, in one line and in full. vendor_url: where
    the devices that it talks to are described. options: its own, or a function that returns them;
    those of mailha.fencing.standard are added, except where one of the same name is declared.
    connect: logs in at the controller, within the deadline, and imports what it needs by itself;
    raises FencingFailed. check: gets valid settings and yields what is wrong with them together: a
    text for a warning, a failure for what makes every action fail; never asks the network.
    libraries: names of Python modules that connect imports and the standard library does not have.
    """

    def __init__(self, name: str, *, short: str, long: str, vendor_url: str, options: Options,
                 connect: Connect, check: Check | None = None,
                 libraries: tuple[str, ...] = ()) -> None:
        self.name = name
        self.short = short
        self.long = long
        self.vendor_url = vendor_url
        self._own = options
        self._all: tuple[Option, ...] | None = None
        self.connect = connect
        self.check = check
        self.libraries = libraries

    @property
    def options(self) -> tuple[Option, ...]:
        """All options, the shared ones included, in the order in which they are shown."""
        if self._all is None:
            from mailha.fencing import standard
            self._all = standard.join(self._own() if callable(self._own) else self._own)
        return self._all
