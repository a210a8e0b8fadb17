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
    differ only in epoch, packaging or a ".0" at the end are equal; the text still tells them apart.

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


_DOT = (ord(".") + 256, 0)


def _drop_zeros(pairs: list[tuple[tuple[int, ...], int]]) -> None:
    """Drop ".0" from the end: what a package calls 8.7.25.0 calls itself 8.7.25."""
    while len(pairs) > 1 and pairs[-1] == (_DOT, 0):
        pairs.pop()


def _key(software: str) -> tuple[tuple[tuple[int, ...], int], ...]:
    """Return what makes versions comparable: pairs of letters and number, as dpkg compares them.

    "~" sorts before the end, the end before letters, and letters before everything else.
    """
    pairs: list[tuple[tuple[int, ...], int]] = []
    for letters, digits in re.findall(r"([^0-9]*)([0-9]*)", software):
        if not letters and not digits:
            break
        weights = [-1 if letter == "~" else ord(letter) if letter.isalpha() else ord(letter) + 256
                   for letter in letters]
        pair = (tuple([*weights, 0]), int(digits or 0))
        if pair[0] != _DOT:
            _drop_zeros(pairs)
        pairs.append(pair)
    _drop_zeros(pairs)
    # Where one version ends, the other one may go on: with "~" it is older, else newer.
    return tuple([*pairs, ((0,), 0)])
