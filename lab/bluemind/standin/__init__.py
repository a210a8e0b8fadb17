# SPDX-License-Identifier: GPL-2.0-or-later
"""A stand-in for the Java services of BlueMind, which is not BlueMind.

BlueMind's packages are not in Debian. One program plays all of its own services, one process each,
under their unit names and with the names of their Java classes in the command line: when they say
READY, what they listen on, what they answer, what they write where, and how they fail. PostgreSQL,
Cyrus, Postfix and nginx beside them are real.

One process is small on purpose (``python3 -I -S``, no json, no http): fifteen of them run on a
node.

==========  ======================================================================================
settings    what the laboratory tells a stand-in to do: start slowly, hang, be in another state
installed   the files that tell a BlueMind who it is: bm.ini, bm-core.tok, mcast.id
life        systemd's READY, slow and refused stops, the dump of a Java machine out of memory
talks       what is answered on a port: HTTP, IMAP, LMTP, milter, saslauthd
core        bm-core: its states, the interface on 8090, and in 5.x IMAP, POP and LMTP
ysnp        bm-ysnp: the sockets on Postfix's spool by which Cyrus checks passwords
roles       which unit listens on what, and writes where
main        the program
==========  ======================================================================================
"""
