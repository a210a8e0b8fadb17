# SPDX-License-Identifier: GPL-2.0-or-later
"""BlueMind: its version, its files in /etc/bm, the state of its core, its units and its memory.

Rules that name a class are from BlueMind's published source code, the others from its documents.
"""
