# SPDX-License-Identifier: GPL-2.0-or-later
"""The start: every path is examined and tried, and only then is the marker left."""

from __future__ import annotations

from mailha import errors
from mailha.agents.cyrus_storage import trial
from mailha.agents.cyrus_storage.marker import Marker
from mailha.products.cyrus import reading, storage
from mailha.products.cyrus.storage import Demand
from mailha.storage.verdict import Survey

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from mailha.ocf.call import Call
    from mailha.products.cyrus.imapd import Imapd
    from mailha.products.cyrus.paths import Target
    from mailha.storage.verdict import Verdict
    from mailha.system.machine import Machine

SHARE_OF_READING = 0.2
"""Of what is left of the budget, for each file of the configuration: it may lie on a slow disk."""


def start(call: Call, machine: Machine) -> None:
    """Leave the marker if every path is fit.

    Raises errors.NotAllowedHere if one is not, or if the configuration is of no use; errors.Failed
    if that cannot be found out or the marker cannot be left.
    """
    marker = Marker(machine, call.resource)
    demand = Demand.of(call.parameters)
    configuration, targets, verdicts = _examine(call, machine, demand)
    if not all(verdict.fit for verdict in verdicts):
        # A table of mounts that changes while it is read lacks some of them (before Linux 5.8), and
        # a refusal lasts until somebody has cleaned it up, or for failure-timeout.
        configuration, targets, verdicts = _examine(call, machine, demand)
    storage.require_presence(machine, targets, verdicts, call.left() * SHARE_OF_READING)
    reason, remedy = storage.unfit(verdicts)
    if reason:
        raise errors.NotAllowedHere(reason, remedy=remedy)
    warnings = trial.run(machine, targets, verdicts, call.left, errors.NotAllowedHere)
    said = demand.warnings(configuration)
    for each in verdicts:
        said += each.warnings
    for warning in dict.fromkeys(said + warnings):
        call.log.warning(warning)
    marker.set(targets)
    call.log.info(f"{len(targets)} paths of {demand.configuration} are fit (policy "
                  f"{demand.policy})")


def findings(call: Call, machine: Machine) -> Iterator[errors.MailhaError]:
    """Yield what a start on this node would be refused for. Nothing is tried and nothing written.

    What the configuration hides from somebody who is not root is no finding.
    """
    import os
    demand = Demand.of(call.parameters)
    try:
        configuration, targets, verdicts = _examine(call, machine, demand)
    except reading.Hidden as error:
        if os.geteuid() == 0:
            yield error
        return
    for warning in demand.warnings(configuration):
        call.log.warning(warning)
    storage.require_presence(machine, targets, verdicts, call.left() * SHARE_OF_READING)
    reason, remedy = storage.unfit(verdicts)
    if reason:
        yield errors.NotAllowedHere(reason, remedy=remedy)


def _examine(call: Call, machine: Machine,
             demand: Demand) -> tuple[Imapd, list[Target], list[Verdict]]:
    """Return the configuration, the paths that it names, and the verdict about each.

    Raises errors.NotAllowedHere for a parameter that does not fit the configuration.
    """
    survey = Survey(machine, timeout=call.left() * SHARE_OF_READING)
    configuration = reading.patiently(machine, survey.table, demand.configuration,
                                      demand.partitions, call.left() * SHARE_OF_READING)
    targets = demand.targets(configuration)
    demand.require_known_paths(targets)
    return configuration, targets, storage.examine(survey, demand, targets)
