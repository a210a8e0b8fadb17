# SPDX-License-Identifier: GPL-2.0-or-later
"""The directory of attachment files: attachments/<0..9>/<0..19>/<id>.gz (measured).

The stand-in keeps every whole message in such a file, so that a lost file is a lost message.
"""

from __future__ import annotations

import gzip
import os
from pathlib import Path

_FIRST_LEVEL = 10
_SECOND_LEVEL = 20


class Attachments:
    """The attachment files under one directory; every method raises OSError as it comes."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def prepare(self) -> None:
        """Create what is missing of the 210 directories and try to write.

        Created on whatever disk lies below (measured): where the right one is not mounted, the
        server runs and old mail has no attachments.
        """
        for first in range(_FIRST_LEVEL):
            for second in range(_SECOND_LEVEL):
                path = self._directory / str(first) / str(second)
                if not path.is_dir():
                    path.mkdir(parents=True, exist_ok=True)
        probe = self._directory / ".write-test"
        probe.write_bytes(b"")
        probe.unlink()

    def path(self, number: int) -> Path:
        """Return the file of message ``number``."""
        first, second = number % _FIRST_LEVEL, number // _FIRST_LEVEL % _SECOND_LEVEL
        return self._directory / str(first) / str(second) / f"{number}.gz"

    def store(self, number: int, content: bytes) -> None:
        """Write message ``number``; on return it survives a power failure.

        A file of that name may be there: of a delivery whose transaction was never committed.
        """
        path = self.path(number)
        part = path.with_suffix(".part")
        with open(part, "wb") as file:
            file.write(gzip.compress(content, compresslevel=6))
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, path)
        descriptor = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def fetch(self, number: int) -> bytes:
        """Return the content of message ``number``."""
        return gzip.decompress(self.path(number).read_bytes())
