# SPDX-License-Identifier: GPL-2.0-or-later
"""What Pacemaker says, read from the cluster information base (CIB) of this node.

Only a start asks; of this room a recurring monitor loads :mod:`mailha.cluster.mark` at most. What
Pacemaker's own code does with a configuration is the rule here, and where that depends on something
that cannot be known from the CIB (a date in a rule, the order of two equal attribute sets, the
Pacemaker version) all readings are considered: a node is protected only if it is protected under
each of them.
"""
