# SPDX-License-Identifier: GPL-2.0-or-later
"""Values that name a place in the network."""

from __future__ import annotations

import _socket    # `socket` costs 6 ms

from mailha.validation.text import Invalid, Type

_LETTERS = frozenset("abcdefghijklmnopqrstuvwxyz0123456789-")


class Address(Type):
    """A numeric IPv4 or IPv6 address, without a zone, a prefix length or brackets."""

    expected = "a numeric IPv4 or IPv6 address"
    absent = ""

    def parse(self, text: str) -> str:
        """Return the address in the one way in which the kernel writes it. Raises Invalid."""
        value = self.plain(text)
        address = numeric(value)
        if not address:
            raise self.refusal(text, "is no address")
        return address


class Host(Type):
    """A host name (RFC 1123) or a numeric address. Nothing is looked up."""

    expected = "a host name or a numeric address"
    absent = ""

    def parse(self, text: str) -> str:
        """Return the name in lower case and without a dot at the end, or the address.

        Raises Invalid.
        """
        value = self.plain(text)
        address = numeric(value)
        if address:
            return address
        name = value.lower()
        if name.endswith("."):
            name = name[:-1]
        labels = name.split(".")
        if len(name) > 253 or not all(_is_label(label) for label in labels):
            raise self.refusal(text, "is no host name")
        # 192.0.2.300 and 10.1 are addresses with a slip, which a resolver would even take for some
        # other address.
        if labels[-1].isdigit():
            raise self.refusal(text, "is no address and no host name")
        return name


def numeric(value: str) -> str:
    """Return a numeric address in the kernel's way of writing it, empty if it is none."""
    for family in (_socket.AF_INET, _socket.AF_INET6):
        try:
            return str(_socket.inet_ntop(family, _socket.inet_pton(family, value)))
        except (OSError, ValueError):
            continue
    return ""


def _is_label(label: str) -> bool:
    """Say whether this may stand between two dots of a host name."""
    return 0 < len(label) < 64 and _LETTERS.issuperset(label) \
        and not label.startswith("-") and not label.endswith("-")


__all__ = ["Address", "Host", "Invalid", "numeric"]
