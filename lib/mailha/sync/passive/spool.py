# SPDX-License-Identifier: GPL-2.0-or-later
"""Contents of files that have arrived and are not to be written yet.

Nothing of a batch is written before all of it is there and its sender may still send. Small ones
wait in memory; what is more goes to files without a name, which vanish with the process.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from typing import Iterable

from mailha.sync.trouble import ProtocolError
from mailha.system.files import failure

IN_MEMORY = 32 << 20
"""Bytes of a batch that wait in memory."""


class Content:
    """The content of one file: in memory, or in a file that has no name."""

    def __init__(self, pieces: list[bytes], descriptor: int = -1) -> None:
        self._pieces = pieces
        self._descriptor = descriptor

    def write_to(self, descriptor: int) -> None:
        """Write it to an open file. Raises OSError."""
        for piece in self._pieces:
            _write(descriptor, piece)
        if self._descriptor >= 0:
            place = 0
            while True:
                piece = os.pread(self._descriptor, 1 << 20, place)
                if not piece:
                    return
                _write(descriptor, piece)
                place += len(piece)

    def close(self) -> None:
        """Let go of it."""
        self._pieces = []
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


class Spool:
    """The contents of a batch. directory: of this node, where large ones wait."""

    def __init__(self, directory: str) -> None:
        self._directory = directory
        self._room = IN_MEMORY
        self._contents: list[Content] = []

    def take(self, pieces: Iterable[bytes], size: int, digest: str, path: str) -> Content:
        """Return the content that the pieces make up.

        Raises ProtocolError if it is not what was announced, errors.Failed if there is no room,
        and whatever the pieces raise.
        """
        content = Content([]) if size <= self._room else Content([], self._file())
        self._contents.append(content)
        whole = hashlib.sha256()
        for piece in pieces:
            whole.update(piece)
            if content._descriptor < 0:
                content._pieces.append(piece)
                self._room -= len(piece)
                continue
            try:
                _write(content._descriptor, piece)
            except OSError as error:
                raise failure("keep a large file in", self._directory, error) from None
        if whole.hexdigest() != digest:
            raise ProtocolError(f"the content of {path} is not the one that was announced")
        return content

    def close(self) -> None:
        """Let go of everything."""
        for content in self._contents:
            content.close()
        self._contents = []
        self._room = IN_MEMORY

    def _file(self) -> int:
        try:
            with tempfile.TemporaryFile(dir=self._directory) as file:
                return os.dup(file.fileno())
        except OSError as error:
            raise failure("keep a large file in", self._directory, error) from None


def _write(descriptor: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view):]
