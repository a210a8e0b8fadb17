# SPDX-License-Identifier: GPL-2.0-or-later
"""What can go wrong between two nodes, as classes."""

from __future__ import annotations

from typing import Any

from mailha import errors


class ProtocolError(errors.Failed):
    """The other end sent what the protocol does not have."""


class ConnectionLost(errors.Failed):
    """The other end is gone."""


class Silent(errors.Failed):
    """The other end did not answer in time."""


class Refused(errors.Failed):
    """The receiver takes nothing from this sender.

    code: one of the words of mailha.sync.connection.wire.REFUSALS. details: what else it said.
    """

    def __init__(self, reason: str, *, code: str, remedy: str = "", **details: Any) -> None:
        super().__init__(reason, remedy=remedy)
        self.refusal = code
        self.details = details
