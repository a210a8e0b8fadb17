# SPDX-License-Identifier: GPL-2.0-or-later
"""From parameters, profile and the units of this node to the group that the resource means."""

from __future__ import annotations

from mailha import errors
from mailha.mailserver import sharing
from mailha.products.bluemind import installed, strays, units
from mailha.profiles import bluemind as profile
from mailha.services.service import DIRECT, SYSTEMD, Group, Listening, Service
from mailha.storage.version import Version
from mailha.system.cgroups import usual
from mailha.system.units import SystemdUnavailable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from mailha.ocf import Call
    from mailha.profiles import ServiceProfile
    from mailha.profiles.bluemind import ReleaseProfile
    from mailha.system.machine import Machine

# The part of the budget that a question to systemd or to the package database may take.
SHARE = 0.15
LONGEST = 20.0
# A Java machine that dies of its configuration does so within this time, in seconds.
SETTLE = 2.0
LMTPD = "lmtpd"
_AUTO = "auto"


def patience(call: Call) -> float:
    """Return the seconds for one question."""
    return max(1.0, min(LONGEST, call.left() * SHARE))


def version(call: Call, machine: Machine) -> Version:
    """Return the version of BlueMind on this node: of its package, else as the parameter says.

    Raises errors.NotInstalled, and errors.NotAllowedHere where the two contradict each other.
    """
    said = call.parameters["version"]
    if said == _AUTO:
        return installed.installed_version(machine, patience(call))
    named = Version(said)
    try:
        found = installed.installed_version(machine, patience(call))
    except errors.NotInstalled:
        return named
    if found.release != named.release:
        raise errors.NotAllowedHere(
            f"the package {profile.PACKAGE} {found} is installed on this node, but the parameter "
            f"version says {said}", remedy="set version=auto, or name the release that is "
                                           "installed")
    return found


def release(call: Call, machine: Machine) -> ReleaseProfile:
    """Return the profile of the installed release; a likely one where that is not known."""
    try:
        return profile.of_release(version(call, machine).release)
    except errors.MailhaError:
        # All that depends on it is which ports the core has.
        return profile.RELEASES[-1]


def service(name: str, fixed: ServiceProfile, unit: str, *,
            lmtp_apart: bool = False) -> Service:
    """Return one service. lmtp_apart: whether there is a bm-lmtpd, so that core speaks no LMTP."""
    asked = [Listening(*each) for each in fixed.asked
             if not (lmtp_apart and name == profile.CORE and each[0] == "lmtp")]
    return Service(name, unit=unit, main=fixed.main, needs=fixed.needs, settle=SETTLE, asked=asked,
                   listens=[Listening(*each) for each in fixed.listens],
                   touches_data=fixed.touches_data, leader=fixed.leader)


def services(release: ReleaseProfile) -> dict[str, ServiceProfile]:
    """Return the services of a release; some releases of 5.x have a bm-lmtpd again."""
    found = dict(release.services)
    if LMTPD not in found:
        found[LMTPD] = profile.SERVICES[LMTPD]
    return found


def bare_group(call: Call, machine: Machine) -> Group:
    """Return the group of all services that can live here, whatever release is installed.

    Enough to find its processes: for a probe, and for a stop without a record. Services that the
    administrator has disabled are in it: they may live all the same.
    """
    return _group(call, machine, profile.SERVICES)


def probed(call: Call, machine: Machine) -> Group:
    """Return the group for a probe, or for a monitor whose record is lost.

    Without what the administrator has disabled, unless it runs all the same.
    """
    its = release(call, machine)
    group = sharing.without_others(call, machine, _group(call, machine, services(its)))
    if call.parameters["require_mount"]:
        here = strays.mounted_here(machine, its.directories, patience(call))
        for each in group.services:
            # Every Debian has a Postfix of its own. While the data is elsewhere it cannot touch it,
            # and a probe that doubted it would restart the service on the active node.
            each.touches_data = each.touches_data and strays.may_touch(its.directories, here,
                                                                       each.name)
    return Group(group.resource, group.manager,
                 [each for each in group.services if not is_disabled(call, machine, each.unit)
                  or machine.cgroups.populated(usual(each.unit))], group.optional)


def marker(call: Call, unit: str) -> str:
    """Return the file with which an administrator disables a unit (ConditionPathExists=!)."""
    return f"{call.parameters['config_dir']}/{unit[:-len('.service')]}.disabled"


def is_disabled(call: Call, machine: Machine, unit: str) -> bool:
    """Tell whether the administrator has disabled a unit. Raises errors.Failed."""
    return machine.files.exists(marker(call, unit))


def _group(call: Call, machine: Machine, known: dict[str, ServiceProfile]) -> Group:
    """Return the group of the known services as far as they are on this node."""
    named = call.parameters["services"]
    wanted = {name: known.get(name, profile.SERVICES[name]) for name in named or known}
    found: dict[str, str] = {}
    present = set(wanted)
    try:
        seen = units.find(machine, wanted, patience(call))
        found = {name: unit.name for name, unit in seen.items()}
        if not named:
            present = {name for name, unit in seen.items() if unit.load != "not-found"}
            # Without its core there is no BlueMind, and that is what a probe has to find.
            present.add(profile.CORE)
    except SystemdUnavailable:
        found = {name: _likely(machine, fixed) for name, fixed in wanted.items()}
    group = Group(call.resource, SYSTEMD if machine.systemd.running() else DIRECT,
                  [service(name, fixed, found[name], lmtp_apart=LMTPD in present)
                   for name, fixed in wanted.items() if name in present],
                  call.parameters["optional_services"])
    return searched(call, machine, group)


def searched(call: Call, machine: Machine, group: Group) -> Group:
    """Return the group with the programs by which services are found outside of their units.

    Only of services that may touch the data, because it is mounted here.
    """
    directories = profile.RELEASES[1].directories
    here = strays.mounted_here(machine, directories, patience(call)) \
        if call.parameters["require_mount"] else frozenset(directories)
    for each in group.services:
        if strays.may_touch(directories, here, each.name):
            each.search = tuple(strays.programs(machine, each.name))
    return group


def _likely(machine: Machine, fixed: ServiceProfile) -> str:
    """Return the name of a unit where systemd cannot be asked: the one that has processes."""
    names = units.candidates(machine, fixed)
    return next((name for name in names if machine.cgroups.populated(usual(name))), names[0])
