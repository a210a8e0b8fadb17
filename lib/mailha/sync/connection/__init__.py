# SPDX-License-Identifier: GPL-2.0-or-later
"""The way between two nodes: pairing, ssh, and the protocol that is spoken over it."""
