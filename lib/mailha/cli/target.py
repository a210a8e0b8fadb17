# SPDX-License-Identifier: GPL-2.0-or-later
"""The resource that a command line names, as the cluster's configuration knows it.

The tool has to work before there is a cluster, too: an administrator prepares a node. Where the CIB
cannot be read, the name is believed, and whoever asks is told that it was not checked.
"""

from __future__ import annotations

import argparse
from typing import Any

from mailha import errors
from mailha.cli.products import PRODUCTS, Product, installed, of_type
from mailha.cli.terminal import Terminal
from mailha.cluster import cib as cluster_information
from mailha.cluster import resources
from mailha.cluster.cib import Cib, CibUnreadable
from mailha.cluster.resources import Resource
from mailha.system.machine import Machine
from mailha.validation import Invalid, Name

LONGEST_FOR_CIB = 6.0
"""Seconds; enough for two tries on a node that is busy, and short where no cluster runs."""


LONGEST_FOR_PACKAGES = 10.0
"""Seconds for the databases of packages to say whether a product is installed."""


class Target:
    """A resource of mailha.

    name: what its agent is called with, and its files are named after. product: what it runs.
    cib: the configuration, None if it cannot be read; then all parameters are taken for not set.
    """

    def __init__(self, name: str, product: Product, cib: Cib | None = None,
                 resource: Resource | None = None) -> None:
        self.name = name
        self.product = product
        self.cib = cib
        self._resource = resource

    def possible(self, parameter: str) -> list[Any]:
        """Return all values that a parameter can have, more than one only where a rule decides.

        Raises errors.Failed for a value that no such parameter has.
        """
        texts = {None} if self._resource is None else self._resource.values(parameter)
        found: list[Any] = []
        for text in sorted(text or "" for text in texts):
            try:
                value = self.product.parse(parameter, text)
            except Invalid as error:
                raise errors.Failed(
                    f"parameter {parameter} of '{self.name}': {error}",
                    remedy="correct it in the cluster's configuration") from None
            if value not in found:
                found.append(value)
        return found


def declare_product(parser: argparse.ArgumentParser) -> None:
    """Give a parser the option that says what a resource runs."""
    parser.add_argument("--product", choices=[product.agent.name for product in PRODUCTS],
                        help="what RESOURCE runs, where no cluster can tell it and not just one of "
                             "%(choices)s is installed")


def find(machine: Machine, terminal: Terminal, name: str, product: str | None = None) -> Target:
    """Return the resource of a name, which may be that of a clone's instance.

    product: what the option --product says. Warns if the CIB cannot be read. Raises errors.Failed
    for what is no name, is no resource, is one that no agent of mailha runs, or not that of the
    product; and where nobody tells the product.
    """
    check_name(name)
    said = next((each for each in PRODUCTS if each.agent.name == product), None)
    try:
        cib = cluster_information.read(machine, LONGEST_FOR_CIB)
    except CibUnreadable as error:
        taken, why = (said, "it is taken for one of {}, as --product says") if said is not None \
            else (_only_one(machine, error), "it is taken for one of {}, which alone is installed")
        terminal.warn(f"{error.reason}; so nobody can say whether there is a resource '{name}', "
                      f"and {why.format(taken.name)}")
        return Target(name, taken)
    resource = resources.find(cib, name)
    if resource is None:
        raise _unknown(cib, name)
    found = of_type(resource.agent)
    if found is None:
        raise errors.Failed(f"'{resource.identifier}' is run by {resource.agent}, which is no mail "
                            "server of mailha's", remedy=_choice(cib))
    if said not in (None, found):
        raise errors.Failed(f"--product says {product}, but the cluster runs "
                            f"'{resource.identifier}' by {resource.agent}",
                            remedy="leave --product out")
    return Target(resource.instance(name), found, cib, resource)


def _only_one(machine: Machine, error: CibUnreadable) -> Product:
    """Return the one product that is installed here. Raises errors.Failed if there are more."""
    here = installed(machine, LONGEST_FOR_PACKAGES)
    if len(here) == 1:
        return here[0]
    names = " and ".join(product.name for product in here) or "no mail server"
    raise errors.Failed(f"{error.reason}, so nobody can say what the resource runs; {names} "
                        f"{'are' if here else 'is'} installed here",
                        remedy="say it with --product, or start the cluster on this node")


def check_name(name: str) -> None:
    """Raise errors.Failed for what cannot be the name of a resource."""
    try:
        Name().parse(name)
    except Invalid as error:
        raise errors.Failed(str(error), remedy="give the name of a resource") from None


def _unknown(cib: Cib, name: str) -> errors.Failed:
    """Return the error for a name that no resource has; it may be that of a group or a clone."""
    inside = [each for each in resources.every(cib) if name in each.containers]
    if inside:
        own = [each.identifier for each in inside if of_type(each.agent) is not None]
        return errors.Failed(f"'{name}' is a group or a clone, and what counts is the resource in "
                             "it", remedy=f"name {_one_of(own)}" if own else _choice(cib))
    return errors.Failed(f"the cluster has no resource '{name}'", remedy=_choice(cib))


def _choice(cib: Cib) -> str:
    """Return which resources could have been named."""
    names = [each.identifier for each in resources.every(cib) if of_type(each.agent) is not None]
    if not names:
        return f"it has none that is run by {_one_of([product.type for product in PRODUCTS])}"
    return f"name {_one_of(names)}"


def _one_of(names: list[str]) -> str:
    """Return names in quotes: 'a', or one of 'a', 'b'."""
    quoted = ", ".join(f"'{name}'" for name in names)
    return quoted if len(names) == 1 else f"one of {quoted}"
