# SPDX-License-Identifier: GPL-2.0-or-later
"""What a file holds of this node's own: its full name, or one of its fixed addresses.

Lists of paths cannot know in which file an administrator has written the name of a node. A file
that holds it is withheld, and said to be. Only as a whole word: a node called "mail" must not hold
back each file that speaks of mail, so the short name does not count; and 192.0.2.1 is not in
192.0.2.10. The floating address is on both nodes in turn and belongs into their configuration.
"""

from __future__ import annotations

import os
import re
from typing import Collection, Iterable

from mailha.system.addresses import canonical
from mailha.system.machine import Machine

# Part of a name on its left or right side; a dot is only if the name goes on behind it, since one
# at the end ("mail.example.com.") makes it absolute.
_LEFT, _RIGHT = rb"(?<![A-Za-z0-9_.-])", rb"(?![A-Za-z0-9_-]|\.[A-Za-z0-9_])"
_SIX = re.compile(rb"(?<![A-Za-z0-9:.])[0-9A-Fa-f]{0,4}:[0-9A-Fa-f:]*:[0-9A-Fa-f.:]*")


class Identity:
    """The full name of a node and its fixed addresses; either may be missing."""

    def __init__(self, name: str = "", addresses: Iterable[str] = ()) -> None:
        self.name = name.strip(".").lower()
        self.addresses = frozenset(canonical(address) for address in addresses) - {""}
        words = [address.encode("ascii") for address in sorted(self.addresses)
                 if ":" not in address]
        if "." in self.name:
            words.append(self.name.encode("utf-8", "surrogateescape"))
        self._words = [(word, re.compile(_LEFT + re.escape(word) + _RIGHT)) for word in words]
        self._six = frozenset(address for address in self.addresses if ":" in address)

    def found_in(self, content: bytes) -> str:
        """Return the word of a content that is this node's own, "" if there is none."""
        lowered = content.lower()
        for word, whole in self._words:
            # The plain search is a hundred times faster, and nearly always says no.
            if word in lowered and whole.search(lowered):
                return word.decode("utf-8", "surrogateescape")
        if self._six and b":" in content:
            for found in _SIX.finditer(content):
                token = found.group()
                # One address has many ways to be written, so each is compared as the kernel has it.
                text = token.rstrip(b":.").decode("ascii")
                for candidate in (text, token.decode("ascii"), text.rpartition(":")[0]):
                    if canonical(candidate) in self._six:
                        return candidate
        return ""


def gather(machine: Machine, floating: Collection[str]) -> Identity:
    """Return this node's identity.

    floating: the addresses that the cluster moves; the rest of those that are here, but for
    loopback and link-local ones, are fixed. Names are not looked up in DNS, which may be dead.
    Raises errors.Failed if the addresses cannot be listed.
    """
    moving = {canonical(address) for address in floating}
    fixed = {address for address in machine.sockets.local_addresses()
             if address not in moving and not address.startswith(("127.", "169.254.", "fe80:"))
             and address not in ("::1", "0.0.0.0", "::")}
    return Identity(full_name(machine), fixed)


def full_name(machine: Machine) -> str:
    """Return the full name of this node, "" if it has none without asking a server.

    In this order: the host name if it has a domain, and the names beside it in /etc/hosts.
    """
    name = os.uname().nodename.lower()
    if not machine.root:
        own = name
    else:
        own = _text(machine, "/etc/hostname").strip().lower() or name
    if "." in own:
        return own
    for line in _text(machine, "/etc/hosts").lower().splitlines():
        names = line.partition("#")[0].split()[1:]
        if own in names:
            for other in names:
                if other.startswith(own + "."):
                    return other
    return ""


def _text(machine: Machine, path: str) -> str:
    try:
        return machine.files.read(path).decode("utf-8", "surrogateescape")
    except OSError:
        return ""
