# SPDX-License-Identifier: GPL-2.0-or-later
"""Time, and which boot this is."""

from __future__ import annotations

import time

from mailha import errors


class Clock:
    """The machine's clocks. Deadlines use monotonic(): the wall clock jumps."""

    def __init__(self, root: str = "") -> None:
        self._root = root

    def monotonic(self) -> float:
        """Return seconds that never run backwards; only differences mean anything."""
        return time.monotonic()

    def wall(self) -> float:
        """Return seconds since 1970. For records that people read, never for a deadline."""
        return time.time()

    def sleep(self, seconds: float) -> None:
        """Wait; nothing happens when seconds is not positive."""
        if seconds > 0:
            time.sleep(seconds)

    def boot_id(self) -> str:
        """Return the kernel's name of this boot: another one after every start of the machine.

        Raises errors.Failed where it cannot be read, because state "of this boot" would then be
        believed forever.
        """
        path = self._root + "/proc/sys/kernel/random/boot_id"
        try:
            with open(path, encoding="ascii") as file:
                text = file.read(64).strip()
        except (OSError, UnicodeDecodeError) as error:
            raise errors.Failed(f"cannot tell which boot this is: {path}: {error}",
                                remedy="mount /proc") from None
        if not text:
            raise errors.Failed(f"cannot tell which boot this is: {path} is empty",
                                remedy="mount /proc")
        return text
