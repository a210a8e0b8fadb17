# SPDX-License-Identifier: GPL-2.0-or-later
"""One module for each OCF agent: what it declares, and which rooms its actions join.

Two agents never import each other.
"""
