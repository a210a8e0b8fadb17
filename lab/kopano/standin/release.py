# SPDX-License-Identifier: GPL-2.0-or-later
"""Which Kopano the stand-in pretends to be, and what differs between releases.

The release stands in the file ``version`` beside the package, so that a test upgrades a node by
writing another number into it, as a package manager would.
"""

from __future__ import annotations

from pathlib import Path
from typing import Tuple

VERSION_FILE = Path("/usr/lib/kopano-standin/version")
DEFAULT = "8.7.25"

Numbers = Tuple[int, int, int, int]

# Revisions of the database by release. 70, 71, 118 and 119 were seen in real databases; which
# release brought the first two, and everything above 119, is invented.
_DATABASE_REVISIONS = (
    ((8, 0, 0, 0), 70),
    ((8, 5, 0, 0), 71),
    ((8, 7, 0, 0), 118),
    ((9, 0, 0, 0), 119),
    ((10, 0, 0, 0), 120),
    ((11, 0, 0, 0), 121),
)


class Release:
    """One release of Kopano, such as 8.7.25, and the habits that depend on it."""

    def __init__(self, text: str) -> None:
        """Parse ``text``, one to four numbers with dots; ValueError says what else stood there."""
        parts = text.strip().split(".")
        if not 1 <= len(parts) <= 4 or not all(part.isdigit() for part in parts):
            raise ValueError(f"release {text.strip()!r} is not one to four numbers with dots")
        numbers = [int(part) for part in parts] + [0, 0, 0]
        self.text = text.strip()
        self.numbers: Numbers = (numbers[0], numbers[1], numbers[2], numbers[3])

    @classmethod
    def installed(cls, path: Path = VERSION_FILE) -> Release:
        """Return the release that ``path`` names, or the default one where there is no file."""
        try:
            return cls(path.read_text(encoding="ascii"))
        except FileNotFoundError:
            return cls(DEFAULT)

    @property
    def on_the_wire(self) -> str:
        """The release as the SOAP logon spells it (measured: ``0,8,7,25``)."""
        return "0," + ",".join(str(number) for number in self.numbers[:3])

    @property
    def database_revision(self) -> int:
        """The revision up to which this release upgrades a database."""
        return max(revision for since, revision in _DATABASE_REVISIONS if self.numbers >= since)

    @property
    def daemonises(self) -> bool:
        """Whether a start without -F goes into the background: all of 8.x up to 8.7.25 do."""
        return self.numbers < (8, 7, 80, 0)

    @property
    def writes_pid_files(self) -> bool:
        """Whether ``pid_file`` means anything: it is obsolete since 10.0."""
        return self.numbers < (10, 0, 0, 0)

    @property
    def kills_its_group(self) -> bool:
        """Whether a server that cannot bind sends SIGTERM to its whole process group."""
        return self.numbers < (8, 7, 80, 0)

    def has_listen_key(self, service: str) -> bool:
        """Whether ``server_listen`` and its kin exist for ``service`` (8.5.0, others 8.6.81)."""
        return self.numbers >= ((8, 5, 0, 0) if service == "server" else (8, 6, 81, 0))

    @property
    def has_bind_keys(self) -> bool:
        """Whether ``server_bind`` and the old port keys are still read; 8.6.82 removed them."""
        return self.numbers < (8, 6, 82, 0)
