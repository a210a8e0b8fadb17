# SPDX-License-Identifier: GPL-2.0-or-later
"""The products as the tool needs them: from an agent's type to its software, units and data."""

from __future__ import annotations

from typing import Any, Callable, Collection, Mapping

from mailha import errors
from mailha.agents.bluemind import AGENT as BLUEMIND_AGENT
from mailha.agents.cyrus import AGENT as CYRUS_AGENT
from mailha.agents.cyrus import plan as cyrus_plan
from mailha.agents.kopano import AGENT as KOPANO_AGENT
from mailha.ocf import Agent
from mailha.products.bluemind import installed as bluemind_installed
from mailha.products.bluemind import units as bluemind_units
from mailha.products.cyrus import installed as cyrus_installed
from mailha.products.kopano import installed as kopano_installed
from mailha.profiles import ServiceProfile
from mailha.profiles import bluemind as bluemind_profile
from mailha.profiles import cyrus as cyrus_profile
from mailha.profiles import kopano as kopano_profile
from mailha.storage import mountinfo
from mailha.storage.version import Version
from mailha.system.machine import Machine
from mailha.system.units import Unit

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Protocol

    class Resource(Protocol):
        """A resource of a product; Target of mailha.cli.target is one."""

        name: str

        def possible(self, parameter: str) -> list[Any]:
            """Return all values that a parameter can have."""

FindUnits = Callable[[Machine, Mapping[str, ServiceProfile], float], "dict[str, Unit]"]


def _by_profile(machine: Machine, services: Mapping[str, ServiceProfile], timeout: float
                ) -> dict[str, Unit]:
    """Return the unit of each service under the one name that the profile has."""
    seen = machine.systemd.units([each.unit for each in services.values()], timeout=timeout)
    return {name: seen[each.unit] for name, each in services.items()}


class Product:
    """One product.

    name: for people. agent: the declaration of its agent. services: its services by name.
    installed_version: returns what is installed on a machine, within so many seconds; raises
    errors.NotInstalled and errors.Failed. keeper: the service at whose start versions are compared,
    because it is the one that changes the data. find_units: returns the units of services as
    systemd on a machine sees them, under the names that they have there.
    """

    def __init__(self, name: str, agent: Agent, services: Mapping[str, ServiceProfile],
                 installed_version: Callable[[Machine, float], Version], *, keeper: str,
                 find_units: FindUnits = _by_profile) -> None:
        self.name = name
        self.agent = agent
        self.services = services
        self.installed_version = installed_version
        self.keeper = keeper
        self._find_units = find_units

    @property
    def type(self) -> str:
        """Return its agent's type, as a cluster's configuration names it."""
        return f"ocf:mailha:{self.agent.name}"

    def has(self, parameter: str) -> bool:
        """Tell whether its agent has a parameter of this name."""
        return any(each.name == parameter for each in self.agent.parameters)

    def parse(self, parameter: str, text: str) -> Any:
        """Return the value of one of its agent's parameters; an empty text means "not set".

        Raises validation.Invalid.
        """
        declared = next(each for each in self.agent.parameters if each.name == parameter)
        return declared.type.parse(text) if text else declared.default_value()

    def keeps_data(self, services: Collection[str]) -> bool:
        """Tell whether a resource with these services is the one that compares versions.

        One that names no services runs all of them.
        """
        return not services or self.keeper in services

    def version_of(self, machine: Machine, resource: Resource, timeout: float) -> Version:
        """Return which version a resource would run here; seconds, errors: as installed_version."""
        return self.installed_version(machine, timeout)

    def data_directories(self, machine: Machine, resource: Resource) -> list[str]:
        """Return where the data of a resource can be; none or several where that is not known."""
        return resource.possible("data_dir")

    def units(self, machine: Machine, names: Collection[str], timeout: float, resource: str
              ) -> dict[str, Unit]:
        """Return the unit of each service of a resource as systemd sees it.

        names: of the services; without any, all whose units are on the machine, or all that there
        are where not even the keeper's is: it is not installed yet. timeout: seconds for each
        answer of systemd.
        """
        found = self._find_units(machine, {name: self.services[name]
                                           for name in names or self.services}, timeout)
        if names or found[self.keeper].load == "not-found":
            return found
        return {name: unit for name, unit in found.items() if unit.load != "not-found"}


class CyrusProduct(Product):
    """Cyrus, of which a node may have several instances: each resource is one."""

    def parse(self, parameter: str, text: str) -> Any:
        """Return the value of a parameter; the one service of a resource is none."""
        return (cyrus_plan.NAME,) if parameter == "services" else super().parse(parameter, text)

    def version_of(self, machine: Machine, resource: Resource, timeout: float) -> Version:
        """Return the version of the master that the instance would run."""
        homes = [*_values(resource, "binary_dir"),
                 *(f"{root}/bin" for root in _values(resource, "instance_root")),
                 *cyrus_profile.PROGRAM_DIRECTORIES]
        files = [*_values(resource, "imapd_conf"),
                 *(f"{root}/etc/imapd.conf" for root in _values(resource, "instance_root"))]
        master = cyrus_installed.master(machine, homes, timeout / 2)
        return cyrus_installed.version(machine, master, [*files, cyrus_profile.CONFIGURATION][0],
                                       timeout / 2)

    def data_directories(self, machine: Machine, resource: Resource) -> list[str]:
        """Return data_dir, or where in the tree of the instance a disk is mounted."""
        named = _values(resource, "data_dir")
        return named or [f"{root}/data" if mountinfo.is_mountpoint(machine, f"{root}/data")
                         else root for root in _values(resource, "instance_root")]

    def units(self, machine: Machine, names: Collection[str], timeout: float, resource: str
              ) -> dict[str, Unit]:
        """Return the instance's unit, which has the name of the resource."""
        unit = cyrus_profile.unit(resource)
        return {cyrus_plan.NAME: machine.systemd.units([unit], timeout=timeout)[unit]}


def _values(resource: Resource, parameter: str) -> list[str]:
    """Return the values that a parameter is set to."""
    return [value for value in resource.possible(parameter) if value]


def _cyrus_version(machine: Machine, timeout: float) -> Version:
    """Return the version of the distribution's Cyrus."""
    master = cyrus_installed.master(machine, cyrus_profile.PROGRAM_DIRECTORIES, timeout / 2)
    return cyrus_installed.version(machine, master, cyrus_profile.CONFIGURATION, timeout / 2)


PRODUCTS = (
    Product("Kopano", KOPANO_AGENT, kopano_profile.SERVICES, kopano_installed.installed_version,
            keeper="server"),
    Product("BlueMind", BLUEMIND_AGENT, bluemind_profile.SERVICES,
            bluemind_installed.installed_version, keeper=bluemind_profile.CORE,
            find_units=bluemind_units.find),
    CyrusProduct("Cyrus", CYRUS_AGENT, {cyrus_plan.NAME: ServiceProfile("")}, _cyrus_version,
                 keeper=cyrus_plan.NAME),
)


def of_type(agent: str) -> Product | None:
    """Return the product whose agent has this type, as in "ocf:mailha:kopano"; else None."""
    return next((product for product in PRODUCTS if product.type == agent), None)


def installed(machine: Machine, timeout: float) -> list[Product]:
    """Return the products that are installed on a machine; BlueMind's own Cyrus is part of it.

    timeout: seconds for each question.
    """
    found: list[Product] = []
    for product in PRODUCTS:
        if product.agent is CYRUS_AGENT and any(each.agent is BLUEMIND_AGENT for each in found):
            continue
        try:
            product.installed_version(machine, timeout)
        except errors.NotInstalled:
            continue
        except errors.MailhaError:
            pass        # it is here, and does not tell its version
        found.append(product)
    return found
