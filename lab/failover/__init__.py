# SPDX-License-Identifier: GPL-2.0-or-later
"""failover: the whitepaper's two tests on a real cluster, with mail running all the while.

`lab/demo` runs it. The cluster is that of examples/kopano-shared-storage, word for word but for
addresses, devices and the pace of its monitors. From a machine beside the cluster mail is delivered
by LMTP, message after message; each one that was acknowledged must be there at the end.

The modules, from the bottom up:

=============  ===================================================================================
configuration  what the laboratory's cluster loads, derived from the example
cluster        a laboratory with that cluster in it, and how it says that things stand
record         what the nodes' own logs say happened, and when
mail           mail that is delivered continuously, and what was acknowledged
mailboxes      what is there at the end: in the database, and by POP3
faults         the two tests
timeline       what happened after a fault, as a table
guardian       takes the laboratory down when nobody else does
demonstration  all of it, in order
=============  ===================================================================================
"""
