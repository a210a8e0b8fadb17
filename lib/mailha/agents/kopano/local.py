# SPDX-License-Identifier: GPL-2.0-or-later
"""What of this node is fit to run the group: software, units, configuration, addresses, data.

Used by start, which takes the first finding as its end, and by validate-all, which wants them all.
"""

from __future__ import annotations

from mailha import errors
from mailha.agents.kopano import plan
from mailha.products.kopano import installed
from mailha.profiles import kopano as profile
from mailha.services import active
from mailha.services.service import SYSTEMD, Group, Service, configuration_of
from mailha.storage import mounted, mountinfo
from mailha.system.addresses import is_local

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Iterator

    from mailha.ocf import Call
    from mailha.products.kopano.configuration import Configuration
    from mailha.storage.version import Version
    from mailha.system.machine import Machine

# Seconds that a disk or a package database may take for one answer, and which part of the budget.
LONGEST = 20.0
SHARE = 0.15


def installed_version(call: Call, machine: Machine) -> Version:
    """Return the version of Kopano on this node. Raises errors.NotInstalled and errors.Failed."""
    return installed.installed_version(machine, _share(call))


def examine(call: Call, machine: Machine) -> tuple[Group, dict[str, Configuration]]:
    """Return the group as this node would run it, and the configuration of its services.

    Optional services that cannot run here are left out with a warning.

    Raises the first finding: errors.NotAllowedHere for software, units and configuration,
    errors.Failed for addresses and data.
    """
    examination = Examination(call, machine)
    for finding in examination.findings():
        raise finding
    return examination.group(), examination.found


class Examination:
    """One look at all of it.

    found: the configurations that could be read, by service. mount_point: where the data's disk is
    mounted, as far as that has been looked for.
    """

    def __init__(self, call: Call, machine: Machine) -> None:
        self._call = call
        self._machine = machine
        self._names = list(call.parameters["services"])
        self._units: dict[str, dict[str, Any]] = {}
        self.found: dict[str, Configuration] = {}
        self.mount_point = ""

    def group(self) -> Group:
        """Return the group of the services that can run here."""
        return Group(self._call.resource, self._call.parameters["manager"],
                     [self._service(name) for name in self._names],
                     self._call.parameters["optional_services"], self.mount_point,
                     [name for name in self._call.parameters["services"]
                      if name not in self._names])

    def findings(self) -> Iterator[errors.MailhaError]:
        """Return what keeps the group from running here, the gravest first."""
        yield from self._software()
        yield from self._configuration()
        yield from self._sharing()
        yield from self._addresses()
        yield from self._data()

    def _software(self) -> Iterator[errors.MailhaError]:
        """Find units that are not there, or programs where units are not used."""
        call, machine = self._call, self._machine
        if call.parameters["manager"] == SYSTEMD and not machine.systemd.running():
            yield errors.NotInstalled(
                "systemd does not run on this node, and manager=systemd wants it",
                remedy="set manager=direct, or boot the node with systemd")
            return
        for name in list(self._names):
            finding = self._unit(name) if call.parameters["manager"] == SYSTEMD \
                else self._program(name)
            yield from self._unless_optional(name, finding)

    def _unit(self, name: str) -> errors.MailhaError | None:
        """Find what is wrong with the unit of a service."""
        unit = profile.SERVICES[name].unit
        seen = self._machine.systemd.units([unit], timeout=_share(self._call))[unit]
        if seen.load == "masked":
            return errors.NotAllowedHere(f"the unit {unit} of service {name} is masked",
                                         remedy=f"systemctl unmask {unit}")
        if seen.load == "not-found":
            return errors.NotInstalled(
                f"there is no unit {unit} for service {name} on this node",
                remedy=f"install kopano-{name}, take {name} out of services, or set "
                       "manager=direct")
        if seen.load != "loaded":
            return errors.NotAllowedHere(f"systemd cannot load {unit} ({seen.load})",
                                         remedy=f"see 'systemctl status {unit}'")
        self._units[name] = {"Id": seen.name, **self._machine.systemd.properties(
            seen.name, timeout=_share(self._call))}
        path, _ = self._command(name)
        if path and not self._machine.files.exists(path):
            return errors.NotInstalled(f"{unit} runs {path}, which does not exist",
                                       remedy=f"install kopano-{name} again")
        return None

    def _program(self, name: str) -> errors.MailhaError | None:
        """Find whether the program of a service is there."""
        path = self._service(name).program
        if self._machine.files.exists(path):
            return None
        return errors.NotInstalled(f"there is no {path} for service {name} on this node",
                                   remedy=f"install kopano-{name}, or set binary_dir")

    def _configuration(self) -> Iterator[errors.MailhaError]:
        """Find files that would keep a service from starting, and units that read others."""
        try:
            version = installed_version(self._call, self._machine)
        except errors.MailhaError as error:
            yield error
            return
        self.found, wrong = plan.configurations(self._call, self._machine, version, self._names)
        for name in list(self._names):
            yield from self._unless_optional(name, wrong.get(name) or self._wrong_file(name))
        for configuration in self.found.values():
            for warning in configuration.warnings:
                self._call.log.warning(warning)

    def _wrong_file(self, name: str) -> errors.MailhaError | None:
        """Find whether the unit of a service reads another file than the one that we read."""
        path, arguments = self._command(name)
        service = self._service(name)
        # The "-c" of a shell names no file.
        if not service.configuration or _base(path) != _base(service.program):
            return None
        own = configuration_of(arguments, service.default_configuration)
        if own == service.configuration:
            return None
        return errors.NotAllowedHere(
            f"{service.unit} reads {own}, but config_dir says {service.configuration}",
            remedy="set config_dir, or change ExecStart= with 'systemctl edit'")

    def _sharing(self) -> Iterator[errors.MailhaError]:
        """Find another resource that runs one of the services here."""
        try:
            active.refuse_sharing(self._machine, self.group())
        except errors.MailhaError as error:
            yield error

    def _addresses(self) -> Iterator[errors.MailhaError]:
        """Find addresses that services shall listen on and that are not on this node.

        kopano-server up to 8.7 ends its whole process group when it cannot bind, and kopano-dagent
        ends with success.
        """
        local = self._machine.sockets.local_addresses()
        for name in list(self._names):
            configuration = self.found.get(name)
            for protocol, host, port in configuration.endpoints if configuration else ():
                if not is_local(host, local):
                    yield from self._unless_optional(name, errors.Failed(
                        f"{name} is to listen on {host} port {port} ({protocol}, in "
                        f"{configuration.path if configuration else ''}), which is no address of "
                        "this node", remedy="let the cluster bring up the address first "
                        "(ocf:heartbeat:IPaddr2, earlier in the group), or correct the file"))
                    break

    def _data(self) -> Iterator[errors.MailhaError]:
        """Find data that is not mounted, where one of the services works on it."""
        if not any(profile.SERVICES[name].touches_data for name in self._names) \
                or not self._call.parameters["require_mount"]:
            return
        directory = self._call.parameters["data_dir"]
        try:
            self.mount_point = mounted.require(self._machine, directory,
                                               timeout=_share(self._call))
            for configuration in self.found.values():
                for path in configuration.data_paths:
                    self._refuse_own_disk(configuration, path, directory)
        except errors.MailhaError as error:
            yield error

    def _refuse_own_disk(self, configuration: Configuration, path: str, directory: str) -> None:
        """Refuse a data path outside of data_dir that is on the node's own root file system."""
        if (path.rstrip("/") + "/").startswith(directory.rstrip("/") + "/"):
            return
        if mountinfo.mount_of(self._machine, path.rstrip("/") or "/").mount_point == "/":
            raise mounted.NotMounted(
                f"{configuration.path} keeps data in {path}, which is not below data_dir "
                f"({directory}) and lies on the node's own root file system",
                remedy="move it below data_dir, or mount a disk of the cluster there")

    def _unless_optional(self, name: str, finding: errors.MailhaError | None
                         ) -> Iterator[errors.MailhaError]:
        """Return the finding, or leave out the service with a warning where it is optional."""
        if finding is None or name not in self._names:
            return
        if name in self._call.parameters["optional_services"]:
            self._names.remove(name)
            self.found.pop(name, None)
            self._call.log.warning(f"optional service {name} is left out: {finding}")
        else:
            yield finding

    def _service(self, name: str) -> Service:
        """Return a service with what its unit and its configuration say."""
        service = plan.service(self._call, name, self.found.get(name))
        if name in self._units:
            service.unit = str(self._units[name]["Id"])
            path, _ = self._command(name)
            # The unit knows best where the program is; behind a shell or a wrapper it is not shown.
            if _base(path) == _base(service.program):
                service.program = path
        return service

    def _command(self, name: str) -> tuple[str, list[str]]:
        """Return path and argument list of what the unit executes, ("", []) if it is not known."""
        rows = self._units.get(name, {}).get("ExecStart") or []
        if isinstance(rows, str):
            # From systemctl, which is asked where D-Bus cannot be used, it is a text for people.
            return "", []
        return (str(rows[0][0]), list(rows[0][1])) if rows else ("", [])


def _base(path: str) -> str:
    """Return the last part of a path."""
    return path.rpartition("/")[2]


def _share(call: Call) -> float:
    """Return how many seconds one question about this node may take."""
    return max(1.0, min(LONGEST, call.left() * SHARE))
