# SPDX-License-Identifier: GPL-2.0-or-later
"""Which paths are there at all, of those whose storage has been found fit.

A verdict does not ask: it is about the disk, and what Cyrus has yet to make may lie on a good one.
But where no mount of its own tells the mail's disk from that of the node, or where a blank disk has
been mounted in place of the right one, this is the last thing that shows it.
"""

from __future__ import annotations

import os

from mailha.storage import filesystems, patience

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from mailha.storage.verdict import Verdict
    from mailha.system.machine import Machine

_THERE, _NOT_THERE, _NOT_TOLD = b"+", b"-", b"?"


def look(machine: Machine, verdicts: Sequence[Verdict], timeout: float,
         instead: Mapping[str, str] = {}) -> None:
    """Write into each fit verdict whether its path exists, as far as that can be told.

    Only what is local is looked at, in one child for each disk. timeout: seconds for one. instead:
    for some paths of verdicts, by path, what has to be there in place of them.

    Raises patience.DiskSilent, and system.children.ChildFailed if no child can be made.
    """
    by_disk: dict[str, list[Verdict]] = {}
    for verdict in verdicts:
        kind = filesystems.kind_of(verdict.type)
        if verdict.fit and verdict.real == verdict.mount_point:
            verdict.exists = True
        elif verdict.fit and (kind.local or kind is filesystems.OVERLAY):
            by_disk.setdefault(verdict.mount_point, []).append(verdict)
    for together in by_disk.values():
        paths = [machine.root + instead.get(verdict.path, verdict.real) for verdict in together]

        def ask(paths: Sequence[str] = paths) -> bytes:
            return b"".join(map(_ask, paths))

        said = patience.touch(machine, together[0].real, ask, timeout)
        for number, verdict in enumerate(together):
            answer = said[number:number + 1]
            verdict.exists = None if answer == _NOT_TOLD else answer == _THERE


def _ask(path: str) -> bytes:
    """Return a sign for what is there."""
    try:
        os.lstat(path)
    except (FileNotFoundError, NotADirectoryError):
        return _NOT_THERE
    except OSError:
        return _NOT_TOLD
    return _THERE
