# SPDX-License-Identifier: GPL-2.0-or-later
"""A sandbox: a throwaway machine with the suite's package, for programs that need no cluster.

twonode.pair puts a cable between two of them.
"""

from __future__ import annotations

from pathlib import Path
from typing import Sequence

from twonode import package
from twonode.bare import BareSandbox


class Sandbox(BareSandbox):
    """A throwaway machine on which dpkg has installed the suite of this checkout."""

    def _lower(self, machine: Path) -> Sequence[Path]:
        """Return the layers, with the installed package on top of them."""
        package.lay(self._image, self._layers, machine / "suite")
        return [machine / "suite", *self._layers]
