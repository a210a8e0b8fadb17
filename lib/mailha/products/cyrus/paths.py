# SPDX-License-Identifier: GPL-2.0-or-later
"""What each path of a Cyrus must stand on: its configuration, a policy and a profile together.

A partition of mail may be on NFS under the policy "split" only if it is proven that no metadata
stay in it. Where they do, the partition is metadata, and has to be on a block device like these:
so a configuration that splits nothing is no error as long as nothing of it is on NFS.

A recurring monitor loads this module.
"""

from __future__ import annotations

from mailha.products.cyrus import imapd
from mailha.storage import filesystems, rules
from mailha.storage.rules import ANY_LASTING, BLOCK, DATA, EPHEMERAL, METADATA, SPLIT, Rule

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from mailha.products.cyrus.imapd import Imapd, Use
    from mailha.profiles.cyrus import StorageProfile

WITH_STATE = Rule("with-state", "it may be in memory, and on NFS where configdirectory is",
                  (*EPHEMERAL.kinds, filesystems.NFS), own_mount=False)
"""For locks and the like that nobody has put elsewhere. Whoever allows NFS for configdirectory
allows it for them; where they are named, they must not be on a server."""

_STRICTNESS = {BLOCK.name: 3, ANY_LASTING.name: 2, EPHEMERAL.name: 1, WITH_STATE.name: 0}

PARAMETER = "paths"
PROFILE = "profile"
"""What names a path that does not come from imapd.conf."""


class Target:
    """One path that is examined. names: the options that name it. rule: the strictest of theirs."""

    __slots__ = ("path", "rule", "names")

    def __init__(self, path: str, rule: Rule, names: tuple[str, ...]) -> None:
        self.path = path
        self.rule = rule
        self.names = names

    @property
    def of_cyrus(self) -> bool:
        """Whether Cyrus's own configuration names it, and not only a parameter or a profile."""
        return not {PARAMETER, PROFILE}.issuperset(self.names)

    def __repr__(self) -> str:
        return f"<Target {self.path} {self.rule.name} {','.join(self.names)}>"


def targets(configuration: Imapd, *, policy: str, profile: StorageProfile,
            further: Iterable[str] = (), require_mount: bool = True) -> list[Target]:
    """Return every path with its rule, each path once.

    further: paths that must be on a block device besides. require_mount: whether what lasts must be
    on something that is mounted for it, not on the disk of the operating system.
    """
    found: dict[str, Target] = {}
    for use in configuration.uses:
        _add(found, use.path, _rule(configuration, use, policy, profile), use.key)
    for path in profile.documented.get(policy, ()):
        # What is in it has been named in full; the directory itself may then hold nothing else.
        if not any(is_at_or_below(each, path) for each in found):
            _add(found, path, BLOCK, PROFILE)
    for path in profile.further:
        _add(found, path, BLOCK, PROFILE)
    for path in further:
        _add(found, path, BLOCK, PARAMETER)
    if not require_mount:
        for target in found.values():
            target.rule = anywhere(target.rule)
    return list(found.values())


def warnings(configuration: Imapd, policy: str) -> list[str]:
    """Return what is strange about the configuration and keeps nothing from starting."""
    said = list(configuration.warnings)
    if policy == SPLIT and not any(use.purpose == METADATA for use in configuration.uses):
        said.append(f"policy=split, but {configuration.path} has no metapartition: all metadata "
                    "stay beside the mail, so everything has to be on block devices")
    return said


def anywhere(rule: Rule) -> Rule:
    """Return the same rule for a path that may lie on the disk of the operating system."""
    return Rule(rule.name, rule.words, rule.kinds, own_mount=False, writable=rule.writable)


def by_name(name: str) -> Rule:
    """Return the rule of that name; the strictest for a name that is unknown."""
    return next((rule for rule in (EPHEMERAL, ANY_LASTING, WITH_STATE)
                 if rule.name == name), BLOCK)


def _add(found: dict[str, Target], path: str, rule: Rule, name: str) -> None:
    """Take up a path, or one more name and perhaps a stricter rule of it."""
    target = found.get(path)
    if target is None:
        found[path] = Target(path, rule, (name,))
        return
    if name not in target.names:
        target.names += (name,)
    if _STRICTNESS[rule.name] > _STRICTNESS[target.rule.name]:
        target.rule = rule


def _rule(configuration: Imapd, use: Use, policy: str, profile: StorageProfile) -> Rule:
    """Return the rule for one thing that Cyrus keeps."""
    if use.purpose == imapd.SCRIPTS:
        return ANY_LASTING
    if use.purpose == imapd.BACKUP:
        return rules.rule_for(policy, DATA)
    if use.purpose == imapd.ARCHIVE:
        free = policy == SPLIT or profile.archive_anywhere
        return _unless_metadata(configuration, use, profile) if free else BLOCK
    if use.purpose == DATA and policy == SPLIT:
        return _unless_metadata(configuration, use, profile)
    if use.left_out and policy == SPLIT and is_at_or_below(use.path, configuration.directory):
        return WITH_STATE
    return rules.rule_for(policy, use.purpose)


def _unless_metadata(configuration: Imapd, use: Use, profile: StorageProfile) -> Rule:
    """Return the rule for messages, or that for metadata if some of these stay beside them."""
    staying = configuration.staying(use, profile.metadata_files)
    if not staying:
        return ANY_LASTING
    why = "metapartition_files does not name them"
    if not configuration.has_metapartition(use):
        why = f"there is no metapartition-{use.partition}"
    return Rule(BLOCK.name, f"{BLOCK.words}, because metadata stay in it ({', '.join(staying)}: "
                f"{why})", BLOCK.kinds)


def is_at_or_below(path: str, directory: str) -> bool:
    """Tell whether a path is a directory or lies in it."""
    return path == directory or path.startswith(directory.rstrip("/") + "/")
