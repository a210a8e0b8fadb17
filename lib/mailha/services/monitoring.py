# SPDX-License-Identifier: GPL-2.0-or-later
"""What a monitor answers about a group, from what was seen of its services.

A recurring monitor loads this module.
"""

from __future__ import annotations

from mailha import errors
from mailha.services import evidence
from mailha.services.evidence import DOWN, Sight
from mailha.services.service import SYSTEMD, Group

TYPE_CHECKING = False
if TYPE_CHECKING:
    from mailha.system.machine import Machine


def judge(machine: Machine, group: Group, seen: list[Sight]) -> None:
    """Return if the whole group serves.

    Raises errors.NotRunning if nothing of it lives, errors.Degraded if only optional services do
    not serve, or if it serves and could not be started again, and errors.Failed otherwise.
    """
    bad = [sight for sight in seen if not sight.serves]
    if not bad:
        missing = [sight for sight in seen if sight.missing]
        if missing:
            # Its service serves, so it is left alone; the next start would be refused.
            raise errors.Degraded(
                f"{missing[0].service.name} serves, but its unit {missing[0].service.unit} is "
                f"{missing[0].unit.load if missing[0].unit else ''}: it could not be started again",
                remedy=_cure_of_missing(missing[0]))
        return
    if len(bad) == len(seen) and evidence.nothing_lives(machine, group, seen):
        gone = [sight for sight in seen if sight.missing and group.required(sight.service)]
        if gone:
            raise errors.Failed(f"nothing of it runs, and {gone[0].reason}",
                                remedy=_cure_of_missing(gone[0]))
        raise errors.NotRunning(f"nothing of it runs ({evidence.complaint(seen)})")
    required = [sight for sight in bad if group.required(sight.service)]
    if not required:
        raise errors.Degraded(f"optional services do not serve: {evidence.complaint(bad)}",
                              remedy=_remedy(group, bad))
    raise errors.Failed(evidence.complaint(bad))


def probe(machine: Machine, group: Group, seen: list[Sight], *, active: bool) -> None:
    """Return if the group is active on this node, whole or with nothing but optional parts missing.

    active: whether start has been here in this boot and stop has not. A probe that says "running"
    or "failed" on a passive node makes Pacemaker restart the services on the active one. So without
    that mark only a process that works on the data counts.

    Raises errors.NotRunning, LeftOver (which is one, and says what is odd), errors.NotAllowedHere
    where software or a unit is missing and nothing runs, and errors.Failed where it runs in part.
    """
    outside = _outside(machine, group, seen)
    lives = [service.name for service, sight in zip(group.services, seen)
             if sight.phase != DOWN or service.name in outside]
    if not lives:
        missing = [sight for sight in seen if sight.missing and group.required(sight.service)]
        if missing:
            raise errors.NotAllowedHere(f"{missing[0].service.name} cannot run here: "
                                        f"{missing[0].reason}", remedy="install it on this node")
        program = _missing_program(machine, group)
        if program:
            raise errors.NotInstalled(f"there is no {program} on this node",
                                      remedy="install it on this node")
        raise errors.NotRunning("nothing of it runs")
    if not active and not any(service.touches_data and service.name in lives
                              for service in group.services):
        raise LeftOver(f"{', '.join(lives)} runs on this node although the cluster has not started "
                       "it here; it cannot touch the data and is left alone")
    if outside:
        raise errors.Failed(f"{', '.join(outside)} runs outside of its unit")
    required = [sight for sight in seen if not sight.serves and group.required(sight.service)]
    if required:
        raise errors.Failed(evidence.complaint(required))


def _outside(machine: Machine, group: Group, seen: list[Sight]) -> list[str]:
    """Return the names of services of which a process lives outside of their units."""
    if group.manager != SYSTEMD:
        return []
    known = {process.pid for sight in seen for process in sight.processes}
    return [name for name, processes in evidence.strays(machine, list(group.services)).items()
            if any(process.pid not in known for process in processes)]


class LeftOver(errors.NotRunning):
    """Cleanly stopped as far as the data is concerned, yet something runs that should not."""


def _missing_program(machine: Machine, group: Group) -> str:
    """Return a program that is not here, "" for none; where units run them, they know better."""
    if group.manager == SYSTEMD:
        return ""
    return next((service.program for service in group.services if group.required(service)
                 and service.program and not machine.files.exists(service.program)), "")


def _cure_of_missing(sight: Sight) -> str:
    """Return what to do about a unit that is masked or not there."""
    return f"systemctl unmask {sight.service.unit}, or install it again"


def _remedy(group: Group, bad: list[Sight]) -> str:
    """Return where the reason of a dead optional service can be read."""
    if group.manager != SYSTEMD:
        return ""
    return "see 'journalctl -u " + " -u ".join(sight.service.unit for sight in bad) + "'"
