# SPDX-License-Identifier: GPL-2.0-or-later
"""Which version of a mail server may open the data: the one that did, or a newer one that may.

A newer release upgrades its database and never goes back. Older software over newer data ends
without mail, Kopano's even with exit code 0; a newer release that starts by a failover, because its
node was updated first, leaves the other node without a way back.
"""

from __future__ import annotations

from mailha import errors
from mailha.mailserver.patience import share
from mailha.storage import acceptance, last_run

TYPE_CHECKING = False
if TYPE_CHECKING:
    from mailha.ocf import Call
    from mailha.storage.version import Version
    from mailha.system.machine import Machine


class Release:
    """The installed version against the one that last ran on the data.

    product: its name for people. software: its name in the record. installed: the version on this
    node. directory: that of the data; without it the parameter data_dir says it.
    """

    def __init__(self, call: Call, machine: Machine, installed: Version, *, product: str,
                 software: str, directory: str = "") -> None:
        self._call = call
        self._machine = machine
        self._installed = installed
        self._product = product
        self._software = software
        self._directory = directory or call.parameters["data_dir"]
        self._accepted = False
        self._before: last_run.Record | None = None

    def check(self) -> None:
        """Return if this version may open the data.

        A missing record is a warning: the data of a new installation has none. A damaged one is no
        better than a newer version: a later mailha may have written it for later software.
        Raises errors.NotAllowedHere, and errors.Failed if the disk does not answer.
        """
        try:
            before = last_run.read(self._machine, self._directory, share(self._call))
        except last_run.RecordDamaged as error:
            if not self._is_accepted():
                raise errors.NotAllowedHere(
                    f"it needs {self._word()}: {error.reason}",
                    remedy=f"if no newer {self._product} than {self._installed} has run on this "
                           "data, or a backup is there, run it on this node and clean up the "
                           "resource") from None
            self._accepted = True
            self._call.log.warning(f"{error.reason}; the word of the administrator is that "
                                   f"{self._product} {self._installed} may open the data")
            return
        if before is None:
            self._call.log.warning(f"{self._directory} has no record of the version that last ran; "
                                   f"{self._product} {self._installed} is taken for the "
                                   "right one")
            return
        self._before = before
        if self._installed.older(before.version):
            if self._is_accepted() and acceptance.restored(self._machine, self._call.resource):
                self._accepted = True
                self._call.log.warning(
                    f"{self._directory} says that {before.version} ran on this data; the word of "
                    f"the administrator is that a backup of {self._installed} has been restored")
                return
            raise errors.NotAllowedHere(
                f"{self._product} {self._installed} on this node is older than {before.version}, "
                f"which ran on this data on node '{before.node}'",
                remedy="update this node; the older version cannot read the newer data. Only where "
                       "a backup of this version has been restored: 'mailha accept-version "
                       f"--restored {self._call.resource}'")
        if not self._installed.newer_release(before.version):
            return
        if not self._is_accepted():
            raise errors.NotAllowedHere(
                # Within 128 characters: crm_mon shows no more.
                f"{self._product} {self._installed} on this node is a newer release than "
                f"{before.version}: it needs {self._word()}, as it would upgrade the database, and "
                "there is no way back",
                remedy="make a backup first, run it on this node, then clean up the resource")
        self._accepted = True

    def _word(self) -> str:
        """Return the command with which the administrator gives his word."""
        return f"'mailha accept-version {self._call.resource}'"

    def _is_accepted(self) -> bool:
        """Tell whether the administrator has accepted exactly this version."""
        accepted = acceptance.accepted(self._machine, self._call.resource)
        return accepted is not None and accepted.text == self._installed.text

    def record(self) -> None:
        """Write down, before the server touches the data, that this version runs on it now.

        Raises errors.Failed: a disk on which this cannot be written is full, or broken.
        """
        node = self._call.node or "unknown"
        record = last_run.Record(self._software, self._installed, node,
                                 self._machine.clock.wall())
        last_run.write(self._machine, self._directory, record, share(self._call))
        if self._accepted:
            acceptance.consume(self._machine, self._call.resource)

    def retract(self) -> None:
        """Put the record back as it was: the server has refused the data.

        Or else the older version that was tried would keep the newer one from its own data. A
        failure of it is only logged.
        """
        try:
            if self._before is None:
                last_run.remove(self._machine, self._directory, share(self._call))
            else:
                last_run.write(self._machine, self._directory, self._before, share(self._call))
        except errors.MailhaError as error:
            self._call.log.warning(str(error))
