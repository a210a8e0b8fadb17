# SPDX-License-Identifier: GPL-2.0-or-later
"""The library that the agents of mailha share.

Each package in here is a room with one job; a room never imports one below it in this list:
validation, errors, ocf, system, cluster, services, storage, mailserver, profiles, products,
agents, cli.

What a recurring monitor loads is counted in tenths of a millisecond, because it runs every few
seconds for years. Hence an idiom that is seen in many modules: names that only the type checker
needs are imported under ``if TYPE_CHECKING``, with ``TYPE_CHECKING`` set to False by hand, since
importing it from ``typing`` alone would cost as much as a whole monitor. For the same reason a
monitor finds what the one before it has loaded in one piece (:mod:`mailha.snapshot`).
"""

__version__ = "0.1.0"
