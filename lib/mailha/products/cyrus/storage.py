# SPDX-License-Identifier: GPL-2.0-or-later
"""The storage of one Cyrus: what is demanded, and the verdicts about it, for agent and people.

A recurring monitor loads this module.
"""

from __future__ import annotations

from mailha.products.cyrus import paths
from mailha.profiles import cyrus as profiles
from mailha.storage import verdict
from mailha.storage.rules import BLOCK, STRICT

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

    from mailha.products.cyrus.imapd import Imapd
    from mailha.products.cyrus.paths import Target
    from mailha.storage.verdict import Survey, Verdict


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

    def device(self, target: Target) -> str:
        """Return what must be mounted at a path, "" for anything.

        The longest path of `devices` counts. The device for all is that of Cyrus itself: it says
        nothing of what may be elsewhere, nor of what other services or a person have named.
        """
        found, length = "", -1
        for path, device in self.devices:
            if path:
                fits = target.path == path or target.path.startswith(path.rstrip("/") + "/")
            else:
                fits = target.rule.name == BLOCK.name and target.of_cyrus
            if fits and len(path) > length:
                found, length = device, len(path)
        return found


def examine(survey: Survey, demand: Demand, targets: Sequence[Target]) -> list[Verdict]:
    """Return the verdict about each path, in their order.

    Raises errors.Failed if one cannot be found out.
    """
    found = []
    for target in targets:
        inside = target.path.rstrip("/") + "/"
        found.append(verdict.examine(
            survey.machine, target.path, rule=target.rule, device=demand.device(target),
            apart=[each.path for each in targets if each.path.startswith(inside)], survey=survey))
    return found


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
