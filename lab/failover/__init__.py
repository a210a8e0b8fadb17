# SPDX-License-Identifier: GPL-2.0-or-later
"""failover: a node that dies and services that are killed, in a real cluster with mail running.

`lab/demo PRODUCT` runs it. The cluster is that of the product's example, word for word but for
addresses, devices and the pace of its monitors. From a machine beside the cluster mail is
delivered, message after message; each one that was acknowledged must be there at the end.

The modules, from the bottom up:

=============  ===================================================================================
mail           mail that is delivered continuously, and what was acknowledged
mailboxes      what is there at the end, by POP3 and by IMAP
product        what has to be known of a mail server, and is not alike for all of them
products       the mail servers, one module each
configuration  what the laboratory's cluster loads, derived from the example
cluster        a laboratory with that cluster in it, and how it says that things stand
record         what the nodes' own logs say happened, and when
faults         the two tests
timeline       what happened after a fault, as a table
guardian       takes the laboratory down when nobody else does
demonstration  all of it, in order
=============  ===================================================================================
"""
