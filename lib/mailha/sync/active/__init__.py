# SPDX-License-Identifier: GPL-2.0-or-later
"""The sender, on the node where mail runs, and what starts, watches and directs it."""
