# SPDX-License-Identifier: GPL-2.0-or-later
"""Kopano Core 8.x to 11.x, from its own units, manual pages and release notes.

Every daemon is run in the foreground: from 9.x on they do nothing else, and "-F" is still accepted.
All of them find their way back to a server that was away, so the server is needed at the start
only.
"""

from __future__ import annotations

from mailha.profiles import ServiceProfile

CONFIGURATION_DIRECTORY = "/etc/kopano"
DATA_DIRECTORY = "/var/lib/kopano"
PROGRAM_DIRECTORY = "/usr/sbin"
RUN_DIRECTORY = "/run/kopano"
SOFTWARE = "kopano"

_SERVER = ("server",)

SERVICES = {
    "server": ServiceProfile("kopano-server.service", program="kopano-server", arguments=("-F",),
                             touches_data=True),
    # The index lies on the data's disk, and two writers ruin it.
    "search": ServiceProfile("kopano-search.service", program="kopano-search", arguments=("-F",),
                             needs=_SERVER, touches_data=True),
    "spooler": ServiceProfile("kopano-spooler.service", program="kopano-spooler",
                              arguments=("-F",), needs=_SERVER),
    # "-l" is LMTP in the foreground; "-F" means something else to the dagent.
    "dagent": ServiceProfile("kopano-dagent.service", program="kopano-dagent", arguments=("-l",),
                             needs=_SERVER),
    "monitor": ServiceProfile("kopano-monitor.service", program="kopano-monitor",
                              arguments=("-F",), needs=_SERVER),
    "gateway": ServiceProfile("kopano-gateway.service", program="kopano-gateway",
                              arguments=("-F",), needs=_SERVER),
    "ical": ServiceProfile("kopano-ical.service", program="kopano-ical", arguments=("-F",),
                           needs=_SERVER),
    "presence": ServiceProfile("kopano-presence.service", program="kopano-presence",
                               arguments=("-F",), needs=_SERVER),
    "spamd": ServiceProfile("kopano-spamd.service", program="kopano-spamd", arguments=("-F",),
                            needs=_SERVER),
    # The rest belongs to repositories of its own, with their own ways to start: units only.
    "statsd": ServiceProfile("kopano-statsd.service", configured=False),
    "grapi": ServiceProfile("kopano-grapi.service", needs=_SERVER, configured=False),
    "kapid": ServiceProfile("kopano-kapid.service", needs=_SERVER, configured=False),
    "konnect": ServiceProfile("kopano-konnectd.service", needs=_SERVER, configured=False),
}

USUAL = ("server", "spooler", "dagent", "monitor", "gateway", "ical")
"""The whitepaper's group."""
