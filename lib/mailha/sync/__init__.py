# SPDX-License-Identifier: GPL-2.0-or-later
"""Configuration that follows the active node: what to replicate, carrying it, applying it.

Only the active node sends; the other end is a process that its SSH connection starts and that ends
with it. Every file arrives whole or not at all, and nothing is overwritten or deleted without a
copy being kept. What makes a node itself (its name, its disks, its place in the cluster) is never
carried.
"""
