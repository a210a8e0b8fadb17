# SPDX-License-Identifier: GPL-2.0-or-later
"""What a sender knows of the paths that its receiver has, by path and by directory."""

from __future__ import annotations

from typing import Mapping


class PeerSide:
    """The paths of the other side that may be deleted there, with their fingerprints."""

    def __init__(self, fingerprints: Mapping[str, str] | None = None) -> None:
        self._fingerprints: dict[str, str] = {}
        self._names: dict[str, set[str]] = {}
        for path, fingerprint in (fingerprints or {}).items():
            self.put(path, fingerprint)

    def __contains__(self, path: str) -> bool:
        """Tell whether the other side has the path."""
        return path in self._fingerprints

    def has_file(self, path: str) -> bool:
        """Tell whether the other side has something at a path, and nothing below it."""
        return path in self._fingerprints and not self._names.get(path)

    def put(self, path: str, fingerprint: str) -> None:
        """Note that the other side has a path."""
        self._fingerprints[path] = fingerprint
        # Up to the first directory that is known already; it may itself not be on the other side.
        while path:
            above = path.rpartition("/")[0]
            names = self._names.setdefault(above, set())
            if path in names:
                break
            names.add(path)
            path = above

    def drop(self, path: str) -> None:
        """Note that the other side does not have a path any more."""
        self._fingerprints.pop(path, None)
        while path and path not in self._fingerprints and not self._names.get(path):
            self._names.pop(path, None)
            above = path.rpartition("/")[0]
            self._names.get(above, set()).discard(path)
            path = above

    def names_in(self, directory: str) -> list[str]:
        """Return the paths right in a directory that the other side has, or has something below."""
        return sorted(self._names.get(directory, ()))

    def below(self, path: str) -> list[str]:
        """Return what the other side has below a path, the deepest first."""
        found = []
        waiting = list(self._names.get(path, ()))
        while waiting:
            each = waiting.pop()
            if each in self._fingerprints:
                found.append(each)
            waiting += self._names.get(each, ())
        return sorted(found, reverse=True)
