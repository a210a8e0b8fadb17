# SPDX-License-Identifier: GPL-2.0-or-later
"""What an OCF resource agent is.

An agent declares its parameters and actions (:class:`Agent`) and calls :func:`main`. All the rest
is done here, after the OCF resource agent API 1.1: meta-data, parsing, defaults, validation,
dispatch, the budget, the log, the one reason of a failure, the exit code. A handler gets a
:class:`Call`, returns if it succeeded and raises one of :mod:`mailha.errors` if not.

A recurring monitor loads this package; what only other actions or failures need is loaded by them.
"""

from __future__ import annotations

from mailha.ocf.call import Call
from mailha.ocf.declaration import Action, Agent, Parameter
from mailha.ocf.run import main

__all__ = ["Action", "Agent", "Call", "Parameter", "main"]
