# SPDX-License-Identifier: GPL-2.0-or-later
"""What of this node is fit to run Kopano: its services as parameters and files make them."""

from __future__ import annotations

from mailha import errors
from mailha.agents.kopano import plan
from mailha.mailserver.examination import Examination
from mailha.mailserver.patience import share
from mailha.products.kopano import installed
from mailha.profiles import kopano as profile

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Iterator

    from mailha.ocf import Call
    from mailha.products.kopano.configuration import Configuration
    from mailha.services.service import Service
    from mailha.storage.version import Version
    from mailha.system.machine import Machine


def installed_version(call: Call, machine: Machine) -> Version:
    """Return the version of Kopano on this node. Raises errors.NotInstalled and errors.Failed."""
    return installed.installed_version(machine, share(call))


class KopanoExamination(Examination):
    """One look at all of it.

    read: the configurations that could be read, by service.
    """

    def __init__(self, call: Call, machine: Machine) -> None:
        super().__init__(call, machine, call.parameters["services"],
                         manager=call.parameters["manager"])
        self.read: dict[str, Configuration] = {}

    def service(self, name: str) -> Service:
        """Return a service with what its configuration says."""
        return plan.service(self._call, name, self.read.get(name))

    def package(self, name: str) -> str:
        """Return the package of a service."""
        return f"kopano-{name}"

    def touches_data(self, name: str) -> bool:
        """Tell whether two of a service would damage the data."""
        return profile.SERVICES[name].touches_data

    def without_units(self) -> str:
        """Return how Kopano is run without units."""
        return "set manager=direct"

    def configuration(self) -> Iterator[errors.MailhaError]:
        """Find files that would keep a service from starting, and units that read others."""
        try:
            version = installed_version(self._call, self._machine)
        except errors.MailhaError as error:
            yield error
            return
        self.read, wrong = plan.configurations(self._call, self._machine, version, self.names)
        for name in list(self.names):
            yield from self.unless_optional(name, wrong.get(name) or self.wrong_file(name))
        self.read = {name: each for name, each in self.read.items() if name in self.names}
        for configuration in self.read.values():
            for warning in configuration.warnings:
                self._call.log.warning(warning)

    def data_paths(self) -> Iterator[tuple[str, str]]:
        """Yield where mail lies, and which file says so."""
        for name in self.names:
            configuration = self.read.get(name)
            for path in configuration.data_paths if configuration else ():
                yield path, configuration.path if configuration else ""
