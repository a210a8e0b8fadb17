# SPDX-License-Identifier: GPL-2.0-or-later
"""fencecost: how long it takes to fence a node for certain, ours and its peers' side by side.

The modules, from the bottom up:

===========  =====================================================================================
networks     what lies between an agent and the controller
contestants  who competes: the programs, what Pacemaker tells them, how often and over what
figures      what the runs of one contestant come to
promises     what ours has to keep, and whether it does
relay        the program that is the network: delays, loses and counts datagrams
meter        the program that runs an agent, and looks at the power afterwards
controller   the simulated management controller and its chassis
stage        the sandbox in which all of that runs
rounds       one run: every contestant once a round, in an order that rotates
report       the table, the verdicts, the raw figures
cli          the command line
===========  =====================================================================================
"""
