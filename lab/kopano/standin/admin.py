# SPDX-License-Identifier: GPL-2.0-or-later
"""kopano-admin, of which there is only -l: list the users."""

from __future__ import annotations

import sys
from typing import Sequence

from .link import ServerRefused, ServerUnreachable, Session


def main(arguments: Sequence[str]) -> int:
    """List the users. It hangs for ever on a hung or upgrading server, as the real one does."""
    if list(arguments) != ["-l"]:
        sys.stderr.write("This stand-in of mailha's lab for kopano-admin knows only -l\n")
        return 1
    try:
        session = Session("default:", "kopano-admin")
        users = session.users()
        session.close()
    except ServerUnreachable:
        sys.stderr.write(
            'The server is not running, or not accessible through "default:".\n')
        return 1
    except ServerRefused:
        sys.stderr.write(
            "Using the -v option (possibly multiple times) may give more hints.\n")
        return 1
    print(f"User list for Default({len(users)}):")
    print("\tUsername")
    print("\t" + "-" * 40)
    for user in users:
        print(f"\t{user}")
    return 0
