# SPDX-License-Identifier: GPL-2.0-or-later
"""synccost: how long a changed file takes to the other node, and what gets lost on the way.

The modules, from the bottom up:

===========  =====================================================================================
disk         a disk of a node, whose power can be cut
changes      what happens to files, as data, and whether the other side is identical
stage        two nodes with a cable, a disk each, SSH, and the packages of the peers
accounting   CPU and memory of all that a contestant runs, on both nodes
contestant   what a contestant is
lsyncd, csync2, incron, ours    the contestants
contestants  all of them
meter        one change, one burst: how long until it is there
losses       what gets lost, or is seen half-done
rounds       a run
figures      what the measured comes to
promises     what is promised of ours
report, cli  the table, and the command line
===========  =====================================================================================
"""
