# SPDX-License-Identifier: GPL-2.0-or-later
"""What of this node is fit to run a group: software, units, configuration, addresses, data.

Used by start, which takes the first finding as its end, and by validate-all, which wants them all.
"""

from __future__ import annotations

from mailha import errors
from mailha.mailserver.patience import share
from mailha.services import active
from mailha.services.service import SYSTEMD, Group, Service, configuration_of
from mailha.storage import mounted, mountinfo
from mailha.system.addresses import is_local

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Iterable, Iterator

    from mailha.ocf import Call
    from mailha.services.service import Listening
    from mailha.system.machine import Machine


class Examination:
    """One look at all of it. A product derives its own from it.

    names: the services that the group has; optional ones that cannot run here are taken out, with a
    warning. manager: who runs them. units: what systemd says of the unit of each, by service.
    mount_points: where its data's disks are mounted, as far as that has been looked for.

    Reads the parameters optional_services, data_dir and require_mount.
    """

    def __init__(self, call: Call, machine: Machine, names: Iterable[str], *,
                 manager: str = SYSTEMD) -> None:
        self._call = call
        self._machine = machine
        self._all = tuple(names)
        self.names = list(self._all)
        self.manager = manager
        self.units: dict[str, dict[str, Any]] = {}
        self.mount_points: list[str] = []

    # What a product says

    def service(self, name: str) -> Service:
        """Return a service as profile and configuration make it."""
        raise NotImplementedError

    def package(self, name: str) -> str:
        """Return what has to be installed for a service."""
        raise NotImplementedError

    def touches_data(self, name: str) -> bool:
        """Tell whether two of a service would damage the data."""
        raise NotImplementedError

    def optional(self) -> tuple[str, ...]:
        """Return the names of the services without which the group may be started."""
        names: tuple[str, ...] = self._call.parameters.get("optional_services", ())
        return names

    def data_directory(self) -> str:
        """Return the directory of the data, which must be mounted."""
        return str(self._call.parameters["data_dir"])

    def configuration(self) -> Iterator[errors.MailhaError]:
        """Find what is wrong with the version and the configuration of the product."""
        return iter(())

    def source(self, name: str) -> str:
        """Return the file that says on which addresses a service listens."""
        return self.service(name).configuration

    def directories(self) -> Iterator[str]:
        """Yield the directories that have to be there, and not merely their mount points."""
        yield self.data_directory()

    def data_paths(self) -> Iterator[tuple[str, str]]:
        """Yield where data lies beside data_dir, each with the file that says so."""
        return iter(())

    def without_units(self) -> str:
        """Return the remedy for a unit that is not there, beside the installation; "" for none."""
        return ""

    # What is found

    def group(self) -> Group:
        """Return the group of the services that can run here."""
        return Group(self._call.resource, self.manager, [self.found(name) for name in self.names],
                     self.optional(), self.mount_points,
                     [name for name in self._all if name not in self.names])

    def examine(self) -> Group:
        """Return the group as this node would run it.

        Raises the first finding: errors.NotAllowedHere for software, units and configuration,
        errors.Failed for addresses and data.
        """
        for finding in self.findings():
            raise finding
        return self.group()

    def findings(self) -> Iterator[errors.MailhaError]:
        """Return what keeps the group from running here, the gravest first."""
        yield from self.software()
        yield from self.configuration()
        yield from self.sharing()
        yield from self.addresses()
        yield from self.data()

    def software(self) -> Iterator[errors.MailhaError]:
        """Find units that are not there, or programs where units are not used."""
        if self.manager == SYSTEMD and not self._machine.systemd.running():
            direct = self.without_units()
            yield errors.NotInstalled(
                "systemd does not run on this node, and its units need it",
                remedy=f"{direct}, or boot the node with systemd" if direct
                else "boot the node with systemd")
            return
        for name in list(self.names):
            yield from self.unless_optional(
                name, self._unit(name) if self.manager == SYSTEMD else self._program(name))

    def sharing(self) -> Iterator[errors.MailhaError]:
        """Find another resource that runs one of the services here."""
        try:
            active.refuse_sharing(self._machine, self.group())
        except errors.MailhaError as error:
            yield error

    def addresses(self) -> Iterator[errors.MailhaError]:
        """Find addresses that services shall listen on and that are not on this node.

        kopano-server up to 8.7 ends its whole process group when it cannot bind, and kopano-dagent
        ends with success.
        """
        here = self._machine.sockets.local_addresses()
        for name in list(self.names):
            for listening in self.found(name).listens:
                if not is_local(listening.host, here):
                    yield from self.unless_optional(name, self._absent(name, listening))
                    break

    def data(self) -> Iterator[errors.MailhaError]:
        """Find data that is not mounted, where one of the services works on it."""
        if not any(map(self.touches_data, self.names)) \
                or not self._call.parameters["require_mount"]:
            return
        directory = self.data_directory()
        self.mount_points = []
        try:
            for each in self.directories():
                place = mounted.require(self._machine, each, timeout=share(self._call))
                if place not in self.mount_points:
                    self.mount_points.append(place)
            for path, source in self.data_paths():
                self._refuse_own_disk(source, path, directory)
        except errors.MailhaError as error:
            yield error

    def unless_optional(self, name: str, finding: errors.MailhaError | None
                        ) -> Iterator[errors.MailhaError]:
        """Return the finding, or leave out the service with a warning where it is optional."""
        if finding is None or name not in self.names:
            return
        if name in self.optional():
            self.names.remove(name)
            self._call.log.warning(f"optional service {name} is left out: {finding}")
        else:
            yield finding

    def found(self, name: str) -> Service:
        """Return a service with what its unit says, too."""
        service = self.service(name)
        if name in self.units:
            service.unit = str(self.units[name]["Id"])
            path, _ = self.command(name)
            # The unit knows best where the program is; behind a shell or a wrapper it is not shown.
            if _base(path) == _base(service.program):
                service.program = path
        return service

    def command(self, name: str) -> tuple[str, list[str]]:
        """Return path and argument list of what the unit executes, ("", []) if it is not known."""
        rows = self.units.get(name, {}).get("ExecStart") or []
        if isinstance(rows, str):
            # From systemctl, which is asked where D-Bus cannot be used, it is a text for people.
            return "", []
        return (str(rows[0][0]), list(rows[0][1])) if rows else ("", [])

    def wrong_file(self, name: str) -> errors.MailhaError | None:
        """Find whether the unit of a service reads another file than the one that we read."""
        path, arguments = self.command(name)
        service = self.service(name)
        # The "-c" of a shell names no file.
        if not service.configuration or _base(path) != _base(service.program):
            return None
        own = configuration_of(arguments, service.default_configuration)
        if own == service.configuration:
            return None
        return errors.NotAllowedHere(
            f"{service.unit} reads {own}, but config_dir says {service.configuration}",
            remedy="set config_dir, or change ExecStart= with 'systemctl edit'")

    def _unit(self, name: str) -> errors.MailhaError | None:
        """Find what is wrong with the unit of a service."""
        unit = self.service(name).unit
        seen = self._machine.systemd.units([unit], timeout=share(self._call))[unit]
        if seen.load == "masked":
            return errors.NotAllowedHere(f"the unit {unit} of service {name} is masked",
                                         remedy=f"systemctl unmask {unit}")
        if seen.load == "not-found":
            direct = self.without_units()
            return errors.NotInstalled(
                f"there is no unit {unit} for service {name} on this node",
                remedy=f"install {self.package(name)}, " + (
                    f"take {name} out of services, or {direct}" if direct
                    else f"or take {name} out of services"))
        if seen.load != "loaded":
            return errors.NotAllowedHere(f"systemd cannot load {unit} ({seen.load})",
                                         remedy=f"see 'systemctl status {unit}'")
        self.units[name] = {"Id": seen.name, **self._machine.systemd.properties(
            seen.name, timeout=share(self._call))}
        path, _ = self.command(name)
        # A name without a directory, as Debian 13's Postfix has it, systemd looks for by itself.
        if path.startswith("/") and not self._machine.files.exists(path):
            return errors.NotInstalled(f"{unit} runs {path}, which does not exist",
                                       remedy=f"install {self.package(name)} again")
        return None

    def _program(self, name: str) -> errors.MailhaError | None:
        """Find whether the program of a service is there."""
        path = self.found(name).program
        if self._machine.files.exists(path):
            return None
        return errors.NotInstalled(f"there is no {path} for service {name} on this node",
                                   remedy=f"install {self.package(name)}, or set binary_dir")

    def _absent(self, name: str, listening: Listening) -> errors.MailhaError:
        """Return the finding about an address that is not here."""
        return errors.Failed(
            f"{name} is to listen on {listening.host} port {listening.port} ("
            f"{listening.protocol}, in {self.source(name)}), which is no address of this node",
            remedy="let the cluster bring up the address first (ocf:heartbeat:IPaddr2, earlier in "
                   "the group), or correct the file")

    def _refuse_own_disk(self, source: str, path: str, directory: str) -> None:
        """Refuse a data path outside of data_dir that is on the node's own root file system."""
        if (path.rstrip("/") + "/").startswith(directory.rstrip("/") + "/"):
            return
        if mountinfo.mount_of(self._machine, path.rstrip("/") or "/").mount_point == "/":
            raise mounted.NotMounted(
                f"{source} keeps data in {path}, which is not below data_dir "
                f"({directory}) and lies on the node's own root file system",
                remedy="move it below data_dir, or mount a disk of the cluster there")


def _base(path: str) -> str:
    """Return the last part of a path."""
    return path.rpartition("/")[2]
