# SPDX-License-Identifier: GPL-2.0-or-later
"""What a node's controller (BMC) is to this room: somebody who reads and switches its power.

For type checkers only; nothing imports this at run time.
"""

from __future__ import annotations

from typing import Protocol


class Controller(Protocol):
    """One session with the controller of one node.

    A session that has ended or has been renewed in between is a SessionLost: two readings of which
    the second came after a new login are not consecutive, as the controller may have been reset in
    between and may not know the power yet.
    """

    def is_on(self) -> bool:
        """Return whether the power is on, read from the device now. Raises FencingFailed."""

    def order(self, on: bool) -> None:
        """Order the power on or off, once; return when the controller has taken the order.

        Never a cycle, a reset or a request to the operating system. Raises FencingFailed.
        """

    def close(self) -> None:
        """End the session at the device. Raises nothing and takes no more than a second."""
