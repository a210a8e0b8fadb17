# SPDX-License-Identifier: GPL-2.0-or-later
"""Which of two versions of a software is the older one, for the sake of the data.

This is not quite the order of a package manager. An epoch ("1:10.0.6") exists to make a lower
number count as newer, which is exactly the downgrade that must be noticed: it is read and ignored.
The packager's revision ("-0+deb12u1") rebuilds the same software, so it decides nothing either.
"""

from __future__ import annotations

import re

from mailha import errors


class VersionUnreadable(errors.Failed):
    """A text that should be a version is none."""


class Version:
    """A version such as "8.7.25.0-0+123.1" or "1:10.0.6+maria~deb12".

    Versions compare by the numbers of the software itself, number by number (4.10 is newer than
    4.9); letters compare as Debian does, so that "11.0~beta" is older than "11.0". Versions that
    differ only in epoch or packaging are equal; the text still tells them apart.

    Raises VersionUnreadable if there is not even one number at the beginning.
    """

    def __init__(self, text: str) -> None:
        self.text = text.strip()
        match = re.fullmatch(r"(?:([0-9]+):)?([0-9][A-Za-z0-9.+~^_]*)(-[A-Za-z0-9.+~^_-]*)?",
                             self.text, re.ASCII)
        if match is None or len(self.text) > 256:
            raise VersionUnreadable(f"'{self.text[:80]}' is no version",
                                    remedy="expected is something like 8.7.25.0-0+123.1")
        self.software = match.group(2)
        self._key = _key(self.software)

    @property
    def release(self) -> tuple[int, int]:
        """The first two numbers: what an administrator calls a new release is a change in them."""
        numbers = [int(number) for number in re.findall(r"[0-9]+", self.software)[:2]]
        return numbers[0], numbers[1] if len(numbers) > 1 else 0

    def older(self, other: Version) -> bool:
        """Say whether this software is older than the other one."""
        return self._key < other._key

    def newer_release(self, other: Version) -> bool:
        """Say whether this software is of a newer release than the other one."""
        return self.release > other.release

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Version) and self._key == other._key

    def __lt__(self, other: Version) -> bool:
        return self._key < other._key

    def __hash__(self) -> int:
        return hash(self._key)

    def __str__(self) -> str:
        return self.text

    def __repr__(self) -> str:
        return f"Version({self.text!r})"


def _key(software: str) -> tuple[tuple[tuple[int, ...], int], ...]:
    """Return what makes versions comparable: pairs of letters and number, as dpkg compares them.

    "~" sorts before the end, the end before letters, and letters before everything else.
    """
    pairs = []
    for letters, digits in re.findall(r"([^0-9]*)([0-9]*)", software):
        if not letters and not digits:
            break
        weights = [-1 if letter == "~" else ord(letter) if letter.isalpha() else ord(letter) + 256
                   for letter in letters]
        pairs.append((tuple([*weights, 0]), int(digits or 0)))
    # As many ends follow as the other one may still have parts: ".0" is newer than nothing.
    return tuple([*pairs, ((0,), 0)])
