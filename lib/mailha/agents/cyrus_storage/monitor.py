# SPDX-License-Identifier: GPL-2.0-or-later
"""The monitor: is it still fit what start found fit, for us and for the running Cyrus?

The marker first: without it nothing else is looked at. Then the verdict of start again, by the
configuration of this moment; one that cannot be read or understood is no fault of the storage, so
what the marker remembers of it counts then. Then the same paths in the mount namespace of Cyrus's
master, if that has one of its own. All of it without a child process. At depth 10, the trial too.

A recurring monitor loads this module.
"""

from __future__ import annotations

from mailha import errors
from mailha.agents.cyrus_storage.marker import Marker
from mailha.products.cyrus import master, reading, storage
from mailha.products.cyrus.paths import Target
from mailha.products.cyrus.storage import Demand
from mailha.products.cyrus.syntax import ConfigurationUnusable
from mailha.storage.verdict import Survey

TYPE_CHECKING = False
if TYPE_CHECKING:
    from mailha.ocf.call import Call
    from mailha.storage.verdict import Verdict
    from mailha.system.machine import Machine

RELOAD = "reload-agent"

TRIAL = 10
"""The check level from which on a probe file is written."""

SECOND_LOOK = 1.0
"""Seconds until a path that has been added and is unfit is believed."""

SHARE_OF_READING = 0.2
"""Of what is left of the budget, for each look that may have to wait for a slow disk."""


def monitor(call: Call, machine: Machine) -> None:
    """Return if start has left its marker in this boot and every path is still fit.

    Raises errors.NotRunning without the marker, errors.Failed for a path that has become unfit.
    """
    marker = Marker(machine, call.resource)
    if not marker.is_set():
        raise errors.NotRunning("it has not been started since this node booted, or was stopped")
    demand = Demand.of(call.parameters) if call.has_parameters else Demand()
    survey, targets, verdicts = _examine(call, machine, demand, marker)
    if call.action == RELOAD:
        try:
            demand.require_known_paths(targets)
        except errors.NotAllowedHere as error:
            call.log.warning(f"the next start will be refused: {error}")
    if not all(verdict.fit for verdict in verdicts):
        # A table of mounts that changes while it is read lacks some of them (before Linux 5.8).
        if _is_new(verdicts, marker):
            # And BlueMind rewrites its list of partitions while the mail runs: half a path leads
            # anywhere.
            machine.clock.sleep(min(SECOND_LOOK, call.left() / 2))
        survey, targets, verdicts = _examine(call, machine, demand, marker)
    reason, remedy = storage.unfit(verdicts)
    if reason:
        raise errors.Failed(reason, remedy=remedy)
    # Links are not followed in the mounts of somebody else, so it is asked where they lead for us.
    # Directories of other services may be hidden from Cyrus by its unit, as they should.
    real = [Target(each.real, target.rule, target.names)
            for each, target in zip(verdicts, targets) if target.of_cyrus]
    _look_with_cyrus(survey, demand, real, marker)
    if call.check_level >= TRIAL:
        from mailha.agents.cyrus_storage import trial
        for warning in trial.run(machine, targets, verdicts, call.left, errors.Failed):
            call.log.warning(warning)


def _examine(call: Call, machine: Machine, demand: Demand,
             marker: Marker) -> tuple[Survey, list[Target], list[Verdict]]:
    """Return what was looked at, the paths of this moment, and the verdict about each."""
    survey = Survey(machine, timeout=call.left() * SHARE_OF_READING)
    targets = _targets(call, survey, demand, marker)
    return survey, targets, storage.examine(survey, demand, targets)


def _is_new(verdicts: list[Verdict], marker: Marker) -> bool:
    """Tell whether something is unfit, and nothing of it was there at the start."""
    unfit = {verdict.path for verdict in verdicts if not verdict.fit}
    return bool(unfit) and unfit.isdisjoint(target.path for target in marker.targets())


def _targets(call: Call, survey: Survey, demand: Demand, marker: Marker) -> list[Target]:
    """Return the paths by the configuration of this moment, else those that start examined."""
    machine = survey.machine
    try:
        if call.check_level >= TRIAL:
            configuration = reading.patiently(machine, survey.table, demand.configuration,
                                              demand.partitions, call.left() * SHARE_OF_READING)
        else:
            configuration = reading.at_once(machine, survey.table, demand.configuration,
                                            demand.partitions)
        return demand.targets(configuration)
    except reading.OutOfReach:
        # A configuration on the mail's own disk, say; depth 10 reads it.
        return marker.targets()
    except ConfigurationUnusable as error:
        call.log.warning(f"{error}; going on with the paths that were examined at the start")
        return marker.targets()


def _look_with_cyrus(survey: Survey, demand: Demand, targets: list[Target],
                     marker: Marker) -> None:
    """Examine the paths as the running Cyrus sees them. Raises errors.Failed."""
    machine = survey.machine
    process = master.find(machine, demand.configuration, marker.master,
                          lambda path: reading.real(machine, survey.own_table, path))
    if process is None or not master.sees_other_mounts(machine, process):
        return
    reason = remedy = ""
    try:
        # Twice, for the same reason as with our own table.
        for _ in range(2):
            theirs = survey.seen_by(str(process.pid))
            reason, remedy = storage.unfit(storage.examine(theirs, demand, targets))
            if not reason:
                return
    except errors.MailhaError:
        if not machine.processes.is_same(process):
            return      # it has ended meanwhile, which is no business of the storage
        raise
    if machine.processes.is_same(process):
        raise errors.Failed(f"Cyrus (process {process.pid}) sees other mounts than this node: "
                            f"{reason}", remedy=remedy or "restart Cyrus")
