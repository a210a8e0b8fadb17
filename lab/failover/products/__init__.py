# SPDX-License-Identifier: GPL-2.0-or-later
"""products: what the demonstration can show, one module a product, called as on the command line.

Each module has a function ``product()`` that returns its Product. None of them imports another.
"""

from __future__ import annotations

import importlib
import pkgutil
from typing import List

from failover.product import Product


def names() -> List[str]:
    """Return the names of all products."""
    return sorted(module.name for module in pkgutil.iter_modules(__path__))


def load(name: str) -> Product:
    """Return a product by its name. Raises LookupError for one that is not there."""
    if name not in names():
        raise LookupError(f"there is no demonstration of {name}, but of {', '.join(names())}")
    made = importlib.import_module(f"failover.products.{name}").product()
    assert isinstance(made, Product)
    return made
