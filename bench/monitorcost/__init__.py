# SPDX-License-Identifier: GPL-2.0-or-later
"""monitorcost: what one monitor of a whole group costs, ours and its peers' side by side.

The modules, from the bottom up:

===========  =====================================================================================
figures      medians, quartiles, and what a contestant's rounds come to
forks        counting forks and execs in what strace saw
contestants  who competes: the commands, their environments, the resources in the cluster
meter        the program on the node that runs a monitor and reads what it cost there
node         the node itself: a lab whose alice really runs everything that is monitored
cluster      switching the recurring monitors of Pacemaker on and off
rounds       one run: every contestant once a round, in an order that rotates
report       the table, the verdict, the raw figures
cli          the command line
===========  =====================================================================================

What it has in common with the other benches is in sidebyside.
"""
