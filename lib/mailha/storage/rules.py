# SPDX-License-Identifier: GPL-2.0-or-later
"""What a path must stand on, by what it is for.

BlueMind's documents disagree. The English ones for 3.5 and 4 want all of /var/spool/cyrus and of
/var/lib/cyrus on block devices: that is the policy "strict". The French ones want it of
/var/spool/cyrus/meta alone and allow NFS for the rest: "split". Cyrus's own documents advise
against NFS for any of it; where a rule allows it, the verdict has a warning.

A recurring monitor loads this module.
"""

from __future__ import annotations

from mailha.storage import filesystems

TYPE_CHECKING = False
if TYPE_CHECKING:
    from mailha.storage.filesystems import Kind

_LASTING = (filesystems.DISK, filesystems.CLUSTER, filesystems.POOL)


class Rule:
    """What is demanded of a path.

    name: for tables and JSON. words: the rule as a sentence about "it". kinds: the file systems
    that are fit. own_mount: whether it must be on something that is mounted for it, and not on the
    disk of the operating system. writable: whether a read-only file system is unfit.
    """

    __slots__ = ("name", "words", "kinds", "own_mount", "writable")

    def __init__(self, name: str, words: str, kinds: tuple[Kind, ...], *,
                 own_mount: bool = True, writable: bool = True) -> None:
        self.name = name
        self.words = words
        self.kinds = kinds
        self.own_mount = own_mount
        self.writable = writable

    def __repr__(self) -> str:
        return f"<Rule {self.name}>"


BLOCK = Rule("block", "it must be on a block device", _LASTING)

ANY_LASTING = Rule("lasting", "it must be on a block device or on NFS",
                   (*_LASTING, filesystems.NFS))

EPHEMERAL = Rule("ephemeral", "it may be in memory, but must be on no network file system",
                 (*_LASTING, filesystems.MEMORY, filesystems.OVERLAY), own_mount=False)

# What a path is for.
METADATA = "metadata"
"""Mailboxes' indexes, caches and headers: mapped into memory and locked by many processes."""
DATA = "data"
"""The messages themselves, the archive's included."""
STATE = "state"
"""Cyrus's databases: the list of mailboxes, subscriptions, quotas (`configdirectory`)."""
REBUILDABLE = "rebuildable"
"""What Cyrus makes again when it is missing, such as search indexes."""
TRANSIENT = "transient"
"""What means nothing after a restart: locks, proc files, statistics, sockets."""

STRICT = "strict"
SPLIT = "split"

RULES = {
    STRICT: {METADATA: BLOCK, DATA: BLOCK, STATE: BLOCK, REBUILDABLE: EPHEMERAL,
             TRANSIENT: EPHEMERAL},
    SPLIT: {METADATA: BLOCK, DATA: ANY_LASTING, STATE: ANY_LASTING, REBUILDABLE: EPHEMERAL,
            TRANSIENT: EPHEMERAL},
}
"""The rule for each purpose, by policy."""


def rule_for(policy: str, purpose: str) -> Rule:
    """Return the rule of a policy (STRICT, SPLIT) for a purpose (METADATA...).

    Raises KeyError for another word: both come from our own declarations and data.
    """
    return RULES[policy][purpose]
