# SPDX-License-Identifier: GPL-2.0-or-later
"""The products as the tool needs them: from an agent's type to its software, units and data."""

from __future__ import annotations

from typing import Any, Callable, Collection, Mapping

from mailha.agents.kopano import AGENT as KOPANO_AGENT
from mailha.ocf import Agent
from mailha.products.kopano import installed as kopano_installed
from mailha.profiles import ServiceProfile
from mailha.profiles import kopano as kopano_profile
from mailha.storage.version import Version
from mailha.system.machine import Machine


class Product:
    """One product.

    name: for people. agent: the declaration of its agent. services: its services by name.
    installed_version: returns what is installed on a machine, within so many seconds; raises
    errors.NotInstalled and errors.Failed. keeper: the service at whose start versions are compared,
    because it is the one that changes the data.
    """

    def __init__(self, name: str, agent: Agent, services: Mapping[str, ServiceProfile],
                 installed_version: Callable[[Machine, float], Version], *, keeper: str) -> None:
        self.name = name
        self.agent = agent
        self.services = services
        self.installed_version = installed_version
        self.keeper = keeper

    @property
    def type(self) -> str:
        """Return its agent's type, as a cluster's configuration names it."""
        return f"ocf:mailha:{self.agent.name}"

    def parse(self, parameter: str, text: str) -> Any:
        """Return the value of one of its agent's parameters; an empty text means "not set".

        Raises validation.Invalid.
        """
        declared = next(each for each in self.agent.parameters if each.name == parameter)
        return declared.type.parse(text) if text else declared.default_value()

    def keeps_data(self, services: Collection[str]) -> bool:
        """Tell whether a resource with these services is the one that compares versions."""
        return self.keeper in services


PRODUCTS = (
    Product("Kopano", KOPANO_AGENT, kopano_profile.SERVICES, kopano_installed.installed_version,
            keeper="server"),
)

USUAL = PRODUCTS[0]
"""What a resource is taken for where the CIB cannot tell its agent."""


def of_type(agent: str) -> Product | None:
    """Return the product whose agent has this type, as in "ocf:mailha:kopano"; else None."""
    return next((product for product in PRODUCTS if product.type == agent), None)
