# SPDX-License-Identifier: GPL-2.0-or-later
"""The receiver, on the other node: who is let in, what is applied, and what is kept of before."""
