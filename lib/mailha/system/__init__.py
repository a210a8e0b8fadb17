# SPDX-License-Identifier: GPL-2.0-or-later
"""The only seam to the machine.

Everything that mailha learns from or does to the machine goes through one object,
:class:`mailha.system.machine.Machine`, so that a test can put another machine in its place.
Nothing is imported here: each part is loaded when it is first used, because a monitor that asks
systemd and the kernel every few seconds shall not pay for parts that only a start needs.
"""
