# SPDX-License-Identifier: GPL-2.0-or-later
"""What validate-all finds on this node: everything that would keep a start from succeeding."""

from __future__ import annotations

from mailha import errors
from mailha.agents.bluemind.local import BlueMindExamination

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Iterator

    from mailha.ocf import Call
    from mailha.system.machine import Machine


def findings(call: Call, machine: Machine) -> Iterator[errors.MailhaError]:
    """Return the findings, the gravest first; anybody may ask, so some may be that it is hidden."""
    try:
        yield from BlueMindExamination(call, machine).findings()
    except errors.MailhaError as error:
        yield error
