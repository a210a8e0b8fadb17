# SPDX-License-Identifier: GPL-2.0-or-later
"""storagecost: what it costs to know what a path stands on, with few and with many mounts.

The modules, from the bottom up; monitorcost beside this package counts forks and runs programs:

===========  =====================================================================================
contestants  who competes, and about which paths
mounts       many mounts
meter        the program in the sandbox that makes the mounts and measures
place        the sandbox, with a real disk mounted for the mail
figures      medians, and whether they are what was promised
report       the table and the verdict
cli          the command line
===========  =====================================================================================
"""
