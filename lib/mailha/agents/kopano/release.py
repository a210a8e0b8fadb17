# SPDX-License-Identifier: GPL-2.0-or-later
"""Which version of Kopano may open the data: the one that did, or a newer one that may.

The server upgrades its database and never goes back. Older software over newer data ends with exit
code 0 and no mail; a newer release that starts by a failover, because its node was updated first,
leaves the other node without a way back.
"""

from __future__ import annotations

from mailha import errors
from mailha.profiles import kopano as profile
from mailha.storage import acceptance, last_run

TYPE_CHECKING = False
if TYPE_CHECKING:
    from mailha.ocf import Call
    from mailha.storage.version import Version
    from mailha.system.machine import Machine

# Seconds that the data's disk may take for an answer, and which part of the budget.
LONGEST = 20.0
SHARE = 0.15


class Release:
    """The installed version against the one that last ran on the data.

    installed: the version on this node.
    """

    def __init__(self, call: Call, machine: Machine, installed: Version) -> None:
        self._call = call
        self._machine = machine
        self._installed = installed
        self._directory = call.parameters["data_dir"]
        self._accepted = False
        self._before: last_run.Record | None = None

    def check(self) -> None:
        """Return if this version may open the data.

        A missing or damaged record is a warning: the data of a new installation has none.
        Raises errors.NotAllowedHere, and errors.Failed if the disk does not answer.
        """
        try:
            before = last_run.read(self._machine, self._directory, self._share())
        except last_run.RecordDamaged as error:
            self._call.log.warning(str(error))
            return
        if before is None:
            self._call.log.warning(f"{self._directory} has no record of the version that last ran; "
                                   f"Kopano {self._installed} is taken for the right one")
            return
        self._before = before
        if self._installed.older(before.version):
            raise errors.NotAllowedHere(
                f"Kopano {self._installed} on this node is older than {before.version}, which ran "
                f"on this data on node '{before.node}'",
                remedy="update this node; the older version cannot read the newer data")
        if not self._installed.newer_release(before.version):
            return
        accepted = acceptance.accepted(self._machine, self._call.resource)
        if accepted is None or accepted.text != self._installed.text:
            raise errors.NotAllowedHere(
                f"Kopano {self._installed} on this node is a newer release than "
                f"{before.version}, which last ran on this data: it would upgrade the database, "
                "and there is no way back",
                remedy=f"make a backup, then run 'mailha accept-version {self._call.resource}' "
                       "on this node and clean up the resource")
        self._accepted = True

    def record(self) -> None:
        """Write down, before the server touches the data, that this version runs on it now.

        Raises errors.Failed: a disk on which this cannot be written is full, or broken.
        """
        node = self._call.node or "unknown"
        record = last_run.Record(profile.SOFTWARE, self._installed, node,
                                 self._machine.clock.wall())
        last_run.write(self._machine, self._directory, record, self._share())
        if self._accepted:
            acceptance.consume(self._machine, self._call.resource)

    def retract(self) -> None:
        """Put the record back as it was: the server has refused the data.

        Or else the older version that was tried would keep the newer one from its own data. A
        failure of it is only logged.
        """
        try:
            if self._before is None:
                last_run.remove(self._machine, self._directory, self._share())
            else:
                last_run.write(self._machine, self._directory, self._before, self._share())
        except errors.MailhaError as error:
            self._call.log.warning(str(error))

    def _share(self) -> float:
        return max(1.0, min(LONGEST, self._call.left() * SHARE))
