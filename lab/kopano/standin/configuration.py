# SPDX-License-Identifier: GPL-2.0-or-later
"""Read Kopano's configuration files as Kopano reads them.

``key = value``, comments start with ``#`` in the first column, ``!include FILE`` reads another
file, and the last assignment wins (measured), so that a line appended to a shipped file has effect.
A line that is none of these is passed over without a word. A key that the running release does not
know is an error; what the error leads to depends on the service.
"""

from __future__ import annotations

from pathlib import Path
from typing import Dict, Iterator, List, Mapping, Tuple

_INCLUDE_DEPTH = 8


class Settings:
    """The values in force, and what was wrong with the files that they came from.

    defaults: every key that this service has in this release, with its built-in value.
    """

    def __init__(self, defaults: Mapping[str, str]) -> None:
        self._values: Dict[str, str] = dict(defaults)
        self.errors: List[str] = []

    def read(self, path: Path, *, must_exist: bool) -> None:
        """Add the assignments of ``path``; what is wrong is collected in ``errors``.

        must_exist: the file was named on the command line. A missing default file is no error to
        Kopano: it runs with its built-in values.
        """
        if not must_exist and not path.exists():
            return
        for key, value in self._assignments(path, 0):
            if key in self._values:
                self._values[key] = value
            else:
                self.errors.append(f'Unknown option "{key}" found!')

    def _assignments(self, path: Path, depth: int) -> Iterator[Tuple[str, str]]:
        try:
            text = path.read_text(encoding="utf-8", errors="surrogateescape")
        except OSError as error:
            self.errors.append(f"Unable to open config file {path}: {error.strerror}")
            return
        for line in text.splitlines():
            # A "#" after blanks is part of a key to Kopano, one that it does not know.
            if line.startswith("#"):
                continue
            line = line.strip()
            if line.startswith("!include "):
                if depth < _INCLUDE_DEPTH:
                    yield from self._assignments(path.parent / line.split(None, 1)[1], depth + 1)
                else:
                    self.errors.append(f"Too many nested includes in {path}")
                continue
            key, separator, value = line.partition("=")
            # A line without "=" is silently passed over.
            if separator:
                yield key.strip(), value.strip()

    def __contains__(self, key: str) -> bool:
        return key in self._values

    def __getitem__(self, key: str) -> str:
        return self._values[key]

    def words(self, key: str) -> List[str]:
        """Return the value as the words that spaces separate."""
        return self._values[key].split()

    def flag(self, key: str) -> bool:
        """Return the value as yes or no; Kopano takes yes, true and 1."""
        return self._values[key].lower() in ("yes", "true", "1", "on")

    def number(self, key: str) -> int:
        """Return the value as a whole number, and 0 for anything else, as C's atoi does."""
        value = self._values[key]
        return int(value) if value.isdigit() else 0
