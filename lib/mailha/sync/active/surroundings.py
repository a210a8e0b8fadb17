# SPDX-License-Identifier: GPL-2.0-or-later
"""What the replica of a peer needs of the sender that it is part of."""

from __future__ import annotations

from typing import Any, Callable

from mailha.sync.active.emptied import Guard
from mailha.sync.files.scanning import Scan, Scanner


class Surroundings:
    """What a replica needs of the sender that it is part of.

    scanner: reads single paths of this side. scan: returns all that is here. hello: returns what we
    say of ourselves. paused: returns why nothing is to be sent now, "" if all may be. guard: tells
    what must not be deleted on a peer. scanned: told of one that has been sent. agreed: told what
    a peer has now. deleting: told what is about to be deleted on one. in_step: told that a peer has
    everything. changed: told that something that is shown has changed.
    """

    def __init__(self, scanner: Scanner, *, scan: Callable[[], Scan],
                 hello: Callable[[], dict[str, Any]],
                 paused: Callable[[], str], guard: Guard,
                 scanned: Callable[[Scan], None],
                 agreed: Callable[[str, dict[str, str | None]], None],
                 deleting: Callable[[list[str]], None],
                 in_step: Callable[[str], None], changed: Callable[[], None]) -> None:
        self.scanner = scanner
        self.scan = scan
        self.hello = hello
        self.paused = paused
        self.guard = guard
        self.scanned = scanned
        self.agreed = agreed
        self.deleting = deleting
        self.in_step = in_step
        self.changed = changed
