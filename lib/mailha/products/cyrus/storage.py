# SPDX-License-Identifier: GPL-2.0-or-later
"""The storage of one Cyrus: what is demanded, and the verdicts about it, for agent and people.

A recurring monitor loads this module.
"""

from __future__ import annotations

from mailha import errors
from mailha.products.cyrus import paths
from mailha.profiles import cyrus as profiles
from mailha.storage import verdict
from mailha.storage.rules import ANY_LASTING, BLOCK, STRICT

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

    from mailha.products.cyrus.imapd import Imapd
    from mailha.products.cyrus.paths import Target
    from mailha.storage.verdict import Survey, Verdict
    from mailha.system.machine import Machine


LASTING = (BLOCK.name, ANY_LASTING.name)
"""The rules of what may not be lost."""


class Demand:
    """What is demanded of the storage of one Cyrus.

    policy: STRICT or SPLIT of mailha.storage.rules. configuration: path of imapd.conf. partitions:
    path of BlueMind's file. profile: a name of mailha.profiles.cyrus. further: paths that must be
    on block devices besides. devices: pairs of a path, "" for all, and what must be mounted there.
    require_mount: see mailha.products.cyrus.paths.targets().
    """

    def __init__(self, *, policy: str = STRICT, configuration: str = profiles.CONFIGURATION,
                 partitions: str = profiles.PARTITIONS, profile: str = profiles.USUAL,
                 further: Sequence[str] = (), devices: Sequence[tuple[str, str]] = (),
                 require_mount: bool = True) -> None:
        self.policy = policy
        self.configuration = configuration
        self.partitions = partitions
        self.profile = profiles.PROFILES[profile]
        self.further = further
        self.devices = devices
        self.require_mount = require_mount

    @classmethod
    def of(cls, parameters: Mapping[str, Any]) -> Demand:
        """Return what the parameters of ocf:mailha:cyrus-storage demand."""
        return cls(policy=parameters["policy"], configuration=parameters["imapd_conf"],
                   partitions=parameters["partitions_file"], profile=parameters["profile"],
                   further=parameters["paths"], devices=parameters["device"],
                   require_mount=parameters["require_mount"])

    def targets(self, configuration: Imapd) -> list[Target]:
        """Return every path with its rule."""
        return paths.targets(configuration, policy=self.policy, profile=self.profile,
                             further=self.further, require_mount=self.require_mount)

    def warnings(self, configuration: Imapd) -> list[str]:
        """Return what is strange about the configuration and keeps nothing from starting."""
        return paths.warnings(configuration, self.policy)

    def require_known_paths(self, targets: Sequence[Target]) -> None:
        """Raise errors.NotAllowedHere if a PATH of `device` is at or above none of the targets.

        It would be ignored, and the disk of another server taken for the right one.
        """
        known = [target.path for target in targets]
        for path, device in self.devices:
            if path and not any(paths.is_at_or_below(each, path) for each in known):
                raise errors.NotAllowedHere(
                    f"device: {path}={device} holds for no path of {self.configuration}",
                    remedy=f"those that it names are {', '.join(sorted(known))}")

    def device(self, target: Target) -> str:
        """Return what must be mounted at a path, "" for anything.

        The longest path of `devices` counts. The device for all is that of Cyrus itself: it says
        nothing of what may be elsewhere, nor of what other services or a person have named.
        """
        found, length = "", -1
        for path, device in self.devices:
            if path:
                fits = paths.is_at_or_below(target.path, path)
            else:
                fits = target.rule.name == BLOCK.name and target.of_cyrus
            if fits and len(path) > length:
                found, length = device, len(path)
        return found


def examine(survey: Survey, demand: Demand, targets: Sequence[Target]) -> list[Verdict]:
    """Return the verdict about each path, in their order.

    Raises errors.Failed if one cannot be found out.
    """
    survey.destinations.expect(target.path for target in targets)
    inside = _inside(targets)
    return [examine_one(survey, demand, target, inside) for target in targets]


def examine_each(survey: Survey, demand: Demand,
                 targets: Sequence[Target]) -> list[Verdict | errors.MailhaError]:
    """Return the verdict about each path, in their order, or why there is none."""
    survey.destinations.expect(target.path for target in targets)
    inside = _inside(targets)
    found: list[Verdict | errors.MailhaError] = []
    for target in targets:
        try:
            found.append(examine_one(survey, demand, target, inside))
        except errors.MailhaError as error:
            found.append(error)
    return found


def examine_one(survey: Survey, demand: Demand, target: Target,
                inside: Mapping[str, Sequence[str]]) -> Verdict:
    """Return the verdict about one path. inside: which of the others are below each of them."""
    return verdict.examine(survey.machine, target.path, rule=target.rule,
                           device=demand.device(target), apart=inside.get(target.path, ()),
                           survey=survey)


def _inside(targets: Sequence[Target]) -> dict[str, list[str]]:
    """Return for each path the others that are below it.

    Upwards from each: BlueMind has two for each of thousands of domains, and to compare all of them
    with each other would take longer than the time that a monitor has.
    """
    found: dict[str, list[str]] = {target.path: [] for target in targets}
    for target in targets:
        above = target.path
        while above not in ("", "/"):
            above = above.rpartition("/")[0] or "/"
            if above in found:
                found[above].append(target.path)
    return found


def require_presence(machine: Machine, targets: Sequence[Target], verdicts: Sequence[Verdict],
                     timeout: float) -> None:
    """See whether the fit paths exist, and make a verdict unfit where that is all that counts.

    On the disk of the operating system only what is there can be the mail's: a path that is not is
    the same as a directory on which nothing is mounted. On a mount of its own Cyrus may have to
    make it yet, or it is the wrong disk: that is a warning.

    timeout: seconds for each disk. Raises patience.DiskSilent, and system.children.ChildFailed.
    """
    from mailha.storage import presence
    # Cyrus makes a database when it needs one.
    instead = {target.path: found.real.rpartition("/")[0] or "/"
               for target, found in zip(targets, verdicts)
               if all(name.endswith("_db_path") for name in target.names)}
    presence.look(machine, verdicts, timeout, instead)
    for target, found in zip(targets, verdicts):
        if found.exists is not False or target.rule.name not in LASTING:
            continue
        if target.rule.own_mount:
            found.warnings.append(
                f"'{found.path}' does not exist on {found.source}, mounted at "
                f"'{found.mount_point}': it would begin empty; is that the right disk?")
            continue
        found.fit = False
        found.reason = (f"'{found.path}' does not exist on {found.type} '{found.source}', mounted "
                        f"at '{found.mount_point}': without require_mount nothing else tells "
                        "whether the mail is there; it must exist")
        found.remedy = "mount the mail's disk, or, for a new server, make the directory"


def unfit(verdicts: Sequence[Verdict]) -> tuple[str, str]:
    """Return reason and remedy of the first path that is unfit; "" if all are fit.

    The others are named only: crm_mon shows no more than a hundred characters.
    """
    wrong = [each for each in verdicts if not each.fit]
    if not wrong:
        return "", ""
    reason = wrong[0].reason
    others = [each.path for each in wrong[1:]]
    if others:
        reason += f"; unfit as well: {', '.join(others[:3])}"
        reason += f" and {len(others) - 3} more" if len(others) > 3 else ""
    return reason, wrong[0].remedy
