# SPDX-License-Identifier: GPL-2.0-or-later
"""The languages in which a node's controller (BMC) is read and switched.

Each module with a `connect(settings, deadline, phases)` gives the room `fencing` what it calls a
Controller; nothing here knows what is to be switched, when, or what is proven by it.
"""
