# SPDX-License-Identifier: GPL-2.0-or-later
"""Values that are numbers: integers, ports, lengths of time."""

from __future__ import annotations

from mailha.validation.text import Invalid, Type

_UNITS = {"": 1.0, "ms": 0.001, "msec": 0.001, "s": 1.0, "sec": 1.0, "m": 60.0, "min": 60.0,
          "h": 3600.0, "hr": 3600.0}
"""What Pacemaker takes (pcmk_parse_interval_spec); in seconds, the unit when there is none."""

_MOST_DIGITS = 18


class Integer(Type):
    """A whole number, which is never negative. minimum and maximum are allowed themselves."""

    content_type = "integer"

    def __init__(self, minimum: int = 0, maximum: int = 2**31 - 1) -> None:
        self._minimum = minimum
        self._maximum = maximum
        self.expected = f"a whole number from {minimum} to {maximum}"

    def parse(self, text: str) -> int:
        """Return the number. Raises Invalid."""
        value = self.plain(text)
        if not (value.isascii() and value.isdigit()):
            raise self.refusal(text, "is no whole number")
        # The length is looked at first: Python refuses to convert thousands of digits.
        if len(value) > _MOST_DIGITS or not self._minimum <= int(value) <= self._maximum:
            raise self.refusal(text, "is out of range")
        return int(value)


class Port(Integer):
    """A TCP port."""

    def __init__(self) -> None:
        super().__init__(1, 65535)
        self.expected = "a port from 1 to 65535"


class Seconds(Type):
    """A length of time: 20, 20s, 500ms, 2min, 1h.

    minimum, maximum: seconds, allowed themselves.
    """

    def __init__(self, minimum: float = 0.0, maximum: float = 7 * 86400.0) -> None:
        self._minimum = minimum
        self._maximum = maximum
        self.expected = (f"a time from {minimum:g}s to {maximum:.10g}s such as 20, 20s, 500ms or "
                         "2min")

    def parse(self, text: str) -> float:
        """Return seconds. Raises Invalid."""
        value = self.plain(text, blanks=True)
        number = value.rstrip("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ")
        factor = _UNITS.get(value[len(number):].lower())
        number = number.rstrip(" ")
        if factor is None:
            raise self.refusal(text, "has an unknown unit")
        if not (number.isascii() and number.isdigit()):
            raise self.refusal(text, "is no time")
        if len(number) > _MOST_DIGITS \
                or not self._minimum <= int(number) * factor <= self._maximum:
            raise self.refusal(text, "is out of range")
        return int(number) * factor


__all__ = ["Integer", "Invalid", "Port", "Seconds"]
