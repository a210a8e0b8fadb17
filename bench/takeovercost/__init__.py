# SPDX-License-Identifier: GPL-2.0-or-later
"""takeovercost: from the death of a node to its disk on the survivor, with several fence agents.

The modules, from the bottom up:

===========  =====================================================================================
contestants  the fence agents that compete, and how they are set up
figures      one takeover as seconds after the fault, and what several come to
promises     what ours has to keep, and whether it does
stage        the cluster in which it happens
rounds       one run: a takeover with each contestant a round, in an order that rotates
report       the table, the verdicts, the raw figures
cli          the command line
===========  =====================================================================================
"""
