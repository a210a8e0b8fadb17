# SPDX-License-Identifier: GPL-2.0-or-later
"""From parameters and configuration files to the group of services that the resource means."""

from __future__ import annotations

from mailha import errors
from mailha.products.kopano import configuration
from mailha.profiles import kopano as profile
from mailha.services.service import DIRECT, SYSTEMD, Group, Listening, Service

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Iterable

    from mailha.ocf import Call
    from mailha.products.kopano.configuration import Configuration
    from mailha.storage.version import Version
    from mailha.system.machine import Machine


def manager(call: Call, machine: Machine) -> str:
    """Return who runs the services; without systemd only their processes can be looked at."""
    return SYSTEMD if call.parameters["manager"] == SYSTEMD and machine.systemd.running() \
        else DIRECT


def bare_group(call: Call, machine: Machine) -> Group:
    """Return the group as parameters and profile tell it, without reading any configuration.

    Enough to find its processes: for a probe, and for a stop without a record.
    """
    return Group(call.resource, manager(call, machine),
                 [service(call, name) for name in call.parameters["services"]],
                 call.parameters["optional_services"])


def service(call: Call, name: str, found: Configuration | None = None) -> Service:
    """Return one service; found: what its configuration says, None where it was not read."""
    fixed = profile.SERVICES[name]
    program = f"{call.parameters['binary_dir']}/{fixed.program}" if fixed.program else ""
    path = f"{call.parameters['config_dir']}/{name}.cfg" if fixed.configured else ""
    usual = f"{profile.CONFIGURATION_DIRECTORY}/{name}.cfg" if fixed.configured else ""
    arguments = fixed.arguments if path == usual else (*fixed.arguments, "-c", path)
    return Service(
        name, unit=fixed.unit, program=program, arguments=arguments, configuration=path,
        default_configuration=usual, needs=fixed.needs, touches_data=fixed.touches_data,
        listens=[] if found is None else [_listening(name, *each) for each in found.endpoints],
        pipes=[] if found is None else found.pipes,
        pid_file="" if found is None else found.pid_file)


def _listening(name: str, protocol: str, host: str, port: int) -> Listening:
    # kopano-ical has no HEAD; its own first word is OPTIONS.
    return Listening("caldav" if name == "ical" and protocol == "http" else protocol, host, port)


def configurations(call: Call, machine: Machine, version: Version, names: Iterable[str]
                   ) -> tuple[dict[str, Configuration], dict[str, errors.MailhaError]]:
    """Read the configuration files of services; return them and, apart, what was wrong with some.

    Services without a configuration file of their own are in neither.
    """
    found: dict[str, Configuration] = {}
    wrong: dict[str, errors.MailhaError] = {}
    for name in names:
        if not profile.SERVICES[name].configured:
            continue
        try:
            found[name] = configuration.load(machine, name, call.parameters["config_dir"], version)
        except errors.MailhaError as error:
            wrong[name] = error
    return found, wrong
