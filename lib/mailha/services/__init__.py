# SPDX-License-Identifier: GPL-2.0-or-later
"""A group of services: what it is, how it starts and stops, and the evidence that each one serves.

Nothing in here knows a product. A profile says which services there are, an agent joins it with the
configuration of the product and hands the resulting group to this room.
"""
