# SPDX-License-Identifier: GPL-2.0-or-later
"""A stand-in for Kopano Core. This is not Kopano, and it is of no use for keeping mail.

It exists so that a cluster can be tested where Kopano cannot be installed. It plays kopano-server,
-spooler, -dagent, -monitor, -gateway and -ical (and, idle, -search and -presence) as processes of
their own under their real names, reads their real configuration files, keeps mail in a real
MariaDB and in real attachment files, and above all it has the habits of a real Kopano 8.7.25 that
make a cluster agent's life hard: an exit code 0 that proves nothing, ports that are open and mute,
pid files that nobody removes, missing data that is silently created anew.

What a docstring here calls *measured* was seen on an unmodified Kopano 8.7.25; what it calls
*invented* only fills a gap. Habits that cannot be provoked from outside are ``vices``, switched on
in /etc/kopano/standin.vices.

On a node the package lies in /usr/lib/kopano-standin and the executables only call ``program``.
"""

BANNER = "This is the STAND-IN of mailha's lab, not Kopano"
