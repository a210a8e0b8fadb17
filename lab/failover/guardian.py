# SPDX-License-Identifier: GPL-2.0-or-later
"""Takes the laboratory down when nobody else does.

The demonstration takes its laboratory down itself, however it ends, except when it is killed with
signal 9 or its end is interrupted once more. The guardian is a process that waits for its end:
whatever the demonstration dies of, the pipe between them closes.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from twonode.lab import Lab

KEEP = b"keep"


class Guardian:
    """The demonstration's end of the pipe."""

    def __init__(self, name: str) -> None:
        """Set a guardian over the laboratory of this name."""
        # In a session of its own, so that Ctrl-C and a closed terminal do not reach it.
        self._process = subprocess.Popen(
            [sys.executable, "-m", "failover.guardian", name], stdin=subprocess.PIPE,
            cwd=Path(__file__).resolve().parents[1], start_new_session=True)

    def dismiss(self, *, keep: bool) -> None:
        """End the guardian's watch; return when it has made sure that the laboratory is gone.

        keep: leave the laboratory as it is instead.
        """
        assert self._process.stdin is not None
        if keep:
            self._process.stdin.write(KEEP)
        self._process.stdin.close()
        self._process.wait()


def main() -> None:
    """Wait for the end of whoever started us, then take down the laboratory that argv names."""
    if sys.stdin.buffer.read() != KEEP:
        Lab(sys.argv[1]).down()


if __name__ == "__main__":
    main()
