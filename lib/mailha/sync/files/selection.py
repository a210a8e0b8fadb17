# SPDX-License-Identifier: GPL-2.0-or-later
"""Which paths are replicated, and why another one is not.

In this order: what belongs to mailha or to the running system never is; a file that the
administrator or the profile names always is; then nothing that ``exclude`` or the built-in list
holds; and of the rest, what lies in one of the directories. Both ends decide: the sender does not
send, and the receiver does not take, so a sender that is broken or of another release cannot
overwrite what makes the receiver itself.
"""

from __future__ import annotations

import fnmatch
import functools
import os
import re
import stat
from typing import Any, Iterable, Iterator, Sequence

from mailha import errors
from mailha.sync.files.entry import check_path
from mailha.sync.files.never import LINK_REASON, LINKS_OF_UNITS, NEVER, Rule
from mailha.sync.trouble import ProtocolError
from mailha.system.machine import Machine

NOT_SELECTED = "it is in none of the directories that are replicated"
MOST_PATTERNS = 2000
MOST_REMEMBERED = 50000
"""Judgements that are kept; a monitor asks for the same paths again and again."""

TOO_WIDE = frozenset((
    "/bin /boot /dev /home /lib /lib32 /lib64 /libx32 /media /mnt /opt /proc /root /run /sbin /srv "
    "/sys /tmp /usr /usr/bin /usr/lib /usr/lib64 /usr/libexec /usr/local /usr/sbin /usr/share "
    "/usr/src /var /var/cache /var/lib /var/log /var/opt /var/spool /var/tmp").split())
"""Directories that are a whole system, and not its configuration."""


class Selection:
    """What is replicated.

    directories: with all below. files: named ones, which neither the built-in list nor the test
    for the node's name holds back. exclude: patterns of paths. never: rules of the product.
    roots: the directories and files where everything that is replicated begins. anywhere: whether
    our own state may be looked at as well, for whoever shows a kept copy.
    """

    def __init__(self, directories: Iterable[str], files: Iterable[str] = (),
                 exclude: Iterable[str] = (), never: Iterable[Rule] = (), *,
                 anywhere: bool = False) -> None:
        self.directories = tuple(sorted(set(directories)))
        self.files = tuple(sorted(set(files)))
        self.exclude = tuple(exclude)
        self.never = tuple(never)
        self._files = frozenset(self.files)
        self._below = tuple(directory + "/" for directory in self.directories)
        self._ancestors = frozenset(_ancestors(self.files + self.directories))
        rules = [*NEVER, *self.never, *(Rule(pattern, f"'exclude' holds {pattern}")
                                        for pattern in self.exclude)]
        self._absolute = _Rules(rule for rule in rules if rule.absolute and not anywhere)
        self._usual = _Rules(rule for rule in rules if not rule.absolute)
        self._known: dict[tuple[str, bool], str] = {}
        self.roots = tuple(sorted(
            set(self.directories) | {path for path in self.files if self._outside(path)}))

    def why_not(self, path: str, *, link: bool = False) -> str:
        """Return the reason why a path is not replicated, "" if it is.

        link: whether it is a symbolic link.
        """
        known = self._known.get((path, link))
        if known is None:
            if len(self._known) > MOST_REMEMBERED:
                self._known.clear()
            known = self._known[path, link] = self._judge(path, link)
        return known

    def _judge(self, path: str, link: bool) -> str:
        reason = self._absolute.reason(path)
        if reason or path in self._files:
            return reason
        reason = self._usual.reason(path)
        if reason:
            return reason
        if link and path.startswith(LINKS_OF_UNITS) and path.count("/") == 4:
            return LINK_REASON
        return NOT_SELECTED if self._outside(path) else ""

    def named(self, path: str) -> bool:
        """Tell whether a path is replicated because it was named."""
        return path in self._files

    def leads_on(self, directory: str) -> bool:
        """Tell whether something may be replicated below a directory that itself is left out."""
        return directory in self._ancestors

    def to_message(self) -> dict[str, Any]:
        """Return the selection as it goes over the wire."""
        return {"directories": list(self.directories), "files": list(self.files),
                "exclude": list(self.exclude),
                "never": [[rule.pattern, rule.reason] for rule in self.never]}

    @classmethod
    def from_message(cls, message: Any) -> Selection:
        """Return the selection that a message describes. Raises ProtocolError for a wrong one."""
        if not isinstance(message, dict):
            raise ProtocolError("the selection is no object")
        directories, files, exclude = (_texts(message.get(name), name)
                                       for name in ("directories", "files", "exclude"))
        for path in directories + files:
            if check_path(path) in TOO_WIDE:
                raise ProtocolError(f"{path} as a whole is not configuration")
        never = []
        pairs = message.get("never")
        if not isinstance(pairs, list) or len(pairs) > MOST_PATTERNS:
            raise ProtocolError("the product's rules are no list")
        for pair in pairs:
            texts = _texts(pair, "never")
            if len(texts) != 2:
                raise ProtocolError("a rule of the product is no pair")
            never.append(Rule(texts[0], texts[1]))
        return cls(directories, files, exclude, never)

    def _outside(self, path: str) -> bool:
        return path not in self.directories and not path.startswith(self._below)


def build(machine: Machine, *, directories: Sequence[str] = (), files: Sequence[str] = (),
          never: Iterable[Rule] = (), include: Sequence[str] = (), exclude: Sequence[str] = ()
          ) -> Selection:
    """Return the selection of a profile (the first three) and the administrator (the last two).

    What ``include`` names is a directory if one is there or if it ends in "/", else a file. Raises
    errors.WrongParameter for a path that can be right on no node.
    """
    chosen, named = list(directories), list(files)
    absolute = _Rules(rule for rule in NEVER if rule.absolute)
    for text in include:
        path = text.rstrip("/")
        try:
            check_path(path)
        except ProtocolError as error:
            raise errors.WrongParameter(f"include: {error.reason}") from None
        if path in TOO_WIDE:
            raise errors.WrongParameter(f"include: {path} as a whole is not configuration",
                                        remedy="name the directories below it that are")
        reason = absolute.reason(path)
        if reason:
            raise errors.WrongParameter(f"include: {path} is never replicated: {reason}")
        (chosen if text.endswith("/") or _is_directory(machine, path) else named).append(path)
    return Selection(chosen, named, exclude, [*never, *_aliases(machine)])


def _aliases(machine: Machine) -> Iterator[Rule]:
    """Yield rules for where the paths of the built-in list lead to on this node.

    Where /etc/netplan is a link to /etc/site/netplan, the network of this node lies there.
    """
    for rule in NEVER:
        fixed = re.split(r"(?<=/)[^/]*[*?\[]", rule.pattern, maxsplit=1)[0].rstrip("/")
        real = os.path.realpath(machine.root + fixed)
        if fixed and real.startswith(machine.root + "/") and real != machine.root + fixed:
            yield Rule(real[len(machine.root):] + rule.pattern[len(fixed):],
                       f"{rule.reason}; {fixed} leads there")


class _Rules:
    """Rules as one expression, because most paths match none."""

    def __init__(self, rules: Iterable[Rule]) -> None:
        self._rules = [(_expression(rule.pattern), rule.reason) for rule in rules]
        # A pattern holds a path and all below it: what holds a directory holds its content.
        self._any = re.compile("|".join(text for text, _ in self._rules) or r"(?!)", re.DOTALL)
        self._each: list[tuple[re.Pattern[str], str]] = []

    def reason(self, path: str) -> str:
        if not self._any.match(path):
            return ""
        if not self._each:
            self._each = [(re.compile(text, re.DOTALL), reason) for text, reason in self._rules]
        return next(reason for expression, reason in self._each if expression.match(path))


@functools.lru_cache(maxsize=2 * MOST_PATTERNS)
def _expression(pattern: str) -> str:
    """Return the regular expression of a pattern and of all paths below what it matches."""
    text = fnmatch.translate(pattern.rstrip("/"))
    # "(?s:...)\Z" up to Python 3.13, "\z" from 3.14 on.
    return f"(?:{text[:-2]}(?:/.*)?{text[-2:]})"


def _ancestors(paths: Iterable[str]) -> Iterable[str]:
    for path in paths:
        while path:
            path = path.rpartition("/")[0]
            yield path


def _is_directory(machine: Machine, path: str) -> bool:
    try:
        return stat.S_ISDIR(os.lstat(machine.root + path).st_mode)
    except OSError:
        return False


def _texts(value: Any, what: str) -> list[str]:
    if not isinstance(value, list) or len(value) > MOST_PATTERNS \
            or not all(isinstance(text, str) and len(text) <= 4096 for text in value):
        raise ProtocolError(f"the list of {what} in the selection is none")
    return value
