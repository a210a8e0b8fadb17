# SPDX-License-Identifier: GPL-2.0-or-later
"""What the receiver lets a sender do, whatever the sender believes.

A deletion is the one change that a mistake of the sender multiplies: an /etc that is not mounted
looks like one from which everything was deleted. So only what was replicated is ever deleted, not
too much at a time, and never all that a directory held, unless an administrator says so.
"""

from __future__ import annotations

from typing import Collection

from mailha.sync.files.selection import Selection
from mailha.sync.manifest import RECENT, Manifest
from mailha.sync.state import State

AGREED, CHANGED, UNSENT, FOREIGN = "agreed", "changed", "unsent", "foreign"
UNDELETED, MISSING = "undeleted", "missing"

ALWAYS_DELETED = 10
"""So many paths may be deleted within RECENT seconds in any case."""
MOST_DELETED = 100
"""And never more than so many, nor more than this share of all that is replicated."""
LARGEST_SHARE = 0.2
FORCE = "'mailha sync push --force'"

EMPTIED = "emptied"
"""The code of the problem that a directory, from which much is to be deleted, is not whole."""


class Problem:
    """Why a change was not made. code: for programs; see mailha.sync.passive.receiving."""

    def __init__(self, path: str, code: str, reason: str) -> None:
        self.path = path
        self.code = code
        self.reason = reason

    def to_message(self) -> dict[str, str]:
        """Return it as it goes over the wire."""
        return {"path": self.path, "code": self.code, "reason": self.reason}


def standing(manifest: Manifest, state: State, path: str, fingerprint: str) -> str:
    """Return how what is at a path of this node stands to what was agreed on.

    AGREED: it is what it should be. CHANGED: it was changed here. UNSENT: this node was active and
    had not sent it. FOREIGN: it was never replicated.
    """
    known = manifest.fingerprints(path)
    if fingerprint in known:
        return AGREED
    if known:
        return UNSENT if state.was_sender else CHANGED
    return UNSENT if state.was_sender and state.complete else FOREIGN


def standing_of_nothing(manifest: Manifest, state: State, path: str) -> str:
    """Return how it stands to what was agreed on that nothing is at a path of this node.

    UNDELETED: this node was active, had deleted it and had not sent that. MISSING: all else.
    """
    return UNDELETED if state.was_sender and path in manifest else MISSING


def too_many(manifest: Manifest, deleted: Collection[str]) -> str:
    """Return why so many paths may not be deleted, "" if they may.

    deleted: those of them that were replicated.
    """
    count = len(deleted) + manifest.recently_deleted()
    if count > ALWAYS_DELETED and (count > MOST_DELETED or count > LARGEST_SHARE * len(manifest)):
        return (f"{count} of {len(manifest)} paths would be deleted within {RECENT:g} s; if that "
                f"is meant: {FORCE}")
    return ""


def emptied(manifest: Manifest, selection: Selection, deleted: Collection[str],
            put: Collection[str]) -> dict[str, str]:
    """Return the directories that would lose all that they hold, with the reason, by root.

    deleted: paths that are to be deleted and were replicated. put: those that come at the same
    time; a directory into which something comes is not emptied, its only file is being renamed. One
    that held a single file is guarded as well: such is a small disk that is not mounted.
    """
    found = {}
    gone = frozenset(deleted)
    for root in selection.directories:
        inside = root + "/"
        if not any(path.startswith(inside) for path in gone) \
                or any(path.startswith(inside) for path in put):
            continue
        if gone.issuperset(path for path in manifest.paths() if path.startswith(inside)):
            found[root] = (f"all that was replicated in {root} would be deleted; if that "
                           f"is meant: {FORCE}")
    return found
