# SPDX-License-Identifier: GPL-2.0-or-later
"""sidebyside: what every bench needs that compares ours with its peers in one run.

The modules, from the bottom up:

========  ========================================================================================
spread    median and quartiles
order     who comes when in a round
table     figures as a table
command   from the command line to the exit code
ending    ending on a signal without leaving anything running
machine   what this machine is
========  ========================================================================================
"""
